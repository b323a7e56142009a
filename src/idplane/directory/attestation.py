"""Enrolling a machine: evidence in, an agent out, or a refusal that is on record before it is told.

    rate → challenge, unspent → facts that are claimed → enrollments that ask for such facts → what they trust, checked →
    exactly one left → one commit: the evidence spent, the predecessor gone, the agent there, the event

Everything before the commit costs a bounded amount of work for a stranger, and no memory. Who fits no enrollment, or several, is told
just that: nothing of what else there is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.arm.sparing import Sparing
from idplane.directory.agent_events import ENROLLMENTS_TYPE, JOIN, AgentEvent
from idplane.directory.agents import AgentCertifier, refusal_by_state
from idplane.directory.challenges import Challenge, Challenges
from idplane.directory.evidence import Evidence, Presented, refused
from idplane.directory.join_tokens import redeem
from idplane.jose import certificate_thumbprint
from idplane.model.calls import Call
from idplane.model.directory import Agent
from idplane.model.enrollments import UNPINNED, Enrollment, Facts, JoinMethod, Trust, hosts_of, pin_of
from idplane.model.events import ActivityEvent
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.rates import EnrollmentRates
from idplane.model.values import JsonObject
from idplane.ports.agent_records import removed
from idplane.ports.collections import ACTIVITY, AGENTS, CARRIAGES, ENROLLMENTS, JOIN_TOKENS, RESOURCES, SPENT_PROOFS
from idplane.ports.store import ABSENT, Append, Batch, CommitRefused, Delete, Put, Require, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["Attestation", "Offered", "Reader", "Wanted"]

Reader = Callable[[Evidence], Awaitable[Presented]]
"""What reads one method's evidence."""
Offerer = Callable[[JsonObject, bytes], tuple[Mapping[str, str], Mapping[str, str]]]
"""What a method's challenge holds besides the nonce: what the machine is told, and what the server must find again."""

