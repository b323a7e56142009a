"""POST `{scope}/providers/{namespace}/register` and `unregister`: which namespaces a subscription takes.

Every namespace is registered everywhere from the start, unlike in Azure; registering is a question with a known answer until a
namespace has been unregistered, which is refused as long as something of it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idplane.arm.declare import NOTHING, Action, Invocation, Outcome, Provider
from idplane.model.directory import Subscription
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import Batch, Put
from idplane.providers.metadata import UNREGISTRABLE, ProviderCatalogue, described
from idplane.providers.scopes import require_scope

__all__ = ["registration"]

_SUBSCRIPTION = "Microsoft.Resources/subscriptions"


def registration(catalogue: ProviderCatalogue, api_versions: tuple[str, ...]) -> dict[str, Action]:
    """The two actions, for every namespace."""
    registrar = _Registrar(catalogue)
    return {
        "register": Action(run=registrar.register, api_versions=api_versions),
        "unregister": Action(run=registrar.unregister, api_versions=api_versions),
    }


@dataclass(frozen=True, slots=True)
class _Registrar:
    catalogue: ProviderCatalogue

    async def register(self, invocation: Invocation) -> Outcome:
        provider = self.catalogue.named(invocation.argument)
        if invocation.context.subscription is None:
            await require_scope(invocation.context, invocation.id)
            # At the tenant and at management groups nothing can be unregistered, so that nothing is to be done.
            return Outcome()
        return await _answer(invocation, provider, taken=True)

    async def unregister(self, invocation: Invocation) -> Outcome:
        provider = self.catalogue.named(invocation.argument)
        if invocation.id.type != _SUBSCRIPTION:
            raise Failure(FailureKind.PATH_NOT_FOUND, "namespaces are unregistered from subscriptions", path=str(invocation.id))
        if provider.namespace.lower() in UNREGISTRABLE:
            raise Failure(FailureKind.CONFLICT, f"the namespace '{provider.namespace}' cannot be unregistered")
        await _require_unused(invocation, provider)
        return await _answer(invocation, provider, taken=False)


async def _require_unused(invocation: Invocation, provider: Provider) -> None:
    """Raises `Failure(CONFLICT)` where the subscription holds a resource of the namespace."""
    for declared in provider.types:
        where = {"type": declared.name.lower(), "subscription_id": invocation.id.subscription}
        page = await invocation.context.store.page(RESOURCES, where=where, limit=1)
        if page.items:
            words = (
                f"the namespace '{provider.namespace}' cannot be unregistered while resources of it remain in the subscription"
            )
            raise Failure(FailureKind.CONFLICT, words)


async def _answer(invocation: Invocation, provider: Provider, *, taken: bool) -> Outcome:
    subscription = invocation.context.subscription
    assert subscription is not None  # both callers have looked
    name = provider.namespace.lower()
    others = tuple(one for one in subscription.unregistered if one != name)
    changed = replace(subscription, unregistered=others if taken else (*others, name))
    batch = NOTHING if changed == subscription else await _stored(invocation, changed)
    return Outcome(body=described(provider, invocation.id, changed.unregistered), batch=batch)


async def _stored(invocation: Invocation, changed: Subscription) -> Batch:
    found = await invocation.context.store.get(SUBSCRIPTIONS, changed.id)
    if found is None or found.value != invocation.context.subscription:
        raise Failure(FailureKind.CONFLICT, "the subscription is being changed by another request; try again")
    return Batch.of(Put(collection=SUBSCRIPTIONS, value=changed, expect=found.version))
