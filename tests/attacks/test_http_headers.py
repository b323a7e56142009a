"""Forged proofs: every way of almost sending the header that a dialect's callers must send."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.attacks.targets import METADATA, SECRET, Target, assert_refused

from idplane.model.dialects import Dialect

Targets = Callable[..., Target]

WITHOUT = {
    "nothing": [],
    "no value": ["{name}:"],
    "the value in a query": [],
    "the value in a cookie": ["Cookie: {name}={value}"],
    "an underscore for its dash": ["{underscored}: {value}"],
    "a name that begins alike": ["{name}s: {value}"],
    "a name that ends alike": ["X-{name}: {value}"],
    "twice": ["{name}: {value}", "{name}: {value}"],
    "twice in other cases": ["{lower}: {value}", "{upper}: {value}"],
    "right, then wrong": ["{name}: {value}", "{name}: x"],
    "wrong, then right": ["{name}: x", "{name}: {value}"],
    "two in a list": ["{name}: {value}, {value}"],
    "in quotes": ['{name}: "{value}"'],
    "more behind it": ["{name}: {value};q=1"],
    "more before it": ["{name}: x{value}"],
    "percent-encoded": ["{name}: {encoded}"],
    "a space that is none": ["{name}: {value}\xa0"],
    "full-width": ["{name}: {wide}"],
    "behind the body": ["Transfer-Encoding: chunked"],
}
BODIES = {"behind the body": "0\r\n{name}: {value}\r\n\r\n"}
QUERIES = {"the value in a query": "&{name}={value}"}
UNREADABLE = {
    "folded": ["X: y", " {name}: {value}"],
    "folded value": ["{name}:", " {value}"],
    "a space before the colon": ["{name} : {value}"],
    "a tab before the colon": ["{name}\t: {value}"],
    "a space before the name": [" {name}: {value}"],
    "NUL in it": ["{name}: {value}\0"],
    "NUL in its name": ["{name}\0: {value}"],
    "a bare CR before it": ["X: y\r{name}: {value}"],
    "a bare LF before it": ["X: y\n{name}: {value}"],
    "a letter that is none": ["{name}\xa0: {value}"],
    "a vertical tab": ["{name}: \x0b{value}"],
}
WRONG_SECRETS = {
    "wrong": "x",
    "its first half": "{half}",
    "all but its last": "{shorter}",
    "one more": "{value}0",
    "in the other case": "{swapped}",
    "backwards": "{reversed}",
    "as a scheme": "Basic {value}",
    "beyond ASCII": "\xff\xfe{value}",
    "a megabyte of nothing": "0" * 15_000,
    "true": "true",
}
REFUSALS = {
    Dialect.IMDS: (400, "invalid_request", "Required metadata header not specified"),
    Dialect.CLOUD_SHELL: (400, "InvalidRequest", "Required metadata header not specified"),
    Dialect.APP_SERVICE: (401, "", ""),
    Dialect.APP_SERVICE_2017: (401, "", ""),
    Dialect.MACHINE_LEARNING: (401, "", ""),
    Dialect.SERVICE_FABRIC: (404, "ManagedIdentityNotFound", ""),
}


def filled(text: str, target: Target) -> str:
    value = target.value
    names = {"name": target.header, "lower": target.header.lower(), "upper": target.header.upper()}
    forms = {
        "value": value,
        "underscored": target.header.replace("-", "_") if "-" in target.header else f"{target.header}_",
        "encoded": "".join(f"%{ord(one):02x}" for one in value),
        "wide": "".join(chr(ord(one) + 0xFEE0) for one in value).encode().decode("latin-1"),
        "half": value[: len(value) // 2],
        "shorter": value[:-1],
        "swapped": value.swapcase(),
        "reversed": value[::-1],
    }
    return text.format(**names, **forms)


def refuse(target: Target, headers: list[str], *, body: str = "", query: str = "") -> None:
    """The attack is answered in the dialect's words, and the next client is served."""
    lines = [filled(one, target) for one in headers]
    raw = target.request(*lines, line=f"GET {target.target}{filled(query, target)} HTTP/1.1")
    answer = target.ask(raw + filled(body, target).encode("latin-1"))
    status, code, text = REFUSALS[target.dialect]
    said = assert_refused(answer, status, *((400,) if target.dialect is Dialect.SERVICE_FABRIC else ()))
    assert answer.words[0] in {code, "SecretHeaderNotFound"}
    assert text in said
    assert target.dialect in METADATA or target.value.encode() not in answer.body
    target.assert_serves()


@pytest.mark.parametrize("case", WITHOUT)
@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_almost_the_header(target: Targets, dialect: Dialect, case: str) -> None:
    refuse(target(dialect), WITHOUT[case], body=BODIES.get(case, ""), query=QUERIES.get(case, ""))


@pytest.mark.parametrize("value", ["false", "1", "yes", "on", "tru", "truee", "t rue", "true true", "true;", "!false"])
@pytest.mark.parametrize("dialect", METADATA)
def test_other_values_of_metadata(target: Targets, dialect: Dialect, value: str) -> None:
    refuse(target(dialect), [f"Metadata: {value}"])


@pytest.mark.parametrize("line", ["Metadata: True", "METADATA:TRUE", "metadata:\t tRuE \t"])
@pytest.mark.parametrize("dialect", METADATA)
def test_what_http_takes_for_the_same_is_the_same(target: Targets, dialect: Dialect, line: str) -> None:
    """RFC 9110: names in any case, and white space around values that is no part of them."""
    assert target(dialect).ask(target(dialect).request(line)).status == 200


@pytest.mark.parametrize("case", WRONG_SECRETS)
@pytest.mark.parametrize("dialect", SECRET)
def test_almost_the_secret(target: Targets, dialect: Dialect, case: str) -> None:
    aimed = target(dialect)
    if filled(WRONG_SECRETS[case], aimed) == aimed.value:
        aimed = aimed.speaking(value=aimed.value.upper() + "x")  # a secret of digits alone has no other case
    refuse(aimed, ["{name}: " + WRONG_SECRETS[case]])


@pytest.mark.parametrize("dialect", SECRET)
def test_the_secrets_of_others(target: Targets, dialect: Dialect) -> None:
    """Another machine's secret is none here, nor is the secret of another endpoint of the same machine."""
    for other in (target(dialect, "other"), target(next(one for one in SECRET if one is not dialect))):
        refuse(target(dialect), [f"{{name}}: {other.value}"])
        assert target(dialect).value != other.value


@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_headers_that_are_none(target: Targets, dialect: Dialect, case: str) -> None:
    aimed = target(dialect)
    answer = aimed.ask(aimed.request(*(filled(one, aimed) for one in UNREADABLE[case])))
    assert "not HTTP/1.1" in assert_refused(answer, 400)
    assert "\r\nConnection: close" in answer.head
    aimed.assert_serves()


def test_a_trailer_of_one_request_is_no_header_of_the_next(target: Targets) -> None:
    aimed = target(Dialect.IMDS)
    chunked = aimed.request("Transfer-Encoding: chunked", close=False) + b"0\r\nMetadata: true\r\nX-Forwarded-For: y\r\n\r\n"
    first, second, third = aimed.send(chunked + aimed.request(close=False) + aimed.good())
    for answer in (first, second):
        assert "metadata header" in assert_refused(answer, 400)
    assert third.status == 200
