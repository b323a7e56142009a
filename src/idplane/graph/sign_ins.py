"""`auditLogs/signIns`: the sign-in log (control-plane.md section 8.1).

beta has sign-ins of every kind: `$filter` on `signInEventTypes` chooses which, and without it there are users' interactive ones only.
v1.0 has users' sign-ins only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from idplane.graph.declare import Entity, EntitySet, RowQuery, Rows
from idplane.graph.filters import AllOf, AnyOf, Comparison, Expression, Membership, Negation, Operator, Some
from idplane.graph.logs import order_of, position_of, time_bounds
from idplane.graph.matching import conjuncts
from idplane.graph.permissions import Area
from idplane.graph.shapes import BOOL, NUMBER, OBJECT, TEXT, TEXTS, TIME, EntityType, Kind, Property
from idplane.model.directory import CredentialKind, PrincipalType
from idplane.model.events import SignIn
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import SIGN_INS

__all__ = ["SIGN_IN_SET", "sign_in_document"]

_USER_TYPES: Final = frozenset({"interactiveuser", "nonInteractiveUser".lower()})
_PRINCIPAL_TYPES: Final = frozenset({"serviceprincipal", "managedidentity"})
_COLUMNS: Final = {
    "servicePrincipalId": "principal_id",
    "userId": "principal_id",
    "appId": "client_id",
    "correlationId": "correlation_id",
}
_MAX_PAGE: Final = 1000
_NO_GUID: Final = "00000000-0000-0000-0000-000000000000"

_TYPE: Final = EntityType(
    name="signIn",
    properties={
        **dict.fromkeys(
            (
                "id",
                "correlationId",
                "originalRequestId",
                "appId",
                "appDisplayName",
                "appOwnerTenantId",
                "ipAddress",
                "userAgent",
                "conditionalAccessStatus",
                "servicePrincipalId",
                "servicePrincipalName",
                "servicePrincipalCredentialKeyId",
                "servicePrincipalCredentialThumbprint",
                "federatedCredentialId",
                "clientCredentialType",
                "resourceDisplayName",
                "resourceId",
                "resourceTenantId",
                "resourceOwnerTenantId",
                "homeTenantId",
                "azureResourceId",
                "uniqueTokenIdentifier",
                "userDisplayName",
                "userId",
                "userPrincipalName",
                "incomingTokenType",
                "authenticationProtocol",
                "tokenIssuerType",
                "crossTenantAccessType",
            ),
            TEXT,
        ),
        "createdDateTime": TIME,
        "processingTimeInMilliseconds": NUMBER,
        "isInteractive": BOOL,
        "signInEventTypes": TEXTS,
        "status": Property(kind=Kind.OBJECT, members={"errorCode": NUMBER, "failureReason": TEXT, "additionalDetails": TEXT}),
        "location": OBJECT,
        "deviceDetail": OBJECT,
        "managedServiceIdentity": OBJECT,
    },
)


async def _rows(query: RowQuery) -> Rows:
    by_default = _kinds(query.filter) is None
    if query.context.version == "v1.0" and any("signInEventTypes" in _paths(part) for part in conjuncts(query.filter)):
        raise Failure(FailureKind.INVALID_FILTER, "v1.0 has sign-ins of users only; use beta for signInEventTypes")
    since, until = time_bounds(query, "createdDateTime")
    rows = await query.context.store.read_log(
        SIGN_INS,
        where=_where(query),
        since=since,
        until=until,
        position=position_of(query),
        order=order_of(query),
        limit=query.limit,
    )
    items = tuple(
        Entity(id=row.event.id, document=sign_in_document(row.event), cursor=str(row.position), row=row)
        for row in rows
        if not by_default or _event_type(row.event) == "interactiveUser"
    )
    return Rows(items=items, after=str(rows[-1].position) if len(rows) == query.limit else None)


def _where(query: RowQuery) -> dict[str, str | int]:
    found: dict[str, str | int] = {"tenant_id": query.context.tenant_id}
    for name, column in _COLUMNS.items():
        value = query.equal(name)
        if value is not None:
            found[column] = value.lower()
    for part in conjuncts(query.filter):
        match part:
            case Comparison(("status", "errorCode"), Operator.EQ, int(code)):
                found["error_code"] = code
            case _:
                pass
    return found


def _kinds(filter_: Expression | None) -> frozenset[str] | None:
    """The kinds of sign-ins that the filter asks for, lower case, if any; raises `Failure(INVALID_FILTER)` for mixed ones."""
    named = frozenset(_event_types(filter_)) if filter_ is not None else frozenset[str]()
    unknown = named - _USER_TYPES - _PRINCIPAL_TYPES
    if unknown:
        raise Failure(FailureKind.INVALID_FILTER, "the filter's condition on signInEventTypes is not supported")
    if named & _USER_TYPES and named & _PRINCIPAL_TYPES:
        raise Failure(FailureKind.INVALID_FILTER, "sign-ins of users and of service principals cannot be mixed in one filter")
    return named or None


def _event_types(expression: Expression) -> Iterator[str]:
    match expression:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from _event_types(part)
        case Negation(inner):
            yield from _event_types(inner)
        case Some(("signInEventTypes",), inner, _):
            yield from _texts(inner)
        case _:
            return


def _texts(inner: Expression | None) -> Iterator[str]:
    match inner:
        case Comparison((), _, str(text)):
            yield text.lower()
        case Membership((), values):
            yield from (value.lower() for value in values if isinstance(value, str))
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from _texts(part)
        case Negation(one):
            yield from _texts(one)
        case _:
            raise Failure(FailureKind.INVALID_FILTER, "the filter's condition on signInEventTypes is not supported")


def _paths(expression: Expression) -> frozenset[str]:
    match expression:
        case AllOf(parts) | AnyOf(parts):
            return frozenset[str]().union(*map(_paths, parts))
        case Negation(inner):
            return _paths(inner)
        case _:
            return frozenset(expression.path[:1])


def _event_type(event: SignIn) -> str:
    if event.principal_type == PrincipalType.USER:
        return "interactiveUser" if event.user is None or event.user.interactive else "nonInteractiveUser"
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
    users = event.principal_type == PrincipalType.USER
    return {
        "id": event.id,
        "createdDateTime": event.at.isoformat().replace("+00:00", "Z"),
        "correlationId": event.correlation_id,
        "originalRequestId": event.id,
        "appId": event.client_id,
        "appDisplayName": event.user.client_name if event.user else "" if users else event.principal_name,
        "appOwnerTenantId": event.tenant_id,
        "ipAddress": "" if managed else event.client_address or "",
        "userAgent": event.user_agent,
        "isInteractive": _event_type(event) == "interactiveUser",
        "signInEventTypes": [_event_type(event)],
        "status": {"errorCode": event.error_code, "failureReason": event.failure_reason or "Other.", "additionalDetails": None},
        "conditionalAccessStatus": "notApplied",
        "location": {"city": "", "state": "", "countryOrRegion": "", "geoCoordinates": {}},
        "deviceDetail": {"deviceId": "", "displayName": "", "operatingSystem": "", "browser": ""},
        "servicePrincipalId": "" if users else event.principal_id or _NO_GUID,
        "servicePrincipalName": None if users else event.principal_name,
        **(_user(event) if users else {}),
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
        "incomingTokenType": "refreshToken" if users and _event_type(event) == "nonInteractiveUser" else "none",
        "authenticationProtocol": "deviceCode" if _event_type(event) == "interactiveUser" else "none",
        "tokenIssuerType": "AzureAD",
        "crossTenantAccessType": "none",
        **_credential(event),
        **_annotations(event),
    }


def _user(event: SignIn) -> dict[str, object]:
    return {
        "userId": event.principal_id or _NO_GUID,
        "userDisplayName": event.user.display_name if event.user else "",
        "userPrincipalName": event.principal_name,
    }


def _credential(event: SignIn) -> dict[str, object]:
    """What proved the client, beyond its key's id, and how long the attempt took."""
    federated = event.credential_kind == CredentialKind.FEDERATED.value
    return {
        "servicePrincipalCredentialThumbprint": (event.credential_thumbprint or "").upper(),
        "federatedCredentialId": event.credential_id if federated else "",
        "processingTimeInMilliseconds": event.milliseconds,
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
    if event.user is not None:
        annotations["@idplane.session"] = {"id": event.user.session_id, "approvedBy": event.user.approved_by}
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


SIGN_IN_SET: Final = EntitySet(
    name="auditLogs/signIns",
    entity=_TYPE,
    area=Area.SIGN_INS,
    rows=_rows,
    sorted_by=frozenset({"createdDateTime"}),
    largest_page=_MAX_PAGE,
)
