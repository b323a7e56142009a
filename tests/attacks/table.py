"""The attacks that are named: what each is answered, and what is left behind of it.

A row's test calls `met` with what really happened, so a row says what was seen. `docs/security.md` has the same rows: `test_attack_table.py` compares
them, and finds the tests by the names of the rows that they meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.attacks.joining import Answer, JoinWorld

from idplane.audit.refused import REFUSED
from idplane.model.events import ActivityEvent, SignIn
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Store

__all__ = ["ATTACKS", "Attack", "met", "met_by", "met_each", "record_of", "records", "told", "wire"]


@dataclass(frozen=True)
class Attack:
    """One row."""

    group: str
    what: str
    answer: str
    record: str


_JOIN = "activity log: enrollments/join/action"
_AGENT = "activity log: agents/request/action"
_COUNTED = "activity log, counted: requests/refuse/action"
_REFUSED = "403 ENROLLMENT_REFUSED"

ATTACKS = {
    "token-twice": Attack("join tokens", "a token for the second time", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "token-at-once": Attack(
        "join tokens", "a hundred at once on two servers: one wins, the others", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"
    ),
    "token-expired": Attack("join tokens", "a token that is over", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "token-elsewhere": Attack("join tokens", "a token for another host", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "token-bent": Attack(
        "join tokens", "a part of a token, another spelling, no text", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"
    ),
    "path-no-id": Attack(
        "path tricks in names", "`..`, `%2f`, NUL, other scripts in a host's id", "400 INVALID_RESOURCE_ID", _COUNTED
    ),
    "path-other": Attack("path tricks in names", "an id that looks like the host's", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "path-url": Attack(
        "path tricks in names", "`..`, `%2f`, `%5c`, control characters in a URL", "400 INVALID_PARAMETER", _COUNTED
    ),
    "body-bent": Attack(
        "requests to join", "no JSON, no object, members that are missing, deep nesting", "400 MALFORMED_BODY", _COUNTED
    ),
    "body-method": Attack("requests to join", "a method that there is not", "400 INVALID_PARAMETER", _COUNTED),
    "body-vast": Attack("oversized", "a request of more than 64 KiB", "413 BODY_TOO_LARGE", _COUNTED),
    "certificate-vast": Attack("oversized", "a certificate of 50 KB", "413 BODY_TOO_LARGE", _COUNTED),
    "chain-long": Attack("oversized", "a chain of more than 8 certificates", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "key-odd": Attack("oversized", "a key of fewer than 2048 or more than 8192 bits", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "csr-none": Attack("certificate requests", "what is no base64", "400 CSR_INVALID", _COUNTED),
    "csr-bent": Attack("certificate requests", "what is no request, or of 9 KB", "400 CSR_INVALID", f"{_JOIN} CSR_INVALID"),
    "csr-names": Attack(
        "certificate requests", "other names, `CA:true`", "200, a certificate with our names and no others", f"{_JOIN} OK"
    ),
    "other-host": Attack(
        "another host", "its description, identity or token", "403 HOST_NOT_BOUND", f"{_AGENT} HOST_NOT_BOUND"
    ),
    "other-identity": Attack("another host", "its identity under the own name", "400 NOT_ENTITLED", f"{_AGENT} NOT_ENTITLED"),
    "stolen-key": Attack("another host", "an identity's key on another connection", "401 AADSTS700027", "sign-in log: 700027"),
    "banned": Attack("agents", "an agent that is banned", "403 AGENT_BANNED", f"{_AGENT} AGENT_BANNED"),
    "copied": Attack(
        "agents", "a copy of a host's state, at the agent API", "403 AGENT_LOCKED", "activity log: agents/lock/action OK"
    ),
    "copied-elsewhere": Attack(
        "agents", "the same, at the token service", "401 AADSTS700027", "activity log: agents/lock/action OK"
    ),
    "unknown": Attack("agents", "another agent's proof or connection", "401 AGENT_UNKNOWN", _COUNTED),
    "nonce-again": Attack("nonces", "a challenge and its answer again", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "nonce-other": Attack("nonces", "a challenge for another method, or too late", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "join-flood": Attack("floods", "attempts to join beyond the rate", "429 THROTTLED", _COUNTED),
    "server-other": Attack(
        "authorities", "a server under another authority, before an agent", "no connection", "the agent's own log"
    ),
    "resumption": Attack(
        "authorities",
        "a TLS session of before the authority's end (1.2 and 1.3)",
        "401 AGENT_UNKNOWN, then no handshake",
        _COUNTED,
    ),
    "assertion-again": Attack(
        "assertions", "a client's assertion again, to another server", "401 AADSTS50013", "sign-in log: 50013"
    ),
    "assertion-at-once": Attack(
        "assertions", "a hundred at once on two servers: one wins, the others", "401 AADSTS50013", "sign-in log: 50013"
    ),
    "dump": Attack(
        "dumps and backups",
        "reading one for keys, tokens, join tokens and evidence",
        "none of them is there",
        "none: nobody was asked",
    ),
    "dump-joins": Attack("dumps and backups", "joining with what one holds", _REFUSED, f"{_JOIN} ENROLLMENT_REFUSED"),
    "wire-joins": Attack(
        "dumps and backups",
        "joining where one is restored, with what was seen on the wire",
        _REFUSED,
        f"{_JOIN} ENROLLMENT_REFUSED",
    ),
    "row-changed": Attack(
        "the database", "a row changed behind the API", "`idplane admin check`: exit code 2", "its output names the row"
    ),
    "log-edited": Attack(
        "the database", "a log record edited", "`idplane admin check`: exit code 2", "its output names the record"
    ),
    "restored": Attack(
        "the database",
        "yesterday's behind running servers",
        "the servers end with exit code 1",
        "`idplane log verify`: rolled back",
    ),
    "output": Attack(
        "output",
        "looking for keys and tokens in answers, logs, traces and metrics",
        "none of them is there",
        "none: nobody was asked",
    ),
}


class _Place(Protocol):
    @property
    def store(self) -> Store: ...


def met_by(name: str, *, answer: str, record: str) -> None:
    """What really happened is what the row says."""
    row = ATTACKS[name]
    assert (answer, record) == (row.answer, row.record)


async def met(name: str, world: JoinWorld, answer: Answer) -> None:
    """The answer, and the record that there is of it, are what the row says."""
    met_by(name, answer=wire(answer), record=await record_of(world, answer))


async def met_each(name: str, world: JoinWorld, answers: Sequence[Answer]) -> None:
    """The same of many, each of which has a record of its own."""
    found = await records(world)
    for one in answers:
        met_by(name, answer=wire(one), record=told(found, id_of(one)))


def wire(answer: Answer) -> str:
    """An answer's status and code."""
    error = answer.body["error"]
    code = f"AADSTS{answer.body['error_codes'][0]}" if isinstance(error, str) else error["code"]
    return f"{answer.status} {code}"


