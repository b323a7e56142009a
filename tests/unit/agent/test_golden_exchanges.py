"""Golden exchanges: `tests/wire/<dialect>_*.http` hold requests and, after a line of dashes, the whole answers, byte for byte.

Run with `IDPLANE_WRITE_GOLDEN=1` to write the answers anew, and review every changed byte.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from tests.unit.agent.agent_world import SECOND, SHARED, SYSTEM, VM, AgentWorld, token_error

from idplane.agent.api import Dialect
from idplane.bootstrap.server import context_for
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys import RunAuthority

FOLDER = Path(__file__).parents[2] / "wire"
FILES = sorted(FOLDER.glob("*.http"))
RULE = "-" * 80 + "\n"


def as_bytes(text: str) -> bytes:
    """Lines end as HTTP has it; the body, which is one line, has no end."""
    return text.replace("\n", "\r\n").encode()


def arrange(world: AgentWorld, name: str) -> None:
    """What the file's name asks for."""
    if "several" in name:
        world.server.hosts[VM.key] = [SHARED, SECOND]
    elif "selector" in name:
        world.server.hosts[VM.key] = [SYSTEM, SHARED]
    if "bad_resource" in name:
        world.server.token_answer = token_error(400, "invalid_resource", 500011)
    if "outage" in name:
        world.server.down = True


def write(name: str, text: str) -> None:
    (FOLDER / f"{name}.http").write_text(text)


async def open_endpoint(world: AgentWorld, name: str, folder: Path) -> tuple[tuple[str, int], ssl.SSLContext | None]:
    """The endpoint that the file's name begins with, and what a client needs to trust it."""
    dialect = Dialect(name.partition("_")[0])
    if dialect is Dialect.IMDS:
        return await world.imds(), None
    if dialect is Dialect.SERVICE_FABRIC:
        authority = RunAuthority.create(SystemClock(), SystemEntropy(), domains=["localhost"])
        trusting = ssl.create_default_context(cadata=authority.ca_pem.decode())
        return await world.open(dialect, tls=context_for(authority.issue(["localhost"]))), trusting
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    return await world.open(dialect, key_folder=descriptor), None


@pytest.mark.parametrize("dialect", [one for one in Dialect if one is not Dialect.WORKLOAD_IDENTITY])
def test_there_are_golden_files(dialect: Dialect) -> None:
    assert sum(file.name.startswith(f"{dialect}_") for file in FILES) >= 5


@pytest.mark.parametrize(
    ("name", "recorded"), [(file.stem, file.read_text()) for file in FILES], ids=[file.stem for file in FILES]
)
async def test_the_answer_is_the_recorded_one(world: AgentWorld, tmp_path: Path, name: str, recorded: str) -> None:
    request, _, expected = recorded.partition(RULE)
    arrange(world, name)
    client = await world.connect(*await open_endpoint(world, name, tmp_path))
    await client.send(as_bytes(request))
    if client.writer.can_write_eof():
        client.writer.write_eof()
    answer = (await client.reader.read()).decode()
    shown = answer.replace("\r\n", "\n") + "\n"
    if os.environ.get("IDPLANE_WRITE_GOLDEN"):
        write(name, request + RULE + shown)
        return
    assert shown == expected
