"""Source resources: the declaration that every identity-bearing type shares, and the writes behind its `identity` member.

The resource's own change, the service principal of its system-assigned identity, and the rows that entitle its host to
certificates and tokens commit together, when an identity is given as when it is taken away (design section 6).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from idplane.arm.context import Context
from idplane.arm.declare import Action, NameRule, Placement, Removal, ResourceType, Write, Written, default_members
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, normalize_location
from idplane.model.resources import (
    GENERATION_BYTES,
    AssignedIdentity,
    Identity,
    IdentityAssignment,
    IdentityType,
    Resource,
    identity_assignment_key,
)
from idplane.model.values import JsonObject
from idplane.ports.collections import BINDINGS, CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Delete, Put
from idplane.providers.enrollments import enrollments_ended
from idplane.providers.identity_block import IDENTITY_RESOURCE, WantedIdentity, identity_members, wanted_identity
from idplane.providers.secret_members import without_secrets

__all__ = [
    "ANY_IDENTITY",
    "ASSIGN",
    "EITHER_IDENTITY",
    "NEVER_USER_ALONE",
    "SYSTEM_ONLY",
    "USER_ONLY",
    "Finish",
    "Prepare",
    "host_type",
    "with_identity",
]

ASSIGN = f"{IDENTITY_RESOURCE}/assign/action"
"""What assigning an identity needs **on the identity**, beside write on the source resource: it stops privilege escalation."""

ANY_IDENTITY = frozenset({IdentityType.SYSTEM, IdentityType.USER, IdentityType.BOTH})
EITHER_IDENTITY = frozenset({IdentityType.SYSTEM, IdentityType.USER})
"""A system-assigned identity or user-assigned ones, never both."""
SYSTEM_ONLY = frozenset({IdentityType.SYSTEM})
USER_ONLY = frozenset({IdentityType.USER})
NEVER_USER_ALONE = frozenset({IdentityType.SYSTEM, IdentityType.BOTH})

Prepare = Callable[[Write], Resource]
Finish = Callable[[Write, Written], Awaitable[Written]]
Members = Callable[[Resource, Context], JsonObject]


def _as_drafted(write: Write) -> Resource:
    return write.draft


def host_type(  # noqa: PLR0913 - a declaration
    name: str,
    api_versions: tuple[str, ...],
    *,
    naming: NameRule,
    prepare: Prepare = _as_drafted,
    finish: Finish | None = None,
    members: Members = default_members,
    identities: frozenset[IdentityType] = ANY_IDENTITY,
    most_user_assigned: int | None = None,
    own_refusals: bool = False,
    location_optional: bool = False,
    actions: Mapping[str, Action] | None = None,
    views: Mapping[str, Action] | None = None,
    created_status: int = 201,
    updated_status: int = 200,
    deleted_status: int = 200,
    placements: frozenset[Placement] = frozenset({Placement.GROUP}),
    ids_as_list: frozenset[str] = frozenset(),
) -> ResourceType:
    """A type whose instances bear identities. `prepare` has the last word on the draft's own members, `members` on what is shown.

    `identities` are the identity types that it takes beside None, `most_user_assigned` how many user-assigned ones at once, if
    that is limited. `finish` may add to what will be stored. A type with `own_refusals` names what is wrong with an identity block
    itself, as Microsoft.Compute does; others wrap it into `FailedIdentityOperation` (control-plane.md section 7.2).
    `ids_as_list` names the api-versions that list user-assigned identities as `identityIds`.
    """

    async def put(write: Write) -> Written:
        write = replace(write, draft=replace(write.draft, properties=without_secrets(write.draft.properties)))
        try:
            written = await with_identity(write, prepare(write))
            _require_taken(written.resource, identities, most_user_assigned)
        except Failure as failure:
            if own_refusals or failure.kind is not FailureKind.INVALID_IDENTITY:
                raise
            raise _wrapped(failure, write.id) from failure
        return await finish(write, written) if finish else written

    def render(resource: Resource, context: Context) -> JsonObject:
        as_list = context.api_version in ids_as_list
        return {**members(resource, context), **identity_members(resource.identity, as_list=as_list)}

    return ResourceType(
        name=name,
        api_versions=api_versions,
        naming=naming,
        placements=placements,
        location_optional=location_optional,
        bears_identity=True,
        identity_types=identities,
        most_user_assigned=most_user_assigned,
        put=put,
        remove=_remove,
        render=render,
        actions=actions or {},
        views=views or {},
        created_status=created_status,
        updated_status=updated_status,
        deleted_status=deleted_status,
    )


def _require_taken(resource: Resource, identities: frozenset[IdentityType], most: int | None) -> None:
    """Refuse an identity that the resource's type does not take."""
    identity = resource.identity
    if identity is None:
        return
    if identity.type not in identities:
        words = ", ".join(f"'{one.value}'" for one in IdentityType if one in identities or one is IdentityType.NONE)
        detail = f"resources of type '{resource.type}' take the identity types {words}, not '{identity.type.value}'"
        raise Failure(FailureKind.INVALID_IDENTITY, detail, target="identity.type")
    if most is not None and len(identity.user_assigned) > most:
        detail = f"resources of type '{resource.type}' take at most {most} user-assigned identity"
        raise Failure(FailureKind.INVALID_IDENTITY, detail, target="identity.userAssignedIdentities")


