"""Revoke → refused everywhere, in one process: two servers over one SQLite store, and a number of followers that each hold the token.

A round revokes the tokens of one identity. It ends when both servers refuse the token, introspection at both calls it inactive, no follower
serves it from its cache any more, and a receiver has got the signed event. The same for the commit alone, which is the limit.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from measure import percentile, print_environment

from idplane.agent.eviction import eviction_of
from idplane.agent.tokens import Token, TokenCache, TokenKey
from idplane.bootstrap.issuer_documents import HttpIssuerDocuments
from idplane.bootstrap.seed import ensure_installation
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.directory import clients
from idplane.directory.audiences import Audiences
from idplane.directory.revocation import revoke_principal
from idplane.keys import KeyRing
from idplane.model.calls import Call
from idplane.model.directory import Principal
from idplane.model.failure import Failure
from idplane.model.profile import OPEN
from idplane.model.security_events import Delivery
from idplane.ports.collections import APPLICATIONS, CREDENTIALS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Change, Put, Store
from idplane.providers.token_revocation import STREAMS
from idplane.rbac import AccessControl
from idplane.store.sqlite import SqliteStore
from idplane.sts import TokenAuthenticator, TokenService
from idplane.sts.event_streams import EventStreams, StreamWish
from idplane.sts.inspectors import Inspectors
from idplane.sts.requests import Endpoint, TokenRequest
from idplane.sts.security_events import SecurityEvents
from idplane.testing.worlds import MemoryCustody

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
FOLLOWERS = (1, 100, 1000)


class Follower:
    """What an agent keeps, and what it does when the feed tells of something."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self.cache = TokenCache()
        self.key = TokenKey("/host", principal.id, "api://bench", "")
        store.subscribe(self.apply)

    def hold(self, token: str) -> None:
        now = int(SystemClock().now().timestamp())
        kept = Token(access_token=token, client_id="", resource="api://bench", not_before=now - 300, expires_on=now + 3600)
        self.cache.put(self.key, kept, now)

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            eviction = eviction_of(change)
            if eviction is not None and eviction.tokens is not None:
                self.cache.evict(eviction.tokens)


class Receiver:
    """Takes events at once."""

    def __init__(self) -> None:
        self.got = asyncio.Event()

    async def push(self, url: str, event: str, *, authorization: str | None, private: bool) -> int:
        del url, event, authorization, private
        self.got.set()
        return 202


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Two servers' worth of services, a client and a receiver."""

    store: SqliteStore
    entropy: SystemEntropy
    service: TokenService
    authenticators: tuple[TokenAuthenticator, ...]
    events: SecurityEvents
    receiver: Receiver
    principal: Principal
    request: TokenRequest

    @classmethod
    async def open(cls, path: Path) -> Scene:
        """Over a new database."""
        clock, entropy, custody = SystemClock(), SystemEntropy(), MemoryCustody()
        store = await SqliteStore.open(path, clock=clock)
        world = World(clock=clock, entropy=entropy, store=store, custody=custody, profile=OPEN)
        tenant, now = (await ensure_installation(world)).tenant.id, clock.now()
        rings = [await KeyRing.open(store=store, custody=custody, clock=clock, entropy=entropy, profile=OPEN) for _ in range(2)]
        authenticators = tuple(TokenAuthenticator(store=store, ring=one, clock=clock) for one in rings)
        app = clients.new_application(
            tenant_id=tenant, display_name="api", entropy=entropy, now=now, identifier_uris=("api://bench",)
        )
        principal = clients.new_application_principal(
            tenant_id=tenant, display_name="api", entropy=entropy, now=now, client_id=app.client_id
        )
        secret = clients.new_secret(principal, entropy=entropy, now=now, lifetime=timedelta(days=1))
        made = ((APPLICATIONS, app), (PRINCIPALS, principal), (CREDENTIALS, secret.credential))
        await store.commit(Batch.of(*(Put(collection=one, value=value, expect=ABSENT) for one, value in made)))
        receiver = Receiver()
        inspectors = Inspectors(store=store, access=AccessControl(store=store))
        common = {"store": store, "signer": rings[1], "inspectors": inspectors, "action": STREAMS, "custody": custody}
        timing = {"clock": clock, "entropy": entropy}
        streams = EventStreams(audiences=Audiences(store=store), **common, **timing)  # type: ignore[arg-type]  # keywords of many types, told twice
        wish = StreamWish(issuer="https://bench", delivery=Delivery.PUSH, endpoint="https://receiver.example/")
        await streams.create(principal, wish)
        return cls(
            store=store,
            entropy=entropy,
            service=TokenService(
                store=store,
                ring=rings[0],
                audiences=Audiences(store=store),
                clock=clock,
                entropy=entropy,
                profile=OPEN,
                authenticator=authenticators[0],
                documents=HttpIssuerDocuments(),
            ),
            authenticators=authenticators,
            events=SecurityEvents(receivers=receiver, **common, **timing),  # type: ignore[arg-type]  # as above
            receiver=receiver,
            principal=principal,
            request=TokenRequest(
                tenant=tenant,
                authority="https://localhost",
                endpoint=Endpoint.V1,
                grant_type="client_credentials",
                client_id=app.client_id,
                client_secret=secret.secret,
                audience="api://bench",
            ),
        )

    async def refused(self, token: str) -> bool:
        """By the targets of both servers, and inactive at both."""
        for one in self.authenticators:
            for ask in (partial(one.inspect, token), partial(one.authenticate, token, {"api://bench"})):
                try:
                    await ask()
                except Failure:
                    continue
                return False
        return True

    async def revoke(self) -> None:
        """All tokens of the client."""
        row = await self.store.get(PRINCIPALS, self.principal.id)
        assert row is not None
        now = SystemClock().now()
        await self.store.commit(await revoke_principal(self.store, row, entropy=self.entropy, now=now))


async def measured(path: Path, followers: int) -> tuple[list[float], list[float]]:
    """Seconds of each round, and of its commit."""
    scene = await Scene.open(path)
    held = [Follower(scene.store, scene.principal) for _ in range(followers)]
    duty = asyncio.create_task(scene.events.run())
    call = Call(request_id="r", correlation_id="c", received_at=SystemClock().now())
    whole, commits = [], []
    for _ in range(ROUNDS):
        token = (await scene.service.issue(scene.request, call)).access_token
        for one in held:
            one.hold(token)
        assert not await scene.refused(token)
        scene.receiver.got.clear()
        begun = time.perf_counter()
        await scene.revoke()
        commits.append(time.perf_counter() - begun)
        assert await scene.refused(token)
        assert all(one.cache.get(one.key) is None for one in held)
        await scene.receiver.got.wait()
        whole.append(time.perf_counter() - begun)
    duty.cancel()
    await asyncio.gather(duty, return_exceptions=True)
    await scene.store.close()
    return whole, commits


def main() -> None:
    """Print the table."""
    print_environment()
    print(f"revoke -> refused everywhere, {ROUNDS} rounds, milliseconds (p50, p99, max); in brackets the commit alone")
    with tempfile.TemporaryDirectory() as folder:
        for followers in FOLLOWERS:
            whole, commits = asyncio.run(measured(Path(folder) / f"{followers}.db", followers))
            shown = " ".join(f"{1000 * percentile(whole, one):7.2f}" for one in (0.5, 0.99, 1.0))
            alone = " ".join(f"{1000 * percentile(commits, one):7.2f}" for one in (0.5, 0.99, 1.0))
            print(f"{followers:5d} followers  {shown}   [{alone}]")


if __name__ == "__main__":
    main()
