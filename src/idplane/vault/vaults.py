"""Vaults as the data plane sees them: found by the name in the Host header."""

from __future__ import annotations

from dataclasses import dataclass

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import Store

__all__ = ["Vault", "find_vault"]

_TYPE = "microsoft.keyvault/vaults"
_FEWEST_DAYS, _MOST_DAYS = 7, 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """What the data plane needs of a vault resource."""

    id: ResourceId
    tenant_id: str
    """Whose callers it serves."""
    location: str
    retention_days: int | None
    """Days for which a deleted secret can be recovered, if the vault says so itself (7 to 90)."""
    purge_protection: bool

    @property
    def name(self) -> str:
        """The first label of the vault's host name."""
        return self.id.name.lower()


async def find_vault(store: Store, name: str) -> Vault:
    """The vault of that name; raises `Failure(VAULT_NOT_FOUND)`.

    Vault names are unique over all tenants, as host names must be: an index of the store sees to it.
    """
    found = await store.all(RESOURCES, where={"type": _TYPE, "name": name.lower()})
    if not found:
        raise Failure(FailureKind.VAULT_NOT_FOUND, f"there is no vault named '{name}'", vault=name)
    resource = found[0].value
    return Vault(
        id=resource.id,
        tenant_id=await _tenant_of(store, resource),
        location=resource.location or "",
        retention_days=_retention(resource.properties.get("softDeleteRetentionInDays")),
        purge_protection=resource.properties.get("enablePurgeProtection") is True,
    )


async def _tenant_of(store: Store, resource: Resource) -> str:
    """The subscription's tenant: what a client wrote into the vault's properties does not decide whom it serves."""
    subscription = await store.get(SUBSCRIPTIONS, resource.id.subscription or "")
    if subscription is None:
        raise Failure(
            FailureKind.VAULT_NOT_FOUND, f"the vault '{resource.id.name}' lies in no subscription", vault=resource.id.name
        )
    return subscription.value.tenant_id


def _retention(days: object) -> int | None:
    return days if type(days) is int and _FEWEST_DAYS <= days <= _MOST_DAYS else None
