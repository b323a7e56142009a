"""What a move does to everything that names a moved resource: one batch, from everything as it was read to everything renamed.

Ids are keys, so records that are keyed by one are deleted and made again, in an order that keeps references whole: first what refers
to the resources, then the resources, deepest first; then the same the other way round. What only mentions an id is changed in place.

    resources                 children too; ids of moved resources in their properties follow
    identity assignments      under a new generation, so that tokens of the old id stay dead whatever moves back
    principals                system-assigned identities keep their ids and get the new resource id
    credentials               certificates of identities on the resources are revoked; agents fetch new ones under the new id
    bindings, enrollments     follow, with what enrollments carry
    secrets of vaults         follow, sealed for their new place
    role assignments          at a moved resource go, each with an event: Azure leaves them behind, at an id that is free again
    deny assignments          follow: a move must not be a way around one
    federated credentials     that trust a resource's own issuer follow its new name
    agents                    that are bound to a resource by name stay bound to it

The history of deployments and both logs keep the old ids: they tell what was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from idplane.arm.context import Context
from idplane.audit.activity import activity_event
from idplane.model.bindings import SYSTEM_ASSIGNED
from idplane.model.ids import ResourceId
from idplane.model.resources import GENERATION_BYTES, Identity, Resource
from idplane.model.workload_issuers import issuer_of
from idplane.ports.collections import (
    ACTIVITY,
    AGENTS,
    BINDINGS,
    CARRIAGES,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    ENROLLMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SECRETS,
)
from idplane.ports.store import ABSENT, Append, Batch, Delete, Put, Versioned

__all__ = ["STOPPED", "Relocation"]

STOPPED = (
    "The managed identity stopped working when its resource was moved to another subscription. Disable the system-assigned identity "
    "and enable it again; the new identity needs role assignments of its own."
)
_ROLE_DELETED = "Microsoft.Authorization/roleAssignments/delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """Resources on their way from one group to another."""

    context: Context
    roots: tuple[ResourceId, ...]
    """The top-level resources that move, as stored."""
    source: ResourceId
    target: ResourceId
    """The groups, as stored."""
    stops: frozenset[str] = frozenset()
    """Types, in lower case, whose system-assigned identity stops working."""

    def renamed(self, identifier: ResourceId) -> ResourceId:
        """The id under which something in the source group will be found."""
        return ResourceId(self.target.segments + identifier.segments[len(self.source.segments) :])

    def mentions(self, text: str) -> str:
        """A text with a moved resource's id at its start brought up to date; any other text as it is."""
        folded = text.lower()
        if any(folded == one.key or folded.startswith(f"{one.key}/") for one in self.roots):
            return f"{self.target}{text[len(str(self.source)) :]}"
        return text

    async def batch(self, trees: Sequence[Versioned[Resource]]) -> Batch:
        """Every operation of the move. `trees` are the moved resources with everything below them, each at its version."""
        shallow = sorted(trees, key=lambda it: len(it.value.id.segments))
        gone, made = Batch(), Batch()
        for found in shallow:
            one_gone, one_made = await self._what_refers(found.value)
            gone, made = gone + one_gone, made + one_made
        for found in reversed(shallow):
            key = found.value.id.key
            gone += Batch.of(Delete(collection=RESOURCES, key=key, expect=found.version, subject=key))
        moved = Batch.of(*(Put(collection=RESOURCES, value=self._moved(one.value), expect=ABSENT) for one in shallow))
        lifted, denied = await self._denies()
        gone = await self._grants() + lifted + await self._certificates() + gone
        return gone + moved + made + denied + await self._trusts(trees) + await self._agents()

    # Resources ------------------------------------------------------------------------------------------------------

    def _moved(self, resource: Resource) -> Resource:
        caller = self.context.caller
        return replace(
            resource,
            id=self.renamed(resource.id),
            properties=self._rewritten(resource.properties),
            envelope=self._rewritten(resource.envelope),
            changed_at=self.context.now,
            changed_by=caller.display_name or caller.client_id,
        )

    def _rewritten(self, value: Mapping[str, object]) -> dict[str, object]:
        return {self.mentions(name): self._value(item) for name, item in value.items()}

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.mentions(value)
        if isinstance(value, Mapping):
            return self._rewritten(value)
        return [self._value(one) for one in value] if isinstance(value, list | tuple) else value

    # What refers to one resource ------------------------------------------------------------------------------------

    async def _what_refers(self, resource: Resource) -> tuple[Batch, Batch]:
        """What goes ahead of the resource's record, and what is made behind its new one."""
        gone, made = await self._entitlements(resource)
        for part in (self._bindings, self._enrollments, self._carriages, self._secrets):
            one_gone, one_made = await part(resource)
            gone, made = gone + one_gone, made + one_made
        return gone, made + await self._principal(resource)

    async def _entitlements(self, resource: Resource) -> tuple[Batch, Batch]:
        store, key, to = self.context.store, resource.id.key, self.renamed(resource.id)
        gone, made = [], []
        stops = resource.type.lower() in self.stops
        for found in await store.all(IDENTITY_ASSIGNMENTS, where={"host_key": key}):
            one = found.value
            gone.append(Delete(collection=IDENTITY_ASSIGNMENTS, key=one.key, expect=found.version, subject=key))
            generation = self.context.entropy.bytes(GENERATION_BYTES).hex()
            stopped = STOPPED if stops and one.identity is None else one.stopped
            again = replace(one, host=to, generation=generation, stopped=stopped)
            made.append(Put(collection=IDENTITY_ASSIGNMENTS, value=again, expect=ABSENT))
        return Batch.of(*gone), Batch.of(*made)

    async def _bindings(self, resource: Resource) -> tuple[Batch, Batch]:
        key, to = resource.id.key, self.renamed(resource.id)
        found = await self.context.store.all(BINDINGS, where={"host_key": key})
        gone = (Delete(collection=BINDINGS, key=one.value.key, expect=one.version, subject=key) for one in found)
        again = (
            replace(
                one.value,
                host=to,
                identities=tuple(it if it == SYSTEM_ASSIGNED else self.mentions(it) for it in one.value.identities),
            )
            for one in found
        )
        return Batch.of(*gone), Batch.of(*(Put(collection=BINDINGS, value=one, expect=ABSENT) for one in again))

    async def _enrollments(self, resource: Resource) -> tuple[Batch, Batch]:
        key, to = resource.id.key, self.renamed(resource.id)
        found = await self.context.store.all(ENROLLMENTS, where={"host_key": key})
        gone = (Delete(collection=ENROLLMENTS, key=one.value.key, expect=one.version) for one in found)
        made = (Put(collection=ENROLLMENTS, value=replace(one.value, host=to), expect=ABSENT) for one in found)
        return Batch.of(*gone), Batch.of(*made)

    async def _carriages(self, resource: Resource) -> tuple[Batch, Batch]:
        key, to = resource.id.key, self.renamed(resource.id)
        found = await self.context.store.all(CARRIAGES, where={"resource_key": key})
        gone = (Delete(collection=CARRIAGES, key=one.value.key, expect=one.version) for one in found)
        made = (Put(collection=CARRIAGES, value=replace(one.value, resource=to), expect=ABSENT) for one in found)
        return Batch.of(*gone), Batch.of(*made)

    async def _secrets(self, vault: Resource) -> tuple[Batch, Batch]:
        found = await self.context.store.all(SECRETS, where={"vault_key": vault.id.key})
        made = []
        for one in found:
            blank = replace(one.value, vault=self.renamed(vault.id).key)
            plain = self.context.custody.unseal(one.value.sealed, context=one.value.key)
            sealed = self.context.custody.seal(plain, context=blank.key)
            made.append(Put(collection=SECRETS, value=replace(blank, sealed=sealed), expect=ABSENT))
        gone = (Delete(collection=SECRETS, key=one.value.key, expect=one.version) for one in found)
        return Batch.of(*gone), Batch.of(*made)

    async def _principal(self, resource: Resource) -> Batch:
        identity: Identity | None = resource.identity
        found = None if identity is None else await self.context.store.get(PRINCIPALS, identity.principal_id or "")
        if found is None:
            return Batch()
        moved = replace(
            found.value,
            resource_id=str(self.renamed(resource.id)),
            alternative_names=tuple(map(self.mentions, found.value.alternative_names)),
        )
        return Batch.of(Put(collection=PRINCIPALS, value=moved, expect=found.version))

    # Grants, trust and agents ---------------------------------------------------------------------------------------

    async def _grants(self) -> Batch:
        """The end of the role assignments at and below the old ids, each with its event."""
        operations = Batch()
        for root in self.roots:
            for found in await self.context.store.all(ROLE_ASSIGNMENTS, under=("scope_key", root.key)):
                one = found.value
                identifier = ResourceId.parse(one.scope).extension("Microsoft.Authorization/roleAssignments", one.id)
                gone = Delete(collection=ROLE_ASSIGNMENTS, key=one.id, expect=found.version, subject=one.principal_id)
                operations += Batch.of(gone, self.event(identifier, _ROLE_DELETED))
        return operations

    async def _denies(self) -> tuple[Batch, Batch]:
        """Deny assignments follow: lifted ahead of what they refer to, and put where it comes to."""
        lifted, denied = Batch(), Batch()
        for root in self.roots:
            for found in await self.context.store.all(DENY_ASSIGNMENTS, under=("scope_key", root.key)):
                one = found.value
                anchor = None if one.anchor is None else self.mentions(one.anchor).lower()
                again = replace(one, scope=self.mentions(one.scope), anchor=anchor)
                gone = Delete(collection=DENY_ASSIGNMENTS, key=one.id, expect=found.version, subject=one.scope_key)
                lifted += Batch.of(gone)
                denied += Batch.of(Put(collection=DENY_ASSIGNMENTS, value=again, expect=ABSENT))
        return lifted, denied

    async def _certificates(self) -> Batch:
        """Revokes what hosts authenticate with, a scale set's instances among them."""
        operations = Batch()
        for root in self.roots:
            for found in await self.context.store.all(CREDENTIALS, under=("host_key", root.key)):
                one = found.value
                operations += Batch.of(
                    Delete(collection=CREDENTIALS, key=one.id, expect=found.version, subject=one.principal_id)
                )
        return operations

    def event(self, identifier: ResourceId, operation: str) -> Append[object]:
        """Something that the move did, for the activity log."""
        context = self.context
        made = activity_event(
            event_id=context.entropy.guid(),
            at=context.now,
            call=context.call,
            caller=context.caller,
            resource_id=identifier,
            operation=operation,
            decision=None,
            http_status=200,
            failure_code=None,
            details={},
        )
        return Append(log=ACTIVITY, event=made)  # type: ignore[arg-type]  # logs are invariant in their events, batches hold any

    async def _trusts(self, trees: Sequence[Versioned[Resource]]) -> Batch:
        operations = Batch()
        for found in trees:
            old, new = found.value, self._moved(found.value)
            before = issuer_of(old, self.context.tenant.id)
            after = issuer_of(new, self.context.tenant.id)
            if before is None or after is None:
                continue
            for row in await self.context.store.all(FEDERATED_CREDENTIALS, where={"issuer": before}):
                trust = row.value.trust
                subject = str(new.id) if trust.subject == str(old.id) else trust.subject
                again = replace(row.value, trust=replace(trust, issuer=after, subject=subject))
                operations += Batch.of(Put(collection=FEDERATED_CREDENTIALS, value=again, expect=row.version))
        return operations

    async def _agents(self) -> Batch:
        operations = Batch()
        for found in await self.context.store.all(AGENTS):
            hosts = tuple(self.mentions(one).lower() for one in found.value.hosts)
            host = found.value.host
            moved = ResourceId.parse(self.mentions(str(host))) if host is not None else None
            if hosts != found.value.hosts or moved != host:
                again = replace(found.value, hosts=hosts, host=moved)
                operations += Batch.of(Put(collection=AGENTS, value=again, expect=found.version))
        return operations
