"""Whoever reads the database, a dump of it or a backup: nothing there lets a machine in, by any method, there or where the backup is restored."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from faults.scan import Needles
from tests.attacks.authorities import Authority, pem_files, ssh_keygen
from tests.attacks.joining import Answer, JoinWorld, Machine, join_world
from tests.attacks.table import id_of, met, met_by, records, told, wire
from tests.attacks.test_enrollment_oidc import Issuers, enrolled
from tests.attacks.test_enrollment_oidc import token as outside_token
from tests.attacks.test_enrollment_ssh import attestor as by_ssh
from tests.attacks.test_enrollment_ssh import fingerprint
from tests.attacks.test_enrollment_tpm import chip
from tests.attacks.test_enrollment_x509 import DNS
from tests.needed import program
from tests.unit.bootstrap.test_telemetry_traces import receiving
from tests.unit.bootstrap.test_telemetry_traces import telemetry as telemetry_to

from idplane.agent.attestors import attestor_of
from idplane.bootstrap.logs import JsonLines
from idplane.bootstrap.world import SystemClock
from idplane.jose import make_csr, new_ec_key
from idplane.keys.sealing import private_context
from idplane.model.enrollments import JoinMethod, Trust
from idplane.ports.collections import AGENTS, JOIN_TOKENS, SIGNING_KEYS, SPENT_PROOFS
from idplane.ports.telemetry import NO_TELEMETRY, Telemetry
from idplane.store.backup import verify_backup, write_backup
from idplane.store.opening import open_store
from idplane.store.restore import restore_backup
from idplane.store.schema import migrations
from idplane.store.snapshot import snapshot_of
from idplane.testing.worlds import FakeClock

PUBLIC = ("chain", "publicKey", "certificate", "ekPublic", "akPublic", "ekCertificate")
"""Members of evidence that hold keys which certificates and enrollments name, too: not kept as they were sent, but in part elsewhere."""


@dataclass
class Site:
    """Servers over a file, where machines have joined in every way but a chip's, and all that they and their operators held in hand."""

    world: JoinWorld
    folder: Path
    shown: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    public: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    """Answers."""

    async def watched(self, method: str, path: str, body: object = None, *rest: Any, **more: Any) -> Answer:
        if isinstance(body, dict) and path.endswith("/enrollments"):
            self.bodies.append(body)
            self.shown += [*_texts(body["evidence"]), str(body.get("challenge") or ""), body["csr"]]
            self.public |= {body["csr"], *(text for name in PUBLIC for text in _texts(body["evidence"].get(name)))}
        if isinstance(body, dict) and path.endswith("/challenges"):
            self.shown += _texts(body)
            self.public |= {text for name in PUBLIC for text in _texts(body.get(name))}
        answer = await type(self.world).send(self.world, method, path, body, *rest, **more)
        if answer.status >= 400:
            self.refused.append(json.dumps(answer.body))
        return answer

    @property
    def database(self) -> Path:
        return self.folder / "idplane.sqlite"

    async def back_up(self) -> Path:
        path = self.folder / "backup.jsonl"
        custody = self.world.servers[0].world.custody
        async with snapshot_of(self.database) as snapshot:
            with path.open("wb") as out:
                await write_backup(snapshot, out, custody, program="test", created_at="now")
        return path

    def dump(self) -> str:
        with closing(sqlite3.connect(self.database)) as connection:
            return "\n".join(connection.iterdump())


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@asynccontextmanager
async def site_in(folder: Path, telemetry: Telemetry = NO_TELEMETRY) -> AsyncIterator[Site]:
    store = await open_store(folder / "idplane.sqlite", clock=FakeClock())
    async with join_world(stores=[store], documents=Issuers(), telemetry=telemetry) as world:
        made = Site(world, folder)
        world.send = made.watched  # type: ignore[method-assign]  # what the machines send is noted on its way
        await _furnish(made)
        yield made


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_in(tmp_path) as made:
        yield made


