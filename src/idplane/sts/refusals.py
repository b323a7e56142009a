"""Entra's words for failures: the AADSTS number, the OAuth error and the sentence, one row for each kind (MIE section 7.4).

The sign-in log records the number and the sentence, and `web.oauth_errors` puts all three on the wire. Kinds that the token
service never meets get what their category amounts to, so that the lookup is total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["Refusal", "refusal_of", "sentence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One row. `text` may name facts of the failure in braces; without it the failure's own detail is the sentence."""

    code: int
    error: str
    text: str | None = None


def refusal_of(kind: FailureKind) -> Refusal:
    """The row for a kind; total."""
    return _BY_KIND.get(kind) or _BY_CATEGORY[kind.category]


def sentence(failure: Failure) -> str:
    """What a person reads: the row's sentence with the failure's facts, or the failure's detail where the row has none."""
    text = refusal_of(failure.kind).text
    if text is not None:
        return text.format_map(_Facts(failure.data))
    detail = failure.detail or "The request was refused"
    return f"{detail[0].upper()}{detail[1:]}."


class _Facts(dict[str, str]):
    """A fact that a failure does not carry reads as nothing, never as an error while refusing."""

    def __missing__(self, key: str) -> str:
        return ""


def _no_match(what: str) -> str:
    return (
        f"No matching federated identity record found for presented assertion {what}. Check your federated identity credential "
        "Subject, Audience and Issuer against the presented assertion."
    )


