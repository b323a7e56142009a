"""What the `identity` member of a host resource means (control-plane.md section 1 points 6 to 8, section 7.2).

Pure: from the old identity and what a body states to the identity that is wanted.

    PUT                     the body is the desired state; user-assigned identities that are not listed are gone
    PATCH                   listed identities are added, those listed with null removed, the rest stay
    PATCH, no or null map   the user-assigned identities stay: that is how the CLI drops only the system-assigned one
    type SystemAssigned     all user-assigned identities go, and naming any is refused
    type None               everything goes
    no `identity` member    the identity stays as it is, for PUT too: tools that never heard of identities must not remove them

Type names are taken with or without spaces, in any case and order, and given back in the one spelling that clients need. Keys of
the map compare without case and keep the casing under which they were first stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Identity, IdentityType
from idplane.model.values import JsonObject

__all__ = ["IDENTITY_RESOURCE", "WantedIdentity", "identity_members", "wanted_identity"]

IDENTITY_RESOURCE = "Microsoft.ManagedIdentity/userAssignedIdentities"
_TYPES = {
    frozenset({"none"}): IdentityType.NONE,
    frozenset({"systemassigned"}): IdentityType.SYSTEM,
    frozenset({"userassigned"}): IdentityType.USER,
    frozenset({"systemassigned", "userassigned"}): IdentityType.BOTH,
}
_TARGET = "resourceIdentity.identityIds"
_MAX_IDENTITIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedIdentity:
    """The identity that a write asks for: its type, and the user-assigned identities by id."""

    type: IdentityType
    ids: tuple[ResourceId, ...] = ()


def wanted_identity(body: JsonObject, old: Identity | None, *, patch: bool) -> WantedIdentity | None:
    """What the body's `identity` member asks for; None when it says nothing of identity.

    Raises `Failure(INVALID_IDENTITY)` for an unknown type, a malformed id, ids with a type that has none, and none with one that
    needs some.
    """
    stated = body.get("identity")
    if stated is None:
        return None
    if not isinstance(stated, Mapping):
        raise _refused("the value of 'identity' must be an object", target="identity")
    kind = _stated_type(stated, old if patch else None)
    entries, replaces = _stated_ids(stated)
    if not kind.has_user:
        if any(entries.values()):
            raise _refused(f"identityIds should not be provided if the type is '{kind.value}'")
        return WantedIdentity(type=kind)
    ids = _final_ids(entries, old, keeps=patch and not replaces)
    if not ids:
        raise _refused(f"identityIds must be provided if the type is '{kind.value}'")
    if len(ids) > _MAX_IDENTITIES:
        raise _refused(f"at most {_MAX_IDENTITIES} identities can be assigned to a resource")
    return WantedIdentity(type=kind, ids=ids)


def identity_members(identity: Identity | None, *, as_list: bool = False) -> JsonObject:
    """The `identity` member as clients read it, in an object of its own; empty when there is no identity.

    `as_list` is the form of api-version 2017-12-01, which knows `identityIds` in place of the map.
    """
    if identity is None or identity.type is IdentityType.NONE:
        return {}
    shown: dict[str, object] = {"type": identity.type.value}
    if identity.type.has_system:
        shown |= {"principalId": identity.principal_id, "tenantId": identity.tenant_id}
    if identity.type.has_user and as_list:
        shown["identityIds"] = [str(one.id) for one in identity.user_assigned]
    elif identity.type.has_user:
        shown["userAssignedIdentities"] = {
            str(one.id): {"principalId": one.principal_id, "clientId": one.client_id} for one in identity.user_assigned
        }
    return {"identity": shown}


def _stated_type(stated: JsonObject, old: Identity | None) -> IdentityType:
    text = stated.get("type")
    if text is None:
        if old is None:
            raise _refused("the identity's type is required", target="identity.type")
        return old.type
    kind = _TYPES.get(frozenset(part.strip().lower() for part in text.split(","))) if isinstance(text, str) else None
    if kind is None:
        words = ", ".join(f"'{one.value}'" for one in IdentityType)
        raise _refused(f"the identity's type must be one of {words}", target="identity.type")
    return kind


def _stated_ids(stated: JsonObject) -> tuple[dict[ResourceId, bool], bool]:
    """The named ids, each with whether it is to be there; and whether the list stands for all of them."""
    listed = stated.get("identityIds")
    if listed is not None:
        if not isinstance(listed, list):
            raise _refused("the value of 'identityIds' must be an array")
        return dict.fromkeys((_identity_id(one) for one in listed), True), True
    mapped = stated.get("userAssignedIdentities")
    if mapped is None:
        return {}, False
    if not isinstance(mapped, Mapping):
        raise _refused("the value of 'userAssignedIdentities' must be an object", target="identity.userAssignedIdentities")
    entries: dict[ResourceId, bool] = {}
    for name, value in mapped.items():
        if value is not None and not isinstance(value, Mapping):
            raise _refused(f"the value of '{name[:200]}' must be an object or null", target="identity.userAssignedIdentities")
        entries[_identity_id(name)] = value is not None
    return entries, False


def _identity_id(text: object) -> ResourceId:
    shown = str(text)[:200]
    malformed = _refused(f"'{shown}' is not a valid reference to a Microsoft.ManagedIdentity identity")
    if not isinstance(text, str):
        raise malformed
    try:
        identifier = ResourceId.parse(text)
    except Failure as failure:
        raise malformed from failure
    if identifier.type.lower() != IDENTITY_RESOURCE.lower() or identifier.scope.resource_group is None:
        raise malformed
    return identifier


def _final_ids(entries: Mapping[ResourceId, bool], old: Identity | None, *, keeps: bool) -> tuple[ResourceId, ...]:
    """Old ids keep their place and casing; new ones follow in the body's order."""
    before = [one.id for one in old.user_assigned] if old else []
    kept = [one for one in before if entries.get(one, keeps)]
    return (*kept, *(one for one, present in entries.items() if present and one not in kept))


def _refused(detail: str, *, target: str = _TARGET) -> Failure:
    return Failure(FailureKind.INVALID_IDENTITY, detail, target=target)
