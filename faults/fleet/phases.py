"""What happens to a fleet, one thing after the other, and what has to hold on any machine."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from faults.fleet.addresses import ADDRESS
from faults.fleet.members import Member
from faults.fleet.plant import Operator, Plant, Usage
from faults.fleet.seeding import seed
from idplane.model.failure import Failure

__all__ = ["Fleet", "Line"]

_AT_ONCE: Final = 12
"""Machines that are made at a time."""
_LOOK: Final = 0.01
_PATIENCE: Final = 120.0
_BASE_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure, or some of one kind, for people to read."""

    what: str
    said: str


@dataclass(kw_only=True)
class Fleet:
    """All members and what was found. `wrong` are sentences; a run without any is good."""

    plant: Plant
    operator: Operator
    shared: int
    """User-assigned identities of each machine, beside its own."""
    members: list[Member] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    base: Counter[str] = field(default_factory=Counter)
    """What a server that has no agents asks its database, in `_BASE_SECONDS`."""

    async def begin(self) -> None:
        """What the server does by itself."""
        await self.operator.sign_in()
        await self.operator.call("PUT", self.operator.group, {"location": "westeurope"})
        self.plant.forget_statements()
        await asyncio.sleep(_BASE_SECONDS)
        self.base = self.plant.statements()
        resident = self.plant.usage().held.resident
        self._say("a server without agents", f"{self.base.total() / _BASE_SECONDS:.1f} queries/s, {resident >> 20} MB")

    async def create(self, count: int) -> None:
        """Machines come into being as fast as they can be made; each agent joins and gets its first token."""
        room, joins, firsts = asyncio.Semaphore(_AT_ONCE), list[float](), list[float]()

        async def one(number: int) -> None:
            ADDRESS.set(f"127.1.{number >> 8}.{number & 255}")
            async with room:
                member, created, joined = await Member.create(self.plant, self.operator, f"m{number}")
                self.members.append(member)
                if len(self.members) % 100 == 0:
                    print(f"  {len(self.members)} members", flush=True)
                await member.token()
                joins.append(joined - created)
                firsts.append(time.monotonic() - created)

        before, after = await self._meanwhile(asyncio.gather(*map(one, range(count))))
        took = after.at - before.at
        self._say(f"{count} machines with an identity each created, joined, first token", f"in {took:.1f} s")
        self._say("  machine created → its agent has joined", _spread(joins))
        self._say("  machine created → first token, joining included", _spread(firsts))
        self._say("  used", self._used(before, after, per=count))
        await seed(self.plant.running.url("postgres"), self.members, shared=self.shared)
        self._say(f"{count * self.shared} further identities", "written into the database")

    async def idle(self, seconds: float) -> None:
        """Nothing happens."""
        end = self.plant.feed_end()
        # Who was left behind by the writing of identities reads them first, which is no idleness.
        await self._wait("everybody knows of every change", lambda: all(one.knows(end) for one in self.members))
        asked = sum(one.asked for one in self.members)
        self.plant.forget_statements()
        before, after = await self._meanwhile(asyncio.sleep(seconds))
        polls, statements = sum(one.asked for one in self.members) - asked, self.plant.statements()
        took = after.at - before.at
        share, database = (after.server - before.server) / took, (after.database - before.database) / took
        self._say(
            f"{len(self.members)} agents idle for {took:.0f} s",
            f"server {share:.1%} of a core, database {database:.1%}; {statements.total() / took:.1f} queries/s"
            f" ({self.base.total() / _BASE_SECONDS:.1f} without agents), {polls / took:.1f} questions for changes a second;"
            f" {after.held.resident >> 20} MB, {after.held.descriptors} descriptors",
        )
        self.lines += [Line(what="  ", said=f"{calls}|{one[:110]}") for one, calls in statements.most_common(6)]
        for one, calls in statements.items():
            # Duties ask some too, a few more or less by chance: what a question for changes costs is asked as often as agents ask.
            extra = calls - self.base[one] * took / _BASE_SECONDS
            if extra > polls / 4:
                self.wrong.append(f"{polls} questions of idle agents for changes cost the database {extra:.0f} times: {one}")

    async def tokens(self, each: int) -> None:
        """Everybody asks at once for what nobody holds yet: `each` identities of each machine."""
        wanted = [one.token(number) for number in range(each) for one in self.members]
        took: list[float] = []

        async def ask(token: Awaitable[float]) -> None:
            try:
                took.append(await token)
            except Failure as failure:
                self.wrong.append(f"a token could not be had: {failure}")

        before, after = await self._meanwhile(asyncio.gather(*map(ask, wanted)))
        self._say(
            f"{len(took)} tokens that nobody holds, all asked for at once",
            f"{len(took) / (after.at - before.at):.0f}/s; {_spread(took)}",
        )
        self._say("  used", self._used(before, after, per=max(len(took), 1)))

    async def warm(self) -> None:
        """Everybody has a token of its own again."""
        room = asyncio.Semaphore(4 * _AT_ONCE)

        async def ask(one: Member) -> None:
            async with room:
                await one.token()

        await asyncio.gather(*map(ask, self.members))

    async def revoke_all(self) -> None:
        """All tokens of the tenant."""
        held = sum(one.agent.cached_tokens for one in self.members)
        began = time.monotonic()
        await self.operator.call("POST", "/providers/Idplane.Authority/revokeTokens", {})
        acknowledged = time.monotonic() - began
        gone = await self._until_each(lambda one: one.agent.cached_tokens == 0, "lost its tokens")
        self._say(
            f"{held} tokens of the tenant revoked at once: gone from the caches of all agents",
            f"acknowledged after {acknowledged * 1000:.0f} ms; {_spread([one - began for one in gone])}",
        )
        await self.operator.sign_in()

    async def revoke_each(self) -> None:
        """Each machine's tokens by themselves, one after the other."""
        took: list[float] = []
        before = self.plant.usage()
        for one in self.members:
            began = time.monotonic()
            await self.operator.call("POST", f"{one.id}/providers/Idplane.Authority/revokeTokens", {})
            while one.agent.cached_tokens and time.monotonic() < began + _PATIENCE:  # noqa: ASYNC110 - looks from outside, as a workload does
                await asyncio.sleep(0.001)
            took.append(time.monotonic() - began)
            if one.agent.cached_tokens:
                self.wrong.append(f"{one.id} kept its tokens")
        after = self.plant.usage()
        self._say(f"{len(took)} single revocations: asked → gone from the agent's cache", _spread(took))
        self._say("  used", self._used(before, after, per=len(took)))

    async def unassign_all(self) -> None:
        """An identity of each machine is deleted, all at once: nobody gets a token of it any more."""
        await asyncio.gather(*(one.token(0) for one in self.members))
        room, took = asyncio.Semaphore(_AT_ONCE), list[float]()

        async def end(one: Member) -> None:
            async with room:
                began = time.monotonic()
                name = one.id.rpartition("/")[2]
                identities = f"{self.operator.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
                await self.operator.call("DELETE", f"{identities}/{name}-0")
                took.append(await self._until_refused(one, one.shared[0], began))

        await asyncio.gather(*map(end, self.members))
        self._say(f"{len(took)} identities deleted: asked → refused by the machine's agent", _spread(took))

    async def rounds(self, count: int) -> None:
        """Over and over: an identity comes into being, gives its first token through an agent, and ends."""
        firsts, ends = list[float](), list[float]()
        for number in range(count):
            one = self.members[number % len(self.members)]
            identity = f"{self.operator.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/round-{number}"
            made = await self.operator.call("PUT", identity, {"location": "westeurope"})
            began = time.monotonic()
            block = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {identity: {}}}
            await self.operator.call("PATCH", one.id, {"identity": block})
            await one.token_of(made["properties"]["clientId"])
            firsts.append(time.monotonic() - began)
            began = time.monotonic()
            await self.operator.call("DELETE", identity)
            ends.append(await self._until_refused(one, made["properties"]["clientId"], began))
        self._say(f"{count} identities assigned one after the other: asked → first token through the agent", _spread(firsts))
        self._say("  deleted: asked → refused by the server and through the agent", _spread(ends))

    async def restart(self) -> None:
        """The server goes and comes back; all agents with it."""
        before = datetime.now(UTC)
        await asyncio.to_thread(self.plant.stop)
        down = time.monotonic()
        await asyncio.to_thread(self.plant.start)
        up = time.monotonic()
        started = datetime.now(UTC)
        used = self.plant.usage()
        back = await self._until_each(
            lambda one: one.is_well and (one.agent.condition.heard_at or before) > started, "came back"
        )
        await self._wait("everybody waits again", lambda: all(one.is_well for one in self.members))
        after = self.plant.usage()
        self._say(
            f"server restarted in {up - down:.1f} s: serving → each agent hears of changes", _spread([one - up for one in back])
        )
        self._say("  used", self._used(used, after, per=len(self.members)))

    async def close(self) -> None:
        """End all agents."""
        await asyncio.gather(*(one.close() for one in self.members))
        await self.operator.close()

    async def _until_refused(self, one: Member, client_id: str, began: float) -> float:
        """Seconds from `began` until the machine gives no token of an identity any more; that it still does is wrong."""
        while not await _is_refused(one, client_id):
            if time.monotonic() > began + _PATIENCE:
                self.wrong.append(f"{one.id} still gives tokens of an identity that is gone")
                break
            await asyncio.sleep(0.001)
        return time.monotonic() - began

    async def _meanwhile(self, work: Awaitable[object]) -> tuple[Usage, Usage]:
        before = self.plant.usage()
        await work
        return before, self.plant.usage()

    async def _until_each(self, holds: Callable[[Member], bool], what: str) -> list[float]:
        """The moments at which it held for each member; whoever never got there is wrong."""
        waiting, found = list(self.members), list[float]()
        until = time.monotonic() + _PATIENCE
        while waiting and time.monotonic() < until:
            later = [one for one in waiting if not holds(one)]
            found += [time.monotonic()] * (len(waiting) - len(later))
            waiting = later
            await asyncio.sleep(_LOOK)
        if waiting:
            self.wrong.append(f"{len(waiting)} agents never {what}, {waiting[0].id} for one: {waiting[0].agent.condition}")
        return found

    async def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE
        while not holds():
            if time.monotonic() > until:
                self.wrong.append(f"it never came to that: {what}")
                return
            await asyncio.sleep(_LOOK)

    def _used(self, before: Usage, after: Usage, *, per: int) -> str:
        seconds = after.at - before.at
        return (
            f"server {(after.server - before.server) * 1e3 / per:.2f} ms of CPU each ({(after.server - before.server) / seconds:.0%} of a core),"
            f" database {(after.database - before.database) * 1e3 / per:.2f}; {(after.queries - before.queries) / per:.1f} queries each;"
            f" {after.held.resident >> 20} MB, {after.held.descriptors} descriptors"
        )

    def _say(self, what: str, said: str) -> None:
        self.lines.append(Line(what=what, said=said))
        print(f"{what}: {said}", flush=True)


async def _is_refused(member: Member, client_id: str) -> bool:
    try:
        await member.token_of(client_id)
    except Failure:
        return True
    return False


def _spread(seconds: Iterable[float]) -> str:
    """p50, p99 and the most, in milliseconds."""
    ordered: Sequence[float] = sorted(one * 1000 for one in seconds)
    if not ordered:
        return "none"
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f}, max {ordered[-1]:.0f}"
