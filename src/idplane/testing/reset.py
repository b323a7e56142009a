"""Empties a plane between tests, through the same commits that everything else uses, so that every cache hears of it."""

from __future__ import annotations

from idplane.bootstrap.seed import Installation
from idplane.model.directory import Credential, Principal
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import (
    APPLICATIONS,
    BINDINGS,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    DEVICE_CODES,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    MEMBERSHIPS,
    PRINCIPALS,
    REFRESH_TOKENS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
    SESSIONS,
)
from idplane.ports.store import ANY, Batch, Collection, Delete, Store

__all__ = ["reset"]

_CHILDREN_FIRST: tuple[Collection[object], ...] = (  # type: ignore[assignment]  # heterogeneous by design, as in ports.collections
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    SECRETS,
    DEVICE_CODES,
    REFRESH_TOKENS,
    SESSIONS,
    MEMBERSHIPS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    ROLE_ASSIGNMENTS,
    DENY_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    IDENTITY_ASSIGNMENTS,
    BINDINGS,
    RESOURCES,
    APPLICATIONS,
    PRINCIPALS,
)


async def reset(store: Store, installation: Installation) -> None:
    """Delete everything but the installation itself: tenant, subscription, the owners with role and credential, keys, agents."""
    operations: list[Delete[object]] = []
    for collection in _CHILDREN_FIRST:
        found = await store.all(collection)
        keys = [collection.key(item.value) for item in found if not _belongs(item.value, installation)]
        # A child's id is longer than its parent's.
        operations += [
            Delete(collection=collection, key=key, expect=ANY) for key in sorted(keys, key=lambda key: -key.count("/"))
        ]
    if operations:
        await store.commit(Batch.of(*operations))


def _belongs(value: object, installation: Installation) -> bool:
    owners = {installation.operator.id, installation.user_id}
    if isinstance(value, RoleAssignment | Credential) and value.principal_id in owners:
        # The owners' grants at the tenant stay; what a test gave them elsewhere goes with the test, and so do their sign-ins.
        return getattr(value, "scope", "/") == "/"
    return isinstance(value, Principal) and value.id in owners
