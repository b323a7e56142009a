"""Agents: who is asking, how long their certificates count, and what a second copy of one brings about.

An agent proves itself twice over: the connection proves its certificate, and each request carries a token that the key of that
very certificate signed. A stolen token is worthless without the key, and so is a proof that is shown to another replica.

A renewal replaces the certificate. The predecessor counts until the successor was used once, so that an agent which never got the
answer, or did not write it down, asks again. After that whoever shows a replaced certificate is a second copy of the host's state.
Nobody can tell which of the two is the host, so both are locked, in the transaction that notices it. It is the same at whichever door it is
shown: at this API by a proof, elsewhere (`look`) by a connection.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from cryptography import x509

from idplane.directory.agent_events import LOCK, REQUEST, AgentEvent, agent_resource
from idplane.directory.shown_proofs import ShownProofs
from idplane.directory.sightings import Sightings
from idplane.jose import (
    Algorithm,
    PublicKey,
    UnverifiedToken,
    b64url_decode,
    certificate_thumbprint,
    numeric_date,
    parse,
    public_key_of,
    verify,
)
from idplane.model.calls import Call
from idplane.model.directory import Agent, AgentState
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.agent_records import credentials_ended
from idplane.ports.collections import ACTIVITY, AGENTS
from idplane.ports.store import Append, Batch, Change, CommitRefused, Put, Store, Versioned
from idplane.ports.world import Clock, Entropy
from idplane.rbac.cache import FeedCache

__all__ = ["AGENT_AUDIENCE", "AgentCertifier", "AgentDirectory", "agent_name", "refusal_by_state", "require_active"]

AGENT_AUDIENCE: Final = "idplane-agent"
"""`aud` of the tokens by which agents prove who they are."""
_LEEWAY: Final = timedelta(seconds=60)
_MAX_LIFETIME: Final = timedelta(minutes=5)
_MAX_ID_LENGTH: Final = 128
_ATTEMPTS: Final = 4
_MOST_ADDRESSES: Final = 4
_TOLD_EVERY: Final = 60.0
_MAX_TOLD: Final = 4096
_RECORDS_KEPT: Final = 20_000
_NAME: Final = "urn:idplane:agent:"


class AgentCertifier(Protocol):
    """What signs agents' certificates; `keys.CredentialAuthority` is one."""

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate, for the chain."""
        ...

    def issue_agent(self, csr_der: bytes, agent_id: str, lifetime: timedelta, /) -> bytes:
        """A certificate, in DER; raises `Failure(CSR_INVALID)`."""
        ...

    async def vouched(self, certificate_der: bytes, /) -> bool:
        """Whether an authority that counts has issued this certificate."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What is needed of a certificate that a connection proved."""

    thumbprint: str
    key: PublicKey
    not_after: datetime
    names: frozenset[str]

    @property
    def agent_id(self) -> str | None:
        """The agent that it names, if it is an agent's."""
        return next((one.removeprefix(_NAME) for one in self.names if one.startswith(_NAME)), None)


def agent_name(agent_id: str) -> str:
    """How an agent's certificate names it."""
    return f"{_NAME}{agent_id}"


