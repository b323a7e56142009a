"""The Key Vault surface: `https://{vault}.{domain}/secrets...` in Key Vault's dialect (control-plane.md section 5.7).

Order of one request: vault by host → bearer token (401 with the challenge that tells clients where to get one) → api-version →
path and method → data action → body → secret. Clients send their first PUT without token and body, so nothing about the body may be
looked at earlier.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from idplane.model.calls import Caller
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.refusals import evidence_of
from idplane.ports.store import Store
from idplane.vault import SecretVault, Vault, find_vault
from idplane.vault.secrets import PAGE_LIMIT
from idplane.web.challenges import bearer_error
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.vault_errors import render
from idplane.web.vault_wire import VaultWriter, read_changes, read_draft

__all__ = ["Authenticator", "VaultSurface"]

_AZURE_DOMAIN = "vault.azure.net"
_KEY_VAULT_APPLICATION = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
_LATEST = "2026-04-01"
# What azure-keyvault-secrets 4.12 and the CLI offer, their previews included.
_VERSIONS = re.compile(r"(?:2016-10-01|7\.[0-6]|2025-0[67]-01|2026-04-01)(?:-preview(?:\.[0-9]{1,2})?)?")


class Authenticator(Protocol):
    """Turns an access token into its verified bearer: `sts.TokenAuthenticator`."""

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None, /) -> Caller:
        """Raise a `Failure` of the unauthenticated category for a token that does not hold."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """One authenticated request at one vault."""

    request: HttpRequest
    vault: Vault
    caller: Caller
    wire: VaultWriter

    def position(self) -> str | None:
        """Where the asked page starts."""
        return self.request.parameter("$skiptoken")

    def limit(self) -> int:
        """How many items the asked page holds; raises `Failure(INVALID_PARAMETER)`."""
        text = self.request.parameter("maxresults")
        if text is None:
            return PAGE_LIMIT
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_LIMIT)) and 1 <= int(text) <= PAGE_LIMIT):
            raise Failure(
                FailureKind.INVALID_PARAMETER, f"maxresults must be between 1 and {PAGE_LIMIT}", parameter="maxresults"
            )
        return int(text)


_Handler: TypeAlias = Callable[[_Operation], Awaitable[HttpResponse]]


class VaultSurface:
    """Serves the secrets of whichever vault the Host header names."""

    def __init__(self, *, vault: SecretVault, authenticator: Authenticator, store: Store) -> None:
        self._secrets = vault
        self._authenticator = authenticator
        self._store = store

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve; raises `Failure` with the facts that this dialect's texts need."""
        if request.origin.vault is None:
            raise Failure(FailureKind.FOREIGN_HOST, "the Host header names no vault")
        vault = await find_vault(self._store, request.origin.vault)
        caller = await self._authenticated(request, vault)
        try:
            operation = _Operation(
                request=request,
                vault=vault,
                caller=caller,
                wire=VaultWriter(
                    vault=vault,
                    base=f"https://{vault.name}.{request.origin.vault_domain}",
                    retention=self._secrets.retention(vault),
                    api_version=_api_version(request),
                ),
            )
            response = await self._route(request)(operation)
        except Failure as failure:
            failure.with_evidence(evidence_of(caller, scope=str(vault.id)))
            issuer = caller.claims.get("iss")
            raise _with(
                failure, vault=vault.name, location=vault.location, issuer=issuer if isinstance(issuer, str) else ""
            ) from failure
        return response

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """The failure in Key Vault's words; 401 carries the challenge, a revoked token's with the claims that make clients renew it."""
        status, body = render(failure)
        headers: tuple[tuple[str, str], ...] = ()
        if failure.kind.category is Category.UNAUTHENTICATED:
            tenant = failure.data.get("tenant", "common")
            authority = f"{request.origin.authority}/{tenant}"
            challenge = f'Bearer authorization="{authority}", resource="{_resource(request.origin)}"'
            error = bearer_error(failure, request.call.received_at)
            if error is not None:
                challenge += f", {error}"
            headers = (("WWW-Authenticate", challenge),)
        elif "allow" in failure.data:
            headers = (("Allow", failure.data["allow"]),)
        if failure.kind.category is Category.THROTTLED:
            headers = (("Retry-After", failure.data.get("retry_after", "1")),)
        return HttpResponse(status=status, body=body, headers=headers)

    async def _authenticated(self, request: HttpRequest, vault: Vault) -> Caller:
        """The caller; every refusal names the vault's tenant, which the challenge sends the client to."""
        try:
            caller = await self._authenticator.authenticate(
                request.bearer(), _audiences(request.origin), request.call.client_certificate
            )
            if caller.tenant_id != vault.tenant_id:
                issuer = caller.claims.get("iss")
                raise Failure(
                    FailureKind.TOKEN_TENANT,
                    "the token is from another tenant",
                    issuer=issuer if isinstance(issuer, str) else "",
                ).with_evidence(evidence_of(caller))
        except Failure as failure:
            raise _with(failure, tenant=vault.tenant_id, resource=_resource(request.origin)) from failure
        return caller

    def _route(self, request: HttpRequest) -> _Handler:
        segments = [part for part in request.path.split("/") if part]
        methods = self._methods(segments)
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            raise Failure(
                FailureKind.METHOD_NOT_ALLOWED, f"{request.method[:20]} is not served here, but {allowed}", allow=allowed
            )
        return handler

    def _methods(self, segments: list[str]) -> dict[str, _Handler]:
        """What a path serves; raises `Failure(PATH_NOT_FOUND)`."""
        served: dict[str, _Handler]
        match [segments[0].lower() if segments else "", *segments[1:]]:
            case ["secrets"]:
                served = {"GET": self._list}
            case ["secrets", name]:
                served = self._secret(name) | ({"POST": _not_offered} if name.lower() == "restore" else {})
            case ["secrets", name, last] if last.lower() == "versions":
                served = {"GET": lambda it: self._list_versions(it, name)}
            case ["secrets", _, last] if last.lower() == "backup":
                served = {"POST": _not_offered}
            case ["secrets", name, version]:
                served = self._version(name, version)
            case ["deletedsecrets"]:
                served = {"GET": self._list_deleted}
            case ["deletedsecrets", name]:
                served = {"GET": lambda it: self._get_deleted(it, name), "DELETE": lambda it: self._purge(it, name)}
            case ["deletedsecrets", name, last] if last.lower() == "recover":
                served = {"POST": lambda it: self._recover(it, name)}
            case _:
                raise Failure(FailureKind.PATH_NOT_FOUND, "this vault serves /secrets and /deletedsecrets only")
        return served

    def _version(self, name: str, version: str | None) -> dict[str, _Handler]:
        return {"GET": lambda it: self._get(it, name, version), "PATCH": lambda it: self._update(it, name, version)}

    def _secret(self, name: str) -> dict[str, _Handler]:
        return {
            **self._version(name, None),
            "PUT": lambda it: self._set(it, name),
            "DELETE": lambda it: self._delete(it, name),
        }

    async def _set(self, it: _Operation, name: str) -> HttpResponse:
        made = await self._secrets.set(it.caller, it.vault, name, lambda: read_draft(it.request.body))
        return HttpResponse(status=200, body=it.wire.secret(made))

    async def _get(self, it: _Operation, name: str, version: str | None) -> HttpResponse:
        return HttpResponse(status=200, body=it.wire.secret(await self._secrets.get(it.caller, it.vault, name, version)))

    async def _update(self, it: _Operation, name: str, version: str | None) -> HttpResponse:
        changed = await self._secrets.update(it.caller, it.vault, name, version, lambda: read_changes(it.request.body))
        return HttpResponse(status=200, body=it.wire.properties(changed))

    async def _delete(self, it: _Operation, name: str) -> HttpResponse:
        return HttpResponse(status=200, body=it.wire.deleted(await self._secrets.delete(it.caller, it.vault, name)))

    async def _list(self, it: _Operation) -> HttpResponse:
        limit = it.limit()
        page = await self._secrets.list(it.caller, it.vault, after=it.position(), limit=limit)
        return HttpResponse(status=200, body=it.wire.secrets(page, limit))

    async def _list_versions(self, it: _Operation, name: str) -> HttpResponse:
        limit = it.limit()
        page = await self._secrets.list_versions(it.caller, it.vault, name, after=it.position(), limit=limit)
        return HttpResponse(status=200, body=it.wire.versions(name, page, limit))

    async def _list_deleted(self, it: _Operation) -> HttpResponse:
        limit = it.limit()
        page = await self._secrets.list_deleted(it.caller, it.vault, after=it.position(), limit=limit)
        return HttpResponse(status=200, body=it.wire.deleted_secrets(page, limit))

    async def _get_deleted(self, it: _Operation, name: str) -> HttpResponse:
        return HttpResponse(status=200, body=it.wire.deleted(await self._secrets.get_deleted(it.caller, it.vault, name)))

    async def _recover(self, it: _Operation, name: str) -> HttpResponse:
        return HttpResponse(status=200, body=it.wire.properties(await self._secrets.recover(it.caller, it.vault, name)))

    async def _purge(self, it: _Operation, name: str) -> HttpResponse:
        await self._secrets.purge(it.caller, it.vault, name)
        return HttpResponse(status=204)


