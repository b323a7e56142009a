"""Management groups: the tree between a tenant and its subscriptions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from idplane.model.ids import MANAGEMENT_GROUP, ResourceId, management_group_id

__all__ = ["ManagementGroup", "SubscriptionAlias", "stored_group"]

_PREFIX = f"/providers/{MANAGEMENT_GROUP.lower()}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementGroup:
    """A management group. Names are unique in the installation, whatever the tenant, so that a scope's text means one scope.

    The tenant's root group has the tenant's id for its name, exists without being stored, and is stored once it has been changed.
    """

    name: str
    tenant_id: str
    display_name: str
    parent: str | None
    """Key of the group above; None for the root group, and for those right below it."""
    changed_at: datetime
    changed_by: str = ""
    changes: int = 1
    default_group: str | None = None
    """Of the root group: key of the group where new subscriptions go; None for the root group itself."""
    protected: bool | None = None
    """Of the root group: whether making a group anywhere takes the right to write the root group; None when nobody has said."""

    @property
    def key(self) -> str:
        """What it is found by: the name in lower case."""
        return self.name.lower()

    @property
    def id(self) -> ResourceId:
        """Its resource id."""
        return management_group_id(self.name)

    @property
    def is_root(self) -> bool:
        """Whether it is its tenant's root group."""
        return self.key == self.tenant_id

    @property
    def above(self) -> str | None:
        """Key of the group above, the root group included; None for the root group itself."""
        return None if self.is_root else self.parent or self.tenant_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAlias:
    """The name under which a subscription was asked for."""

    name: str
    tenant_id: str
    subscription_id: str
    workload: str
    created_at: datetime
    created_by: str = ""
    billing_scope: str | None = None
    """As it was sent; there are no bills."""

    @property
    def key(self) -> str:
        """Names are a tenant's own."""
        return f"{self.tenant_id}|{self.name.lower()}"


def stored_group(scope: str, tenant_id: str) -> str | None:
    """Key of the stored management group that a scope is or lies in by its form; None for the root group, which needs no record."""
    lowered = scope.lower()
    if not lowered.startswith(_PREFIX):
        return None
    key = lowered[len(_PREFIX) :].partition("/")[0]
    return None if key == tenant_id else key