class AgentDirectory:
    """Knows agents. Remembers the ids of their recent proofs, so that each is accepted once by this process."""

    def __init__(
        self,
        *,
        store: Store,
        authority: AgentCertifier,
        sightings: Sightings,
        clock: Clock,
        entropy: Entropy,
        profile: Profile,
    ) -> None:
        self._store = store
        self._authority = authority
        self._sightings = sightings
        self._clock = clock
        self._entropy = entropy
        self._profile = profile
        self._proofs = ShownProofs()
        self._told: OrderedDict[str, float] = OrderedDict()
        self._replaced: OrderedDict[str, float] = OrderedDict()
        """Thumbprints of certificates that were shown after they were replaced, and since when this process has known."""
        self._records: FeedCache[Agent] = FeedCache(limit=_RECORDS_KEPT)
        """Agents as the feed has told of them until now: an idle one costs the store no question."""
        self._unsubscribe = store.subscribe(self._on_changes)

    def close(self) -> None:
        """Stop hearing of changes."""
        self._unsubscribe()

    async def authenticate(self, token: str, call: Call) -> Agent:
        """The agent that signed this proof over this connection.

        Checked: ES256 under the key of the certificate that the connection proved, which the header must name (`x5t#S256`); that
        certificate's validity; `iss` and `sub` the agent's id, `aud` this API, `iat` and `exp` at most five minutes apart and around now;
        `jti` not seen before; and that the certificate is the agent's present one, or one whose successor was never used.

        Raises `Failure`: AGENT_BANNED, AGENT_LOCKED for what they say, AGENT_UNKNOWN for everything else that is wrong.
        """
        try:
            proof = parse(token)
            shown = _connection(call)
            agent_id = _signed_by(proof, shown)
            self._check_times(proof.claims, shown)
        except Failure as failure:
            if failure.kind in (FailureKind.TOKEN_INVALID, FailureKind.INVALID_PARAMETER):
                raise _unknown("the agent's token is malformed") from failure
            raise
        if call.client_certificate is None or not await self._authority.vouched(call.client_certificate):
            # Whatever the handshake said: it may be older than the authority's end.
            raise _unknown(
                "the authority that issued the agent's certificate counts for nothing any more: enroll the agent again"
            )
        agent = await self._admitted(agent_id, shown, call)
        self._check_first_use(agent_id, proof.claims)
        self._sightings.note(agent_id, call)
        return agent

    async def look(self, call: Call) -> None:
        """Whether a connection to another door than this API shows a replaced certificate, which locks the agent here as there.

        A handshake proves the key at its time only, and a request may have waited for minutes in a process that was frozen, while its agent went on.
        So it counts on connections that began after this process knew of the replacement: an agent never opens one. Nothing is refused here:
        what a certificate is worth is for each door to say.
        """
        if call.client_certificate is None or call.connected_at is None:
            return
        with suppress(Failure):
            shown = _connection(call)
            agent_id = shown.agent_id
            if agent_id is None:
                return
            known = await self._records.get(agent_id, self._record)
            if known.is_shown_by(shown.thumbprint) or not self._is_late(shown.thumbprint, call.connected_at):
                return
            if self._clock.now() < shown.not_after and await self._authority.vouched(call.client_certificate):
                await self._admitted(agent_id, shown, call)

    def _is_late(self, thumbprint: str, connected_at: float) -> bool:
        since = self._replaced.setdefault(thumbprint, self._clock.monotonic())
        if len(self._replaced) > _MAX_TOLD:
            self._replaced.popitem(last=False)
        return connected_at > since

    async def renew(self, agent: Agent, csr_der: bytes, call: Call) -> Agent:
        """The agent with a new certificate. The one that was shown counts until the new one is used.

        Raises `Failure`: CSR_INVALID, AGENT_UNKNOWN, AGENT_BANNED, AGENT_LOCKED; UNAVAILABLE when the record keeps changing.
        """
        shown = _connection(call)
        certificate = self._authority.issue_agent(csr_der, agent.id, self._profile.agent_certificate_lifetime)
        for _ in range(_ATTEMPTS):
            found = await self._store.get(AGENTS, agent.id)
            if found is None:
                raise _unknown("no such agent is enrolled")
            require_active(found.value)
            if not found.value.is_shown_by(shown.thumbprint):
                raise _unknown("the certificate was replaced meanwhile")
            renewed = replace(
                found.value,
                certificate=certificate,
                thumbprint=certificate_thumbprint(certificate),
                previous_thumbprint=shown.thumbprint,
                confirmed=False,
                renewed_at=self._clock.now(),
                addresses=_with(call.client_address, found.value.addresses),
            )
            with suppress(CommitRefused):
                await self._store.commit(Batch.of(Put(collection=AGENTS, value=renewed, expect=found.version)))
                return renewed
        raise Failure(FailureKind.UNAVAILABLE, "the agent's record keeps changing; try again")

    async def current(self, agent: Agent) -> Agent:
        """The agent as the feed has told of it until now; raises `Failure(AGENT_UNKNOWN | AGENT_BANNED | AGENT_LOCKED)` when it is served no longer."""
        found = await self._records.get(agent.id, self._record)
        require_active(found)
        return found

    async def _record(self, agent_id: str) -> Agent:
        found = await self._store.get(AGENTS, agent_id)
        if found is None:
            raise _unknown("no such agent is enrolled")
        return found.value

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.collection == AGENTS.name:
                self._records.drop(change.key)

    async def _admitted(self, agent_id: str, shown: _Shown, call: Call) -> Agent:
        """The agent, whose present certificate is confirmed by being shown; its lock when a replaced one is.

        What is as it mostly is needs no more than memory; everything else is decided by what the store has.
        """
        known = await self._records.get(agent_id, self._record)
        if known.confirmed and known.is_shown_by(shown.thumbprint) and shown.thumbprint == known.thumbprint:
            return known
        for _ in range(_ATTEMPTS):
            found = await self._store.get(AGENTS, agent_id)
            if found is None:
                raise _unknown("no such agent is enrolled")
            agent = found.value
            await self._require_active(agent, call)
            present = shown.thumbprint == agent.thumbprint
            if agent.confirmed if present else agent.is_shown_by(shown.thumbprint):
                return agent
            confirmed = replace(agent, confirmed=True)
            confirmation = Batch.of(Put(collection=AGENTS, value=confirmed, expect=found.version))
            change = confirmation if present else await self._lock(found, shown, call)
            with suppress(CommitRefused):  # somebody else has changed the record: look again
                await self._store.commit(change)
                if present:
                    return confirmed
                self._may_tell(agent_id)  # the lock's own event has told
                locked = Failure(FailureKind.AGENT_LOCKED, "the agent is locked: its state is in two places")
                locked.on_record = True
                raise locked
        raise Failure(FailureKind.UNAVAILABLE, "the agent's record keeps changing; try again")

    async def _require_active(self, agent: Agent, call: Call) -> None:
        """Raises AGENT_BANNED or AGENT_LOCKED, on record once a minute: whoever is not served must not fill the log."""
        failure = refusal_by_state(agent)
        if failure is None:
            return
        await self._tell_refused(agent.id, agent, failure, call, because=agent.state_because or failure.detail)
        raise failure

    async def refused(self, agent: Agent, failure: Failure, call: Call) -> None:
        """Put on record, once a minute for each kind, that an agent that is served asked for what it may not have."""
        if agent.enrollment is not None:
            await self._tell_refused(f"{agent.id} {failure.kind.name}", agent, failure, call, because=failure.detail)

    async def _tell_refused(self, name: str, agent: Agent, failure: Failure, call: Call, *, because: str) -> None:
        if self._may_tell(name):
            event = AgentEvent(
                operation=REQUEST,
                resource_id=agent_resource(agent),
                tenant_id=agent.tenant_id,
                agent_id=agent.id,
                facts={"because": because, "shownFrom": call.client_address or ""},
                refusal=failure,
            )
            record = event.recorded(self._entropy.guid(), self._clock.now(), call)
            await self._store.commit(Batch.of(Append(log=ACTIVITY, event=record)))
        failure.on_record = True

    def _may_tell(self, agent_id: str) -> bool:
        """Whether the log has not been told of this agent for a minute; then it is, now."""
        now = self._clock.monotonic()
        if now - self._told.get(agent_id, float("-inf")) < _TOLD_EVERY:
            return False
        self._told[agent_id] = now
        self._told.move_to_end(agent_id)
        if len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        return True

    async def _lock(self, found: Versioned[Agent], shown: _Shown, call: Call) -> Batch:
        """The end of an agent of which there are two; raises AGENT_UNKNOWN for a certificate that never was the agent's."""
        agent, now = found.value, self._clock.now()
        if agent.enrollment is None or agent_name(agent.id) not in shown.names:
            raise _unknown("the certificate is not the agent's")
        seen = self._sightings.known(agent.id)
        addresses = _with(call.client_address, _with(seen.address if seen else None, agent.addresses))
        facts = {
            "shownFrom": call.client_address or "",
            "shownAt": now.isoformat(),
            "renewedFrom": next(iter(agent.addresses), ""),
            "renewedAt": (agent.renewed_at or agent.enrolled_at).isoformat(),
            "lastSeenFrom": (seen.address or "") if seen else "",
            "thumbprint": shown.thumbprint,
        }
        because = (
            f"a certificate that was replaced at {facts['renewedAt']} from {facts['renewedFrom'] or 'an unknown address'} was shown"
            f" again at {facts['shownAt']} from {facts['shownFrom'] or 'an unknown address'}: its state is in two places"
        )
        locked = replace(agent, state=AgentState.LOCKED, state_because=because, addresses=addresses)
        event = AgentEvent(
            operation=LOCK,
            resource_id=agent_resource(agent),
            tenant_id=agent.tenant_id,
            agent_id=agent.id,
            facts={**facts, "because": because},
        )
        record = event.recorded(self._entropy.guid(), now, call)
        return await credentials_ended(self._store, agent.id) + Batch.of(
            Put(collection=AGENTS, value=locked, expect=found.version), Append(log=ACTIVITY, event=record)
        )

    def _check_times(self, claims: JsonObject, shown: _Shown) -> None:
        now = self._clock.now()
        if now >= shown.not_after:
            raise _unknown("the agent's certificate has expired")
        issued, expires = numeric_date(claims.get("iat")), numeric_date(claims.get("exp"))
        if expires - issued > _MAX_LIFETIME or not issued - _LEEWAY <= now < expires + _LEEWAY:
            raise _unknown("the agent's token is outside its time, or valid for more than five minutes")

    def _check_first_use(self, agent_id: str, claims: JsonObject) -> None:
        proof_id, until = claims.get("jti"), numeric_date(claims.get("exp")) + _LEEWAY
        if not isinstance(proof_id, str) or not 0 < len(proof_id) <= _MAX_ID_LENGTH:
            raise _unknown("the agent's token has no id")
        if not self._proofs.is_first(agent_id, proof_id, until=until, now=self._clock.now()):
            raise _unknown("the agent's token was shown before")


