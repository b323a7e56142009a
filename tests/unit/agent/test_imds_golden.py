"""Golden exchanges of IMDS: `tests/wire/imds_*.http` hold a request and, after a line of dashes, the whole answer, byte for byte.

Run with `IDPLANE_WRITE_GOLDEN=1` to write the answers anew, and review every changed byte.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.agent.agent_world import SECOND, SHARED, SYSTEM, VM, AgentWorld, token_error

FOLDER = Path(__file__).parents[2] / "wire"
FILES = sorted(FOLDER.glob("imds_*.http"))
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


def test_there_are_golden_files() -> None:
    assert len(FILES) >= 15


@pytest.mark.parametrize(
    ("name", "recorded"), [(file.stem, file.read_text()) for file in FILES], ids=[file.stem for file in FILES]
)
async def test_the_answer_is_the_recorded_one(world: AgentWorld, name: str, recorded: str) -> None:
    request, _, expected = recorded.partition(RULE)
    arrange(world, name)
    client = await world.connect(await world.imds())
    await client.send(as_bytes(request))
    client.writer.write_eof()
    answer = (await client.reader.read()).decode()
    head, _, body = answer.partition("\r\n\r\n")
    shown = head.replace("\r\n", "\n") + "\n\n" + body + "\n"
    if os.environ.get("IDPLANE_WRITE_GOLDEN"):
        write(name, request + RULE + shown)
        return
    assert shown == expected
