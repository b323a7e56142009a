"""What a client got: one record for each request, and how such records travel as JSON lines. No token and no secret is in one."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from pathlib import Path

import msgspec

__all__ = ["Kind", "Outcome", "Result", "append_lines", "read_lines"]


class Kind(enum.StrEnum):
    """What a client is about: what a fault may do to it depends on this, and on nothing else."""

    CACHED = "cached token"
    """A workload asks its endpoint again for a token that the agent has."""
    FRESH = "fresh token"
    """A workload asks its endpoint for a token that no agent can have yet."""
    EXCHANGE = "token exchange"
    """A workload shows its own token (workload identity) to the servers."""
    SDK = "SDK"
    """An unmodified SDK with its own retries; what it gives up on is the failure."""
    WRITE = "management write"
    READ = "management read"
    VAULT = "vault read"
    """A secret, read with a token that a workload was given."""
    VERIFY = "verification"
    """A resource checks a token by the published keys."""


class Result(enum.StrEnum):
    """How a request ended for its client."""

    OK = "ok"
    RETRY = "refused for now"
    """In the dialect's own form, with a status that clients try again at: 429, 503 or 504."""
    LOST = "connection lost"
    """Refused, reset or ended without a whole answer."""
    TIMEOUT = "no answer"
    """None within the client's patience."""
    DENIED = "refused"
    """In the dialect's own form, for good."""
    BROKEN = "broken"
    """An answer that is none: 500, or not in the dialect's form."""
    WRONG = "wrong"
    """A success that is none: another's token, an expired one, one that no published key verifies, a changed value."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of one client. Instants are seconds of CLOCK_MONOTONIC, which all programs on a machine share and no fault moves."""

    client: str
    kind: Kind
    result: Result
    at: float
    """When it was sent."""
    seconds: float
    """Until its client knew."""
    detail: str = ""
    """Of a failure: status and code, or the name of an error; never a body."""

    @property
    def until(self) -> float:
        """When its client knew."""
        return self.at + self.seconds


def append_lines(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Add records to a file, a line each."""
    with path.open("ab") as file:
        file.writelines(msgspec.json.encode(outcome) + b"\n" for outcome in outcomes)


def read_lines(path: Path) -> list[Outcome]:
    """The records in a file."""
    decoder = msgspec.json.Decoder(Outcome)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line]
