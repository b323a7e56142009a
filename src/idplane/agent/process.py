"""The agent as a process of its own: join or go on as who it was, serve, follow, renew, until it is told to stop.

    state folder → who it is (or joining) → upstream → HostAgent → control socket, endpoints → duties

Straight-line; what decides anything is in the parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from idplane import __version__
from idplane.agent.attestors import Attestor
from idplane.agent.backoff import Backoff
from idplane.agent.control import ControlServer
from idplane.agent.control_wire import CONTROL_SOCKET
from idplane.agent.host import HostAgent
from idplane.agent.joining import SINGLE_USE, join
from idplane.agent.local_certificates import LocalCertificates
from idplane.agent.own_hosts import NoPublicNames, OwnHosts
from idplane.agent.remote import HttpsUpstream, ServerAddress
from idplane.agent.renewal import Rejoin, Renewal
from idplane.agent.runs import Runs
from idplane.agent.runs import Surroundings as RunSurroundings
from idplane.agent.server_clock import ServerClock
from idplane.agent.serving import Endpoints, Surroundings
from idplane.agent.settings import EndpointTable
from idplane.agent.state import AgentState, StateDamaged, StateFolder
from idplane.agent.upstream import Upstream
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.telemetry import NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock, Entropy

__all__ = ["DESCRIPTION_FILE", "AgentOptions", "AgentProcess", "JoinProblem", "Refused", "Watching"]

DESCRIPTION_FILE: Final = "plane.json"
_CA_FILE: Final = "ca.pem"
_RUNS_FOLDER: Final = "runs"
_log = logging.getLogger("idplane.agent")


class JoinProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why this host is no agent; its text is one sentence."""


