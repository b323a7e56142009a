"""Values that move to another key-encryption key."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from idplane.bootstrap.custody import CustodySection, KeySection, custody_for
from idplane.bootstrap.rewrap import remaining, rewrap
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.model.security_events import Delivery, EventStream
from idplane.ports.collections import EVENT_STREAMS, SIGNING_KEYS
from idplane.ports.store import ANY, Batch, Put, Store
from idplane.ports.world import KeyCustody
from idplane.store.custody import Custodies, FileCustody
from idplane.store.datafolder import DataFolderProblem
from idplane.sts.security_events import authorization_context
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store


class KilledError(Exception):
    """The process ended here."""


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await memory_store()
    yield opened
    await opened.close()


def world(store: Store, custody: KeyCustody) -> World:
    return World(clock=FakeClock(), entropy=SeededEntropy(), store=store, custody=custody, profile=AZURE)


OLD, NEW = MemoryCustody(SeededEntropy("old")), MemoryCustody(SeededEntropy("new"))
BOTH = Custodies(NEW, [OLD])


async def installed(store: Store, custody: KeyCustody = OLD) -> None:
    server = await Server.open(world(store, custody))
    await server.ring.rotate()
    await server.credentials.taint(server.credentials.keys[0].id)
    await server.close()


async def test_afterwards_the_earlier_key_is_not_needed(store: Store) -> None:
    await installed(store)
    before = await remaining(store, BOTH)
    assert before.elsewhere == before.by_key[OLD.key_id] > 0
    assert await rewrap(store, BOTH) > 0
    after = await remaining(store, NEW)
    assert (after.elsewhere, after.by_key) == (0, {NEW.key_id: before.elsewhere})
    server = await Server.open(world(store, NEW))
    await server.ring.rotate()
    await server.close()
    with pytest.raises(Failure) as caught:
        await Server.open(world(store, OLD))
    assert caught.value.kind is FailureKind.INTERNAL
    assert await rewrap(store, NEW) == 0


async def test_receivers_of_security_events_are_told_by_their_header_afterwards(store: Store) -> None:
    server = await Server.open(world(store, OLD))
    stream = EventStream(
        id="s",
        tenant_id=server.installation.tenant.id,
        owner_id=server.installation.operator.id,
        audience="api",
        issuer="https://localhost",
        subject_issuer="https://localhost",
        delivery=Delivery.PUSH,
        requested=(),
        since=0,
        created_at=server.world.clock.now(),
        authorization=OLD.seal(b"Bearer x", context=authorization_context("s")),
    )
    await store.commit(Batch.of(Put(collection=EVENT_STREAMS, value=stream, expect=ANY)))
    await server.close()
    await rewrap(store, BOTH)
    (row,) = await store.all(EVENT_STREAMS)
    assert NEW.unseal(row.value.authorization or b"", context=authorization_context("s")) == b"Bearer x"


async def test_servers_that_know_both_keys_go_on_meanwhile(store: Store) -> None:
    await installed(store)
    early, late = Custodies(OLD, [NEW]), BOTH
    servers = [await Server.open(world(store, one)) for one in (early, late)]
    await rewrap(store, late)
    for server in servers:
        kid = await server.ring.rotate()
        for other in servers:
            assert await other.ring.find(kid) is not None
    # What the server of yesterday's settings sealed meanwhile is found by the check, and moved by the next pass.
    assert (await remaining(store, late)).elsewhere > 0
    await rewrap(store, late)
    assert (await remaining(store, late)).elsewhere == 0
    for server in servers:
        await server.close()


async def test_it_goes_on_where_it_was_killed(store: Store) -> None:
    await installed(store)
    total = (await remaining(store, BOTH)).elsewhere

    def killed_at(count: int) -> None:
        if count == 2:
            raise KilledError

    with pytest.raises(KilledError):
        await rewrap(store, BOTH, killed_at)
    between = await remaining(store, BOTH)
    assert 0 < between.elsewhere < total
    await (await Server.open(world(store, BOTH))).close()
    await rewrap(store, BOTH)
    assert (await remaining(store, BOTH)).elsewhere == 0


async def test_a_value_that_changes_meanwhile_is_looked_at_again(store: Store) -> None:
    await installed(store)
    rows = await store.all(SIGNING_KEYS)

    class Racing:
        """Somebody else rewrites each record just before it is moved."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def commit(self, batch: Batch) -> int:
            for row in rows:
                current = await store.get(SIGNING_KEYS, row.value.id)
                if current is not None and current.version == row.version:
                    await store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=current.value, expect=ANY)))
            return await store.commit(batch)

    await rewrap(Racing(), BOTH)  # type: ignore[arg-type]  # the store, but for commits that lose their race
    assert (await remaining(store, BOTH)).elsewhere == 0