async def _not_offered(it: _Operation) -> HttpResponse:
    raise Failure(FailureKind.INVALID_PARAMETER, f"backup and restore are not offered by the vault '{it.vault.name}'")


def _with(failure: Failure, **facts: str) -> Failure:
    """The same failure with what this surface knows besides; what the failure says itself stays."""
    same = Failure(failure.kind, failure.detail, **{**facts, **failure.data})
    return same if failure.evidence is None else same.with_evidence(failure.evidence)


def _api_version(request: HttpRequest) -> str:
    version = request.parameter("api-version")
    if not version:
        raise Failure(FailureKind.MISSING_API_VERSION, "the query has no api-version")
    if _VERSIONS.fullmatch(version) is None:
        raise Failure(FailureKind.INVALID_API_VERSION, "the api-version is unknown", api_version=version[:64], latest=_LATEST)
    return version


def _resource(origin: Origin) -> str:
    """What clients ask tokens for. They insist that the vault's host ends with a dot and this resource's host, port included."""
    return f"https://{origin.vault_domain}"


def _audiences(origin: Origin) -> frozenset[str]:
    own = f"https://{origin.vault_domain}"
    azure = f"https://{_AZURE_DOMAIN}"
    return frozenset((azure, f"{azure}/", own, f"{own}/", _KEY_VAULT_APPLICATION))
