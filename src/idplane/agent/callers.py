"""Who asks: the process at the other end of a connection, proved by the kernel's own tables, and what a host's bindings let it see.

A proof is: the client's socket (`sockets`) → every process that holds it (`processes.holders`) → what each of them is (`read_process`)
→ the bindings that admit all of them (`bindings.admitting`) → still the same socket. It is made in other threads, in the caller's own
turn, and fails closed.

A proof is kept with its connection and stands for a second at most, and only while its processes are the same programs of the same users,
hold the same descriptor, and no process that was born since has it from one of them. So a connection that is handed on by fork and exec is
proved anew, and one that is kept costs a few microseconds a request. A host without bindings needs no proof: there one is made before a token is fetched, for the log,
and if that fails nothing is refused.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar, TypeVarTuple, Unpack

from idplane.agent.bindings import ProcessFacts, admitting, binding_for, refusing, visible, workload_of
from idplane.agent.fairness import FairShare
from idplane.agent.identities import HostDescription, HostedIdentity
from idplane.agent.lookups import MachineLookups
from idplane.agent.peers import Process
from idplane.agent.processes import (
    Births,
    Holder,
    Mark,
    descends,
    has_ended,
    holders,
    inherited,
    read_process,
    unproven,
)
from idplane.agent.protocol import Peer
from idplane.agent.sockets import ClientSocket, SocketTables
from idplane.model.bindings import Binding
from idplane.model.calls import Workload
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Clock

__all__ = ["Caller", "Callers", "Place"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 4
_STANDS_SECONDS = 1.0
_FEW = 16
_ROUNDS = 4
_NOT_ONE = "no process that this agent may look into holds the connection"
_NOT_BOUND = "No binding of this host admits the process that asks"
_NOT_ALL_BOUND = "Several processes hold this connection, and no binding of this host admits all of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where somebody asks: what a listener says about whoever connects to it."""

    run_id: str | None = None
    tables: SocketTables | None = None
    """The sockets of the network that the listener is in; None if it is unknown, so that nobody can be told there."""
    own_network: bool = False
    """Whether that network is the run's alone."""
    process: Process | None = None
    """The process of a run that shares this machine's network; its descriptor stays its owner's."""


_Known: TypeAlias = tuple[ProcessFacts, Mark]
_End: TypeAlias = Peer | Process | None
"""Who is at the other end: a connection's peer, a process that is known already, or nobody who could be told."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Proof:
    processes: tuple[ProcessFacts, ...]
    """All that hold the connection, the oldest first."""
    asked: tuple[Binding, ...]
    """The host's bindings at that time."""
    admitting: tuple[Binding, ...]
    refused: str
    """Where none admits them: what each binding asks for and they do not show (`refusing`)."""
    marks: tuple[Mark, ...]
    inode: int | None
    """The client's socket; None for a process that was known without one."""
    births: int | None
    """The newest process of which it is known that it, and those before it, do not hold the connection unless they are named."""
    at: float