_ATTEMPTS: Final = 4
_MOST_CANDIDATES: Final = 256
_MOST_TRUSTS: Final = 32
"""Different authorities, keys or issuers that one attempt is checked against."""
_MOST_FACTS: Final = 64
_SWEPT: Final = 20
_UNRECORDED: Final = frozenset({Category.INTERNAL, Category.UNAVAILABLE, Category.THROTTLED})
_NO_MATCH: Final = "the evidence does not make this machine the host of a resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request to enroll."""

    method: JoinMethod
    evidence: JsonObject = field(repr=False)
    csr: bytes = field(repr=False)
    challenge: str | None = field(default=None, repr=False)
    host: ResourceId | None = None
    """The resource that the machine takes itself for, if it says so."""
    audience: str = ""
    """What tokens of other issuers must be for: this API and the server's public address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A challenge with what its method tells the machine besides."""

    challenge: Challenge
    told: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The one enrollment, what was proved, and the operations that use the evidence up."""

    enrollment: Versioned[Enrollment]
    facts: Facts
    spent: Batch


class Attestation:
    """Enrolls machines. Of strangers it remembers how often they have come, for a bounded number of addresses."""

    def __init__(  # noqa: PLR0913 - its whole world, spelled out
        self,
        *,
        store: Store,
        authority: AgentCertifier,
        custody: KeyCustody,
        clock: Clock,
        entropy: Entropy,
        profile: Profile,
        home_tenant: str,
        readers: Mapping[JoinMethod, Reader],
        offerers: Mapping[JoinMethod, Offerer] | None = None,
        unchallenged: frozenset[JoinMethod] = frozenset({JoinMethod.OIDC}),
    ) -> None:
        """`home_tenant` has the log of attempts that belong to no resource."""
        self._store = store
        self._authority = authority
        self._challenges = Challenges(custody=custody, clock=clock, entropy=entropy)
        self._clock = clock
        self._entropy = entropy
        self._profile = profile
        self._home_tenant = home_tenant
        self._readers = readers
        self._offerers = offerers or {}
        self._unchallenged = unchallenged
        self._buckets = Buckets()
        self._sparing = Sparing(clock)

    async def challenge(self, method: JoinMethod, offered: JsonObject, call: Call) -> Offered:
        """A challenge for a method; raises `Failure(THROTTLED)`, and ENROLLMENT_REFUSED for what the method cannot use."""
        self._admit(call)
        nonce = self._challenges.new_nonce()
        offer = self._offerers.get(method)
        try:
            told, kept = offer(offered, nonce) if offer else ({}, {})
        except Failure as failure:
            await self._record(method, failure, call)
            raise
        return Offered(challenge=self._challenges.make(method, nonce, kept), told=told)

    async def enroll(self, wanted: Wanted, call: Call) -> Agent:
        """The agent that the machine is from now on.

        Raises `Failure`: ENROLLMENT_REFUSED, CSR_INVALID, THROTTLED; AGENT_BANNED and AGENT_LOCKED where the machine is known as an agent
        that is not served.
        """
        self._admit(call)
        try:
            return await self._enroll(wanted, call)
        except Failure as failure:
            if failure.kind.category not in _UNRECORDED:
                await self._record(wanted.method, failure, call)
            raise

    async def _enroll(self, wanted: Wanted, call: Call) -> Agent:
        if not wanted.csr:
            raise Failure(FailureKind.CSR_INVALID, "the certificate request is empty")
        agent_id = self._entropy.guid()
        certificate = b""
        for _ in range(_ATTEMPTS):
            chosen = await self._chosen(wanted)
            # Not before it is known whose: the authority's key may be in a token, which is slow and signs for no stranger.
            certificate = certificate or self._authority.issue_agent(
                wanted.csr, agent_id, self._profile.agent_certificate_lifetime
            )
            enrollment = chosen.enrollment.value
            now = self._clock.now()
            agent = Agent(
                id=agent_id,
                display_name=f"{enrollment.host.name} ({enrollment.name})",
                certificate=certificate,
                thumbprint=certificate_thumbprint(certificate),
                enrolled_at=now,
                hosts=await self._hosts(enrollment),
                method=enrollment.method.value,
                facts=chosen.facts,
                enrollment=enrollment.id,
                host=enrollment.host,
                tenant_id=enrollment.tenant_id,
                addresses=(call.client_address,) if call.client_address else (),
            )
            event = self._event(agent, enrollment, call)
            try:
                predecessors = await self._predecessors(enrollment)
                await self._store.commit(
                    chosen.spent
                    + predecessors
                    + await self._standing(
                        chosen.enrollment, settled=bool(predecessors) or enrollment.method is JoinMethod.TOKEN
                    )
                    + Batch.of(Put(collection=AGENTS, value=agent, expect=ABSENT), Append(log=ACTIVITY, event=event))
                    + await self._swept()
                )
            except CommitRefused as conflict:
                if conflict.collection == SPENT_PROOFS.name:
                    raise _spent(str(enrollment.host)) from conflict
                continue
            return agent
        raise Failure(FailureKind.UNAVAILABLE, "the enrollment keeps changing; try again")

    # Which enrollment ------------------------------------------------------------------------------------------------

    async def _chosen(self, wanted: Wanted) -> _Chosen:
        if wanted.method is JoinMethod.TOKEN:
            return await self._by_token(wanted)
        reader = self._readers.get(wanted.method)
        if reader is None:
            raise refused("the method is not one that machines can join by here")
        challenge = None
        if wanted.method not in self._unchallenged:
            challenge = self._challenges.read(wanted.challenge, wanted.method)
        evidence = self._evidence(wanted)
        if challenge is not None:
            evidence = replace(evidence, nonce=challenge.nonce, sealed=challenge.further)
        presented = await reader(evidence)
        spent = presented.spent + ((challenge.spent,) if challenge is not None else ())
        for one in spent:
            if await self._store.get(SPENT_PROOFS, one.key) is not None:
                raise _spent()
        enrollment, facts = await self._matching(wanted, presented)
        return _Chosen(
            enrollment=enrollment,
            facts=facts,
            spent=Batch.of(*(Put(collection=SPENT_PROOFS, value=one, expect=ABSENT) for one in spent)),
        )

    async def _by_token(self, wanted: Wanted) -> _Chosen:
        enrollment, token = await redeem(self._store, self._evidence(wanted))
        host = enrollment.value.host
        if wanted.host is not None and wanted.host != host:
            raise refused("the join token is for another host", resource=str(host))
        used = replace(token.value, used_at=self._clock.now())
        return _Chosen(
            enrollment=enrollment,
            facts=(("joinToken", token.value.id),),
            spent=Batch.of(Put(collection=JOIN_TOKENS, value=used, expect=token.version)),
        )

    def _evidence(self, wanted: Wanted) -> Evidence:
        return Evidence(members=wanted.evidence, csr=wanted.csr, audience=wanted.audience, now=self._clock.now())

    async def _matching(self, wanted: Wanted, presented: Presented) -> tuple[Versioned[Enrollment], Facts]:
        """The one enrollment that asks for what is proved, and that; raises `Failure(ENROLLMENT_REFUSED)` for none and for several."""
        if len(presented.facts) > _MOST_FACTS:
            raise refused(f"the evidence tells more than {_MOST_FACTS} facts")
        admitting = [one for one in await self._candidates(wanted, presented.facts) if one.value.admits(presented.facts)]
        by_trust: dict[Trust, list[Versioned[Enrollment]]] = {}
        for one in admitting:
            by_trust.setdefault(one.value.trust, []).append(one)
        if len(by_trust) > _MOST_TRUSTS:
            raise refused(_NO_MATCH, reason=f"it would have to be checked against more than {_MOST_TRUSTS} authorities")
        proved: list[tuple[Versioned[Enrollment], Facts]] = []
        reasons: list[str] = []
        for trust, those in by_trust.items():
            try:
                facts = await presented.check(trust)
            except Failure as failure:
                if failure.kind is not FailureKind.ENROLLMENT_REFUSED:
                    raise
                reasons.append(failure.data.get("reason") or failure.detail)
            else:
                proved += [(one, facts) for one in those if one.value.admits(facts)]
        if len(proved) == 1:
            return proved[0]
        if proved:
            several = ", ".join(sorted(one.value.key for one, _ in proved))
            raise refused(_NO_MATCH, reason=f"several enrollments ask for it: {several}")
        raise refused(_NO_MATCH, reason="; ".join(reasons) or "no enrollment asks for such facts")

    async def _candidates(self, wanted: Wanted, facts: Facts) -> list[Versioned[Enrollment]]:
        """Enrollments that may ask for such facts: of the host that is named, or those that one of the facts leads to."""
        method = wanted.method.value
        if wanted.host is not None:
            page = await self._store.page(
                ENROLLMENTS, where={"host_key": wanted.host.key, "method": method}, limit=_MOST_CANDIDATES
            )
            return list(page.items)
        found: list[Versioned[Enrollment]] = []
        for pin in dict.fromkeys((*(pin_of(*fact) for fact in facts), UNPINNED)):
            where = {"pin": pin, "method": method}
            found += (await self._store.page(ENROLLMENTS, where=where, limit=_MOST_CANDIDATES + 1)).items
            if len(found) > _MOST_CANDIDATES:
                raise refused(
                    "the evidence may mean too many resources; name the host that is meant",
                    reason=f"more than {_MOST_CANDIDATES} enrollments ask for a fact of it",
                )
        return found

    async def _hosts(self, enrollment: Enrollment) -> tuple[str, ...]:
        carried = await self._store.all(CARRIAGES, where={"enrollment_id": enrollment.id})
        return hosts_of(enrollment, [one.value for one in carried])

    # The commit -----------------------------------------------------------------------------------------------------

    async def _predecessors(self, enrollment: Enrollment) -> Batch:
        """The end of the agent that the machine was before. A join token makes a further agent: its machine proves nothing else."""
        operations = Batch()
        if enrollment.method is JoinMethod.TOKEN:
            return operations
        for one in await self._store.all(AGENTS, where={"enrollment_id": enrollment.id}):
            failure = refusal_by_state(one.value)
            if failure is not None:
                raise Failure(failure.kind, failure.detail, resource=str(enrollment.host))
            operations += await removed(self._store, one)
        return operations

    async def _standing(self, enrollment: Versioned[Enrollment], *, settled: bool) -> Batch:
        """What must still be so: the enrollment, and its resource.

        Of two that join at once by one enrollment, and of one that joins while its enrollment is changed, one has to come first. That is
        `settled` where the join takes something away, a predecessor or a token; else the enrollment's own version tells.
        """
        host = await self._store.get(RESOURCES, enrollment.value.host.key)
        if host is None:
            raise refused(_NO_MATCH, reason="the enrollment's resource is gone")
        unchanged = Require(collection=ENROLLMENTS, key=enrollment.value.key, expect=enrollment.version)
        touched = Put(collection=ENROLLMENTS, value=enrollment.value, expect=enrollment.version)
        return Batch.of(
            unchanged if settled else touched,
            Require(collection=RESOURCES, key=enrollment.value.host.key, expect=host.version),
        )

    async def _swept(self) -> Batch:
        """A few proofs whose time is over anyway."""
        oldest = await self._store.page(SPENT_PROOFS, limit=_SWEPT)
        past = (one.value for one in oldest.items if one.value.is_forgettable(self._clock.now()))
        return Batch.of(*(Delete(collection=SPENT_PROOFS, key=one.key) for one in past))

    # Rates and records ----------------------------------------------------------------------------------------------

    def _admit(self, call: Call) -> None:
        rates: EnrollmentRates | None = self._profile.enrollment_rates
        if rates is None:
            return
        claims = (Claim(("all",), rates.altogether), Claim(("address", call.client_address or ""), rates.address))
        shortage = self._buckets.take(claims, self._clock.monotonic())
        if isinstance(shortage, Shortage):
            raise Failure(FailureKind.THROTTLED, "too many machines are joining", retry_after=str(shortage.seconds))

    def _event(self, agent: Agent, enrollment: Enrollment, call: Call) -> ActivityEvent:
        resource = enrollment.host.extension(ENROLLMENTS_TYPE, enrollment.name)
        told = AgentEvent(
            operation=JOIN,
            resource_id=resource,
            tenant_id=enrollment.tenant_id,
            agent_id=agent.id,
            facts={"method": enrollment.method.value, "facts": _shown(agent.facts), "address": call.client_address or ""},
        )
        return told.recorded(self._entropy.guid(), self._clock.now(), call)

    async def _record(self, method: JoinMethod, failure: Failure, call: Call) -> None:
        """On record by itself, unless there were too many of late: then it is counted along with others (`Failure.on_record`)."""
        if not self._sparing.has_room(call):
            return
        known = failure.data.get("resource")
        told = AgentEvent(
            operation=JOIN,
            resource_id=ResourceId.parse(known) if known else ResourceId(()),
            tenant_id=self._home_tenant,
            facts={
                "method": method.value,
                "because": failure.detail,
                "reason": failure.data.get("reason", ""),
                "address": call.client_address or "",
            },
            refusal=failure,
        )
        event = told.recorded(self._entropy.guid(), self._clock.now(), call)
        await self._store.commit(Batch.of(Append(log=ACTIVITY, event=event)))
        failure.on_record = True


def _shown(facts: Facts) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts)


def _spent(resource: str = "") -> Failure:
    known = {"resource": resource} if resource else {}
    return refused("the evidence was used before", **known)