async def record_of(world: JoinWorld, answer: Answer) -> str:
    """The record of a refused request, found by the id that its sender was told."""
    if found := told(await records(world), id_of(answer)):
        return found
    before = counted(await records(world))
    for server in world.servers:
        await server.refused.turn()
    assert counted(await records(world)) > before, "no record at all"
    return _COUNTED


def id_of(answer: Answer) -> str:
    """What the sender was told to ask by."""
    error = answer.body["error"]
    return str(answer.body["trace_id"] if isinstance(error, str) else error["requestId"])


async def records(world: _Place) -> list[ActivityEvent | SignIn]:
    """All of both logs, the newest first."""
    activity = [one.event for one in await world.store.read_log(ACTIVITY, limit=1000)]
    return [*activity, *(one.event for one in await world.store.read_log(SIGN_INS, limit=1000))]


def told(found: Sequence[ActivityEvent | SignIn], request_id: str) -> str:
    """The record of one request in the words of a row."""
    for one in found:
        if isinstance(one, ActivityEvent) and one.operation_id == request_id and one.operation != REFUSED:
            return f"activity log: {one.operation.partition('/')[2]} {one.sub_status}"
    return next((f"sign-in log: {one.error_code}" for one in found if isinstance(one, SignIn) and one.id == request_id), "")


def counted(found: Sequence[ActivityEvent | SignIn]) -> int:
    """How many requests the counted records stand for."""
    those = (one for one in found if isinstance(one, ActivityEvent) and one.operation == REFUSED)
    return sum(int(str(one.properties["count"])) for one in those)