class Caller:
    """Somebody at one place: one object for each connection, with what has been proved of it."""

    __slots__ = ("_callers", "_end", "_host", "_place", "_proof", "_uid", "_view")

    def __init__(self, callers: Callers, place: Place, end: _End) -> None:
        self._callers = callers
        self._place = place
        self._end = end
        self._proof: _Proof | None = None
        self._uid: int | None = None
        self._host: HostDescription | None = None
        self._view: HostDescription | None = None

    @property
    def key(self) -> Hashable:
        """Whose turn it takes: the process' if it was proved, else the user's, else the listener's."""
        if self._proof is not None:
            return self._proof.processes[0].pid, self._proof.processes[0].started
        return self._user(), self._place.run_id

    def view(self, host: HostDescription) -> HostDescription | None:
        """The host as this caller may see it; None if that must be proved first. Quick.

        Raises CALLER_NOT_BOUND for one that is proved to be nobody whom the host admits.
        """
        if not host.bindings:
            return host
        proof = self._proof
        if proof is None or proof.asked is not host.bindings or not self._callers.stands(proof):
            return None
        return self._seen(proof, host)

    async def admitted(self, host: HostDescription) -> HostDescription:
        """The host as this caller may see it, proved if need be; raises CALLER_UNPROVEN, CALLER_NOT_BOUND, THROTTLED."""
        view = self.view(host)
        return view if view is not None else self._seen(await self._prove(host.bindings), host)

    async def recognise(self, host: HostDescription) -> None:
        """Find out who asks, for the log; never mind if that can't be told."""
        proof = self._proof
        if proof is not None and proof.asked is host.bindings and (host.bindings or self._callers.stands(proof)):
            return  # where there are bindings, the identity was chosen by this very proof
        try:
            await self._prove(host.bindings)
        except Failure:
            self._proof = None

    def workload(self, host: HostDescription, identity: HostedIdentity) -> Workload:
        """What is known of this caller, as it was proved last, and the binding that leads it to the identity."""
        known = self.known()
        if self._proof is None or self._proof.asked is not host.bindings:
            return known
        binding = binding_for(identity, self._proof.admitting)
        return replace(known, binding=binding.name) if binding else known

    def known(self) -> Workload:
        """What is known of this caller, if only its user."""
        if self._proof is not None:
            return workload_of(self._proof.processes[0], self._place.run_id)
        return Workload(run_id=self._place.run_id, uid=self._user())

    async def _prove(self, bindings: tuple[Binding, ...]) -> _Proof:
        self._proof = self._view = None
        self._proof = await self._callers.prove(self._place, self._end, bindings, self.key)
        if isinstance(self._end, Peer):
            self._end.caller = self.key
        return self._proof

    def _seen(self, proof: _Proof, host: HostDescription) -> HostDescription:
        if not proof.admitting:
            words = _NOT_BOUND if len(proof.processes) == 1 else _NOT_ALL_BOUND
            raise Failure(FailureKind.CALLER_NOT_BOUND, words, bindings=proof.refused)
        if self._host is not host or self._view is None:
            self._host, self._view = host, visible(host, proof.admitting)
        return self._view

    def _user(self) -> int | None:
        """The user who made the socket, as far as this machine's own tables tell."""
        if self._uid is None and isinstance(self._end, Peer) and not self._place.own_network:
            found = _client(self._place, self._end)
            self._uid = found.uid if found else None
        return self._uid