def _wrapped(failure: Failure, resource: ResourceId) -> Failure:
    """A refused identity block in the words of Azure's identity operation around it."""
    inner = json.dumps({"error": {"code": "BadRequest", "message": failure.detail}}, separators=(",", ":"))
    detail = (
        f"Identity operation for resource '{resource}' failed with error 'Failed to perform resource identity operation. "
        f"Status: 'BadRequest'. Response: '{inner}'.'."
    )
    return Failure(FailureKind.INVALID_IDENTITY, detail, code="FailedIdentityOperation")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One half of an identity change with the operations that it takes, ahead of the resource's own and behind it."""

    principal_id: str | None = None
    client_id: str | None = None
    user_assigned: tuple[AssignedIdentity, ...] = ()
    before: Batch = Batch()  # noqa: RUF009 - a frozen value
    after: Batch = Batch()  # noqa: RUF009 - a frozen value


async def with_identity(write: Write, draft: Resource) -> Written:
    """`draft` with the identity that the body asks for.

    Raises `Failure(INVALID_IDENTITY)` for what cannot be meant and `Failure(LINKED_FORBIDDEN)` for a newly assigned identity that
    the caller may not assign or that does not exist. References to identities that have gone are tolerated while they are only
    repeated (control-plane.md section 11).
    """
    old = write.old.identity if write.old else None
    wanted = wanted_identity(write.body, old, patch=write.patch)
    if wanted is None:
        return Written(resource=draft)
    users = await _user_assigned(write, draft, old, wanted)
    system = await _system_assigned(write, draft, old, wanted)
    identity = Identity(
        type=wanted.type,
        tenant_id=write.context.tenant.id,
        principal_id=system.principal_id,
        client_id=system.client_id,
        user_assigned=users.user_assigned,
    )
    return Written(
        resource=replace(draft, identity=None if wanted.type is IdentityType.NONE else identity),
        before=users.before + system.before,
        after=users.after + system.after,
    )


async def _system_assigned(write: Write, draft: Resource, old: Identity | None, wanted: WantedIdentity) -> _Part:
    """Keep, make or remove the system-assigned identity; enabling it again makes a new one."""
    had = old if old is not None and old.type.has_system and old.principal_id is not None else None
    if had is not None and wanted.type.has_system:
        return _Part(principal_id=had.principal_id, client_id=had.client_id)
    if had is not None and had.principal_id is not None:
        return _Part(before=await write.context.identities.removal_of(had.principal_id))
    if not wanted.type.has_system:
        return _Part()
    made = write.context.identities.new_system_identity(draft)
    entitled = IdentityAssignment(
        host=draft.id, principal_id=made.id, client_id=made.client_id, identity=None, generation=_generation(write.context)
    )
    return _Part(
        principal_id=made.id,
        client_id=made.client_id,
        before=Batch.of(Put(collection=PRINCIPALS, value=made, expect=ABSENT)),
        after=Batch.of(Put(collection=IDENTITY_ASSIGNMENTS, value=entitled, expect=ABSENT)),
    )


