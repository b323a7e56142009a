"""What the dialects share: the listener that they speak for, the checks that come first, and that nothing escapes them."""

from __future__ import annotations

import abc
import asyncio
import hmac
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from idplane.agent.answers import REFUSAL_ID
from idplane.agent.callers import Caller, Callers, Place
from idplane.agent.plans import Plans, Service, TokenPlan, Wish
from idplane.agent.protocol import Peer, Request
from idplane.agent.query import Target
from idplane.agent.rates import Gate
from idplane.agent.refusals import Refusals, is_reported, refusal_of
from idplane.agent.replies import Reply
from idplane.agent.source import TokenSource
from idplane.agent.upstream import RETRY_AFTER
from idplane.model.dialects import Dialect
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.telemetry import AGENT_TOKENS, NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock, Entropy

__all__ = ["Endpoint", "Listener", "Seen", "World", "examine", "same_secret"]

_FETCH_SECONDS = 18.0
"""The longest that a workload waits, whatever is tried for it: then it is told to try again. What is under way goes on."""
_LATE_SECONDS = "5"
_log = logging.getLogger("idplane.agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What a listening socket says about whoever connects to it."""

    host: ResourceId
    """The resource that is asking: nothing in a request can change it."""
    names: frozenset[bytes]
    """Host header values that it answers to, lower case. Others mean DNS rebinding."""
    secret: str | None = field(default=None, repr=False)
    require_metadata: bool = True
    """Whether `Metadata: true` is needed; the .NET probe behind a host override wants it off (MIE section 1.4)."""
    dialect: Dialect = Dialect.IMDS
    place: Place = field(default_factory=Place)
    """Where that is, for telling who connects."""
    key_folder: int | None = None
    """An open folder for the files that Arc's challenge names; stays its opener's."""
    gate: Gate | None = None
    """How often IMDS may be asked here; None for as often as anyone likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What dialects need beside the listener."""

    source: TokenSource
    callers: Callers
    refusals: Refusals
    clock: Clock
    entropy: Entropy
    telemetry: Telemetry = NO_TELEMETRY


class Seen(NamedTuple):
    """What the headers of a request say."""

    forwarded: bool
    host: bytes | None
    """Lower case; None if absent or repeated."""
    wanted: bytes | None
    """The value of the header that was looked for; None if absent or repeated."""


def examine(headers: list[tuple[bytes, bytes]], wanted: bytes) -> Seen:
    """One pass over the headers; `wanted` in lower case. Lengths are compared first, because most headers are neither.

    The parser leaves the optional whitespace behind a value (RFC 9112 section 5.1) to its readers.
    """
    forwarded, hosts, found = False, 0, 0
    host = value_found = None
    size_wanted = len(wanted)
    for name, value in headers:
        size = len(name)
        if size == size_wanted and name.lower() == wanted:
            found += 1
            value_found = value.strip()
        elif size == 4 and name.lower() == b"host":  # noqa: PLR2004 - the length of "host"
            hosts += 1
            host = value.strip().lower()
        elif size == 15 and name.lower() == b"x-forwarded-for":  # noqa: PLR2004 - the length of the name beside it
            forwarded = True
    return Seen(forwarded, host if hosts == 1 else None, value_found if found == 1 else None)


def same_secret(given: bytes | None, expected: str | None) -> bool:
    """Whether the caller knows the listener's secret, in constant time; a listener without one refuses everyone."""
    if given is None or not expected:
        return False
    return hmac.compare_digest(given, expected.encode())


class Endpoint(abc.ABC):
    """A dialect at one listener. Whatever happens, the answer is in the dialect's words and has an id."""

    _METHODS: ClassVar = frozenset({b"GET"})
    _METHODS_TEXT: ClassVar = "Only GET is served here"

    def __init__(self, listener: Listener, world: World) -> None:
        self._listener = listener
        self._source = world.source
        self._callers = world.callers
        self._refusals = world.refusals
        self._clock = world.clock
        self._entropy = world.entropy
        self._telemetry = world.telemetry
        self._plans = Plans(self._read)

    def answer(self, request: Request, /) -> Reply | Coroutine[Any, Any, Reply]:
        """The answer at once if it can be had, else a coroutine for it."""
        try:
            outcome = self._answer(request)
        except Failure as failure:
            return self._refused(failure, request.peer)
        except Exception:  # noqa: BLE001 - the last line of defence: a bug must not reach the workload, nor end the connection
            return self._bug()
        return outcome if isinstance(outcome, Reply) else self._guarded(outcome, request.peer)

    def refuse(self, failure: Failure, peer: Peer | None = None, /) -> Reply:
        """A request that could not even be read, in the dialect's words."""
        return self._refused(failure, peer)

    def _refused(self, failure: Failure, peer: Peer | None, resource: str | None = None) -> Reply:
        """A failure in the dialect's words, with the id that explains it; the server is told of it if it does not know."""
        request_id = failure.data.get(REFUSAL_ID) or self._entropy.guid()
        if is_reported(failure):
            listener, caller = self._listener, self._caller(peer)
            request_id = self._refusals.note(
                refusal_of(
                    failure,
                    self._clock.now(),
                    refusal_id=request_id,
                    host=listener.host,
                    dialect=listener.dialect,
                    resource=resource,
                    workload=caller.known(),
                )
            )
        return self._worded(failure, request_id)

    def _worded(self, failure: Failure, request_id: str) -> Reply:
        if failure.kind is FailureKind.INTERNAL:
            _log.error("internal failure in request %s", request_id, exc_info=failure)
        return self._render(failure, request_id)

    def tidy(self) -> None:  # noqa: B027 - most dialects keep nothing
        """Drop what has expired."""

    def close(self) -> None:  # noqa: B027 - as above
        """Leave nothing behind."""

    @abc.abstractmethod
    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        """Serve; raises `Failure` for everything that the workload must be told."""

    @abc.abstractmethod
    def _read(self, target: Target, form: bytes) -> Wish | Service:
        """What a target and a form ask for, whoever asks; raises `Failure`. Remembered (`plans`)."""

    @abc.abstractmethod
    def _render(self, failure: Failure, request_id: str) -> Reply:
        """One failure, in the dialect's words; total and never raising."""

    def _caller(self, peer: Peer | None) -> Caller:
        """Who asks over a connection, as far as it is known."""
        return self._callers.caller(self._listener.place, peer)

    def _serve(self, asked: TokenPlan | Service, peer: Peer | None) -> Reply | Coroutine[Any, Any, Reply]:
        """What is asked for; a token at once from memory, or later. What every dialect ends in."""
        if not isinstance(asked, TokenPlan):
            return asked(peer)
        known = peer.proof if peer is not None else None
        caller = known if isinstance(known, Caller) else self._caller(peer)
        now = self._clock.now()
        try:
            token = self._source.cached(asked.ask, caller, now.timestamp())
        except Failure as failure:
            self._count("refused")
            return self._refused(failure, peer, asked.ask.resource)
        if token is None:
            return self._fetched(asked, caller, peer)
        self._count("cached")
        return asked.worded(token, now)

    async def _fetched(self, asked: TokenPlan, caller: Caller, peer: Peer | None) -> Reply:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                token = await self._source.token(asked.ask, caller)
        except TimeoutError:
            self._count("unavailable")
            late = Failure(
                FailureKind.UNAVAILABLE, "The identity service takes too long to answer", **{RETRY_AFTER: _LATE_SECONDS}
            )
            return self._refused(late, peer, asked.ask.resource)
        except Failure as failure:
            self._count("unavailable" if failure.kind is FailureKind.UNAVAILABLE else "refused")
            return self._refused(failure, peer, asked.ask.resource)
        self._count("fetched")
        return asked.worded(token, self._clock.now())

    def _count(self, outcome: str) -> None:
        """One request for a token; "cached" did not have to wait, "fetched" did."""
        self._telemetry.count(AGENT_TOKENS, dialect=self._listener.dialect.value, outcome=outcome)

    async def _guarded(self, outcome: Coroutine[Any, Any, Reply], peer: Peer | None) -> Reply:
        try:
            return await outcome
        except Failure as failure:
            return self._refused(failure, peer)
        except Exception:  # noqa: BLE001 - as in answer
            return self._bug()

    def _bug(self) -> Reply:
        _log.exception("bug at the token endpoint of %s", self._listener.host)
        return self._worded(Failure(FailureKind.UNAVAILABLE, "The request could not be served"), self._entropy.guid())

    def _admit(self, request: Request, seen: Seen) -> None:
        """The checks that all dialects make, cheapest first: method, proxies, host (MIE section 1.7)."""
        if request.method not in self._METHODS:
            raise Failure(FailureKind.METHOD_NOT_ALLOWED, self._METHODS_TEXT)
        if seen.forwarded:
            raise Failure(FailureKind.FORWARDED, "Requests that were forwarded by a proxy are not served")
        if seen.host not in self._listener.names:
            raise Failure(FailureKind.FOREIGN_HOST, "The Host header names a host that is not served here")

    def _admit_authority(self, authority: bytes | None) -> None:
        """The same for the host in an absolute-form target, which outranks the header (RFC 9112 section 3.2.2)."""
        if authority is not None and authority not in self._listener.names:
            raise Failure(FailureKind.FOREIGN_HOST, "The request target names a host that is not served here")
