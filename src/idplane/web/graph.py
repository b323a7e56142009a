"""Microsoft Graph, as far as it is served: the sign-in log (control-plane.md section 8.1).

    GET /beta/auditLogs/signIns    sign-ins of every kind; `$filter` on signInEventTypes chooses which, users' interactive ones without it
    GET /v1.0/auditLogs/signIns    sign-ins of users only, of which there are none

Authorised by the application role AuditLog.Read.All or Directory.Read.All in a token for Graph.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlencode

import msgspec

from idplane.directory.audiences import AUDIENCE_URIS, GRAPH
from idplane.model.calls import Caller
from idplane.model.directory import CredentialKind, PrincipalType
from idplane.model.events import SignIn
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import SIGN_INS
from idplane.ports.store import Logged, Order, Store
from idplane.web.graph_errors import graph_error
from idplane.web.graph_filters import EVERY_INTERACTIVE, SignInFilter, parse_sign_in_filter
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["Authenticator", "GraphSurface", "sign_in_document"]

_READERS: Final = frozenset({"AuditLog.Read.All", "Directory.Read.All"})
_MEDIA_TYPE: Final = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_MAX_TOP: Final = 1000
# Event types are not a column: a page is filled by reading on, within this bound, and may be short.
_CHUNKS: Final = 10
_OPTIONS: Final = frozenset({"$filter", "$top", "$orderby", "$skiptoken"})
_ORDERS: Final = {
    "createddatetime": Order.OLDEST_FIRST,
    "createddatetime asc": Order.OLDEST_FIRST,
    "createddatetime desc": Order.NEWEST_FIRST,
}
_MAX_POSITION: Final = 1 << 63
_NO_GUID: Final = "00000000-0000-0000-0000-000000000000"


class Authenticator(Protocol):
    """Verifies bearer tokens; `sts.TokenAuthenticator` is one."""

    async def authenticate(self, token: str, audiences: Collection[str]) -> Caller:
        """The caller that a token for one of `audiences` speaks for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A parsed query of the log."""

    filter: SignInFilter
    top: int
    order: Order
    position: int | None


class GraphSurface:
    """The surface below `/v1.0` and `/beta`."""

    def __init__(self, *, store: Store, authenticator: Authenticator) -> None:
        self._store = store
        self._authenticator = authenticator

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; authenticates before it says whether a path exists."""
        caller = await self._caller(request)
        version, _, path = request.path.strip("/").partition("/")
        if path.lower() != "auditlogs/signins":
            raise Failure(FailureKind.PATH_NOT_FOUND, f"'{path[:200]}' is not available on this server's Microsoft Graph")
        if request.method != "GET":
            raise Failure(
                FailureKind.METHOD_NOT_ALLOWED, "the sign-in log can only be read", allowed="GET", method=request.method[:20]
            )
        if not _READERS & set(caller.roles):
            raise Failure(FailureKind.FORBIDDEN, "the token holds neither AuditLog.Read.All nor Directory.Read.All")
        return await self._sign_ins(request, caller, version.lower())

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure, in Graph's envelope."""
        return graph_error(failure, request)

    async def _caller(self, request: HttpRequest) -> Caller:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Failure(FailureKind.TOKEN_MISSING, "there is no access token")
        base = request.origin.graph
        return await self._authenticator.authenticate(token.strip(), (*AUDIENCE_URIS[GRAPH.client_id], base, f"{base}/"))

    async def _sign_ins(self, request: HttpRequest, caller: Caller, version: str) -> HttpResponse:
        question = _question(request)
        users_only = version == "v1.0"
        if users_only and question.filter.event_types != EVERY_INTERACTIVE.event_types:
            raise Failure(FailureKind.INVALID_FILTER, "v1.0 has sign-ins of users only; use beta for signInEventTypes")
        found: list[SignIn] = []
        after = None
        if not question.filter.event_types <= EVERY_INTERACTIVE.event_types:
            found, after = await self._read(question, caller.tenant_id)
        document: dict[str, object] = {
            "@odata.context": f"{request.origin.graph}/{version}/$metadata#auditLogs/signIns",
            "value": [sign_in_document(it) for it in found],
        }
        if after is not None:
            document["@odata.nextLink"] = _next_link(request, after)
        return HttpResponse(status=200, body=msgspec.json.encode(document), media_type=_MEDIA_TYPE)

    async def _read(self, question: _Question, tenant_id: str) -> tuple[list[SignIn], int | None]:
        """A page of the log and where the next one starts; it may be short, and only the last one has no next."""
        found: list[SignIn] = []
        position = question.position
        for _ in range(_CHUNKS):
            rows = await self._chunk(question, tenant_id, position)
            for row in rows:
                position = row.position
                if _event_type(row.event) in question.filter.event_types:
                    found.append(row.event)
                    if len(found) == question.top:
                        return found, position
            if len(rows) < question.top:
                return found, None
        return found, position

    async def _chunk(self, question: _Question, tenant_id: str, position: int | None) -> tuple[Logged[SignIn], ...]:
        return await self._store.read_log(
            SIGN_INS,
            where={"tenant_id": tenant_id, **dict(question.filter.where)},
            since=question.filter.since,
            until=question.filter.until,
            position=position,
            order=question.order,
            limit=question.top,
        )