class Refused(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """The servers refuse the agent, and it was told to end then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What an agent was asked to be."""

    servers: tuple[ServerAddress, ...]
    data: Path
    ca: Path | None = None
    """The authority behind the servers' certificates; None for the one that it joined with."""
    attestor: Attestor | None = field(default=None, repr=False)
    """Its proof; None for an agent that has joined."""
    host: str | None = None
    ends_when_refused: bool = False
    endpoints: tuple[EndpointTable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How an agent is watched while it works; nobody does by default."""

    telemetry: Telemetry = NO_TELEMETRY
    observed: Callable[[Upstream], Upstream] = lambda upstream: upstream
    """The way to the servers, as the agent is to use it."""


_UNWATCHED: Final = Watching()


class AgentProcess:
    """A running agent, from `open` to `close`."""

    def __init__(
        self, options: AgentOptions, folder: StateFolder, *, clock: Clock, entropy: Entropy, watching: Watching = _UNWATCHED
    ) -> None:
        self._options = options
        self._watching = watching
        self._folder = folder
        self.clock = ServerClock(clock)
        self._entropy = entropy
        self._stack = AsyncExitStack()
        self._authority = _Authority(options.ca)
        self.upstream = self._new_upstream()
        self.agent: HostAgent
        self.renewal: Renewal
        self.endpoints: Endpoints

    @classmethod
    async def open(
        cls, options: AgentOptions, *, clock: Clock, entropy: Entropy, watching: Watching = _UNWATCHED
    ) -> AgentProcess:
        """Join if need be, and serve. Raises `StateProblem`, `JoinProblem` and `EndpointProblem` for what a person can mend."""
        process = cls(options, StateFolder.open(options.data), clock=clock, entropy=entropy, watching=watching)
        process._stack.callback(process._folder.close)
        try:
            await process._start()
        except BaseException:
            await process.close()
            raise
        return process

    async def run(self) -> None:
        """Follow the servers and keep the certificate good, until cancelled; raises `Refused` where that was asked for."""
        tasks = [asyncio.ensure_future(one) for one in (self.agent.follow(), self.renewal.run(), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result  # a bug ends the process with its traceback, rather than leave it half alive

    async def close(self) -> None:
        """Stop serving and forget every token and key."""
        await self._stack.aclose()

    def status(self) -> JsonObject:
        """What the agent says of itself. Nothing secret."""
        state, condition = self.renewal.state, self.agent.condition
        return {
            "agentId": state.agent_id,
            "joinedBy": state.method,
            "hosts": list(state.hosts),
            "tenantId": state.tenant_id,
            "certificateUntil": state.not_after.isoformat(),
            "servers": [one.url for one in self._options.servers],
            "connectedTo": self.upstream.connected_to,
            "position": condition.position,
            "heardAt": condition.heard_at.isoformat() if condition.heard_at else None,
            "problem": condition.problem,
            "refused": f"{condition.refused.kind.name}: {condition.refused.detail}" if condition.refused else None,
            "tokens": self.agent.cached_tokens,
            "endpoints": [
                {"dialect": one.dialect.value, "resource": str(one.resource), "at": one.where} for one in self.endpoints.open
            ],
            "pid": os.getpid(),
            "version": __version__,
        }

    async def _start(self) -> None:
        state = await self._enrolled()
        self._authority.known = state.authority
        self._stack.push_async_callback(self.upstream.close)
        self.upstream.present(state.client_certificate)
        self.agent = HostAgent(
            upstream=self._watching.observed(self.upstream),
            clock=self.clock,
            entropy=self._entropy,
            identity=state.identity,
            telemetry=self._watching.telemetry,
        )
        self._stack.push_async_callback(self.agent.close)
        self.renewal = Renewal(
            state=state,
            folder=self._folder,
            agent=self.agent,
            upstream=self.upstream,
            rejoin=self._rejoin(),
            clock=self.clock,
            entropy=self._entropy,
        )
        hosts = OwnHosts(agent=self.agent, hosts=lambda: self.renewal.state.hosts)
        certificates = LocalCertificates(clock=self.clock, entropy=self._entropy)
        await self._serve(hosts, certificates)
        await self._control(hosts, certificates)
        self._describe(state)

    async def _serve(self, hosts: OwnHosts, certificates: LocalCertificates) -> None:
        around = Surroundings(
            agent=self.agent,
            hosts=hosts,
            certificates=certificates,
            authority=f"{self._options.servers[0].url}/",
            clock=self.clock,
            entropy=self._entropy,
        )
        self.endpoints = Endpoints(around)
        self._stack.push_async_callback(self.endpoints.close)
        await self.endpoints.start(self._options.endpoints)

    async def _control(self, hosts: OwnHosts, certificates: LocalCertificates) -> None:
        folder = self._folder.path / _RUNS_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        runs = Runs(
            agent=self.agent,
            public=NoPublicNames(certificates=certificates, authority=self._authority.read),
            clock=self.clock,
            entropy=self._entropy,
            surroundings=RunSurroundings(authority=f"{self._options.servers[0].url}/", folder=folder, azure_names=False),
        )
        self._stack.push_async_callback(runs.close)
        control = ControlServer(
            path=self._folder.path / CONTROL_SOCKET, agent=self.agent, runs=runs, hosts=hosts, status=self.status
        )
        await control.start()
        self._stack.push_async_callback(control.close)

    async def _enrolled(self) -> AgentState:
        """Who this agent is: as it was, or by joining now."""
        damage = ""
        try:
            state = self._folder.load()
        except StateDamaged as problem:
            state, damage = None, str(problem)
            if self._options.attestor is None or self._options.attestor.method in SINGLE_USE:
                raise
            _log.warning("%s is damaged; this host joins again", self._folder.path)
        if state is not None and self.clock.now() < state.not_after:
            return state
        if self._options.attestor is None:
            raise JoinProblem(
                "this host has not joined: say how it proves what it is with --join"
                if state is None
                else f"the agent's certificate ended at {state.not_after:%Y-%m-%d %H:%M:%S} UTC: join it again with --join"
            )
        try:
            joined = await self._joined()
        except Failure as failure:
            words = failure.detail or failure.kind.name.lower()
            raise JoinProblem(f"{damage}{'; ' if damage else ''}this host can't join: {words}") from failure
        self._folder.save(joined)
        return joined

    async def _joined(self) -> AgentState:
        """Prove what this host is, as often as it takes to reach a server; raises what is refused."""
        assert self._options.attestor is not None  # as asked before
        upstream = self._new_upstream()
        backoff = Backoff(entropy=self._entropy, first=1.0, most=30.0)
        try:
            while True:
                try:
                    return await join(
                        upstream, self._options.attestor, host=self._options.host, authority=self._authority.read()
                    )
                except Failure as failure:
                    if failure.kind not in {FailureKind.UNAVAILABLE, FailureKind.THROTTLED}:
                        raise
                    _log.warning("this host could not join yet: %s", failure.detail)
                await self.clock.sleep(backoff.pause())
        finally:
            await upstream.close()

    def _rejoin(self) -> Rejoin | None:
        attestor = self._options.attestor
        return self._joined if attestor is not None and attestor.method not in SINGLE_USE else None

    def _new_upstream(self) -> HttpsUpstream:
        return HttpsUpstream(
            servers=self._options.servers,
            authority=self._authority.read,
            clock=self.clock,
            entropy=self._entropy,
            heard=self.clock.heard,
        )

    async def _watch(self) -> None:
        """End where the servers refuse the agent, if that was asked for."""
        while self.agent.condition.refused is None or not self._options.ends_when_refused:
            await self.clock.sleep(1.0)
        refused = self.agent.condition.refused
        raise Refused(f"the servers refuse this agent: {refused.detail or refused.kind.name.lower()}")

    def _describe(self, state: AgentState) -> None:
        """Where commands find the servers and their authority, as for a plane on this machine."""
        server, path = self._options.servers[0], self._folder.path
        ca = self._options.ca
        if ca is None:
            ca = path / _CA_FILE
            _write_public(ca, state.authority)
        document = {
            **dict.fromkeys(("arm", "authority", "graph"), server.url),
            "agent": state.agent_id,
            "ready": True,
            "portal": f"{server.url}/portal",
            "ca_file": str(ca),
            "tenant_id": state.tenant_id,
            "subscription_id": (ResourceId.parse(state.hosts[0]).subscription or "") if state.hosts else "",
            "operator_client_id": "",
            "vault_suffix": "",
            "port": server.port,
            "pid": os.getpid(),
            "profile": "",
            "version": __version__,
        }
        description = path / DESCRIPTION_FILE
        _write_public(description, json.dumps(document, indent=2).encode())
        self._stack.callback(description.unlink, missing_ok=True)


class _Authority:
    """The servers' CA: the file that was named, read each time; else what the agent joined with."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.known = b""

    def read(self) -> bytes:
        """PEM; raises `OSError` when there is a file that was never read."""
        if self._path is not None:
            try:
                self.known = self._path.read_bytes()
            except OSError:
                if not self.known:
                    raise
        return self.known


def _write_public(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
        file.write(content)
    new.replace(path)
