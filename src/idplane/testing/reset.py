"""Empties a plane between tests, through the same commits that everything else uses, so that every cache hears of it."""

from __future__ import annotations

from dataclasses import replace

from idplane.bootstrap.seed import Installation
from idplane.directory.first_party import FIRST_PARTY
from idplane.model.directory import Agent, AppRoleAssignment, Credential, Principal, Subscription
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import (
    AGENTS,
    APP_ROLE_ASSIGNMENTS,
    APPLICATIONS,
    BINDINGS,
    CARRIAGES,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    DEVICE_CODES,
    ENROLLMENTS,
    EVENT_CURSORS,
    EVENT_STREAMS,
    EVENT_SUBJECTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    JOIN_TOKENS,
    LOCKS,
    LONG_OPERATIONS,
    MANAGEMENT_GROUPS,
    MEMBERSHIPS,
    PORTAL_LINKS,
    PORTAL_SESSIONS,
    PREDEFINED_TAGS,
    PRINCIPALS,
    QUEUED_EVENTS,
    REFRESH_TOKENS,
    REFUSALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
    SESSIONS,
    SPENT_PROOFS,
    SUBSCRIPTION_ALIASES,
    SUBSCRIPTIONS,
)
from idplane.ports.store import ANY, Batch, Collection, Delete, Operation, Put, Store

__all__ = ["reset"]

# Marks of locks stay: their versions must go on rising.
_CHILDREN_FIRST: tuple[Collection[object], ...] = (  # type: ignore[assignment]  # heterogeneous by design, as in ports.collections
    LOCKS,
    DEPLOYMENT_OPERATIONS,
    LONG_OPERATIONS,
    DEPLOYMENTS,
    SECRETS,
    DEVICE_CODES,
    REFRESH_TOKENS,
    SESSIONS,
    PORTAL_LINKS,
    PORTAL_SESSIONS,
    MEMBERSHIPS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    APP_ROLE_ASSIGNMENTS,
    ROLE_ASSIGNMENTS,
    DENY_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    IDENTITY_ASSIGNMENTS,
    BINDINGS,
    AGENTS,
    JOIN_TOKENS,
    SPENT_PROOFS,
    CARRIAGES,
    ENROLLMENTS,
    PREDEFINED_TAGS,
    QUEUED_EVENTS,
    EVENT_STREAMS,
    EVENT_SUBJECTS,
    EVENT_CURSORS,
    REFUSALS,
    RESOURCES,
    APPLICATIONS,
    PRINCIPALS,
    SUBSCRIPTION_ALIASES,
    SUBSCRIPTIONS,
)


async def reset(store: Store, installation: Installation) -> None:
    """Delete everything but the installation itself: tenant, subscription, the owners with role and credential, keys, agents."""
    operations: list[Operation] = []
    for collection in _CHILDREN_FIRST:
        found = await store.all(collection)
        keys = [collection.key(item.value) for item in found if not _belongs(item.value, installation)]
        # A child's id is longer than its parent's.
        operations += [
            Delete(collection=collection, key=key, expect=ANY) for key in sorted(keys, key=lambda key: -key.count("/"))
        ]
    operations += await _tree(store, installation)
    granted = [row for row in await store.all(PRINCIPALS) if row.value.app_roles and _belongs(row.value, installation)]
    emptied = [Put(collection=PRINCIPALS, value=replace(row.value, app_roles=()), expect=ANY) for row in granted]
    if operations or emptied:
        await store.commit(Batch.of(*operations, *emptied))


async def _tree(store: Store, installation: Installation) -> list[Operation]:
    """The installation's subscription as it was at first, and no management groups: those above others go after them."""
    home = await store.get(SUBSCRIPTIONS, installation.subscription.id)
    operations: list[Operation] = []
    if home is not None and home.value != installation.subscription:
        operations += Batch.of(Put(collection=SUBSCRIPTIONS, value=installation.subscription, expect=ANY)).operations
    left = {one.value.key: one.value for one in await store.all(MANAGEMENT_GROUPS)}
    while left:
        leaves = left.keys() - {one.parent for one in left.values()}
        operations += Batch.of(
            *(Delete(collection=MANAGEMENT_GROUPS, key=key, expect=ANY) for key in sorted(leaves))
        ).operations
        left = {key: one for key, one in left.items() if key not in leaves}
    return operations


def _belongs(value: object, installation: Installation) -> bool:
    owners = {installation.operator.id, installation.user_id}
    if isinstance(value, AppRoleAssignment):
        return False
    if isinstance(value, Agent):
        return value.enrollment is None
    if isinstance(value, Principal) and value.client_id in FIRST_PARTY:
        return True
    if isinstance(value, RoleAssignment | Credential) and value.principal_id in owners:
        # The owners' grants at the tenant stay; what a test gave them elsewhere goes with the test, and so do their sign-ins.
        return getattr(value, "scope", "/") == "/"
    return isinstance(value, Principal | Subscription) and value.id in {*owners, installation.subscription.id}