async def _furnish(site: Site) -> None:
    world, folder = site.world, site.folder
    ssh_keygen("-t", "ed25519", "-N", "", "-f", "host", folder=folder)
    authority, key = Authority(), new_ec_key()
    await world.enrollment(JoinMethod.SSH, "ssh", facts=(fingerprint(folder),))
    await world.enrollment(JoinMethod.X509, "x509", trust=Trust(authorities=authority.pem), facts=(DNS,))
    await enrolled(world)
    machines: list[Machine | None] = [await world.joined(name="token")]
    for way in (by_ssh(folder), attestor_of(f"x509:{pem_files(folder, key, authority.leaf(key.public_key()))}")):
        answer, machine = await world.by(way)
        assert answer.status == 200, answer.body
        machines.append(machine)
    assert (await world.join(JoinMethod.OIDC, {"token": outside_token(world)})).status == 200
    unused = await world.token(await world.enrollment(JoinMethod.TOKEN, "waiting"))
    site.shown.append(unused)
    for machine in machines:
        assert machine is not None
        site.shown.append(machine.proof())


def secrets_of(site: Site) -> list[str]:
    """What must not be found: all that machines sent to join, and the tokens and proofs, whole and in part."""
    found: set[str] = set()
    for text in site.shown:
        found.add(text)
        found.update(part for part in re.split(r"[._]", text) if len(part) >= 40)
    return sorted(one for one in found if len(one) >= 40)


def needles_of(site: Site, *more: tuple[str, str]) -> Needles:
    """The same, to be looked for in part and encoded: of a JSON web token its signature, since its claims name what is known."""
    kept = (one for one in site.shown if one not in site.public and len(one) >= 40)
    return Needles([*(("what was sent", one.rpartition(".")[2] if one.startswith("eyJ") else one) for one in kept), *more])


async def test_nothing_that_machines_sent_to_join_is_in_a_dump_or_backup(site: Site) -> None:
    await _look_for_what_was_sent(site)


async def _look_for_what_was_sent(site: Site) -> None:
    backup = (await site.back_up()).read_text()
    wal = b"".join(one.read_bytes() for one in site.folder.glob("idplane.sqlite*")).decode("latin-1")
    secrets = secrets_of(site)
    assert len(secrets) >= 12
    dump = site.dump()
    needles, keys = needles_of(site), await private_keys(site)
    for content in (backup, dump, wal):
        for secret in (*secrets, *keys):
            assert secret not in content
    for where, content in (("backup", backup), ("dump", dump)):
        assert not needles.search(where, content.encode())
    met_by("dump", answer="none of them is there", record="none: nobody was asked")
    assert "join_tokens" in site.dump(), "as hashes"
    assert '"table":"join_tokens"' not in backup


async def test_nothing_that_is_there_is_a_join_token(site: Site) -> None:
    """Ids and hashes of tokens that wait, in every form that a token can have."""
    rows = [one.value for one in await site.world.store.all(JOIN_TOKENS)]
    assert {one.used_at is None for one in rows} == {True, False}
    (waiting,) = [text for text in site.shown if any(one.id in text and one.used_at is None for one in rows)]
    head, _, _ = waiting.rpartition("_")
    for row in rows:
        digest = row.secret_hash
        for secret in (digest.hex(), base64.b64encode(digest).decode(), row.id * 2):
            for name in (head, head.replace(head.rpartition("_")[2], row.id)):
                answer = await site.world.join(JoinMethod.TOKEN, {"token": f"{name}_{secret}"})
                await met("dump-joins", site.world, answer)
    assert (await site.world.join(JoinMethod.TOKEN, {"token": waiting})).status == 200, "its holder's is as good as before"


async def test_what_was_seen_is_worth_nothing_where_a_backup_is_restored(site: Site) -> None:
    """All requests of before, as somebody on the wire has them, and the tokens that waited: the servers over the restored database refuse each."""
    bodies, waiting = list(site.bodies), site.shown[-4]
    assert await site.world.store.all(SPENT_PROOFS)
    restored = site.folder / "restored.sqlite"
    verified = verify_backup(await site.back_up(), migrations("sqlite"))
    await restore_backup(verified, restored, SystemClock().now())
    store = await open_store(restored, clock=site.world.clock)
    server = site.world.servers[0]
    again = await type(server).open(
        type(server.world)(
            clock=site.world.clock,
            entropy=site.world.entropy,
            store=store,
            custody=server.world.custody,
            profile=server.world.profile,
        ),
        documents=Issuers(),
    )
    site.world.servers.append(again)
    before = len(await store.all(JOIN_TOKENS))
    csr = base64.b64encode(make_csr(new_ec_key(), "agent")).decode()
    for body in [*bodies, {"method": "token", "evidence": {"token": waiting}, "csr": csr, "protocol": 1}]:
        answer = await site.world.send("POST", "/agent/v1/enrollments", body, replica=1)
        met_by("wire-joins", answer=wire(answer), record=told(await records(again.world), id_of(answer)))
    assert before == 0
    answer, machine = await site.world.by(by_ssh(site.folder), replica=1)
    assert answer.status == 200, "who can prove what it is joins as before"
    assert machine is not None
    await store.close()