async def test_what_no_key_opens_stops_it(store: Store) -> None:
    await installed(store)
    row = (await store.all(SIGNING_KEYS))[0]
    foreign = replace(row.value, sealed=MemoryCustody(SeededEntropy("third")).seal(b"x", context="signing-key:?"))
    await store.commit(Batch.of(Put(collection=SIGNING_KEYS, value=foreign, expect=row.version)))
    with pytest.raises(Failure) as caught:
        await rewrap(store, BOTH)
    assert caught.value.kind is FailureKind.INTERNAL
    assert (await remaining(store, BOTH)).elsewhere > 0


# Settings


async def opened(store: Store, folder: Path, section: CustodySection) -> KeyCustody:
    return await custody_for(section, store, SeededEntropy(), path=lambda text: folder / text, default=folder / "custody.key")


async def test_a_key_file_is_made_for_an_empty_database_only(store: Store, tmp_path: Path) -> None:
    custody = await opened(store, tmp_path, CustodySection())
    assert (tmp_path / "custody.key").exists()
    await installed(store, custody)
    assert (await opened(store, tmp_path, CustodySection())).key_id == custody.key_id
    with pytest.raises(DataFolderProblem, match=r"key file .*other.* is missing"):
        await opened(store, tmp_path, CustodySection(file="other"))
    FileCustody.open(tmp_path / "other", entropy=SeededEntropy("other"))
    with pytest.raises(DataFolderProblem, match="does not belong to this database"):
        await opened(store, tmp_path, CustodySection(file="other"))
    both = await opened(store, tmp_path, CustodySection(file="other", also=(KeySection(file="custody.key"),)))
    await rewrap(store, both)
    assert (await opened(store, tmp_path, CustodySection(file="other"))).key_id == both.key_id


async def test_from_a_file_to_a_passphrase_and_nothing_but_it(store: Store, tmp_path: Path) -> None:
    await installed(store, await opened(store, tmp_path, CustodySection()))
    (tmp_path / "words").write_text("correct horse battery staple\n")
    (tmp_path / "words").chmod(0o600)
    phrase = CustodySection(kind="passphrase", file="words", also=(KeySection(),))
    await rewrap(store, await opened(store, tmp_path, phrase))
    (tmp_path / "custody.key").unlink()
    alone = await opened(store, tmp_path, CustodySection(kind="passphrase", file="words"))
    assert (await remaining(store, alone)).elsewhere == 0
    (tmp_path / "words").write_text("incorrect horse battery staple\n")
    with pytest.raises(DataFolderProblem, match="does not belong to this database"):
        await opened(store, tmp_path, CustodySection(kind="passphrase", file="words"))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (CustodySection(kind="passphrase"), "needs one of file, credential and ask"),
        (CustodySection(kind="passphrase", file="absent"), "passphrase file .* cannot be used"),
        (CustodySection(kind="passphrase", file="a", ask=True), "needs one of file, credential and ask"),
        (CustodySection(kind="passphrase", ask=True), "there is no terminal"),
        (CustodySection(kind="passphrase", credential="custody"), "systemd has passed no credential 'custody'"),
        (CustodySection(kind="passphrase", credential="../etc/passwd"), "systemd has passed no credential"),
        (CustodySection(kind="pkcs11"), 'needs pin_file = "..."'),
        (CustodySection(kind="pkcs11", pin_file="pin", token="t", label="l"), 'needs module = "..."'),
    ],
)
async def test_settings_that_do_not_suffice_are_one_sentence(
    store: Store, tmp_path: Path, section: CustodySection, words: str
) -> None:
    with pytest.raises(DataFolderProblem, match=words):
        await opened(store, tmp_path, section)


async def test_a_passphrase_may_be_a_credential_of_systemd(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "custody").write_text("correct horse battery staple")
    (tmp_path / "custody").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    custody = await opened(store, tmp_path, CustodySection(kind="passphrase", credential="custody"))
    assert custody.key_id.startswith("passphrase-")