async def _user_assigned(write: Write, draft: Resource, old: Identity | None, wanted: WantedIdentity) -> _Part:
    """Keep what stays as it is, check and entitle what is new, and take away what goes."""
    before = {one.id: one for one in old.user_assigned} if old else {}
    kept = [before[one] for one in wanted.ids if one in before]
    added = [await _assignable(write, draft, one) for one in wanted.ids if one not in before]
    removals = Batch()
    for one in before.values():
        if one.id not in wanted.ids:
            removals += await _disentitle(write.context, draft.id, one.principal_id)
    entitlements = (
        IdentityAssignment(
            host=draft.id,
            principal_id=one.principal_id,
            client_id=one.client_id,
            identity=one.id,
            generation=_generation(write.context),
        )
        for one in added
    )
    return _Part(
        user_assigned=(*kept, *added),
        before=removals,
        after=Batch.of(*(Put(collection=IDENTITY_ASSIGNMENTS, value=one, expect=ABSENT) for one in entitlements)),
    )


def _generation(context: Context) -> str:
    return context.entropy.bytes(GENERATION_BYTES).hex()


async def _assignable(write: Write, host: Resource, identifier: ResourceId) -> AssignedIdentity:
    """The identity behind an id, under the id that the caller wrote, after the check of the linked scope."""
    context = write.context
    await context.require_linked(ASSIGN, identifier)
    found = await context.store.get(RESOURCES, identifier.key)
    if found is None or found.value.properties.get("tenantId") != context.tenant.id:
        raise context.linked_refusal(ASSIGN, identifier)
    _require_assignable(found.value, host)
    properties = found.value.properties
    return AssignedIdentity(id=identifier, principal_id=str(properties["principalId"]), client_id=str(properties["clientId"]))


def _require_assignable(identity: Resource, host: Resource) -> None:
    """`isolationScope` and `assignmentRestrictions` of the identity (control-plane.md section 7.1)."""
    regional = identity.properties.get("isolationScope") == "Regional"
    if regional and normalize_location(identity.location or "") != normalize_location(host.location or ""):
        raise _unassignable(f"the identity '{identity.id}' can only be assigned to resources in '{identity.location}'")
    restrictions = identity.properties.get("assignmentRestrictions")
    allowed = restrictions.get("providers") if isinstance(restrictions, Mapping) else None
    kind = host.type.lower()
    if isinstance(allowed, list) and allowed and not any(_covers(str(one).lower(), kind) for one in allowed):
        raise _unassignable(f"the identity '{identity.id}' cannot be assigned to resources of type '{host.type}'")


def _covers(allowed: str, kind: str) -> bool:
    return kind == allowed or kind.startswith(allowed + "/")


def _unassignable(detail: str) -> Failure:
    return Failure(FailureKind.INVALID_IDENTITY, detail, target="resourceIdentity.identityIds")


async def _disentitle(context: Context, host: ResourceId, principal_id: str) -> Batch:
    """Take an identity off a host: its certificates there, and the row that entitles the host to more."""
    credentials = await context.store.all(CREDENTIALS, where={"principal_id": principal_id, "host_key": host.key})
    key = identity_assignment_key(host.key, principal_id)
    return Batch.of(
        *(Delete(collection=CREDENTIALS, key=one.value.id, expect=one.version, subject=principal_id) for one in credentials),
        Delete(collection=IDENTITY_ASSIGNMENTS, key=key, subject=host.key),
    )


async def _unbound(context: Context, host: ResourceId) -> Batch:
    bindings = await context.store.all(BINDINGS, where={"host_key": host.key})
    return Batch.of(*(Delete(collection=BINDINGS, key=one.value.key, expect=one.version, subject=host.key) for one in bindings))


async def _remove(removal: Removal) -> Batch:
    """What goes with a host: its bindings, its enrollments and agents, its system-assigned identity whole, and its use of every user-assigned one."""
    identity, host = removal.resource.identity, removal.resource.id
    operations = await _unbound(removal.context, host) + await enrollments_ended(removal.context, host)
    if identity is None:
        return operations
    for one in identity.user_assigned:
        operations += await _disentitle(removal.context, host, one.principal_id)
    if identity.type.has_system and identity.principal_id is not None:
        operations += await removal.context.identities.removal_of(identity.principal_id)
    return operations