_BY_KIND: Final[Mapping[FailureKind, Refusal]] = {
    FailureKind.TENANT_NOT_FOUND: Refusal(
        code=90002,
        error="invalid_request",
        text="Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
    ),
    FailureKind.MISSING_PARAMETER: Refusal(
        code=900144, error="invalid_request", text="The request body must contain the following parameter: '{parameter}'."
    ),
    FailureKind.METHOD_NOT_ALLOWED: Refusal(
        code=900561,
        error="invalid_request",
        text="The endpoint only accepts {allowed} requests. Received a {method} request.",
    ),
    FailureKind.GRANT_UNSUPPORTED: Refusal(
        code=70003, error="unsupported_grant_type", text="The app requested an unsupported grant type '{grant_type}'."
    ),
    FailureKind.SCOPE_INVALID: Refusal(
        code=70011,
        error="invalid_scope",
        text="The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid: client credentials "
        "take the resource's identifier followed by /.default.",
    ),
    FailureKind.AUDIENCE_UNKNOWN: Refusal(
        code=500011,
        error="invalid_resource",
        text="The resource principal named {resource} was not found in the tenant. Check the resource's name, and that its "
        "application is registered in the tenant that the request was sent to.",
    ),
    FailureKind.CLIENT_UNKNOWN: Refusal(
        code=700016,
        error="unauthorized_client",
        text="Application with identifier '{client_id}' was not found in the directory '{tenant}'. You may have sent your "
        "authentication request to the wrong tenant.",
    ),
    FailureKind.CLIENT_DISABLED: Refusal(
        code=7000112, error="unauthorized_client", text="Application '{client_id}'({name}) is disabled."
    ),
    FailureKind.CLIENT_CREDENTIAL_MISSING: Refusal(
        code=7000218,
        error="invalid_client",
        text="The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    FailureKind.CLIENT_SECRET_INVALID: Refusal(
        code=7000215,
        error="invalid_client",
        text="Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the "
        "client secret ID, for a secret added to app '{client_id}'.",
    ),
    FailureKind.CLIENT_SECRET_EXPIRED: Refusal(
        code=7000222, error="invalid_client", text="The provided client secret keys for app '{client_id}' are expired."
    ),
    FailureKind.ASSERTION_INVALID: Refusal(code=700027, error="invalid_client"),
    FailureKind.TOKEN_INVALID: Refusal(code=700027, error="invalid_client"),
    FailureKind.ASSERTION_TIME: Refusal(code=700024, error="invalid_client"),
    FailureKind.ASSERTION_AUDIENCE: Refusal(code=700023, error="invalid_client"),
    FailureKind.ASSERTION_REPLAYED: Refusal(code=50013, error="invalid_client"),
    FailureKind.FEDERATION_NONE: Refusal(
        code=70021,
        error="invalid_client",
        text="No matching federated identity record found for presented assertion. Assertion Issuer: '{issuer}'. Assertion "
        "Subject: '{subject}'. Assertion Audience: '{audience}'.",
    ),
    FailureKind.FEDERATION_ISSUER: Refusal(code=700211, error="invalid_client", text=_no_match("issuer '{issuer}'")),
    FailureKind.FEDERATION_AUDIENCE: Refusal(code=700212, error="invalid_client", text=_no_match("audience '{audience}'")),
    FailureKind.FEDERATION_SUBJECT: Refusal(code=700213, error="invalid_client", text=_no_match("subject '{subject}'")),
    FailureKind.FEDERATION_SUBJECT_CASE: Refusal(
        code=7002138,
        error="invalid_client",
        text=_no_match(
            "subject '{subject}'. The subject matches with case-insensitive comparison, but not with case-sensitive comparison"
        ),
    ),
    FailureKind.FEDERATION_AUDIENCE_ID: Refusal(
        code=700214,
        error="invalid_client",
        text=_no_match("audience '{audience}'. The federated identity credential must name the audience by its URI"),
    ),
    FailureKind.FEDERATION_OWN_TOKEN: Refusal(
        code=700222, error="invalid_client", text="AAD-issued tokens may not be used for federated identity flows."
    ),
    FailureKind.FEDERATION_SIGNATURE: Refusal(
        code=50013, error="invalid_client", text="Assertion failed signature validation. Reason: {reason}."
    ),
    FailureKind.ISSUER_UNREACHABLE: Refusal(
        code=50166, error="invalid_request", text="Request to External OIDC endpoint failed."
    ),
    FailureKind.ENDPOINT_SECRET: Refusal(code=7000215, error="invalid_client"),
    FailureKind.NOT_ENTITLED: Refusal(code=50105, error="unauthorized_client"),
    FailureKind.INSTANCE_UNKNOWN: Refusal(code=50049, error="invalid_instance", text="Unknown or invalid instance."),
    FailureKind.CLIENT_IS_PUBLIC: Refusal(
        code=700025,
        error="invalid_client",
        text="Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    ),
    FailureKind.PASSWORD_GRANT: Refusal(
        code=50056,
        error="invalid_grant",
        text="Invalid or null password: users of this directory have no passwords. Sign in with a device code instead "
        "(az login --use-device-code) and approve it with: idplane approve CODE.",
    ),
    FailureKind.USER_SCOPE_INVALID: Refusal(
        code=70011,
        error="invalid_scope",
        text="The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid: {why}.",
    ),
    FailureKind.USER_DISABLED: Refusal(code=50057, error="invalid_grant", text="The user account is disabled."),
    FailureKind.USER_TENANT: Refusal(
        code=50020,
        error="invalid_grant",
        text="The user account does not exist in tenant '{tenant}' and cannot access the application '{client_id}' in that tenant.",
    ),
    FailureKind.DEVICE_CODE_PENDING: Refusal(
        code=70016,
        error="authorization_pending",
        text="OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    ),
    FailureKind.DEVICE_CODE_SLOW_DOWN: Refusal(
        code=50196,
        error="slow_down",
        text="OAuth 2.0 device flow error. The client polls more often than it was told to. Wait {interval} seconds.",
    ),
    FailureKind.DEVICE_CODE_UNKNOWN: Refusal(
        code=70018,
        error="bad_verification_code",
        text="The provided value for the input parameter 'device_code' is not valid: it was not given out here to this client, "
        "or it was used already.",
    ),
    FailureKind.DEVICE_CODE_DECLINED: Refusal(
        code=65004, error="authorization_declined", text="The operator declined to let the application sign in."
    ),
    FailureKind.DEVICE_CODE_EXPIRED: Refusal(
        code=70020,
        error="expired_token",
        text="The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
    ),
    FailureKind.REFRESH_TOKEN_INVALID: Refusal(
        code=70000,
        error="invalid_grant",
        text="Provided grant is invalid or malformed: the refresh token is not known, or was revoked.",
    ),
    FailureKind.REFRESH_TOKEN_EXPIRED: Refusal(
        code=700082,
        error="invalid_grant",
        text="The refresh token has expired due to inactivity. The token was issued on {issued} and was inactive for {days} days.",
    ),
    FailureKind.REFRESH_TOKEN_REUSED: Refusal(
        code=50173,
        error="invalid_grant",
        text="The provided grant has expired due to it being revoked, a fresh auth token is needed: the refresh token had been used "
        "before, so the sign-in that it belongs to has been ended.",
    ),
    FailureKind.BINDING_REQUIRED: Refusal(code=392200, error="invalid_request"),
    FailureKind.THROTTLED: Refusal(code=90055, error="temporarily_unavailable"),
}

_INVALID: Final = Refusal(code=90100, error="invalid_request")
_BY_CATEGORY: Final[Mapping[Category, Refusal]] = {
    Category.BAD_REQUEST: _INVALID,
    Category.UNAUTHENTICATED: Refusal(code=700027, error="invalid_client"),
    Category.FORBIDDEN: Refusal(code=50105, error="unauthorized_client"),
    Category.NOT_FOUND: _INVALID,
    Category.METHOD: _INVALID,
    Category.CONFLICT: _INVALID,
    Category.PRECONDITION: _INVALID,
    Category.TOO_LARGE: _INVALID,
    Category.MEDIA_TYPE: _INVALID,
    Category.THROTTLED: _INVALID,
    Category.INTERNAL: Refusal(code=50000, error="server_error", text="There is an issue with the sign-in service."),
    Category.UNAVAILABLE: Refusal(code=90033, error="temporarily_unavailable"),
}