def _question(request: HttpRequest) -> _Question:
    names = [name.lower() for name, _ in request.query]
    if len(set(names)) != len(names) or not set(names) <= _OPTIONS:
        raise Failure(FailureKind.INVALID_PARAMETER, f"the query options are {', '.join(sorted(_OPTIONS))}, each at most once")
    text = request.parameter("$filter")
    order = _ORDERS.get(" ".join((request.parameter("$orderby") or "createdDateTime desc").lower().split()))
    if order is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "the order is 'createdDateTime asc' or 'createdDateTime desc'")
    return _Question(
        filter=parse_sign_in_filter(text) if text is not None else EVERY_INTERACTIVE,
        top=_number(request, "$top", _MAX_TOP) or _MAX_TOP,
        order=order,
        position=_number(request, "$skiptoken", _MAX_POSITION),
    )


def _number(request: HttpRequest, name: str, largest: int) -> int | None:
    text = request.parameter(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= largest):  # noqa: PLR2004 - digits of 2**63
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{name}' is not a number from 1 to {largest}")
    return int(text)


def _next_link(request: HttpRequest, after: int) -> str:
    kept = [(name, value) for name, value in request.query if name.lower() != "$skiptoken"]
    return f"{request.origin.graph}{request.path}?{urlencode([*kept, ('$skiptoken', str(after))], safe='$')}"


def _event_type(event: SignIn) -> str:
    return "managedIdentity" if event.principal_type == PrincipalType.MANAGED_IDENTITY else "servicePrincipal"


_CREDENTIAL_TYPES: Final = {
    CredentialKind.SECRET.value: "clientSecret",
    CredentialKind.CERTIFICATE.value: "certificate",
    CredentialKind.IDENTITY_CERTIFICATE.value: "managedIdentity",
    CredentialKind.FEDERATED.value: "federatedIdentityCredential",
}


def sign_in_document(event: SignIn) -> dict[str, object]:
    """A record as Graph shows it. Managed identities' sign-ins show no address; what Graph has no property for is an annotation."""
    managed = event.principal_type == PrincipalType.MANAGED_IDENTITY
    return {
        "id": event.id,
        "createdDateTime": event.at.isoformat().replace("+00:00", "Z"),
        "correlationId": event.correlation_id,
        "originalRequestId": event.id,
        "appId": event.client_id,
        "appDisplayName": event.principal_name,
        "appOwnerTenantId": event.tenant_id,
        "ipAddress": "" if managed else event.client_address or "",
        "userAgent": event.user_agent,
        "isInteractive": False,
        "signInEventTypes": [_event_type(event)],
        "status": {"errorCode": event.error_code, "failureReason": event.failure_reason or "Other.", "additionalDetails": None},
        "conditionalAccessStatus": "notApplied",
        "location": {"city": "", "state": "", "countryOrRegion": "", "geoCoordinates": {}},
        "deviceDetail": {"deviceId": "", "displayName": "", "operatingSystem": "", "browser": ""},
        "servicePrincipalId": event.principal_id or _NO_GUID,
        "servicePrincipalName": event.principal_name,
        "servicePrincipalCredentialKeyId": event.credential_id or "",
        "clientCredentialType": _CREDENTIAL_TYPES.get(event.credential_kind, "none"),
        "managedServiceIdentity": _managed_service_identity(event, managed=managed),
        "resourceDisplayName": event.resource_name,
        "resourceId": event.resource_client_id,
        "resourceTenantId": event.tenant_id,
        "resourceOwnerTenantId": event.tenant_id,
        "homeTenantId": event.tenant_id,
        "azureResourceId": event.host or "",
        "uniqueTokenIdentifier": event.token_id,
        "incomingTokenType": "none",
        "authenticationProtocol": "none",
        "tokenIssuerType": "AzureAD",
        "crossTenantAccessType": "none",
        **_annotations(event),
    }


def _managed_service_identity(event: SignIn, *, managed: bool) -> dict[str, object]:
    kind = "systemAssigned" if event.system_assigned else "userAssigned"
    return {
        # Of what a host's agent refused, nobody knows which identity was meant.
        "msiType": kind if managed and event.principal_id is not None else "none",
        "associatedResourceId": event.identity,
        "federatedTokenId": event.federated.token_id if event.federated else None,
        "federatedTokenIssuer": event.federated.issuer if event.federated else None,
    }


def _annotations(event: SignIn) -> dict[str, object]:
    annotations: dict[str, object] = {"@idplane.resource": event.resource}
    if event.signing_key is not None:
        annotations["@idplane.signingKey"] = event.signing_key
    if event.expires_at is not None:
        annotations["@idplane.expires"] = event.expires_at.isoformat().replace("+00:00", "Z")
    if event.federated is not None:
        token = event.federated
        annotations["@idplane.federated"] = {
            "issuer": token.issuer,
            "subject": token.subject,
            "tokenId": token.token_id,
            "nearestCredential": token.nearest,
            "differs": token.differs,
        }
    if event.workload is not None:
        annotations["@idplane.workload"] = {
            "pid": event.workload.pid,
            "uid": event.workload.uid,
            "gid": event.workload.gid,
            "executable": event.workload.executable,
            "cgroup": event.workload.cgroup,
            "systemdUnit": event.workload.systemd_unit,
            "container": event.workload.container,
            "runId": event.workload.run_id,
            "binding": event.workload.binding,
        }
    if event.endpoint is not None:
        annotations["@idplane.endpoint"] = {
            "dialect": event.endpoint.dialect,
            "reason": event.endpoint.reason,
            "count": event.endpoint.count,
        }
    return annotations
