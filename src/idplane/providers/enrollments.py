"""Idplane.Workloads/enrollments: which machines become hosts of a resource. A type of our own; Azure has none.

    {host}/providers/Idplane.Workloads/enrollments/{name}
    POST .../issueToken        a join token for it, shown once

Whoever may write one decides which machine gets a resource's identities, so beside `enrollments/write` that needs what giving roles at the
resource needs, and the same at each resource that is carried. An enrollment's agents live by its rule: when the rule changes, or goes, they go
with it in the same commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Deleted,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    Outcome,
    Own,
    OwnWrite,
    Placement,
    Provider,
    ResourceType,
    StoredItem,
)
from idplane.arm.envelope import timestamp
from idplane.arm.missing import resource_not_found
from idplane.model.enrollments import Carriage, Enrollment, JoinMethod, JoinToken, Trust, enrollment_key, hosts_of
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.join_tokens import ID_BYTES, LONGEST, SECRET_BYTES, USUAL, secret_hash, token_text
from idplane.model.values import JsonObject
from idplane.ports.agent_records import removed
from idplane.ports.collections import AGENTS, CARRIAGES, ENROLLMENTS, JOIN_TOKENS, SUBSCRIPTIONS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Require, Versioned
from idplane.providers.enrollment_rules import EnrollmentRule, enrollment_rule
from idplane.providers.fields import Fields
from idplane.providers.workload_types import GIVE_ACCESS, NAMES, VERSIONS, Hosts, etag_of, page_of, workload_operations

__all__ = ["ENROLLMENTS_TYPE", "MOST_ENROLLMENTS", "enrollments_ended", "workload_enrollments"]

ENROLLMENTS_TYPE: Final = "Idplane.Workloads/enrollments"
MOST_ENROLLMENTS: Final = 64
"""Enrollments of one resource."""
_MOST_TOKENS: Final = 100
"""Join tokens of one enrollment that are not over yet."""
_SHORTEST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Enrollments:
    """The functions of the type."""

    hosts: Hosts

    async def get(self, lookup: Lookup) -> Item | None:
        await self.hosts.find(lookup.context, lookup.id.scope)
        found = await _find(lookup.context, lookup.id)
        if found is None:
            return None
        carried = await _carried(lookup.context, found.value.id)
        return Item(body=_render(found, [one.value for one in carried]), etag=_etag(found))

    async def list(self, listing: Listing) -> Listed:
        page = await page_of(listing, ENROLLMENTS, self.hosts)
        context = listing.context
        shown = [_render(one, [it.value for it in await _carried(context, one.value.id)]) for one in page.items]
        return Listed(items=tuple(shown), after=page.after)

    async def put(self, write: OwnWrite) -> StoredItem:
        context = write.context
        host = await self.hosts.find(context, write.id.scope)
        rule = enrollment_rule(write.body)
        await context.require(GIVE_ACCESS, host.value.id)
        old = await _find(context, write.id)
        if old is None:
            await _require_room(context, host.value.id)
        made = _made(context, host.value.id, old.value if old else None, write.id.name, rule)
        carried = await self._carriages(context, made, rule.carries)
        batch = Batch.of(Put(collection=ENROLLMENTS, value=made, expect=old.version if old else ABSENT))
        if old is not None:
            batch = await _changed(context, old.value, made, carried) + batch
        stored = Versioned(made, old.version + 1 if old else 1)
        batch += await _carry(context, made, carried)
        return StoredItem(body=_render(stored, carried), created=old is None, batch=batch, etag=_etag(stored))

    async def delete(self, lookup: Lookup) -> Deleted | None:
        await self.hosts.find(lookup.context, lookup.id.scope)
        found = await _find(lookup.context, lookup.id)
        return None if found is None else Deleted(batch=await _ended(lookup.context, found))

    async def issue(self, invocation: Invocation) -> Outcome:
        """A join token. Its text is in this answer and nowhere else."""
        context = invocation.context
        host = await self.hosts.find(context, invocation.id.scope)
        await context.require(GIVE_ACCESS, host.value.id)
        found = await _find(context, invocation.id)
        if found is None:
            raise resource_not_found(invocation.id)
        if found.value.method is not JoinMethod.TOKEN:
            words = f"machines join '{found.value.name}' by '{found.value.method}', which needs no token"
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="NoJoinTokens")
        lifetime = _lifetime(invocation.body)
        secret = context.entropy.bytes(SECRET_BYTES)
        made = JoinToken(
            id=context.entropy.bytes(ID_BYTES).hex(),
            enrollment_id=found.value.id,
            secret_hash=secret_hash(secret),
            created_at=context.now,
            expires_at=context.now + lifetime,
            created_by=context.caller.principal_id,
        )
        still = Require(collection=ENROLLMENTS, key=found.value.key, expect=found.version)
        batch = await _old_tokens(context, found.value) + Batch.of(
            still, Put(collection=JOIN_TOKENS, value=made, expect=ABSENT)
        )
        body = {
            "token": token_text(made.id, secret),
            "tokenId": made.id,
            "expiresAt": timestamp(made.expires_at),
            "host": str(host.value.id),
        }
        return Outcome(body=body, batch=batch)

    async def _carriages(self, context: Context, made: Enrollment, carried: Sequence[ResourceId]) -> Sequence[Carriage]:
        """The further resources, as they are stored; each needs what giving roles there needs."""
        found = []
        for identifier in carried:
            await context.require_linked(GIVE_ACCESS, identifier)
            resource = await self.hosts.find(context, identifier)
            subscription = await context.store.get(SUBSCRIPTIONS, identifier.subscription or "")
            if subscription is None or subscription.value.tenant_id != made.tenant_id:
                raise context.linked_refusal(GIVE_ACCESS, identifier)
            if resource.value.id.key != made.host.key:
                found.append(Carriage(enrollment_id=made.id, resource=resource.value.id))
        return found


def _lifetime(body: JsonObject) -> timedelta:
    given = Fields(body).only("expiresInSeconds")
    seconds = given.integer("expiresInSeconds")
    if seconds is None:
        return USUAL
    if not _SHORTEST.total_seconds() <= seconds <= LONGEST.total_seconds():
        raise given.refuse("expiresInSeconds", f"must be from {_SHORTEST.total_seconds():.0f} to {LONGEST.total_seconds():.0f}")
    return timedelta(seconds=seconds)


def _made(context: Context, host: ResourceId, old: Enrollment | None, name: str, rule: EnrollmentRule) -> Enrollment:
    return Enrollment(
        id=old.id if old else context.entropy.guid(),
        host=host,
        name=old.name if old else name,
        tenant_id=context.tenant.id,
        method=rule.method,
        created_at=old.created_at if old else context.now,
        trust=rule.trust,
        facts=rule.facts,
        expression=rule.expression,
    )


async def _find(context: Context, identifier: ResourceId) -> Versioned[Enrollment] | None:
    return await context.store.get(ENROLLMENTS, enrollment_key(identifier.scope.key, identifier.name))


async def _carried(context: Context, enrollment_id: str) -> tuple[Versioned[Carriage], ...]:
    return await context.store.all(CARRIAGES, where={"enrollment_id": enrollment_id})


async def _require_room(context: Context, host: ResourceId) -> None:
    count = await context.store.count(ENROLLMENTS, where={"host_key": host.key}, limit=MOST_ENROLLMENTS)
    if count >= MOST_ENROLLMENTS:
        words = f"a resource has at most {MOST_ENROLLMENTS} enrollments"
        raise Failure(FailureKind.LIMIT_EXCEEDED, words, limit=str(MOST_ENROLLMENTS))


async def _changed(context: Context, old: Enrollment, new: Enrollment, carried: Sequence[Carriage]) -> Batch:
    """What a changed enrollment means for its agents and tokens: under another rule they have proved nothing."""
    if not old.same_rule(new):
        return await _dependants(context, old)
    hosts = hosts_of(new, carried)
    # Whoever joins by a token meanwhile changes no more than the token: without it as it was, the new agent would be left out.
    tokens = await context.store.all(JOIN_TOKENS, where={"enrollment_id": old.id})
    operations = Batch.of(*(Require(collection=JOIN_TOKENS, key=one.value.id, expect=one.version) for one in tokens))
    for one in await context.store.all(AGENTS, where={"enrollment_id": old.id}):
        if one.value.hosts != hosts:
            operations += Batch.of(Put(collection=AGENTS, value=replace(one.value, hosts=hosts), expect=one.version))
    return operations


async def _carry(context: Context, made: Enrollment, carried: Sequence[Carriage]) -> Batch:
    """The rows of what is carried, those that are there already left alone."""
    before = {one.value.key: one for one in await _carried(context, made.id)}
    after = {one.key: one for one in carried}
    return Batch.of(
        *(Delete(collection=CARRIAGES, key=key, expect=one.version) for key, one in before.items() if key not in after),
        *(Put(collection=CARRIAGES, value=one, expect=ABSENT) for key, one in after.items() if key not in before),
    )


async def _dependants(context: Context, enrollment: Enrollment) -> Batch:
    """The end of an enrollment's agents and tokens, each as it was found: a machine that joins meanwhile changes one."""
    operations = Batch()
    for agent in await context.store.all(AGENTS, where={"enrollment_id": enrollment.id}):
        operations += await removed(context.store, agent)
    tokens = await context.store.all(JOIN_TOKENS, where={"enrollment_id": enrollment.id})
    return operations + Batch.of(*(Delete(collection=JOIN_TOKENS, key=one.value.id, expect=one.version) for one in tokens))


