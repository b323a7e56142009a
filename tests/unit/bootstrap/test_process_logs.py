"""What a process logs: one schema, one line a record, and nothing that looks like a secret."""

from __future__ import annotations

import contextlib
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from idplane.bootstrap.logs import JsonLines, TextLines, configure_logs, redacted
from idplane.bootstrap.telemetry_settings import LogSection
from idplane.jose import new_ec_key

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
PEM = (
    new_ec_key()
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("idplane", "idplane.requests")}
    for handler in handlers:
        root.removeHandler(handler)
    yield logging.getLogger("idplane.test")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(capture=False)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_json_lines_have_one_schema(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    configure_logs(LogSection(format="json", file=str(path)), trace_id=lambda: "0af7651916cd43dd8448eb211c80319c")
    log.info("hello %s", "world", extra={"request_id": "r-1", "password": "x", "status": 200})
    (line,) = lines(path)
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "info",
        "logger": "idplane.test",
        "message": "hello world",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "request_id": "r-1",
        "status": 200,
    }
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_an_exception_is_a_member(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    configure_logs(LogSection(format="json", file=str(path)))
    try:
        raise ValueError(f"bad token {JWT}\nlevel=error forged")
    except ValueError:
        log.exception("bug in request %s", "r-1")
    (line,) = lines(path)
    assert "ValueError: bad token [token removed]" in str(line["error"])
    assert JWT not in path.read_text()


def test_text_keeps_every_record_to_itself(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    configure_logs(LogSection(file=str(path)))
    forged = "x\n2026-01-01T00:00:00Z error   idplane: forged\r\x1b[2J\u2028y"
    try:
        raise ValueError(forged)
    except ValueError:
        log.exception("said %s", forged, extra={"path": forged})
    first, *rest = path.read_text().splitlines()
    assert "said x\\x0a2026" in first
    assert "\x1b" not in first
    assert rest
    assert all(line.startswith("    | ") for line in rest)


@given(text=st.text(max_size=200))
def test_whatever_is_logged_stays_in_its_line(text: str) -> None:
    record = logging.LogRecord("idplane", logging.INFO, "", 0, "%s", (text,), None)
    record.path = text
    assert len(JsonLines(lambda: None).format(record).splitlines()) == 1
    assert len(TextLines(lambda: None).format(record).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (JWT, ""),
        (f"Authorization: Bearer {JWT}", ""),
        pytest.param(PEM, "PRIVATE KEY", id="pem"),
        pytest.param(repr(PEM), "PRIVATE KEY", id="pem in a repr"),
        pytest.param(PEM[:80], "PRIVATE KEY", id="pem cut off"),
        ("Bearer 0123456789abcdef", "0123456789abcdef"),
        ("grant_type=x&client_secret=abcdefgh&y=z", "abcdefgh"),
        ("{'refresh_token': 'abcdefgh'}", "abcdefgh"),
        ('{"password":"abcdefgh"}', "abcdefgh"),
        ("postgresql://idplane:hunter2@db.example/idplane", "hunter2"),
        ("idp_abcdefghijklmnop", "abcdefghijklmnop"),
        ("Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, kept: str) -> None:
    shown = redacted(f"before {text} after")
    assert "removed]" in shown
    assert shown.startswith("before ")
    for part in JWT.split(".")[1:]:
        assert part not in shown
    if kept:
        assert kept not in shown
    for line in PEM.splitlines()[1:-1]:
        assert line not in shown


@pytest.mark.parametrize(
    "text", ["the token service is unavailable", "3f2c8d1e-0000-4000-8000-1234567890ab", "no signing key is active", "a: b=c"]
)
def test_plain_words_stay(text: str) -> None:
    assert redacted(text) == text


def test_no_line_is_endless() -> None:
    assert len(redacted("a" * 1_000_000)) < 20_000


def test_levels_and_libraries(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    configure_logs(LogSection(format="json", file=str(path), level="debug"))
    log.debug("ours")
    logging.getLogger("urllib3").debug("theirs")
    logging.getLogger("idplane.requests").info("request")
    assert [line["message"] for line in lines(path)] == ["ours"]


def test_a_line_for_each_request_if_asked(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    configure_logs(LogSection(format="json", file=str(path), level="error", requests=True))
    log.info("unasked")
    logging.getLogger("idplane.requests").info("request", extra={"path": f"/x/{JWT}", "status": 404})
    (line,) = lines(path)
    assert (line["path"], line["status"]) == ("/x/[token removed]", 404)


def test_a_disk_that_is_full_stops_nothing(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    configure_logs(LogSection(format="json", file=str(full)))
    log.error("lost")
    assert capsys.readouterr().err == ""


def test_arguments_that_do_not_fit_are_no_second_problem() -> None:
    record = logging.LogRecord("idplane", logging.INFO, "", 0, "%d of %d", ("x",), None)
    assert json.loads(JsonLines(lambda: None).format(record))["message"] == "%d of %d"
