"""Where dialects get tokens from: who is meant, what is cached, what is asked of the server, and what a change takes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from idplane.agent.answers import FROM_SERVER
from idplane.agent.callers import Caller
from idplane.agent.credentials import Credentials
from idplane.agent.eviction import eviction_of
from idplane.agent.fairness import FairShare
from idplane.agent.flights import Flights
from idplane.agent.identities import HostDescription, HostedIdentity, NoSelector, Selector, select
from idplane.agent.plane import IssuedCertificate, UpstreamToken
from idplane.agent.tokens import CachedToken, Token, TokenCache, TokenKey
from idplane.model.calls import Workload
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.scale_sets import identity_host_key
from idplane.ports.store import Change
from idplane.ports.world import Clock

__all__ = ["Refresh", "TokenAsk", "TokenSource"]

_ATTEMPTS = 4
_REPLACEMENTS = 2
_SCALE_SETS = "/virtualmachinescalesets/"
_MAX_HOSTS = 4096
_ALIVE_SECONDS = 3.0
"""How long a use waits for the successor of a token that still lives, if not for long."""
_GONE = frozenset({FailureKind.RESOURCE_NOT_FOUND, FailureKind.NOT_ENTITLED})
_OF_OLD = frozenset({FailureKind.IDENTITY_NOT_FOUND, FailureKind.IDENTITY_AMBIGUOUS, FailureKind.CALLER_NOT_BOUND})
"""Refusals that a host's description leads to, and that a newer one may not."""
_LOOK_AGAIN_SECONDS = 0.25
"""How often a host is described again because somebody was refused: a program that asks wrongly in a loop costs the server no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """A wish for another token than the cached one (MIE section 1.9)."""

    bypass: bool = False
    """Whatever is cached (`bypass_cache=true`)."""
    bad_token: str | None = None
    """Only if the cached token has this SHA-256 (`token_sha256_to_refresh`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAsk:
    """A request for a token, with everything that the listener and the dialect know about it."""

    host: ResourceId
    selector: Selector | None
    default: NoSelector
    resource: str
    capabilities: tuple[str, ...] = ()
    refresh: Refresh | None = None


Vouch: TypeAlias = Callable[[ResourceId, str, bytes], Awaitable[IssuedCertificate]]
"""Ask the server for a certificate for a workload's own key: host, principal id, request."""
Describe: TypeAlias = Callable[[ResourceId], Awaitable[HostDescription]]
"""Ask the server what a host is."""
Exchange: TypeAlias = Callable[[HostDescription, HostedIdentity, TokenAsk, str], Awaitable[UpstreamToken]]
"""Ask the token service for a token with an assertion."""


class TokenSource:
    """Tokens and descriptions for the hosts of this agent.

    Invariant: what `cached` and `token` return was in the cache at that moment, hence not evicted. Work under way for something
    that is evicted brings nothing back. Nobody gets or names an identity that the host's bindings hide from him: the choice is made
    among those that `Caller` lets him see, for cached tokens as for others.
    """

    def __init__(
        self,
        *,
        describe: Describe,
        exchange: Exchange,
        vouch: Vouch,
        credentials: Credentials,
        share: FairShare,
        clock: Clock,
    ) -> None:
        self._describe = describe
        self._vouch = vouch
        self._exchange = exchange
        self._credentials = credentials
        self._share = share
        self._clock = clock
        self._tokens = TokenCache()
        self._hosts: dict[str, HostDescription] = {}
        self._looked: dict[str, float] = {}
        """When each host was described again because of a refusal (`Clock.monotonic`)."""
        self._barred: Failure | None = None
        self._token_flights: Flights[TokenKey, Token] = Flights(self._land_token)
        self._host_flights: Flights[str, HostDescription] = Flights(self._land_host)

    def cached(self, ask: TokenAsk, caller: Caller, now: float) -> Token | None:
        """The token, if it can be had without waiting; `now` in seconds since the epoch. Refuses nobody.

        Starts a refresh in the background when one is due.
        """
        host = self._hosts.get(ask.host.key)
        if host is None or ask.refresh is not None:
            return None
        try:
            view = caller.view(host)
            if view is None:
                return None
            identity = select(view, ask.selector, ask.default)
        except Failure:
            return None
        key = _key(host, ask, identity)
        entry = self._tokens.get(key)
        if entry is None or not entry.serves(now):
            return None
        if now >= entry.refresh_at:
            entry.postpone(now)
            self._token_flights.begin(key, partial(self._refreshed, host, identity, ask, caller))
        return entry.token

    async def token(self, ask: TokenAsk, caller: Caller) -> Token:
        """The token, from the cache or from the server.

        Raises IDENTITY_NOT_FOUND, IDENTITY_AMBIGUOUS, CALLER_UNPROVEN, CALLER_NOT_BOUND, HOST_NOT_BOUND, AGENT_UNKNOWN, UNAVAILABLE, THROTTLED, and what the token
        service refused (with its words, `plane.ANSWER`).
        """
        try:
            return await self._attempts(ask, caller)
        except Failure as failure:
            if failure.kind in _GONE:
                raise Failure(FailureKind.IDENTITY_NOT_FOUND, "Identity not found", **failure.data) from failure
            raise

    async def certificate(
        self, host: ResourceId, selector: Selector | None, csr: bytes, caller: Caller
    ) -> tuple[HostDescription, HostedIdentity, IssuedCertificate]:
        """A certificate for a key that the caller holds itself, of an identity that it may use; nothing of it is kept here.

        Raises what `host_for` and `select` do, CSR_INVALID, NOT_ENTITLED, THROTTLED, UNAVAILABLE.
        """
        described = await self.host_for(host, caller)
        identity = select(described, selector, NoSelector.SYSTEM_OR_ONLY)
        async with self._share.turn(caller.key):
            return described, identity, await self._vouch(described.id, identity.principal_id, csr)

    async def host_for(self, host: ResourceId, caller: Caller) -> HostDescription:
        """What `caller` may see of a host; raises what `host` does, CALLER_UNPROVEN, CALLER_NOT_BOUND, THROTTLED."""
        return await caller.admitted(await self.host(host))

    async def host(self, host: ResourceId) -> HostDescription:
        """What the server says of a host; raises RESOURCE_NOT_FOUND, HOST_NOT_BOUND, AGENT_UNKNOWN, UNAVAILABLE."""
        for _ in range(_ATTEMPTS):
            if self._barred is not None:
                raise Failure(FailureKind.AGENT_UNKNOWN, self._barred.detail)
            known = self._hosts.get(host.key)
            if known is not None:
                return known
            await self._host_flights.join(host.key, partial(self._ask_description, host))
        raise Failure(FailureKind.UNAVAILABLE, "the host changed while it was looked up")

    def apply(self, changes: Sequence[Change]) -> None:
        """Evict what the changes concern."""
        for change in changes:
            eviction = eviction_of(change)
            if eviction is None:
                continue
            if eviction.every_token:
                self.forget_tokens()
            if eviction.tokens is not None:
                self._evict_tokens(eviction.tokens)
            if eviction.description is not None:
                self._evict_description(eviction.description)
            if eviction.keys:
                self._credentials.drop(eviction.keys)
            revoked_on = self._credentials.drop_credential(eviction.credential) if eviction.credential else None
            if revoked_on is not None:
                self._evict_tokens(revoked_on)

    def forget(self) -> None:
        """Evict everything that the server may have changed meanwhile; keys stay, since each use of one is checked there."""
        self.forget_tokens()
        self._hosts.clear()
        self._host_flights.supersede(lambda _: True)

    def bar(self, failure: Failure) -> None:
        """Evict everything, keys included, and let nobody in: everything raises AGENT_UNKNOWN from here on."""
        self._barred = failure
        self.forget()
        self._credentials.drop(frozenset())

    def admit(self) -> None:
        """Serve again."""
        self._barred = None

    @property
    def size(self) -> int:
        """How many tokens are held."""
        return len(self._tokens)

    def forget_tokens(self) -> None:
        """Evict every token."""
        self._tokens.clear()
        self._token_flights.supersede(lambda _: True)

    async def close(self) -> None:
        """Stop all work and forget everything."""
        await self._token_flights.close()
        await self._host_flights.close()
        await self._credentials.close()
        self._tokens.clear()
        self._hosts.clear()

    async def _attempts(self, ask: TokenAsk, caller: Caller) -> Token:
        """Look, fetch, look again: what was evicted between its arrival and our turn is fetched anew, under the new facts."""
        before = self._hosts.get(ask.host.key)
        for _ in range(_ATTEMPTS):
            host = await self.host(ask.host)
            try:
                view = await caller.admitted(host)
                if self._hosts.get(ask.host.key) is not host:
                    continue  # it changed while the caller was proved
                identity = select(view, ask.selector, ask.default)
            except Failure as refusal:
                if refusal.kind in _OF_OLD and host is before and await self._looked_again(ask.host, caller):
                    continue
                raise
            key = _key(host, ask, identity)
            entry = self._tokens.get(key)
            if entry is not None and not self._wanted(ask, entry):
                return entry.token
            await self._fetched(key, host, identity, ask, caller)
            ask = replace(ask, refresh=None)
        raise Failure(FailureKind.UNAVAILABLE, "the identity changed while its token was fetched")

    async def _looked_again(self, host: ResourceId, caller: Caller) -> bool:
        """Have a host described anew, if that can be done and was not done just now."""
        if self._clock.monotonic() < self._looked.get(host.key, -_LOOK_AGAIN_SECONDS) + _LOOK_AGAIN_SECONDS:
            return False
        with suppress(Failure):  # then what is known has to do
            async with self._share.turn(caller.key):
                await self._host_flights.join(host.key, partial(self._ask_description, host))
            if len(self._looked) >= _MAX_HOSTS:
                self._looked.clear()
            self._looked[host.key] = self._clock.monotonic()
            return True
        return False

    def _wanted(self, ask: TokenAsk, entry: CachedToken) -> bool:
        """Whether another token than this one must be fetched."""
        if not entry.serves(self._clock.now().timestamp()):
            return True
        refresh = ask.refresh
        return refresh is not None and (refresh.bypass or refresh.bad_token == entry.token.sha256)

    async def _fetched(
        self, key: TokenKey, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, caller: Caller
    ) -> None:
        """Fetch; if the server can't be reached or has too much to do, a token that is nearly but not quite expired has to do."""
        wait = _ALIVE_SECONDS if ask.refresh is None and self._alive(key) else None
        try:
            async with asyncio.timeout(wait):
                await self._flown(key, host, identity, ask, caller)
        except (Failure, TimeoutError) as failure:
            entry = self._alive(key)
            passing = isinstance(failure, TimeoutError) or _is_passing(failure)
            if not passing or entry is None or ask.refresh is not None:
                raise
            entry.spent_at = entry.token.expires_on

    def _alive(self, key: TokenKey) -> CachedToken | None:
        entry = self._tokens.get(key)
        return entry if entry is not None and self._clock.now().timestamp() < entry.token.expires_on else None

    async def _flown(
        self, key: TokenKey, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, caller: Caller
    ) -> None:
        """Join the fetch that is under way, whoever began it; or begin one, in the caller's own turn and, for the log, known by name."""
        work = partial(self._fetch, host, identity, ask, caller)
        if self._token_flights.flying(key):
            await self._token_flights.join(key, work)
            return
        await caller.recognise(host)
        async with self._share.turn(caller.key):
            entry = self._tokens.get(key)
            if entry is None or self._wanted(ask, entry):
                await self._token_flights.join(key, work)

    async def _refreshed(self, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, caller: Caller) -> Token:
        await caller.recognise(host)
        return await self._fetch(host, identity, ask, caller)

    async def _fetch(self, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, caller: Caller) -> Token:
        try:
            answer = await self._exchanged(host, identity, ask, caller.workload(host, identity))
        except Failure as failure:
            if failure.kind in _GONE:  # the news of it is still under way
                self._hosts.pop(ask.host.key, None)
            raise
        return Token(
            access_token=answer.access_token,
            client_id=identity.client_id,
            resource=ask.resource,
            not_before=answer.not_before,
            expires_on=answer.expires_on,
        )

    async def _exchanged(
        self, host: HostDescription, identity: HostedIdentity, ask: TokenAsk, workload: Workload
    ) -> UpstreamToken:
        """One token from the server; a refused credential is replaced, a second time in case servers' clocks are not the same.

        What is refused then is this agent's affair and no answer to the workload, which did nothing wrong: UNAVAILABLE.
        """
        detail = ""
        for _ in range(1 + _REPLACEMENTS):
            assertion = await self._credentials.assertion(host, identity, workload)
            try:
                return await self._exchange(host, identity, ask, assertion.text)
            except Failure as failure:
                if failure.kind is not FailureKind.ASSERTION_INVALID:
                    raise
                detail = failure.detail
            self._credentials.refused(assertion)
        raise Failure(FailureKind.UNAVAILABLE, f"the token service keeps refusing this agent's credentials: {detail}")

    async def _ask_description(self, host: ResourceId) -> HostDescription:
        return await self._describe(host)

    def _land_token(self, key: TokenKey, token: Token) -> None:
        self._tokens.put(key, token, self._clock.now().timestamp())

    def _land_host(self, key: str, host: HostDescription) -> None:
        if len(self._hosts) >= _MAX_HOSTS:
            self._hosts.clear()
        self._hosts[key] = host

    def _evict_description(self, name: str) -> None:
        """What is known of a host and, if it is a scale set, of its instances."""
        self._hosts.pop(name, None)
        self._host_flights.supersede(lambda key: identity_host_key(key) == name or key == name)
        if _SCALE_SETS in name:
            for key in [key for key in self._hosts if identity_host_key(key) == name]:
                del self._hosts[key]

    def _evict_tokens(self, name: str) -> None:
        self._tokens.evict(name)
        self._token_flights.supersede(lambda key: name in (key.host, key.principal_id))


def _is_passing(failure: Failure) -> bool:
    """Whether the servers, not the workload, are why there is no token, and only for a while."""
    throttled = failure.kind is FailureKind.THROTTLED and FROM_SERVER in failure.data
    return throttled or failure.kind is FailureKind.UNAVAILABLE


def _key(host: HostDescription, ask: TokenAsk, identity: HostedIdentity) -> TokenKey:
    return TokenKey(host.id.key, identity.principal_id, ask.resource, ",".join(ask.capabilities))
