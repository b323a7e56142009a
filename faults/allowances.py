"""What the design allows each fault to do to each kind of client; as data. Whatever is not here is forbidden.

Two promises hold whatever breaks: nobody hangs, and nobody is told something untrue. So no rule has the results "no answer", "broken" and
"wrong", but for two: packets that vanish on their way to a server that a workload asks itself, and tokens that a tainted key has signed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from faults.judge import Rule
from faults.outcomes import Kind, Result

__all__ = ["RULES", "SETTLE", "FaultName"]


class FaultName(enum.StrEnum):
    """Every fault, as the table names it."""

    KILL_FIRST = "server 1 killed"
    KILL_SECOND = "server 2 killed"
    ROLLING = "both servers restarted in turn"
    KILL_BOTH = "both servers killed"
    DATABASE_FAST = "PostgreSQL restarted"
    DATABASE_KILLED = "PostgreSQL killed"
    NETWORK_DROPPED = "agents cut off, silently"
    NETWORK_RESET = "agents cut off, with resets"
    DATABASE_CUT = "server 2 cut off from PostgreSQL"
    SERVER_AHEAD = "server 1's clock 10 min ahead"
    SERVER_BEHIND = "server 1's clock 10 min behind"
    HOST_AHEAD = "a host's clock 10 min ahead"
    HOST_BEHIND = "a host's clock 10 min behind"
    DISK_FULL = "PostgreSQL's disk full"
    AGENT_KILLED = "an agent killed"
    KEYS_ROTATED = "signing key rotated ten times"
    KEY_TAINTED = "signing key tainted"
    HOST_BANNED = "a host banned"
    BALANCER_KILLED = "balancer killed"


AGENT_BOUND: Final = 20.0
"""Seconds: the longest that an agent tries before it refuses for now."""
SERVER_BOUND: Final = 15.0
"""Seconds: the longest that a server tries before it refuses for now."""
SDK_BOUND: Final = 90.0
"""Seconds: the longest that an SDK with its own retries tries."""

_TO_SERVERS: Final = (Kind.EXCHANGE, Kind.READ, Kind.WRITE, Kind.VAULT)
"""Who talks to the servers directly, without an agent that tries again."""


def _rules(kinds: Iterable[Kind], *results: Result, within: float, why: str, clients: str = "") -> tuple[Rule, ...]:
    return tuple(Rule(kind=kind, results=frozenset(results), within=within, why=why, clients=clients) for kind in kinds)


_IN_FLIGHT: Final = _rules(
    _TO_SERVERS,
    Result.LOST,
    Result.RETRY,
    within=SERVER_BOUND,
    why="a request that was under way at a killed server has no answer",
)
_NO_SERVER: Final = (
    *_rules(
        [Kind.FRESH],
        Result.RETRY,
        within=AGENT_BOUND,
        why="what no agent has cannot be had without a server; cached tokens are",
    ),
    *_rules(_TO_SERVERS, Result.LOST, Result.RETRY, within=SERVER_BOUND, why="there is no server to answer"),
    *_rules([Kind.VERIFY], Result.LOST, within=SERVER_BOUND, why="a key that a resource has never seen cannot be asked for"),
    *_rules(
        [Kind.SDK],
        Result.RETRY,
        within=SDK_BOUND,
        why="the SDK's retries end before the outage does",
        clients="sdk/secret-client",
    ),
)
_NO_DATABASE: Final = (
    *_rules(
        _TO_SERVERS, Result.LOST, within=SERVER_BOUND, why="no server is ready without its database, so the balancer has none"
    ),
    *_rules([Kind.FRESH], Result.RETRY, within=AGENT_BOUND, why="no token without its record; cached tokens are served"),
    *_rules(_TO_SERVERS, Result.RETRY, within=SERVER_BOUND, why="what cannot be read or kept is refused for now"),
    *_rules(
        [Kind.SDK],
        Result.RETRY,
        within=SDK_BOUND,
        why="the SDK's retries end before the outage does",
        clients="sdk/secret-client",
    ),
)
_ONE_HOST: Final = "north/"
"""The host that clock jumps, kills and the ban are about."""

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    FaultName.KILL_FIRST: _IN_FLIGHT,
    FaultName.KILL_SECOND: _IN_FLIGHT,
    FaultName.ROLLING: (),
    FaultName.KILL_BOTH: _NO_SERVER,
    FaultName.DATABASE_FAST: _NO_DATABASE,
    FaultName.DATABASE_KILLED: _NO_DATABASE,
    FaultName.NETWORK_DROPPED: (
        *_rules([Kind.FRESH], Result.RETRY, within=AGENT_BOUND, why="the agent reaches no server; cached tokens are served"),
        *_rules(
            [Kind.EXCHANGE, Kind.VAULT],
            Result.TIMEOUT,
            Result.LOST,
            within=SERVER_BOUND,
            why="the workload reaches no server itself",
        ),
        *_rules([Kind.SDK], Result.RETRY, within=SDK_BOUND, why="as the vault read it does", clients="sdk/secret-client"),
    ),
    FaultName.NETWORK_RESET: (
        *_rules([Kind.FRESH], Result.RETRY, within=AGENT_BOUND, why="the agent reaches no server; cached tokens are served"),
        *_rules(
            [Kind.EXCHANGE, Kind.VAULT],
            Result.LOST,
            Result.TIMEOUT,
            within=SERVER_BOUND,
            why="the workload reaches no server itself",
        ),
        *_rules([Kind.SDK], Result.RETRY, within=SDK_BOUND, why="as the vault read it does", clients="sdk/secret-client"),
    ),
    FaultName.DATABASE_CUT: (
        *_rules(
            [Kind.FRESH], Result.RETRY, within=AGENT_BOUND, why="the server refuses for now until the balancer leaves it out"
        ),
        *_rules(
            _TO_SERVERS,
            Result.RETRY,
            Result.LOST,
            within=SERVER_BOUND,
            why="as above; then it is left out, and its connections end",
        ),
    ),
    FaultName.SERVER_AHEAD: (),
    FaultName.SERVER_BEHIND: (),
    FaultName.HOST_AHEAD: (),
    FaultName.HOST_BEHIND: (),
    FaultName.DISK_FULL: _NO_DATABASE,
    FaultName.AGENT_KILLED: (
        *_rules(
            [Kind.CACHED, Kind.FRESH], Result.LOST, within=AGENT_BOUND, why="nothing listens on the host", clients=_ONE_HOST
        ),
        *_rules([Kind.SDK], Result.RETRY, within=SDK_BOUND, why="nothing listens on the host", clients="sdk/"),
    ),
    FaultName.KEYS_ROTATED: (),
    FaultName.KEY_TAINTED: (
        *_rules([Kind.VAULT], Result.DENIED, within=SERVER_BOUND, why="the token was signed by the tainted key"),
        *_rules([Kind.VERIFY], Result.WRONG, within=SERVER_BOUND, why="the token was signed by the tainted key"),
    ),
    FaultName.HOST_BANNED: (
        *_rules(
            [Kind.CACHED, Kind.FRESH, Kind.EXCHANGE, Kind.VAULT],
            Result.DENIED,
            Result.RETRY,
            Result.LOST,
            within=AGENT_BOUND,
            why="a banned host gets nothing, until its agent is started again",
            clients=_ONE_HOST,
        ),
        *_rules([Kind.SDK], Result.RETRY, within=SDK_BOUND, why="a banned host gets nothing", clients="sdk/"),
    ),
    FaultName.BALANCER_KILLED: _NO_SERVER,
}
"""By fault."""

SETTLE: Final[Mapping[str, float]] = {
    **dict.fromkeys(FaultName, 10.0),
    FaultName.NETWORK_DROPPED: 25.0,
    FaultName.NETWORK_RESET: 25.0,
    FaultName.DISK_FULL: 20.0,
}
"""Seconds after a fault's end within which everybody must be well again."""
