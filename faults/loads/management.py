"""The load of management: makes and deletes resources, identities and role assignments, reads them back, and gets first tokens for what it made.

Every write is told with what is known of it: a path is written once and deleted at most once, so that what must be there at the end is certain
unless an answer was lost.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from faults.loads.http import Answer, Link, Unanswered
from faults.loads.speaking import Done, Voice, keep_asking, order, stopped
from faults.outcomes import Kind, Result
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy

_EVERY: Final = 0.8
_PATIENCE: Final = 15.0
_VERSIONS: Final = {
    "Microsoft.Compute": "2024-11-01",
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Microsoft.Authorization": "2022-04-01",
}
_READER: Final = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_TRY_AGAIN: Final = frozenset({429, 503, 504})


@dataclass(kw_only=True)
class Manager:
    """The operator, over one connection to the balancer."""

    voice: Voice
    client: str
    link: Link
    host: str
    operator: OperatorKey = field(repr=False)
    plane: Any
    _token: str = field(default="", repr=False)

    async def call(self, method: str, path: str, body: Any = None) -> tuple[Answer | None, Result, str]:
        """One call, with a token that is taken anew when it is refused, as SDKs do. The answer, and what it is worth."""
        kind = Kind.READ if method == "GET" else Kind.WRITE
        at = time.monotonic()
        try:
            answer = await self._sent(method, path, body)
            result, detail = _worth(answer)
        except Unanswered as unanswered:
            answer, result, detail = None, unanswered.result, str(unanswered)
        self.voice.outcome(
            self.client, kind, result, at, f"{method} {path.rpartition('/')[0].rpartition('/')[2]}: {detail}" if detail else ""
        )
        return answer, result, detail

    async def _sent(self, method: str, path: str, body: Any) -> Answer:
        provider = path.rpartition("/providers/")[2].split("/")[0]
        target = f"{path}?api-version={_VERSIONS.get(provider, '2024-11-01')}"
        content = b"" if body is None else json.dumps(body).encode()
        if not self._token:
            await self._sign_in()
        answer = await self.link.ask(method, target, self._headers(), content, patience=_PATIENCE)
        if answer.status == 401:
            await self._sign_in()
            answer = await self.link.ask(method, target, self._headers(), content, patience=_PATIENCE)
        return answer

    def _headers(self) -> dict[str, str]:
        return {"Host": self.host, "Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}

    async def _sign_in(self) -> None:
        tenant = self.plane["tenant_id"]
        endpoint = f"/{tenant}/oauth2/v2.0/token"
        form = self.operator.token_request(
            client_id=self.plane["operator_client_id"],
            token_endpoint=f"{self.plane['authority']}{endpoint}",
            resource="https://management.azure.com",
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        self.voice.secret(form["client_assertion"])
        headers = {"Host": self.host, "Content-Type": "application/x-www-form-urlencoded"}
        answer = await self.link.ask("POST", endpoint, headers, urlencode(form).encode(), patience=_PATIENCE)
        body = answer.json()
        if answer.status != 200 or not isinstance(body, dict):
            result = Result.RETRY if answer.status in _TRY_AGAIN else Result.DENIED
            raise Unanswered(result, f"the sign-in: {answer.status} {_code(body)}")
        self._token = body["access_token"]
        self.voice.token(self._token)


def _worth(answer: Answer) -> tuple[Result, str]:
    if answer.status < 300:
        return Result.OK, ""
    code = _code(answer.json())
    if not code or answer.status == 500:
        return Result.BROKEN, f"{answer.status} {code}"
    return (Result.RETRY if answer.status in _TRY_AGAIN else Result.DENIED), f"{answer.status} {code}"


def _code(body: Any) -> str:
    """The code of a refusal, and the beginning of its words."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return f"{error.get('code', '')} {str(error.get('message', ''))[:80]}".strip()
    return str(error or "")


@dataclass(kw_only=True)
class Writer:
    """Makes a machine with what belongs to it, and takes every other one away again."""

    manager: Manager
    group: str
    prefix: str
    _numbers: Any = field(default_factory=itertools.count)

    async def round(self) -> None:
        """An identity, a machine that has it and one of its own, a role for that one; read back; every second time all is deleted."""
        number = next(self._numbers)
        providers = f"{self.group}/providers"
        identity = f"{providers}/Microsoft.ManagedIdentity/userAssignedIdentities/{self.prefix}-i{number}"
        machine = f"{providers}/Microsoft.Compute/virtualMachines/{self.prefix}-m{number}"
        if not await self._put(identity, {"location": "westeurope"}):
            return
        block = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {identity: {}}}
        if not await self._put(machine, {"location": "westeurope", "identity": block, "properties": {}}):
            return
        principal = await self._principal(machine)
        assignment = f"{providers}/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        if principal:
            role = f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}"
            properties = {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}
            await self._put(assignment, {"properties": properties})
        if number % 2:
            # The machine's principal and its assignment go with it, and no role assignment stands in the way of the identity.
            deleted = await self._delete(machine)
            if principal:
                self.manager.voice.write(assignment, deleted, deletes=True)
            await self._delete(identity)

    async def _principal(self, machine: str) -> str:
        answer, result, _ = await self.manager.call("GET", machine)
        body = answer.json() if answer and result is Result.OK else None
        return str(body["identity"]["principalId"]) if body else ""

    async def _put(self, path: str, body: Any) -> bool:
        _, result, _ = await self.manager.call("PUT", path, body)
        self.manager.voice.write(path, self._done(result))
        return result is Result.OK

    async def _delete(self, path: str) -> Done:
        _, result, _ = await self.manager.call("DELETE", path)
        done = self._done(result)
        self.manager.voice.write(path, done, deletes=True)
        return done

    def _done(self, result: Result) -> Done:
        if result is Result.OK:
            return Done.REPEATED if self.manager.link.repeated else Done.ACKNOWLEDGED
        # What says "try again" may have been done: the answer to a commit can be lost between database and server.
        return Done.REFUSED if result is Result.DENIED else Done.UNKNOWN


async def _run(wanted: Any, operator: OperatorKey, ended: threading.Event, voice: Voice) -> None:
    servers = ssl.create_default_context(cafile=wanted["ca_file"])
    rounds = []
    for number in range(wanted["writers"]):
        name = f"{wanted['name']}{number}"
        manager = Manager(
            voice=voice,
            client=f"management/{name}",
            link=Link((wanted["server"], 443), tls=servers),
            host=wanted["server"],
            operator=operator,
            plane=wanted["plane"],
        )
        writer = Writer(manager=manager, group=wanted["group"], prefix=name)
        rounds.append(keep_asking(writer.round, ended, every=_EVERY, offset=number / 3))
    await asyncio.gather(*rounds)


def main() -> None:
    """Write until standard input ends."""
    voice, wanted = Voice(sys.stdout.buffer), order()
    operator = OperatorKey.from_pem(Path(wanted["operator_file"]).read_bytes())
    asyncio.run(_run(wanted, operator, stopped(), voice))


if __name__ == "__main__":
    main()