async def _ended(context: Context, found: Versioned[Enrollment]) -> Batch:
    carried = await _carried(context, found.value.id)
    return (
        await _dependants(context, found.value)
        + Batch.of(*(Delete(collection=CARRIAGES, key=one.value.key) for one in carried))
        + Batch.of(Delete(collection=ENROLLMENTS, key=found.value.key, expect=found.version))
    )


async def enrollments_ended(context: Context, host: ResourceId) -> Batch:
    """What goes with a resource: its enrollments with their agents, and its place among what others carry."""
    operations = Batch()
    for found in await context.store.all(ENROLLMENTS, where={"host_key": host.key}):
        operations += await _ended(context, found)
    for carried in await context.store.all(CARRIAGES, where={"resource_key": host.key}):
        operations += Batch.of(Delete(collection=CARRIAGES, key=carried.value.key))
    return operations


async def _old_tokens(context: Context, enrollment: Enrollment) -> Batch:
    """The end of tokens that are over; raises LIMIT_EXCEEDED when too many are not."""
    tokens = await context.store.all(JOIN_TOKENS, where={"enrollment_id": enrollment.id})
    over = [one for one in tokens if one.value.expires_at <= context.now]
    if len(tokens) - len(over) >= _MOST_TOKENS:
        words = f"an enrollment has at most {_MOST_TOKENS} join tokens that are not over yet"
        raise Failure(FailureKind.LIMIT_EXCEEDED, words, limit=str(_MOST_TOKENS))
    return Batch.of(*(Delete(collection=JOIN_TOKENS, key=one.value.id) for one in over))


