"""The cheap load: one process on a host that asks all dialects over plain sockets, reads secrets with what it gets, and keeps nothing.

Each client asks for two kinds of tokens: one that the agent has in memory, and one that it cannot have, because nobody ever asked for that resource.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from faults.loads.endpoints import DIALECTS, AskedFor, Dialect, Heard, heard
from faults.loads.http import Answer, Link, Unanswered
from faults.loads.speaking import Voice, keep_asking, order, stopped
from faults.outcomes import Kind, Result

_CACHED_EVERY: Final = 0.4
_FRESH_EVERY: Final = 2.0
_VAULT_EVERY: Final = 0.6
_EXCHANGE_EVERY: Final = 1.0
_PATIENCE: Final = 25.0
_SERVERS_PATIENCE: Final = 12.0
"""Of those who ask servers: as long as a server tries before it refuses for now, and some more."""
_VAULT: Final = "https://vault.azure.net"


@dataclass(kw_only=True)
class Endpoint:
    """One dialect on this host, and the connection that a client of it keeps."""

    voice: Voice
    client: str
    dialect: Dialect
    variables: Mapping[str, str]
    identity: str
    last: str = field(default="", repr=False)
    """The token that was given out last."""

    def __post_init__(self) -> None:
        url = urlsplit(self.dialect.url(self.variables))
        tls = _unchecked() if url.scheme == "https" else None
        self._link = Link((url.hostname or "", url.port or 80), tls=tls)
        for secret in ("IDENTITY_HEADER", "MSI_SECRET"):
            if secret in self.variables:
                self.voice.secret(self.variables[secret])

    async def ask(self, kind: Kind, resources: Iterator[str]) -> None:
        """One request, for the next of `resources`, and what came of it."""
        at = time.monotonic()
        found = await self._heard(AskedFor(resource=next(resources), identity=self.identity))
        if found.token:
            self.voice.token(found.token)
            self.last = found.token
        self.voice.outcome(self.client, kind, found.result, at, found.detail)

    async def _heard(self, asked: AskedFor) -> Heard:
        method, target, headers, body = self.dialect.request(self.variables, asked.resource)
        try:
            answer = await self._link.ask(method, target, headers, body, patience=_PATIENCE)
            if self.dialect.challenged and answer.status == 401:
                answer = await self._met(answer, method, target, headers)
        except Unanswered as unanswered:
            return Heard(result=unanswered.result, detail=str(unanswered))
        return heard(answer, asked, time.time(), self.dialect.refusal)

    async def _met(self, challenge: Answer, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        path = challenge.headers.get("www-authenticate", "").partition("realm=")[2]
        try:
            key = _content(path)
        except OSError as error:
            raise Unanswered(Result.BROKEN, f"the challenge's file cannot be read: {error.strerror}") from error
        self.voice.secret(key)
        return await self._link.ask(method, target, {**headers, "Authorization": f"Basic {key}"}, patience=_PATIENCE)


@dataclass(kw_only=True)
class Vault:
    """Secrets of a vault, read with whatever token a workload was given last."""

    voice: Voice
    client: str
    link: Link
    host: str
    source: Endpoint
    value: str = field(repr=False)

    async def read(self) -> None:
        """One secret; nothing as long as there is no token yet."""
        if not self.source.last:
            return
        at = time.monotonic()
        headers = {"Host": self.host, "Authorization": f"Bearer {self.source.last}"}
        try:
            answer = await self.link.ask("GET", "/secrets/shared?api-version=7.4", headers, patience=_SERVERS_PATIENCE)
        except Unanswered as unanswered:
            self.voice.outcome(self.client, Kind.VAULT, unanswered.result, at, str(unanswered))
            return
        self.voice.outcome(self.client, Kind.VAULT, *_worth(answer, self.value, at))


def _worth(answer: Answer, value: str, at: float) -> tuple[Result, float, str]:
    body = answer.json()
    if not isinstance(body, dict):
        return Result.BROKEN, at, f"{answer.status}, not JSON"
    if answer.status == 200:
        return (Result.OK, at, "") if body.get("value") == value else (Result.WRONG, at, "another value")
    error = body.get("error")
    code = error.get("code", "") if isinstance(error, dict) else ""
    if not code or answer.status == 500:
        return Result.BROKEN, at, f"{answer.status} {code}"
    return Result.RETRY if answer.status in {429, 503, 504} else Result.DENIED, at, f"{answer.status} {code}"


@dataclass(kw_only=True)
class Exchange:
    """A workload that shows its own token, from a file, to the servers."""

    voice: Voice
    client: str
    link: Link
    host: str
    variables: Mapping[str, str]
    identity: str
    resources: Iterator[str]

    async def ask(self) -> None:
        """One exchange."""
        at = time.monotonic()
        try:
            found = await self._heard(next(self.resources))
        except Unanswered as unanswered:
            found = Heard(result=unanswered.result, detail=str(unanswered))
        if found.token:
            self.voice.token(found.token)
        self.voice.outcome(self.client, Kind.EXCHANGE, found.result, at, found.detail)

    async def _heard(self, resource: str) -> Heard:
        try:
            assertion = _content(self.variables["AZURE_FEDERATED_TOKEN_FILE"])
        except OSError as error:
            return Heard(result=Result.DENIED, detail=f"the token's file cannot be read: {error.strerror}")
        self.voice.secret(assertion)
        form = {
            "grant_type": "client_credentials",
            "client_id": self.variables["AZURE_CLIENT_ID"],
            "scope": f"{resource}/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
        headers = {"Host": self.host, "Content-Type": "application/x-www-form-urlencoded"}
        target = f"/{self.variables['AZURE_TENANT_ID']}/oauth2/v2.0/token"
        answer = await self.link.ask("POST", target, headers, urlencode(form).encode(), patience=_SERVERS_PATIENCE)
        return heard(answer, AskedFor(resource=resource, identity=self.identity), time.time(), lambda body: body.get("error"))


def _content(path: str) -> str:
    """A small file, as SDKs read it: at once."""
    return Path(path).read_text(encoding="ascii")


def _unchecked() -> ssl.SSLContext:
    """As Service Fabric's clients, which compare a thumbprint instead of a name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _accounts(name: str) -> Iterator[str]:
    """Resources that nobody has asked for before: every storage account has one of its own."""
    return (f"https://{name.replace('-', '').replace('/', '')}{number}.blob.core.windows.net" for number in itertools.count())


