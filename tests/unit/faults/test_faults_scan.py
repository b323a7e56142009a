import base64
from pathlib import Path

import pytest
from faults.scan import PIECE, Needles, files_below, tables_of

SIGNATURE = "Zm9vYmFyYmF6cXV4-quuxcorge_graultgarplywaldofredplughxyzzythud012345"
TOKEN = f"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJub2JvZHkiLCJuIjoxMjM0NTY3fQ.{SIGNATURE}"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n"


def found(content: str | bytes, *, value: str = SIGNATURE) -> list[str]:
    encoded = content.encode() if isinstance(content, str) else content
    return [str(one) for one in Needles([("a token", value)]).search("log", encoded)]


@pytest.mark.parametrize(
    "content",
    [
        SIGNATURE,
        f'{{"detail": "{SIGNATURE}"}}',
        f"GET /x?token={SIGNATURE} HTTP/1.1",
        f"cut short: {SIGNATURE[: 2 * PIECE - 1]}",
        f"its end: {SIGNATURE[PIECE - 1 :]}",
        b"\0\xff" + SIGNATURE.encode() + b"\0",
    ],
)
def test_a_value_is_found_wherever_it_is_and_in_part(content: str | bytes) -> None:
    assert "log: a token" in found(content)


@pytest.mark.parametrize(
    "wrapped",
    [
        SIGNATURE.encode().hex(),
        base64.b64encode(f"x{SIGNATURE}".encode()).decode(),
        base64.urlsafe_b64encode(SIGNATURE.encode()).decode(),
    ],
)
def test_a_value_is_found_within_hexadecimal_and_base64(wrapped: str) -> None:
    assert found(f"bytes {wrapped} end") == ["log: a token, encoded"]


def test_anything_with_the_shape_of_a_token_or_key_is_found() -> None:
    assert found(TOKEN, value="something-else-altogether-that-is-secret") == ["log: a JSON web token"]
    assert found(PEM) == ["log: a private key"]
    assert found("postgresql://idplane:hunter2@db/plane") == ["log: a password in an address"]


@pytest.mark.parametrize(
    "harmless",
    [
        "",
        "eyJhbGciOiJSUzI1NiJ9",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "postgresql://idplane@db/plane",
        SIGNATURE[: PIECE - 1],
        "/subscriptions/0/resourceGroups/stage/providers/Microsoft.Compute/virtualMachines/north",
    ],
)
def test_what_is_no_secret_is_not_found(harmless: str) -> None:
    assert found(harmless) == []


def test_a_short_value_is_found_whole_only() -> None:
    assert found("password: hunter2!", value="hunter2!") == ["log: a token"]
    assert found("password: hunter2", value="hunter2!") == []


def test_a_dump_is_told_apart_by_tables() -> None:
    dump = "create table a;\nCOPY public.a (key) FROM stdin;\n1\nCOPY public.b (key) FROM stdin;\n2\n"
    assert [name.rpartition(", ")[2] for name, _ in tables_of(dump)] == ["definitions", "table public.a", "table public.b"]


def test_files_are_read_below_a_folder_but_for_those_that_hold_keys(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("deep/log", "key.pem"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "key.pem")
    assert dict(files_below(tmp_path, but=[tmp_path / "key.pem"])) == {"deep/log": b"deep/log"}
