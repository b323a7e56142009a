"""How often something may be asked for, as values: profiles hold them, `arm.throttle` and the agent apply them.

A rate is a bucket: so many requests at once, then as many as it refills by. The sources are Azure's published tables: Resource Manager's
token buckets, and the managed identity service's limits (control-plane.md section 7.1), whose requests per second are read as windows of
twenty seconds, as its refusals name them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AZURE_MANAGEMENT",
    "AZURE_METADATA",
    "ENROLLMENTS",
    "EnrollmentRates",
    "IdentityRates",
    "ManagementRates",
    "MetadataRates",
    "Rate",
]

_WINDOW = 20
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket's size, and what flows into it each second."""

    most: int
    per_second: float

    def times(self, count: int) -> Rate:
        """The same for so many together."""
        return Rate(self.most * count, self.per_second * count)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRates:
    """One operation on user-assigned identities, counted three times."""

    tenant: Rate
    subscription: Rate
    resource: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementRates:
    """Requests to Resource Manager, and what they may make."""

    reads: Rate
    writes: Rate
    deletes: Rate
    """Of one principal in one subscription, or at the tenant."""
    principals: int
    """The whole subscription may ask as often as so many principals."""
    identity_writes: IdentityRates
    identity_reads: IdentityRates
    identity_lists: IdentityRates
    identity_deletes: IdentityRates
    identities_made_in_tenant: Rate
    """In one region, system-assigned ones included."""
    identities_made_in_subscription: Rate
    identities_assigned_in_tenant: Rate
    identities_assigned_in_subscription: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataRates:
    """Requests to one machine's instance metadata service that are about identities."""

    requests: Rate
    at_once: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentRates:
    """Of what anybody may do: attempts to enroll, and refusals that leave a record."""

    address: Rate
    """From one address, which may be a balancer's or a whole network's."""
    altogether: Rate


def _window(per_second: float) -> Rate:
    return Rate(max(1, round(per_second * _WINDOW)), per_second)


def _identity(tenant: float, subscription: float, resource: float) -> IdentityRates:
    return IdentityRates(tenant=_window(tenant), subscription=_window(subscription), resource=_window(resource))


AZURE_MANAGEMENT = ManagementRates(
    reads=Rate(250, 25),
    writes=Rate(200, 10),
    deletes=Rate(200, 10),
    principals=15,
    identity_writes=_identity(10, 2, 0.25),
    identity_reads=_identity(30, 10, 0.5),
    identity_lists=_identity(15, 5, 0.25),
    identity_deletes=_identity(10, 2, 0.25),
    identities_made_in_tenant=Rate(400, 400 / _WINDOW),
    identities_made_in_subscription=Rate(80, 80 / _WINDOW),
    identities_assigned_in_tenant=Rate(400, 400 / _WINDOW),
    identities_assigned_in_subscription=Rate(300, 300 / _WINDOW),
)
AZURE_METADATA = MetadataRates(requests=Rate(20, 20), at_once=5)
ENROLLMENTS = EnrollmentRates(address=Rate(100, 5), altogether=Rate(400, 40))
"""Ours: a rack of machines joins at once, and a flood costs less than a tenth of a core."""
STRANGERS_RECORDS = EnrollmentRates(address=Rate(200, 0.2), altogether=Rate(1000, 1))
"""Records that refused strangers cause in a log, in one process: some 90 MB a day at most. Others are counted."""