def require_active(agent: Agent) -> None:
    """Raises `Failure(AGENT_BANNED | AGENT_LOCKED)` for an agent that is not served."""
    failure = refusal_by_state(agent)
    if failure is not None:
        raise failure


def refusal_by_state(agent: Agent) -> Failure | None:
    """Why an agent is not served; None while it is."""
    match agent.state:
        case AgentState.BANNED:
            return Failure(FailureKind.AGENT_BANNED, "the agent is banned", agent=agent.id)
        case AgentState.LOCKED:
            return Failure(FailureKind.AGENT_LOCKED, "the agent is locked: its state was in two places", agent=agent.id)
        case AgentState.ACTIVE:
            return None


def _connection(call: Call) -> _Shown:
    if call.client_certificate is None:
        raise _unknown("the connection proves no agent's certificate")
    return _read(call.client_certificate)


@functools.lru_cache(maxsize=4096)
def _read(der: bytes) -> _Shown:
    """Connections live long and certificates for hours: each is read once."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.InvalidVersion, x509.UnsupportedGeneralNameType) as error:
        raise _unknown("the connection proves no agent's certificate") from error
    return _Shown(
        thumbprint=certificate_thumbprint(der),
        key=public_key_of(der),
        not_after=certificate.not_valid_after_utc,
        names=frozenset(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def _signed_by(proof: UnverifiedToken, shown: _Shown) -> str:
    """The agent that a proof names, whose signature is that of the certificate on the connection."""
    claims = proof.claims
    identifier = claims.get("iss")
    if not isinstance(identifier, str) or claims.get("sub") != identifier or claims.get("aud") != AGENT_AUDIENCE:
        raise _unknown("the agent's token is not meant for this API")
    thumbprint = proof.header.get("x5t#S256")
    if not isinstance(thumbprint, str) or b64url_decode(thumbprint).hex() != shown.thumbprint:
        raise _unknown("the agent's token names another certificate than the connection proves")
    if not verify(proof, shown.key, Algorithm.ES256):
        raise _unknown("the agent's token is not signed by the key of the connection's certificate")
    return identifier


def _with(address: str | None, others: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses, newest first, each once."""
    found = ((address,) if address else ()) + others
    return tuple(dict.fromkeys(found))[:_MOST_ADDRESSES]


def _unknown(detail: str) -> Failure:
    return Failure(FailureKind.AGENT_UNKNOWN, detail)
