"""Whoever reads the database, a dump of it or a backup: nothing there lets a machine in, by any method, there or where the backup is restored."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.authorities import Authority, pem_files, ssh_keygen
from tests.attacks.joining import Answer, JoinWorld, Machine, join_world
from tests.attacks.test_enrollment_oidc import Issuers, enrolled
from tests.attacks.test_enrollment_oidc import token as outside_token
from tests.attacks.test_enrollment_ssh import attestor as by_ssh
from tests.attacks.test_enrollment_ssh import fingerprint
from tests.attacks.test_enrollment_x509 import DNS

from idplane.agent.attestors import attestor_of
from idplane.bootstrap.world import SystemClock
from idplane.jose import make_csr, new_ec_key
from idplane.model.enrollments import JoinMethod, Trust
from idplane.ports.collections import JOIN_TOKENS, SPENT_PROOFS
from idplane.store.backup import verify_backup, write_backup
from idplane.store.opening import open_store
from idplane.store.restore import restore_backup
from idplane.store.schema import migrations
from idplane.store.snapshot import snapshot_of
from idplane.testing.worlds import FakeClock


@dataclass
class Site:
    """Servers over a file, where machines have joined in every way but a chip's, and all that they and their operators held in hand."""

    world: JoinWorld
    folder: Path
    shown: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    async def watched(self, method: str, path: str, body: object = None, *rest: Any, **more: Any) -> Answer:
        if isinstance(body, dict) and path.endswith("/enrollments"):
            self.bodies.append(body)
            self.shown += [*_texts(body["evidence"]), str(body.get("challenge") or "")]
        return await type(self.world).send(self.world, method, path, body, *rest, **more)

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


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = await open_store(tmp_path / "idplane.sqlite", clock=FakeClock())
    async with join_world(stores=[store], documents=Issuers()) as world:
        made = Site(world, tmp_path)
        world.send = made.watched  # type: ignore[method-assign]  # what the machines send is noted on its way
        await _furnish(made)
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
    """What must not be found: tokens whole and in part, signatures, proofs; not certificates and public keys, which anybody may know."""
    found: set[str] = set()
    for text in site.shown:
        found.add(text)
        found.update(part for part in re.split(r"[._]", text) if len(part) >= 40)
    chains = {one for body in site.bodies for one in body["evidence"].get("chain", [])}
    return sorted(one for one in found - chains if len(one) >= 40)


async def test_no_token_signature_or_challenge_is_in_a_dump_or_backup(site: Site) -> None:
    backup = (await site.back_up()).read_text()
    wal = b"".join(one.read_bytes() for one in site.folder.glob("idplane.sqlite*")).decode("latin-1")
    secrets = secrets_of(site)
    assert len(secrets) >= 12
    for content in (backup, site.dump(), wal):
        for secret in secrets:
            assert secret not in content
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
                assert answer.code == (403, "ENROLLMENT_REFUSED")
                assert (await site.world.last_event()).sub_status == "ENROLLMENT_REFUSED"
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
        assert answer.code == (403, "ENROLLMENT_REFUSED"), answer.body
    assert before == 0
    answer, machine = await site.world.by(by_ssh(site.folder), replica=1)
    assert answer.status == 200, "who can prove what it is joins as before"
    assert machine is not None
    await store.close()