class Callers:
    """Proves callers. One for each agent; lives until `close`."""

    def __init__(self, *, clock: Clock, share: FairShare) -> None:
        self._clock = clock
        self._share = share
        self._lookups = MachineLookups()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="idplane-callers")
        self._births, self.tables = _machine()
        self._searches = _Searches(self._pool, self._births) if self._births else None

    def caller(self, place: Place, end: _End) -> Caller:
        """Who is at the other end. What was found out of a connection is kept with it."""
        if not isinstance(end, Peer):
            return Caller(self, place, end)
        if isinstance(end.proof, Caller):
            return end.proof
        caller = Caller(self, place, end)
        if not end.closed:
            end.proof = caller
        return caller

    def stands(self, proof: _Proof) -> bool:
        """Whether a proof is still one."""
        if self._births is None or not 0 <= self._clock.monotonic() - proof.at < _STANDS_SECONDS:
            return False
        return all(mark.stands() for mark in proof.marks) and _none_inherited(proof, self._births)

    async def prove(self, place: Place, end: _End, bindings: tuple[Binding, ...], key: Hashable) -> _Proof:
        """Find out who is at the other end, in the turn of `key`; raises CALLER_UNPROVEN, THROTTLED."""
        if self._births is None or self._searches is None:
            raise unproven("this system does not tell")
        async with self._share.turn(key):
            births, at = self._births.last(), self._clock.monotonic()
            if isinstance(end, Peer):
                inode, found = await self._connected(place, end, self._searches)
            elif end is not None:
                inode, found = None, [await self._in_thread(_known, end)]
            else:
                raise unproven("nothing is known of it")
            processes, marks = tuple(facts for facts, _ in found), tuple(mark for _, mark in found)
            admitted = await self._in_thread(admitting, bindings, processes, self._lookups) if bindings else ()
            unmet = "" if admitted or not bindings else await self._in_thread(refusing, bindings, processes, self._lookups)
            if not all(mark.stands() for mark in marks):
                raise unproven("the process changed while it was looked at")
            return _Proof(
                processes=processes,
                asked=bindings,
                admitting=admitted,
                refused=unmet,
                marks=marks,
                inode=inode,
                births=births,
                at=at,
            )

    async def close(self) -> None:
        """Stop whatever is being found out."""
        if self._searches is not None:
            await self._searches.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.tables is not None:
            self.tables.close()
        if self._births is not None:
            self._births.close()

    async def _connected(self, place: Place, peer: Peer, searches: _Searches) -> tuple[int, list[_Known]]:
        client = _client(place, peer)
        if client is None:
            raise unproven("its socket is not on this machine, or is closed")
        found = await searches.holders(client.inode)
        if not found:
            raise unproven(_NOT_ONE)
        processes = await self._in_thread(_examined, found, client.inode, place)
        if _client(place, peer) != client:
            raise unproven("the connection changed meanwhile")
        return client.inode, processes

    async def _in_thread(self, work: Callable[[Unpack[Ts]], T], /, *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


class _Searches:
    """Searches for holders of sockets, one at a time; whoever asks during one shares the next, so that none misses what came before."""

    def __init__(self, pool: ThreadPoolExecutor, births: Births) -> None:
        self._pool = pool
        self._births = births
        self._waiting: list[tuple[int, asyncio.Future[tuple[Holder, ...]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def holders(self, inode: int) -> tuple[Holder, ...]:
        """All that hold the socket; raises CALLER_UNPROVEN."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Holder, ...]] = loop.create_future()
        self._waiting.append((inode, answer))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._search())
        return await answer

    async def close(self) -> None:
        """Give up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        _end_all(self._waiting, unproven("the agent is stopping").detail)

    async def _search(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            inodes = frozenset(inode for inode, _ in batch)
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._pool, holders, inodes, self._births)
            except Failure as failure:
                _end_all(batch, failure.detail)
            except Exception:  # noqa: BLE001 - whatever went wrong, nobody may be left waiting for an answer
                _end_all(batch, unproven("the machine's processes could not be looked through").detail)
            except asyncio.CancelledError:
                _end_all(batch, unproven("the agent is stopping").detail)
                raise
            else:
                for inode, answer in batch:
                    if not answer.done():
                        answer.set_result(found.get(inode, ()))


def _end_all(batch: list[tuple[int, asyncio.Future[tuple[Holder, ...]]]], detail: str) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(Failure(FailureKind.CALLER_UNPROVEN, detail))


def _none_inherited(proof: _Proof, births: Births) -> bool:
    """Whether no process that was born since has the connection from its parent; few are looked at, more are a reason to look at all."""
    for _ in range(_ROUNDS):
        now = births.last()
        if now is None or proof.births is None:
            return False
        if now == proof.births or proof.inode is None:
            return True
        if not 0 < now - proof.births <= _FEW:
            return False
        if inherited(range(proof.births + 1, now + 1), proof.inode, [one.pid for one in proof.processes]):
            return False
        proof.births = now
    return False


def _machine() -> tuple[Births | None, SocketTables | None]:
    """What this machine tells of its processes and sockets; nothing where it has no such tables."""
    if sys.platform != "linux":
        return None, None
    try:
        births = Births()
    except OSError:
        return None, None
    try:
        return births, SocketTables.here()
    except OSError:
        return births, None


def _client(place: Place, peer: Peer) -> ClientSocket | None:
    return None if place.tables is None or peer.closed else place.tables.client(peer.transport_socket)


def _examined(found: tuple[Holder, ...], inode: int, place: Place) -> list[_Known]:
    """What each process that holds a connection is, the oldest first."""
    links = {one.pid: one.link for one in found}
    known = [read_process(pid, (link, inode)) for pid, link in links.items()]
    known.sort(key=lambda one: (one[0].started, one[0].pid))
    return [(_placed(facts, place), mark) for facts, mark in known]


def _known(process: Process) -> _Known:
    if has_ended(process.descriptor):
        raise unproven("the process is gone")
    return read_process(process.pid, None, process.descriptor)


def _placed(process: ProcessFacts, place: Place) -> ProcessFacts:
    """The process with whether it belongs to the run that the place is for."""
    run = place.process
    inside = place.own_network or (run is not None and descends(process.pid, run.pid, run.descriptor))
    return replace(process, in_run=inside and place.run_id is not None)