async def _run(wanted: Any, ended: threading.Event, voice: Voice) -> None:
    servers = ssl.create_default_context(cafile=wanted["ca_file"])
    name, host = wanted["host"], wanted["server"]
    loops = []
    for place, one in enumerate(wanted["endpoints"]):
        dialect = DIALECTS[one["dialect"]]
        named = f"{name}/{dialect.name}"
        endpoint, fresh = (
            Endpoint(voice=voice, client=named, dialect=dialect, variables=one["variables"], identity=one["identity"])
            for _ in range(2)
        )
        offset = place / 10
        again = partial(endpoint.ask, Kind.CACHED, itertools.repeat(_VAULT))
        anew = partial(fresh.ask, Kind.FRESH, _accounts(named))
        loops.append(keep_asking(again, ended, every=_CACHED_EVERY, offset=offset))
        loops.append(keep_asking(anew, ended, every=_FRESH_EVERY, offset=offset + 0.05))
        if wanted["vault"] and place == 0:
            link = Link((host, 443), tls=servers, name=wanted["vault"])
            vault = Vault(
                voice=voice, client=f"{name}/vault", link=link, host=wanted["vault"], source=endpoint, value=wanted["secret"]
            )
            loops.append(keep_asking(vault.read, ended, every=_VAULT_EVERY, offset=1.0))
    if wanted["workload"]:
        exchange = Exchange(
            voice=voice,
            client=f"{name}/workload-identity",
            link=Link((host, 443), tls=servers),
            host=host,
            variables=wanted["workload"]["variables"],
            identity=wanted["workload"]["identity"],
            resources=_accounts(f"{name}wi"),
        )
        loops.append(keep_asking(exchange.ask, ended, every=_EXCHANGE_EVERY, offset=0.3))
    await asyncio.gather(*loops)


def main() -> None:
    """Ask until standard input ends."""
    voice, wanted = Voice(sys.stdout.buffer), order()
    asyncio.run(_run(wanted, stopped(), voice))


if __name__ == "__main__":
    main()
