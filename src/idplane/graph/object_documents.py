"""Directory objects whatever their type: each as its own set shows it, with its type beside."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from idplane.arm.envelope import timestamp
from idplane.graph.declare import Context, Entity
from idplane.graph.service_principal_documents import service_principal_document
from idplane.graph.shapes import BOOL, TEXT, TIME, EntityType
from idplane.model.directory import GroupDetails, Principal, PrincipalType, UserDetails
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS

__all__ = ["DIRECTORY_OBJECT", "FURTHER_TEXTS", "document_of", "entity_of", "render_group", "render_user", "type_name"]

FURTHER_TEXTS: Final = (
    "jobTitle",
    "department",
    "companyName",
    "employeeId",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "usageLocation",
    "streetAddress",
    "city",
    "state",
    "postalCode",
    "country",
)
"""Texts about a user that nothing here reads."""

DIRECTORY_OBJECT: Final = EntityType(
    name="directoryObject",
    properties={
        **dict.fromkeys(("id", "displayName", "userPrincipalName", "mail", "appId", "servicePrincipalType"), TEXT),
        "accountEnabled": BOOL,
        "securityEnabled": BOOL,
        "createdDateTime": TIME,
    },
    open=True,
)


def type_name(principal: Principal) -> str:
    """Graph's word for the type: `user`, `group`, `servicePrincipal`."""
    words = {PrincipalType.USER: "user", PrincipalType.GROUP: "group"}
    return words.get(principal.type, "servicePrincipal")


def render_user(_context: Context, user: Principal) -> JsonObject:
    """A user as Graph shows it."""
    details = user.user or UserDetails(user_principal_name="")
    return {
        "id": user.id,
        "accountEnabled": user.enabled,
        "businessPhones": [],
        "createdDateTime": timestamp(user.created_at),
        "displayName": user.display_name,
        "givenName": details.given_name,
        "mail": details.mail,
        "mailNickname": details.mail_nickname,
        "surname": details.surname,
        "userPrincipalName": details.user_principal_name,
        "userType": "Member",
        "onPremisesImmutableId": None,
        **{name: details.further.get(name) for name in FURTHER_TEXTS},
    }


def render_group(_context: Context, group: Principal) -> JsonObject:
    """A group as Graph shows it."""
    details = group.group or GroupDetails()
    return {
        "id": group.id,
        "createdDateTime": timestamp(group.created_at),
        "deletedDateTime": None,
        "description": details.description,
        "displayName": group.display_name,
        "groupTypes": list(details.kinds),
        "isAssignableToRole": None,
        "mail": None,
        "mailEnabled": details.mail_enabled,
        "mailNickname": details.mail_nickname,
        "membershipRule": None,
        "onPremisesSyncEnabled": None,
        "proxyAddresses": [],
        "renewedDateTime": timestamp(group.created_at),
        "securityEnabled": details.security_enabled,
        "visibility": None,
    }


def document_of(context: Context, principal: Principal) -> JsonObject:
    """The document, with its type."""
    match principal.type:
        case PrincipalType.USER:
            document = render_user(context, principal)
        case PrincipalType.GROUP:
            document = render_group(context, principal)
        case _:
            document = service_principal_document(context, principal)
    return {"@odata.type": f"#microsoft.graph.{type_name(principal)}", **document}


async def entity_of(context: Context, key: str, types: Collection[PrincipalType] = frozenset(PrincipalType)) -> Entity | None:
    """The tenant's object with that id, if it is of one of these types."""
    row = await context.store.get(PRINCIPALS, key.lower()) if is_guid(key) else None
    if row is None or row.value.tenant_id != context.tenant_id or row.value.type not in types:
        return None
    return Entity(id=row.value.id, document=document_of(context, row.value), row=row)