async def private_keys(site: Site) -> list[str]:
    """The installation's, as texts would have them."""
    custody = site.world.servers[0].world.custody
    found = []
    for row in await site.world.store.all(SIGNING_KEYS):
        der = custody.unseal(row.value.sealed, context=private_context(row.value.id))
        found += [base64.b64encode(der[-48:]).decode(), der[-48:].hex()]
    assert found
    return found


@pytest.mark.wide
@program("swtpm", "tpm2_quote")
async def test_nor_is_what_a_chip_said(site: Site, tmp_path: Path) -> None:
    """Of a TPM's evidence only facts are kept: the endorsement key's digest, and what its maker certified."""
    with chip(tmp_path / "chip") as one:
        await site.world.enrollment(JoinMethod.TPM, "chip", facts=(("endorsementKey", await one.endorsement()),))
        before = len(site.shown)
        answer, machine = await site.world.by(one.attestor())
        assert answer.status == 200, answer.body
        assert machine is not None
        said = site.shown[before:]
        assert len([text for text in said if len(text) >= 40]) >= 6, "keys, quote, signature, secret, challenge, request"
        await _look_for_what_was_sent(site)
        (agent,) = [row.value for row in await site.world.store.all(AGENTS) if row.value.id == machine.agent_id]
        assert agent.facts == (("endorsementKey", await one.endorsement()),)


async def test_nothing_secret_is_said(tmp_path: Path) -> None:
    """Answers, the process' own log, both of the plane's logs, metrics and traces, while everything is shown where it does not belong."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonLines(lambda: None))
    loggers = [logging.getLogger(name) for name in ("idplane", "idplane.requests")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    try:
        with receiving() as (receiver, endpoint):
            telemetry = telemetry_to(endpoint)
            async with site_in(tmp_path, telemetry) as site:
                await _misplaced(site)
                said = {
                    "answers": "\n".join(site.refused),
                    "records": str(await records(site.world)),
                    "metrics": telemetry.metrics.text(None)[1].decode(),
                }
                needles = needles_of(site, *(("a private key", one) for one in await private_keys(site)))
            telemetry.close()
            said["traces"] = receiver.raw.decode("latin-1")
    finally:
        loggers[0].removeHandler(handler)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
    said["log"] = lines.getvalue()
    assert all(said.values()), {name: len(text) for name, text in said.items()}
    assert [str(one) for name, text in said.items() for one in needles.search(name, text.encode())] == []
    met_by("output", answer="none of them is there", record="none: nobody was asked")


async def _misplaced(site: Site) -> None:
    """All that was shown, once more: in bodies, bearers, paths, queries, and where names belong."""
    send, world = site.world.send, site.world
    for body in list(site.bodies):
        await send("POST", "/agent/v1/enrollments", body)
    tenant = world.servers[0].installation.tenant.id
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    tokens = [one for one in site.shown if one.startswith(("idpjt_", "eyJ"))]
    assert len(tokens) >= 5
    for one in tokens:
        for path in ("/subscriptions", "/v1.0/users", "/agent/v1/host"):
            await send("GET", path, None, {"Authorization": f"Bearer {one}"})
        await send("GET", f"/subscriptions/{one}?token={one}")
        await send("GET", f"/{one}/oauth2/token?{one}={one}")
        await send("POST", f"/{tenant}/oauth2/v2.0/token", f"client_id={one}&client_secret={one}".encode(), form)
        await send("POST", f"/{tenant}/oauth2/token", f"{one}={one}&client_assertion={one}".encode(), form)
        await send("POST", "/agent/v1/challenges", {"method": one})
    await world.servers[0].refused.turn()
