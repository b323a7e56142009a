"""Arc's challenge (MIE section 3): what is not the content of an open challenge's own file gets no token."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.agent.agent_world import ARM, OTHER_VM, SECOND, SHARED, SYSTEM, VM, AgentWorld, Response, get

from idplane.agent.api import Dialect
from idplane.agent.arc_keys import ArcKeys, key_folder
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import FakeClock, SeededEntropy

TARGET = f"/metadata/identity/oauth2/token?api-version=2020-06-01&resource={ARM}"
FOLDER = "/var/opt/azcmagent/tokens"


class Machine:
    """An Arc endpoint and the folder of its keys."""

    def __init__(self, world: AgentWorld, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.address = ("", 0)

    async def open(self) -> Machine:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        self.address = await self.world.open(Dialect.ARC, key_folder=descriptor)
        return self

    async def ask(self, shown: str | None = None, query: str = "") -> Response:
        more = [] if shown is None else [f"Authorization: {shown}"]
        return await self.world.ask(self.address, get(TARGET + query, "Host: localhost", "Metadata: true", *more))

    async def challenged(self) -> Path:
        """The file that a challenge names."""
        return self.file_of(await self.ask())

    def file_of(self, answer: Response) -> Path:
        assert answer.status == 401
        scheme, _, realm = answer.headers["www-authenticate"].partition("=")
        assert scheme == "Basic realm"
        assert Path(realm).parent == Path(FOLDER)
        return self.folder / Path(realm).name


@pytest.fixture
async def machine(world: AgentWorld, tmp_path: Path) -> Machine:
    return await Machine(world, tmp_path).open()


async def test_the_content_of_the_file_is_worth_one_token(machine: Machine) -> None:
    file = await machine.challenged()
    found = file.stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o400, os.geteuid())
    assert (file.suffix, 32 <= found.st_size <= 4096) == (".key", True)
    key = file.read_text()
    answer = await machine.ask(f"Basic {key}")
    assert (answer.status, answer.json["client_id"], answer.json["expires_in"]) == (200, SYSTEM.client_id, "3600")
    assert not file.exists()
    again = await machine.ask(f"Basic {key}")
    assert machine.file_of(again) != file


@pytest.mark.parametrize("version", ["2019-11-01", "2020-06-01", "2021-02-01"])
async def test_versions(machine: Machine, version: str) -> None:
    target = TARGET.replace("2020-06-01", version)
    answer = await machine.world.ask(machine.address, get(target, "Host: localhost", "Metadata: true"))
    assert answer.status == 401


@pytest.mark.parametrize(
    "shown",
    ["", "Basic", "Basic ", "Basic wrong", "Bearer {key}", "{key}", "Basic {key}x", "Basic x{key}", "Basic " + "k" * 4097],
)
async def test_anything_else_is_challenged_again(machine: Machine, shown: str) -> None:
    file = await machine.challenged()
    key = file.read_text()
    answer = await machine.ask(shown.format(key=key))
    assert machine.file_of(answer) != file
    assert (await machine.ask(f"Basic {key}")).status == 200


async def test_a_key_that_is_shown_twice_in_one_request(machine: Machine) -> None:
    key = (await machine.challenged()).read_text()
    line = f"Authorization: Basic {key}"
    answer = await machine.world.ask(machine.address, get(TARGET, "Host: localhost", "Metadata: true", line, line))
    assert answer.status == 401


async def test_files_of_others_are_no_keys(machine: Machine) -> None:
    file = await machine.challenged()
    forged = machine.folder / "forged.key"
    forged.write_text("f" * 96)
    assert (await machine.ask(f"Basic {forged.read_text()}")).status == 401
    file.unlink()
    file.write_text("g" * 96)
    assert (await machine.ask(f"Basic {file.read_text()}")).status == 401


async def test_another_listeners_key(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = await Machine(machine.world, tmp_path_factory.mktemp("other")).open()
    key = (await other.challenged()).read_text()
    assert (await machine.ask(f"Basic {key}")).status == 401
    assert (await other.ask(f"Basic {key}")).status == 200


async def test_a_key_has_its_time(machine: Machine) -> None:
    file = await machine.challenged()
    key = file.read_text()
    machine.world.clock.advance(31)
    assert (await machine.ask(f"Basic {key}")).status == 401
    assert not file.exists()


async def test_an_open_challenge_goes_with_its_listener(machine: Machine) -> None:
    file = await machine.challenged()
    await machine.world.agent.close()
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_id", SHARED.client_id.upper()),
        ("object_id", SHARED.principal_id),
        ("msi_res_id", SHARED.resource_id),
        ("mi_res_id", SHARED.resource_id),
    ],
)
async def test_the_identity_is_echoed_as_it_was_named(machine: Machine, name: str, value: str) -> None:
    machine.world.server.hosts[VM.key] = [SYSTEM, SHARED]
    key = (await machine.challenged()).read_text()
    body = (await machine.ask(f"Basic {key}", f"&{name}={value}")).json
    assert (body["client_id"], str(body[name]).lower()) == (SHARED.client_id, value.lower())


async def test_an_identity_of_another_machine(machine: Machine) -> None:
    machine.world.server.hosts[OTHER_VM.key] = [SECOND]
    key = (await machine.challenged()).read_text()
    assert (await machine.ask(f"Basic {key}", f"&client_id={SECOND.client_id}")).error == (400, "Identity not found")


async def test_bad_queries_make_no_files(machine: Machine) -> None:
    target = TARGET.replace("2020-06-01", "2018-02-01")
    answer = await machine.world.ask(machine.address, get(target, "Host: localhost", "Metadata: true"))
    assert answer.status == 400
    assert list(machine.folder.iterdir()) == []


async def test_a_folder_that_takes_no_files(machine: Machine) -> None:
    machine.folder.rmdir()
    assert (await machine.ask()).status == 503


# The keys alone


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[tuple[ArcKeys, FakeClock]]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    clock = FakeClock()
    yield ArcKeys(folder=descriptor, clock=clock, entropy=SeededEntropy()), clock
    os.close(descriptor)


def test_many_challenges_leave_few_files(keys: tuple[ArcKeys, FakeClock], tmp_path: Path) -> None:
    for _ in range(1000):
        keys[0].challenge(1)
    assert len(list(tmp_path.iterdir())) == 64
    keys[0].close()
    assert list(tmp_path.iterdir()) == []


def test_a_flood_of_challenges_ends_only_its_own(keys: tuple[ArcKeys, FakeClock], tmp_path: Path) -> None:
    quiet = (tmp_path / Path(keys[0].challenge("quiet")["realm"]).name).read_bytes()
    for _ in range(1000):
        keys[0].challenge("noisy")
    assert len(list(tmp_path.iterdir())) == 64
    assert keys[0].redeem(quiet)


def test_a_link_that_waits_under_the_name_is_not_followed(keys: tuple[ArcKeys, FakeClock], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    entropy = SeededEntropy()
    entropy.bytes(48)
    waiting = tmp_path / f"{entropy.guid()}.key"
    waiting.symlink_to(victim)
    realm = keys[0].challenge(1)["realm"]
    assert Path(realm).name != waiting.name
    assert not victim.exists()
    assert waiting.is_symlink()


def test_a_file_that_its_reader_removed_is_no_trouble(keys: tuple[ArcKeys, FakeClock], tmp_path: Path) -> None:
    name = Path(keys[0].challenge(1)["realm"]).name
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    assert keys[0].redeem(content)
    assert not keys[0].redeem(content)


def test_this_machines_folder_must_be_ours_alone(tmp_path: Path) -> None:
    with key_folder(tmp_path / "a" / "b") as descriptor:
        assert os.fstat(descriptor).st_ino == (tmp_path / "a" / "b").stat().st_ino
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    file = tmp_path / "file"
    file.touch()
    for path in (shared, link, file, file / "below"):
        with pytest.raises(Failure, match="use idplane run --isolation namespace") as caught, key_folder(path):
            pass
        assert caught.value.kind is FailureKind.UNAVAILABLE
