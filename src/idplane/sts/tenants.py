"""Finding the tenant that a path names."""

from __future__ import annotations

from typing import Final

from idplane.model.directory import Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.ports.collections import TENANTS
from idplane.ports.store import Versioned
from idplane.sts.recent import Records

__all__ = ["ANY_TENANT", "find_tenant", "tenant_named"]

ANY_TENANT: Final = frozenset({"common", "organizations"})
"""What a path says in a tenant's place when the user decides on the tenant."""

_MAX_DOMAIN = 253


async def tenant_named(records: Records, name: str) -> Tenant:
    """The tenant with that GUID or domain, compared without case: JS lower-cases whole URLs, Python does not (MIE section 7.1).

    Raises `Failure(TENANT_NOT_FOUND)`; `common` and `organizations` are nobody's name.
    """
    return (await find_tenant(records, name)).value


async def find_tenant(records: Records, name: str) -> Versioned[Tenant]:
    """The same, at the version that was read."""
    key = name.lower()
    if is_guid(key):
        found = await records.get(TENANTS, key)
        if found is not None:
            return found
    elif 0 < len(key) <= _MAX_DOMAIN:
        page = await records.page(TENANTS, where={"domain": key}, limit=1)
        if page.items:
            return page.items[0]
    shown = name[:_MAX_DOMAIN]
    raise Failure(FailureKind.TENANT_NOT_FOUND, f"there is no tenant '{shown}'", tenant=shown)