def _etag(found: Versioned[Enrollment]) -> str:
    return etag_of(found.value.created_at, found.version)


def _render(found: Versioned[Enrollment], carried: Sequence[Carriage]) -> JsonObject:
    enrollment = found.value
    shown: dict[str, object] = {"enrollmentId": enrollment.id, "method": enrollment.method.value}
    shown |= {name: value for name, value in _trust(enrollment).items() if value}
    facts: dict[str, list[str]] = {}
    for name, value in enrollment.facts:
        facts.setdefault(name, []).append(value)
    if facts:
        shown["facts"] = {name: values[0] if len(values) == 1 else values for name, values in facts.items()}
    if enrollment.expression is not None:
        shown["expression"] = enrollment.expression
    if carried:
        shown["carries"] = [str(one.resource) for one in carried]
    return {
        "id": f"{enrollment.host}/providers/{ENROLLMENTS_TYPE}/{enrollment.name}",
        "name": enrollment.name,
        "type": ENROLLMENTS_TYPE,
        "etag": f'"{_etag(found)}"',
        "properties": {**shown, "provisioningState": "Succeeded"},
        "systemData": {"createdAt": timestamp(enrollment.created_at)},
    }


def _trust(enrollment: Enrollment) -> JsonObject:
    trust: Trust = enrollment.trust
    pcrs = trust.pcrs
    return {
        "certificateAuthorities": trust.authorities,
        "certificateAuthority": trust.ssh_authority,
        "issuer": trust.issuer,
        "audience": trust.audience,
        "pcrs": {"bank": pcrs.bank, "registers": list(pcrs.registers), "digest": pcrs.digest} if pcrs else None,
    }


def workload_enrollments(providers: Iterable[Provider]) -> Provider:
    """The type, for the identity-bearing types of these providers."""
    functions = _Enrollments(Hosts.of(providers, what="enrollments", code="EnrollmentScopeInvalid"))
    declared = ResourceType(
        name=ENROLLMENTS_TYPE,
        api_versions=VERSIONS,
        placements=frozenset({Placement.SUBSCRIPTION, Placement.GROUP, Placement.RESOURCE}),
        naming=NAMES,
        own=Own(get=functions.get, list=functions.list, put=functions.put, delete=functions.delete),
        located=False,
        taggable=False,
        actions={"issueToken": Action(run=functions.issue)},
    )
    words = (
        ("read", "Gets an enrollment of a resource's machines"),
        ("write", "Creates or updates an enrollment of a resource's machines"),
        ("delete", "Deletes an enrollment of a resource's machines, and the agents that it let in"),
        ("issueToken/action", "Issues a join token for a machine"),
    )
    return Provider(
        namespace=declared.namespace,
        types=(declared,),
        operations=workload_operations(ENROLLMENTS_TYPE, "Enrollments", words),
        operations_versions=VERSIONS,
    )
