"""Empties a plane between tests, through the same commits that everything else uses, so that every cache hears of it."""

from __future__ import annotations

from idplane.bootstrap.seed import Installation
from idplane.model.directory import Subscription
from idplane.ports.collections import (
    APPLICATIONS,
    BINDINGS,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PREDEFINED_TAGS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
    SUBSCRIPTIONS,
)
from idplane.ports.store import ANY, Batch, Collection, Delete, Put, Store

__all__ = ["reset"]

_CHILDREN_FIRST: tuple[Collection[object], ...] = (  # type: ignore[assignment]  # heterogeneous by design, as in ports.collections
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    SECRETS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    ROLE_ASSIGNMENTS,
    DENY_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    IDENTITY_ASSIGNMENTS,
    BINDINGS,
    PREDEFINED_TAGS,
    RESOURCES,
    APPLICATIONS,
    PRINCIPALS,
)


async def reset(store: Store, installation: Installation) -> None:
    """Delete everything but the installation itself: tenant, subscription, the owner with its role and credential, keys, agents."""
    operations: list[Delete[object] | Put[Subscription]] = []
    for collection in _CHILDREN_FIRST:
        found = await store.all(collection)
        keys = [collection.key(item.value) for item in found if not _belongs(item.value, installation)]
        # A child's id is longer than its parent's.
        operations += [
            Delete(collection=collection, key=key, expect=ANY) for key in sorted(keys, key=lambda key: -key.count("/"))
        ]
    subscription = await store.get(SUBSCRIPTIONS, installation.subscription.id)
    if subscription is not None and subscription.value != installation.subscription:
        operations.append(Put(collection=SUBSCRIPTIONS, value=installation.subscription, expect=ANY))
    if operations:
        await store.commit(Batch.of(*operations))


def _belongs(value: object, installation: Installation) -> bool:
    owner = installation.operator.id
    if getattr(value, "principal_id", None) == owner:
        # The owner's grants at the tenant stay; what a test gave it elsewhere goes with the test.
        return getattr(value, "scope", "/") == "/"
    return getattr(value, "id", None) == owner
