"""Failures in Key Vault's words: one table, total over the failure kinds.

Texts that clients and people look for are the service's own (recorded answers in Azure's SDK test recordings and issue
trackers): `AKV10000`, `AKV10022`, `AKV10032`, the many lines of ForbiddenByRbac, the SecretNotFound pair, ObjectIsDeletedButRecoverable,
SecretDisabled. Where the service's text is not known, the failure's own detail is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.roles import Reason

__all__ = ["render", "words_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How one failure kind reads on this wire."""

    status: int
    code: str
    text: Callable[[Failure], str]
    inner: str | None = None


def render(failure: Failure) -> tuple[int, bytes]:
    """Status and body of a failure."""
    words = words_of(failure.kind)
    error: dict[str, object] = {"code": words.code, "message": words.text(failure)}
    if words.inner is not None:
        error["innererror"] = {"code": words.inner}
    return words.status, msgspec.json.encode({"error": error})


def words_of(kind: FailureKind) -> Words:
    """The kind's own words, else those of its category."""
    return _BY_KIND.get(kind) or _BY_CATEGORY[kind.category]


def _detail(failure: Failure) -> str:
    return failure.detail or failure.kind.name.replace("_", " ").lower()


def _fact(failure: Failure, name: str, otherwise: str = "") -> str:
    return failure.data.get(name) or otherwise


def _fixed(text: str) -> Callable[[Failure], str]:
    return lambda _failure: text


def _bad_audience(failure: Failure) -> str:
    found = _fact(failure, "audience")
    text = f"AKV10022: Invalid audience. Expected {_fact(failure, 'resource', 'https://vault.azure.net')}"
    return f"{text}, found: {found}." if found else f"{text}."


def _bad_issuer(failure: Failure) -> str:
    text = f"AKV10032: Invalid issuer. Expected one of {_fact(failure, 'expected_issuer', 'the issuers of the tenant of the vault')}"
    found = _fact(failure, "issuer")
    return f"{text}, found {found}." if found else f"{text}."


def _forbidden(failure: Failure) -> str:
    """The service's text: who asked for what, and that nothing (or which deny assignment) stood against it."""
    denied = failure.data.get("reason") == Reason.DENY_ASSIGNMENT.value
    lines = (
        "Caller is not authorized to perform action on resource.",
        "If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.",
        f"Caller: appid={_fact(failure, 'client_id')};oid={_fact(failure, 'oid')};iss={_fact(failure, 'issuer')}",
        f"Action: '{_fact(failure, 'action')}'",
        f"Resource: '{_fact(failure, 'scope').lower()}'",
        "Assignment: (not found)",
        f"DenyAssignmentId: '{_fact(failure, 'because')}'" if denied else "DenyAssignmentId: null",
        # The blank at the end of this line is the service's.
        f"DecisionReason: '{'DeniedByDenyAssignment' if denied else 'DeniedWithNoValidRBAC'}' ",
        f"Vault: {_fact(failure, 'vault')};location={_fact(failure, 'location')}",
    )
    return "".join(f"{line}\r\n" for line in lines)


def _not_found(failure: Failure) -> str:
    name = _fact(failure, "name")
    if failure.data.get("deleted"):
        return f"Deleted Secret not found: {name}"
    return (
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may be able to "
        "recover it using the correct recovery command. For help resolving this issue, please see "
        "https://go.microsoft.com/fwlink/?linkid=2125182"
    )


def _recoverable(failure: Failure) -> str:
    return (
        f"Secret {_fact(failure, 'name')} is currently in a deleted but recoverable state, and its name cannot be reused; "
        "in this state, the secret can only be recovered or purged."
    )


_BAD_PARAMETER = Words(status=400, code="BadParameter", text=_detail)
_UNAUTHORIZED = Words(status=401, code="Unauthorized", text=lambda failure: f"Error validating token: {_detail(failure)}")

_BY_CATEGORY: Mapping[Category, Words] = {
    Category.BAD_REQUEST: _BAD_PARAMETER,
    Category.UNAUTHENTICATED: _UNAUTHORIZED,
    Category.FORBIDDEN: Words(status=403, code="Forbidden", text=_detail),
    Category.NOT_FOUND: Words(status=404, code="NotFound", text=_detail),
    Category.METHOD: Words(status=405, code="MethodNotAllowed", text=_detail),
    Category.CONFLICT: Words(status=409, code="Conflict", text=_detail),
    Category.PRECONDITION: Words(status=412, code="PreconditionFailed", text=_detail),
    Category.TOO_LARGE: Words(status=413, code="RequestTooLarge", text=_detail),
    Category.MEDIA_TYPE: Words(status=415, code="UnsupportedMediaType", text=_detail),
    Category.THROTTLED: Words(status=429, code="Throttled", text=_detail),
    Category.INTERNAL: Words(status=500, code="InternalError", text=_fixed("An internal error occurred. Please retry later.")),
    Category.UNAVAILABLE: Words(status=503, code="ServiceUnavailable", text=_detail),
}

_BY_KIND: Mapping[FailureKind, Words] = {
    FailureKind.URI_TOO_LONG: Words(status=414, code="UriTooLong", text=_detail),
    FailureKind.MISSING_API_VERSION: Words(status=400, code="BadParameter", text=_fixed("api-version must be specified")),
    FailureKind.INVALID_API_VERSION: Words(
        status=400,
        code="BadParameter",
        text=lambda failure: (
            f"The specified version ({_fact(failure, 'api_version')}) is not recognized. "
            f"Consider using the latest supported version ({_fact(failure, 'latest')})."
        ),
    ),
    FailureKind.INVALID_NAME: Words(
        status=400,
        code="BadParameter",
        text=lambda failure: f"The request URI contains an invalid name: {_fact(failure, 'name')}",
    ),
    FailureKind.INVALID_RESOURCE_ID: _BAD_PARAMETER,
    FailureKind.TOKEN_MISSING: Words(
        status=401, code="Unauthorized", text=_fixed("AKV10000: Request is missing a Bearer or PoP token.")
    ),
    FailureKind.TOKEN_AUDIENCE: Words(status=401, code="Unauthorized", text=_bad_audience),
    FailureKind.TOKEN_TENANT: Words(status=401, code="Unauthorized", text=_bad_issuer),
    FailureKind.FORBIDDEN: Words(status=403, code="Forbidden", text=_forbidden, inner="ForbiddenByRbac"),
    FailureKind.LOCKED: Words(
        status=403,
        code="Forbidden",
        text=_fixed(
            'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault service will '
            "automatically purge it after the retention period has passed."
        ),
    ),
    FailureKind.SECRET_NOT_FOUND: Words(status=404, code="SecretNotFound", text=_not_found),
    FailureKind.SECRET_DISABLED: Words(
        status=403,
        code="Forbidden",
        text=lambda failure: f"Operation {_fact(failure, 'operation', 'get')} is not allowed on a disabled secret.",
        inner="SecretDisabled",
    ),
    FailureKind.SECRET_DELETED: Words(status=409, code="Conflict", text=_recoverable, inner="ObjectIsDeletedButRecoverable"),
    FailureKind.VAULT_NOT_FOUND: Words(status=404, code="VaultNotFound", text=_detail),
}
