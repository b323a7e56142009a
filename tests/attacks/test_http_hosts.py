"""DNS rebinding: pages and servers that send a workload's requests under a name of their own, or spell the address in another way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.attacks.targets import METADATA, SECRET, Target, assert_refused

from idplane.model.dialects import Dialect

Targets = Callable[..., Target]

NAMES = [
    "evil.example",
    "evil.example:{port}",
    "{host}.evil.example",
    "evil.example.{host}",
    "{address}.nip.io:{port}",
    "localhost.evil.example:{port}",
    "evillocalhost:{port}",
    "metadata.azure.internal",
    "metadata",
    "instance-data",
    "xn--169-254-169-254",
    "management.azure.com",
    "*",
    "",
    " ",
    "%00",
]
PORTS = [
    "{name}",
    "{name}:",
    "{name}:0{port}",
    "{name}:+{port}",
    "{name}:-{port}",
    "{name}:{port}0",
    "{name}:{port}:80",
    "{name}:80:{port}",
    "{name}:1",
    "{name}:0",
    "{name}:65536",
    "{name}:{overflowing}",
    "{name};{port}",
    "{name}:{port}x",
    "{name}:0x{hex}",
    "{name}: {port}",
]
MARKS = [
    "{name}.:{port}",
    "{name}..:{port}",
    ".{name}:{port}",
    "user@{host}",
    "user:password@{host}",
    "evil.example@{host}",
    "{host}@evil.example",
    "http://{host}",
    "//{host}",
    "{host}/",
    "{host}/x",
    "{host}#",
    "{host}#evil.example",
    "{host}?",
    "{host}\\",
    "{host}, evil.example",
    "evil.example, {host}",
    "{host},",
    "{host} evil.example",
    "[{address}]:{port}",
    '"{host}"',
]
LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "localhost.:{port}",
    "127.1:{port}",
    "127.0.0.2:{port}",
    "2130706433:{port}",
    "0x7f000001:{port}",
    "0177.0.0.1:{port}",
    "0:{port}",
    "0.0.0.0:{port}",
    "[::1]:{port}",
    "[::]:{port}",
    "[::ffff:127.0.0.1]:{port}",
]
SPELLINGS = [
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "025177524776",
    "0251.0376.0251.0376",
    "0000169.0254.0169.0254",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "169.254.169.0xfe",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[fe80::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "::ffff:169.254.169.254",
    "169.254.169.254%25lo",
    "[169.254.169.254]",
    "169%2e254%2e169%2e254",
    "".join(chr(ord(one) + 0xFEE0) for one in "169.254.169.254"),
    "".join(chr(ord(one) + 0xFEE0) if one.isdigit() else one for one in "169.254.169.254"),
    "169。254。169。254",
    "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
    "169.254.169.254:81",
    "169.254.169.254:0080",
    "169.254.169.254:",
    "169.254.169.253",
    "169.254.169.2540",
]


def refuse(target: Target, host: str) -> None:
    """Under that name even who knows the secret is refused, for the name's sake."""
    name = "localhost" if target.tls else target.address
    forms = {"overflowing": 65536 + target.port, "hex": f"{target.port:x}", "address": target.address}
    said = host.format(host=target.host, name=name, port=target.port, **forms).encode().decode("latin-1")
    text = assert_refused(target.ask(target.request(target.proof, host=said)), 400)
    assert "Host" in text
    assert target.value == "true" or target.value not in text
    target.assert_serves()


@pytest.mark.parametrize("host", NAMES + PORTS + MARKS + LOOPBACK)
@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_other_names(target: Targets, dialect: Dialect, host: str) -> None:
    refuse(target(dialect), host)


@pytest.mark.parametrize("host", SPELLINGS)
def test_other_spellings_of_the_metadata_address(target: Targets, host: str) -> None:
    refuse(target(Dialect.IMDS), host)


@pytest.mark.parametrize("dialect", [one for one in METADATA + SECRET if one is not Dialect.IMDS])
def test_the_metadata_address_is_a_name_of_the_metadata_service_alone(target: Targets, dialect: Dialect) -> None:
    refuse(target(dialect), "169.254.169.254")


@pytest.mark.parametrize(
    "host", ["LOCALHOST:{port}", "LocalHost:{port}", "127.0.0.1:{port}", "169.254.169.254", "169.254.169.254:80"]
)
def test_its_own_names_in_any_case(target: Targets, host: str) -> None:
    aimed = target(Dialect.IMDS)
    assert aimed.ask(aimed.request(aimed.proof, host=host.format(port=aimed.port))).status == 200


@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_two_names(target: Targets, dialect: Dialect) -> None:
    aimed = target(dialect)
    for extra in (f"Host: {aimed.host}", "Host: evil.example", "host:", f"HOST: {aimed.host}"):
        assert "Host" in assert_refused(aimed.ask(aimed.request(aimed.proof, extra)), 400)
    nameless = f"GET {aimed.target} HTTP/1.1\r\n{aimed.proof}\r\nConnection: close\r\n\r\n"
    for raw in (
        nameless,
        nameless.replace("1.1", "1.0"),
        nameless.replace(aimed.proof, f"{aimed.proof}\r\nX-Host: {aimed.host}"),
    ):
        assert "Host" in assert_refused(aimed.ask(raw.encode()), 400)
    aimed.assert_serves()


@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_what_a_proxy_passed_on(target: Targets, dialect: Dialect) -> None:
    """Server-side request forgery mostly comes through something that says so."""
    aimed = target(dialect)
    for line in ("X-Forwarded-For: 10.0.0.1", "x-forwarded-for:", "X-FORWARDED-FOR: 169.254.169.254"):
        assert "proxy" in assert_refused(aimed.ask(aimed.request(aimed.proof, line)), 400)
    for line in (
        "X-Forwarded-Host: evil.example",
        "Forwarded: host=evil.example",
        "X-Host: evil.example",
        "X-Original-URL: /x",
    ):
        assert aimed.ask(aimed.request(aimed.proof, line)).status == 200
    aimed.assert_serves()
