"""Which requests come too often, by the profile's rates (control-plane.md section 7.1).

Resource Manager counts a principal's requests in a subscription or at the tenant, and all requests in a subscription; then the managed
identity service counts its own, by tenant, subscription and resource; and what a write makes, new identities and new assignments of
identities, is counted by region. What a request asks for in its turn, as a deployment does, counts for none of these: Azure's deployments
wait and go on.

Counts are this process' own: replicas multiply them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.arm.registry import CollectionRoute, InstanceRoute, Verb
from idplane.arm.requests import Attempt
from idplane.model.calls import Caller
from idplane.model.directory import Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.rates import IdentityRates, ManagementRates, Rate
from idplane.model.resources import Resource
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Put

__all__ = ["Throttle"]

_IDENTITIES = "microsoft.managedidentity/userassignedidentities"
_NOWHERE = "global"


class Throttle:
    """The counts of one resource manager. Without rates everything passes."""

    def __init__(self, rates: ManagementRates | None) -> None:
        self._rates = rates
        self._buckets = Buckets()

    def admit(self, attempt: Attempt, now: datetime) -> tuple[tuple[str, str], ...]:
        """Count a request; the headers that tell how many are left. Raises `Failure(THROTTLED)`."""
        rates = self._rates
        if rates is None:
            return ()
        target = attempt.route.id
        kind, rate = _kind(rates, attempt.verb)
        place = target.subscription or attempt.caller.tenant_id
        claims = [Claim((kind, place, attempt.caller.principal_id), rate)]
        if target.subscription is not None:
            claims.append(Claim((kind, place), rate.times(rates.principals)))
        own = len(claims)
        claims += _identity_claims(rates, attempt)
        left = self._buckets.take(claims, now.timestamp())
        if isinstance(left, Shortage):
            throttled_by_service = claims.index(left.claim) >= own
            raise _of_service(target, left) if throttled_by_service else _of_manager(kind, attempt.caller, target, left)
        scope = "subscription" if target.subscription is not None else "tenant"
        names = (f"x-ms-ratelimit-remaining-{scope}-{kind}", f"x-ms-ratelimit-remaining-{scope}-global-{kind}")
        return tuple((name, str(count)) for name, count in zip(names, left[:own], strict=False))

    def admit_made(self, caller: Caller, target: ResourceId, batch: Batch, now: datetime) -> None:
        """Count what a write is about to make; raises `Failure(THROTTLED)`."""
        rates = self._rates
        if rates is None:
            return
        claims = list(_made(rates, caller.tenant_id, target, batch))
        if claims and isinstance(short := self._buckets.take(claims, now.timestamp()), Shortage):
            raise _of_service(target, short)


def _kind(rates: ManagementRates, verb: Verb) -> tuple[str, Rate]:
    if not verb.writes:
        return "reads", rates.reads
    return ("deletes", rates.deletes) if verb is Verb.DELETE else ("writes", rates.writes)


def _identity_claims(rates: ManagementRates, attempt: Attempt) -> Sequence[Claim]:
    route = attempt.route
    if not isinstance(route, InstanceRoute | CollectionRoute) or route.type.name.lower() != _IDENTITIES:
        return ()
    word, own = _identity_rates(rates, attempt)
    return (
        Claim(("identity", word, "tenant", attempt.caller.tenant_id), own.tenant),
        Claim(("identity", word, "subscription", route.id.subscription or ""), own.subscription),
        Claim(("identity", word, "resource", route.id.key), own.resource),
    )


def _identity_rates(rates: ManagementRates, attempt: Attempt) -> tuple[str, IdentityRates]:
    if isinstance(attempt.route, CollectionRoute):
        return "list", rates.identity_lists
    if not attempt.verb.writes:
        return "get", rates.identity_reads
    return ("delete", rates.identity_deletes) if attempt.verb is Verb.DELETE else ("write", rates.identity_writes)


def _made(rates: ManagementRates, tenant_id: str, target: ResourceId, batch: Batch) -> Iterator[Claim]:
    """What the operations make of identities, in the region of the resource that they write."""
    made: Counter[str] = Counter()
    region = _NOWHERE
    for one in batch.operations:
        if not isinstance(one, Put):
            continue
        if one.collection.name == RESOURCES.name and isinstance(one.value, Resource):
            region = (one.value.location or _NOWHERE).replace(" ", "").lower()
        elif one.expect is ABSENT and one.collection.name == IDENTITY_ASSIGNMENTS.name:
            made["assigned"] += 1
        elif one.expect is ABSENT and one.collection.name == PRINCIPALS.name and _is_managed(one.value):
            made["made"] += 1
    limits = {
        "made": (rates.identities_made_in_tenant, rates.identities_made_in_subscription),
        "assigned": (rates.identities_assigned_in_tenant, rates.identities_assigned_in_subscription),
    }
    for word, count in made.items():
        in_tenant, in_subscription = limits[word]
        yield Claim((word, "tenant", tenant_id, region), in_tenant, count)
        yield Claim((word, "subscription", target.subscription or "", region), in_subscription, count)


def _is_managed(value: object) -> bool:
    return isinstance(value, Principal) and value.type is PrincipalType.MANAGED_IDENTITY


def _of_manager(kind: str, caller: Caller, target: ResourceId, short: Shortage) -> Failure:
    where = f"subscription '{target.subscription}'" if target.subscription is not None else f"tenant '{caller.tenant_id}'"
    return Failure(
        FailureKind.THROTTLED,
        f"the number of {kind} by '{caller.principal_id}' in {where} exceeded the limit: please try again after "
        f"{short.seconds} seconds",
        code="SubscriptionRequestsThrottled" if target.subscription is not None else "TenantRequestsThrottled",
        retry_after=str(short.seconds),
    )


def _of_service(target: ResourceId, short: Shortage) -> Failure:
    return Failure(
        FailureKind.THROTTLED,
        f"the request is temporarily throttled because too many like it were made for '{target}' or around it: please try again "
        f"after {short.seconds} seconds",
        code="TooManyRequests",
        retry_after=str(short.seconds),
    )
