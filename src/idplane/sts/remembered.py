"""What was decided a moment ago for a client assertion that is sent again, as agents and msal4j do.

A token rests on five records, and reading them costs a third of what its signature does. All of them are required unchanged by
the commit that makes the token's record durable, so a decision that was right once may be tried again without reading: if anything
moved, the commit is refused and the decision is made anew from the store. Only permission is taken from memory, never a refusal,
and what time or the request alone decides is checked each time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from idplane.model.calls import Call
from idplane.model.directory import AssertionUse, Tenant
from idplane.ports.collections import TENANTS
from idplane.ports.store import Batch, Require, Versioned
from idplane.sts.bounded import Bounded
from idplane.sts.clients import still_proves
from idplane.sts.entitlement import Entitlement, asks_itself
from idplane.sts.requests import TokenRequest

__all__ = ["Decision", "Remembered"]

_CAPACITY = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """That a client of a tenant is entitled, and what must still be so when the token's record becomes durable."""

    tenant: Versioned[Tenant]
    entitlement: Entitlement
    requirements: Batch

    @classmethod
    def of(cls, tenant: Versioned[Tenant], entitlement: Entitlement) -> Decision:
        """The decision, with its requirements worked out once."""
        required = Batch.of(Require(collection=TENANTS, key=tenant.value.id, expect=tenant.version))
        return cls(tenant=tenant, entitlement=entitlement, requirements=required + entitlement.requirements())


class Remembered:
    """Decisions by the assertion that led to them."""

    def __init__(self) -> None:
        self._known: Bounded[bytes, Decision] = Bounded(_CAPACITY)

    def recall(self, request: TokenRequest, call: Call, now: datetime) -> Decision | None:
        """The decision that this request led to before, if nothing but the store could say otherwise by now."""
        if request.client_assertion is None:
            return None
        known = self._known.get(_digest(request.client_assertion))
        if known is None:
            return None
        tenant, agent = known.tenant.value, known.entitlement.agent
        if agent is not None and not asks_itself(agent.value, call):
            return None
        same = request.tenant.lower() in (tenant.id, tenant.domain)
        return known if same and still_proves(known.entitlement.client, request, tenant, now) else None

    def keep(self, request: TokenRequest, decision: Decision) -> None:
        """Remember what a token was issued for; nothing for a client that showed no assertion of its own, or may not show it again."""
        client = decision.entitlement.client
        again = client.claims is not None and client.principal.value.assertion_use is AssertionUse.ANY
        if request.client_assertion is not None and again:
            self._known.put(_digest(request.client_assertion), decision)

    def forget(self, request: TokenRequest) -> None:
        """The decision did not hold."""
        if request.client_assertion is not None:
            self._known.pop(_digest(request.client_assertion))


def _digest(assertion: str) -> bytes:
    return hashlib.sha256(assertion.encode("utf-8", "surrogatepass")).digest()
