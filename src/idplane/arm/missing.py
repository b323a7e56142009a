"""The refusal for what is not there: one for the kernel and for providers that look for themselves, so that callers can't tell who looked."""

from __future__ import annotations

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId

__all__ = ["resource_not_found"]


def resource_not_found(identifier: ResourceId) -> Failure:
    """RESOURCE_NOT_FOUND, with the facts that Resource Manager's error text is made of."""
    return Failure(
        FailureKind.RESOURCE_NOT_FOUND,
        "the resource was not found",
        id=str(identifier),
        type=identifier.type,
        name=identifier.name,
        group=identifier.resource_group or "",
    )
