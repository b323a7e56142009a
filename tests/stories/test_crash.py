"""Must-show 6: `kill -9` at random moments loses nothing that was acknowledged and leaves nothing half made."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from tests.stories.planes import Up, send

pytestmark = pytest.mark.wide

ROUNDS = 10
OPERATIONS_A_ROUND = 110
WRITERS = 3


def test_kill_9_ten_times_during_a_thousand_operations(start_up: Callable[..., Up]) -> None:
    chance = random.Random(20261121)
    seen = _Acknowledged()
    up = start_up()
    _group(up)
    for _ in range(ROUNDS):
        goal = chance.randint(OPERATIONS_A_ROUND // 2, OPERATIONS_A_ROUND)
        _work_until_killed(up, seen, after=goal)
        up = start_up(up.data)
        _check(up, seen)
    assert seen.attempted >= 1000 * 0.75


@dataclass
class _Acknowledged:
    """What the plane said yes to."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Any = field(default_factory=itertools.count)
    machines: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    in_doubt: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)
    attempted: int = 0

    def next_name(self) -> str:
        with self.lock:
            self.attempted += 1
            return f"vm{next(self.numbers)}"


def _group(up: Up) -> None:
    assert up.arm("PUT", f"{_scope(up)}?api-version=2024-11-01", {"location": "westeurope"})[0] == 201


def _scope(up: Up) -> str:
    return f"/subscriptions/{up.info['subscription_id']}/resourceGroups/crash"


def _machine(up: Up, name: str) -> str:
    return f"{_scope(up)}/providers/Microsoft.Compute/virtualMachines/{name}?api-version=2024-11-01"


def _work_until_killed(up: Up, seen: _Acknowledged, *, after: int) -> None:
    stop_at = seen.attempted + after
    token = up.operator_token("https://management.azure.com")
    seen.tokens.append(token)
    threads = [threading.Thread(target=_write, args=(up, seen, token)) for _ in range(WRITERS)]
    threads.append(threading.Thread(target=_ask_for_tokens, args=(up, seen)))
    for thread in threads:
        thread.start()
    reached = threading.Event()
    while not reached.wait(0.002):
        if seen.attempted >= stop_at:
            reached.set()
    up.kill()
    for thread in threads:
        thread.join()


_GONE = (OSError, http.client.HTTPException, ssl.SSLError, json.JSONDecodeError)


def _write(up: Up, seen: _Acknowledged, token: str) -> None:
    """Make machines with identities, and delete every third."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    body = json.dumps({"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}})
    connection = up.connect()
    name = ""
    try:
        for turn in itertools.count():
            name = seen.next_name()
            status, answer = send(connection, "PUT", _machine(up, name), body, headers)
            assert status == 201, answer
            with seen.lock:
                seen.machines[name] = answer["identity"]["principalId"]
            if turn % 3 == 2:
                with seen.lock:
                    seen.in_doubt.add(name)
                status, answer = send(connection, "DELETE", _machine(up, name), None, headers)
                assert status == 200, answer
                with seen.lock:
                    seen.deleted.add(name)
                    seen.in_doubt.discard(name)
    except _GONE:
        return
    finally:
        connection.close()


def _ask_for_tokens(up: Up, seen: _Acknowledged) -> None:
    connection = up.connect()
    try:
        while True:
            token = up.operator_token("https://management.azure.com", connection)
            with seen.lock:
                seen.tokens.append(token)
                seen.attempted += 1
    except _GONE:
        return
    finally:
        connection.close()


def _check(up: Up, seen: _Acknowledged) -> None:
    token = up.operator_token("https://management.azure.com")
    present = {item["name"]: item["identity"]["principalId"] for item in _pages(up, _machine(up, "").replace("/?", "?"), token)}
    for name, principal in seen.machines.items():
        if name in seen.deleted:
            assert name not in present, f"{name} was deleted and is back"
        elif name not in seen.in_doubt:
            assert present.get(name) == principal, f"{name} was acknowledged and is lost"
    # Nothing half made: every machine that is there, acknowledged or not, has an identity that works ...
    for name in random.Random(1).sample(sorted(present), k=min(3, len(present))):
        answer = up.cli("token", "--as", name, "--resource", "https://management.azure.com", "--json")
        assert answer.returncode == 0, answer.stderr
        assert _claims(json.loads(answer.stdout)["access_token"])["oid"] == present[name]
    # ... tokens from before the crash still open doors ...
    assert up.arm("GET", "/subscriptions?api-version=2022-12-01", token=seen.tokens[0])[0] == 200
    assert up.arm("GET", "/subscriptions?api-version=2022-12-01", token=seen.tokens[-1])[0] == 200
    # ... and the log knows every token that was handed out.
    recorded = {item["uniqueTokenIdentifier"] for item in _sign_ins(up)}
    missing = [one for one in seen.tokens if _claims(one)["uti"] not in recorded]
    assert not missing, f"{len(missing)} of {len(seen.tokens)} tokens have no record"


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


def _pages(up: Up, path: str, token: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    following: str | None = path
    while following:
        status, body = up.arm("GET", following.removeprefix(up.info["arm"]), token=token)
        assert status == 200, body
        items += body["value"]
        following = body.get("nextLink") or body.get("@odata.nextLink")
    return items


def _sign_ins(up: Up) -> list[dict[str, Any]]:
    token = up.operator_token("https://graph.microsoft.com")
    query = quote("signInEventTypes/any(t: t eq 'servicePrincipal')")
    return _pages(up, f"/beta/auditLogs/signIns?$filter={query}&$top=1000", token)
