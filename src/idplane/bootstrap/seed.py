"""The first start: a tenant, a subscription and its owners, a program and a person, in one commit each; later starts find them again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from idplane.bootstrap.world import World
from idplane.directory.clients import certificate_credential, new_application_principal
from idplane.directory.people import new_user
from idplane.model.directory import (
    HOME_TENANT,
    HOME_USER,
    CredentialKind,
    Principal,
    Setting,
    Subscription,
    Tenant,
    UserDetails,
)
from idplane.model.failure import Failure, FailureKind
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import CREDENTIALS, PRINCIPALS, ROLE_ASSIGNMENTS, SETTINGS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Delete, Put

__all__ = ["Installation", "allow_private_issuers", "ensure_installation", "trust_operator"]

_OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_SUBSCRIPTION = "home-subscription"
_OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the first start made."""

    tenant: Tenant
    subscription: Subscription
    operator: Principal
    user_id: str = ""
    """Object id of the tenant's first user, who may have been deleted since."""


async def ensure_installation(world: World) -> Installation:
    """The installation in this store, made now if the store is empty, or as far as an earlier version did not make it."""
    found = await _find(world) or await _made(world) or await _find(world)
    if found is None:
        raise Failure(FailureKind.INTERNAL, "the installation could not be made")
    return replace(found, user_id=await _first_user(world, found.tenant))


async def _made(world: World) -> Installation | None:
    """None when another replica was faster; what it made is there then, whole."""
    made = _new(world)
    owner = _ownership(world, made.operator, "The owner of this installation")
    first = Batch.of(
        Put(collection=SETTINGS, value=Setting(name=HOME_TENANT, value=made.tenant.id), expect=ABSENT),
        Put(collection=TENANTS, value=made.tenant, expect=ABSENT),
        Put(collection=SUBSCRIPTIONS, value=made.subscription, expect=ABSENT),
        Put(collection=PRINCIPALS, value=made.operator, expect=ABSENT),
        Put(collection=ROLE_ASSIGNMENTS, value=owner, expect=ABSENT),
        Put(collection=SETTINGS, value=Setting(name=_SUBSCRIPTION, value=made.subscription.id), expect=ABSENT),
        Put(collection=SETTINGS, value=Setting(name=_OPERATOR, value=made.operator.id), expect=ABSENT),
    )
    try:
        await world.store.commit(first)
    except CommitRefused:
        return None
    return made


async def _first_user(world: World, tenant: Tenant) -> str:
    """Make the tenant's first user, unless that was done before: whoever was deleted later stays deleted."""
    known = await _setting(world, HOME_USER)
    if known is not None:
        return known
    user = new_user(
        tenant_id=tenant.id,
        display_name="Administrator",
        details=UserDetails(user_principal_name=f"admin@{tenant.domain}", mail_nickname="admin"),
        entropy=world.entropy,
        now=world.clock.now(),
    )
    owner = _ownership(world, user, "The first user of this installation")
    with suppress(CommitRefused):  # another replica was faster; what it made is found below
        await world.store.commit(
            Batch.of(
                Put(collection=SETTINGS, value=Setting(name=HOME_USER, value=user.id), expect=ABSENT),
                Put(collection=PRINCIPALS, value=user, expect=ABSENT),
                Put(collection=ROLE_ASSIGNMENTS, value=owner, expect=ABSENT),
            )
        )
    return await _setting(world, HOME_USER) or ""


def _ownership(world: World, principal: Principal, description: str) -> RoleAssignment:
    now = world.clock.now()
    return RoleAssignment(
        id=world.entropy.guid(),
        tenant_id=principal.tenant_id,
        scope="/",
        role_id=_OWNER,
        principal_id=principal.id,
        principal_type=principal.type.rbac_type,
        created_at=now,
        changed_at=now,
        description=description,
    )


async def trust_operator(world: World, operator: Principal, certificate: bytes, *, only: bool = True) -> None:
    """Make `certificate` (DER) the operator's only certificate, or another one, if it is not one already."""
    held = await world.store.all(CREDENTIALS, where={"principal_id": operator.id, "kind": CredentialKind.CERTIFICATE.value})
    if any(item.value.certificate == certificate for item in held):
        return
    credential = certificate_credential(operator, certificate=certificate, entropy=world.entropy, display_name="operator.pem")
    await world.store.commit(
        Batch.of(
            *(Delete(collection=CREDENTIALS, key=item.value.id, expect=item.version) for item in held if only),
            Put(collection=CREDENTIALS, value=credential, expect=ABSENT),
        )
    )


async def allow_private_issuers(world: World, tenant_id: str, issuers: tuple[str, ...]) -> None:
    """Make `issuers` the tenant's only ones whose documents may come over `http` and from addresses that are not public."""
    tenant = await world.store.get(TENANTS, tenant_id)
    if tenant is not None and tenant.value.private_issuers != issuers:
        changed = replace(tenant.value, private_issuers=issuers)
        await world.store.commit(Batch.of(Put(collection=TENANTS, value=changed, expect=tenant.version)))


async def _find(world: World) -> Installation | None:
    tenant_id = await _setting(world, HOME_TENANT)
    if tenant_id is None:
        return None
    tenant = await world.store.get(TENANTS, tenant_id)
    subscription = await world.store.get(SUBSCRIPTIONS, await _setting(world, _SUBSCRIPTION) or "")
    operator = await world.store.get(PRINCIPALS, await _setting(world, _OPERATOR) or "")
    if tenant is None or subscription is None or operator is None:
        raise Failure(FailureKind.INTERNAL, "the installation's tenant, subscription or operator is missing from the store")
    return Installation(tenant=tenant.value, subscription=subscription.value, operator=operator.value)


async def _setting(world: World, name: str) -> str | None:
    found = await world.store.get(SETTINGS, name)
    return found.value.value if found else None


def _new(world: World) -> Installation:
    now = world.clock.now()
    tenant_id = world.entropy.guid()
    tenant = Tenant(
        id=tenant_id,
        display_name="idplane",
        domain="idplane.onmicrosoft.com",
        issuer_v1=f"https://sts.windows.net/{tenant_id}/",
        issuer_v2=f"https://login.microsoftonline.com/{tenant_id}/v2.0",
        created_at=now,
    )
    subscription = Subscription(id=world.entropy.guid(), tenant_id=tenant_id, display_name="idplane")
    operator = new_application_principal(tenant_id=tenant_id, display_name="idplane operator", entropy=world.entropy, now=now)
    return Installation(tenant=tenant, subscription=subscription, operator=operator)
