"""Nobody is locked out: the last Owner of a tenant is neither deleted nor disabled."""

from __future__ import annotations

from typing import Final

from idplane.model.directory import Principal
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import Batch, Reads, Require

__all__ = ["require_other_owner"]

_OWNER: Final = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


async def require_other_owner(store: Reads, leaving: Principal) -> Batch:
    """Refuse to delete or disable whoever alone is Owner at the tenant's root; raises `Failure(LAST_ADMINISTRATOR)`.

    The batch pins the other Owner with its assignment, so that two that leave cannot each count on the other. One that is
    disabled does not count.
    """
    root = await store.all(ROLE_ASSIGNMENTS, where={"scope_key": "/", "role_id": _OWNER})
    owners = [one for one in root if one.value.tenant_id == leaving.tenant_id]
    if all(one.value.principal_id != leaving.id for one in owners):
        return Batch()
    for other in owners:
        principal = await store.get(PRINCIPALS, other.value.principal_id)
        if principal is not None and principal.value.id != leaving.id and principal.value.enabled:
            return Batch.of(
                Require(collection=ROLE_ASSIGNMENTS, key=other.value.id, expect=other.version),
                Require(collection=PRINCIPALS, key=principal.value.id, expect=principal.version),
            )
    raise Failure(
        FailureKind.LAST_ADMINISTRATOR,
        "The last Owner of the tenant can be neither deleted nor disabled: make somebody else Owner first",
        code="CannotDeleteLastRbacAdminAssignment",
    )
