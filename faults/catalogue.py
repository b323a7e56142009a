"""The faults: how each is brought about on an installation, and taken back. What they may do is in `allowances`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

from faults.allowances import FaultName
from faults.judge import Silence
from faults.outcomes import Kind
from faults.stage.clocks import WallClock
from faults.stage.database import Database
from faults.stage.installation import Installation
from faults.stage.network import Cut
from faults.stage.programs import StageError, eventually
from faults.stage.servers import Server

__all__ = ["FAULTS", "Fault"]

Fault = Callable[[Installation], Silence | None]
"""Breaks something, waits, and makes it whole again. What it returns says who must have been refused meanwhile."""

_AHEAD: Final = 600
_AWAY: Final = 3.0
_CUT: Final = 8.0
_CLOCK: Final = 6.0
_ABOUT: Final = 5.0
_FULL: Final = 6.0
_REVOKED: Final = 1.0
"""Seconds within which a ban has to be known everywhere."""
_STALE: Final = 5.0
"""The staleness bound, as servers have it unless their settings say otherwise."""


def _kill_server(number: int, stage: Installation) -> None:
    server = stage.servers[number]
    server.program.kill()
    time.sleep(_AWAY)
    stage.restart(server)


def _rolling(stage: Installation) -> None:
    for server in stage.servers:
        code = server.program.stop()
        if code != 0:
            raise StageError(f"{server.name} ended with {code} when it was asked to end")
        stage.restart(server)


def _kill_both(stage: Installation) -> None:
    for server in stage.servers:
        server.program.kill()
    time.sleep(2 * _AWAY)
    for server in stage.servers:
        stage.restart(server)


def _restart_database(how: signal.Signals, stage: Installation) -> None:
    stage.database.end(how)
    time.sleep(_AWAY)
    stage.database.start()


def _cut(how: Cut, stage: Installation) -> None:
    with ExitStack() as cuts:
        for host in stage.hosts:
            cuts.enter_context(host.place.cut_off([stage.balancer_place], how))
        time.sleep(_CUT)


def _cut_database(stage: Installation) -> None:
    """Beyond its staleness bound the server must issue nothing, whoever asks it."""
    server = stage.servers[1]
    with server.place.cut_off([stage.database.place], Cut.DROPPED):
        time.sleep(_STALE + 1)
        until = time.monotonic() + _AWAY
        while time.monotonic() < until:
            _must_not_issue(stage, server)
            time.sleep(0.5)
    eventually(f"{server.name} is balanced", lambda: stage.is_balanced(server), seconds=20.0, alive=server.program)


def _must_not_issue(stage: Installation, server: Server) -> None:
    status = stage.operator.sign_in_status(server)
    if status not in {429, 503}:
        raise StageError(f"{server.name} knows nothing of the database and answers {status} to a request for a token")


def _jump(clock: WallClock, seconds: int, tells: Callable[[], float]) -> None:
    """`tells` is the difference between the process' clock and ours, as it says itself: nothing is shown by a clock that did not jump."""
    clock.jump(seconds)
    time.sleep(_CLOCK)
    if abs(tells() - seconds) > _ABOUT:
        raise StageError(f"the clock did not jump by {seconds} s, but by {tells():.0f} s")
    clock.jump(0)
    # Programs look at the clock's file once a second.
    time.sleep(1.5)


def _server_clock(seconds: int, stage: Installation) -> None:
    server = stage.servers[0]
    _jump(server.clock, seconds, server.clock_difference)


def _host_clock(seconds: int, stage: Installation) -> None:
    host = stage.hosts[0]
    _jump(host.clock, seconds, host.clock_difference)


def _fill_disk(stage: Installation) -> None:
    database = stage.database
    with database.disk.filled():
        until = time.monotonic() + _FULL
        while time.monotonic() < until:
            database.disk.top_up()
            time.sleep(0.1)
    _up(database)


def _up(database: Database) -> None:
    """PostgreSQL gives up when it cannot even recover; then whoever freed the disk starts it."""
    if not database.server.is_running():
        database.start()
    eventually("PostgreSQL answers", database.answers, seconds=30.0, alive=database.server)


def _kill_agent(stage: Installation) -> None:
    host = stage.hosts[0]
    host.program.kill()
    time.sleep(_AWAY)
    host.start()


def _rotate_keys(stage: Installation) -> None:
    for _ in range(10):
        stage.operator.rotate_key()
        time.sleep(0.7)


def _taint_key(stage: Installation) -> None:
    stage.operator.taint_key()
    time.sleep(_AWAY)


def _ban(stage: Installation) -> Silence:
    host = stage.hosts[0]
    (agent,) = host.agents(stage.operator)
    stage.operator.call("POST", f"{agent['id']}/ban", {})
    banned = time.monotonic()
    time.sleep(_AWAY + _REVOKED)
    kinds = frozenset({Kind.CACHED, Kind.FRESH})
    silence = Silence(clients=f"{host.name}/", kinds=kinds, start=banned + _REVOKED, end=time.monotonic() - 0.5)
    stage.operator.call("POST", f"{agent['id']}/unban", {})
    # It would ask again by itself, but only once a minute.
    host.program.stop()
    host.start()
    return silence


def _kill_balancer(stage: Installation) -> None:
    stage.balancer.kill()
    time.sleep(1.0)
    stage.balancer.start()
    for server in stage.servers:
        eventually(f"{server.name} is balanced", partial(stage.is_balanced, server), seconds=20.0, alive=stage.balancer)


FAULTS: Final[Mapping[FaultName, Fault]] = {
    FaultName.KILL_FIRST: partial(_kill_server, 0),
    FaultName.KILL_SECOND: partial(_kill_server, 1),
    FaultName.ROLLING: _rolling,
    FaultName.KILL_BOTH: _kill_both,
    FaultName.DATABASE_FAST: partial(_restart_database, signal.SIGINT),
    FaultName.DATABASE_KILLED: partial(_restart_database, signal.SIGKILL),
    FaultName.NETWORK_DROPPED: partial(_cut, Cut.DROPPED),
    FaultName.NETWORK_RESET: partial(_cut, Cut.RESET),
    FaultName.DATABASE_CUT: _cut_database,
    FaultName.SERVER_AHEAD: partial(_server_clock, _AHEAD),
    FaultName.SERVER_BEHIND: partial(_server_clock, -_AHEAD),
    FaultName.HOST_AHEAD: partial(_host_clock, _AHEAD),
    FaultName.HOST_BEHIND: partial(_host_clock, -_AHEAD),
    FaultName.DISK_FULL: _fill_disk,
    FaultName.AGENT_KILLED: _kill_agent,
    FaultName.KEYS_ROTATED: _rotate_keys,
    FaultName.KEY_TAINTED: _taint_key,
    FaultName.HOST_BANNED: _ban,
    FaultName.BALANCER_KILLED: _kill_balancer,
}
"""In the order in which they happen."""
