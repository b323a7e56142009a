"""Nobody is locked out: the last Owner of a tenant is not deleted."""

from __future__ import annotations

from typing import Final

from idplane.model.directory import Principal
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import ROLE_ASSIGNMENTS
from idplane.ports.store import Batch, Reads, Require

__all__ = ["require_other_owner"]

_OWNER: Final = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


async def require_other_owner(store: Reads, leaving: Principal) -> Batch:
    """Refuse to delete whoever alone is Owner at the tenant's root; raises `Failure(LAST_ADMINISTRATOR)`.

    The batch pins the other Owner's assignment, so that two deletions cannot each count on whom the other takes away.
    """
    root = await store.all(ROLE_ASSIGNMENTS, where={"scope_key": "/", "role_id": _OWNER})
    owners = [one for one in root if one.value.tenant_id == leaving.tenant_id]
    if all(one.value.principal_id != leaving.id for one in owners):
        return Batch()
    for other in owners:
        if other.value.principal_id != leaving.id:
            return Batch.of(Require(collection=ROLE_ASSIGNMENTS, key=other.value.id, expect=other.version))
    raise Failure(
        FailureKind.LAST_ADMINISTRATOR,
        "The last Owner of the tenant cannot be deleted: make somebody else Owner first",
        code="CannotDeleteLastRbacAdminAssignment",
    )
