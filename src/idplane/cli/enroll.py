"""`idplane enroll`: which machines become hosts of a resource, through Resource Manager as the operator."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.cli.tables import say_table
from idplane.cli.workload_plane import WorkloadPlane
from idplane.model.enrollments import JoinMethod
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["command"]

_TYPE = "Idplane.Workloads/enrollments"
_JOIN = "join"
_MAX_MINUTES = 24 * 60
_MAX_FILE = 64 * 1024
_EXAMPLES = """\b
Examples:
  idplane enroll token stock-vm --out /run/join-token
  idplane enroll add stock-vm rack --x509 ca.pem --fact dns=stock.example.com
  idplane enroll list stock-vm
  idplane enroll remove stock-vm rack

A machine joins by what it can prove; 'idplane agent --join' says how. 'add', 'list', 'remove' and 'token' take --data and --json.
"""
_ADD_EXAMPLES = """\b
Examples:
  idplane enroll add stock-vm rack --x509 ca.pem --fact dns=stock.example.com
  idplane enroll add stock-vm ssh --ssh-key /etc/ssh/ssh_host_ed25519_key.pub
  idplane enroll add stock-vm ssh --ssh-ca host_ca.pub --fact principal=stock.example.com
  idplane enroll add stock-vm chip --tpm 1f0c...
  idplane enroll add stock-vm chip --tpm-ca makers.pem --fact serial=7a31
  idplane enroll add stock-vm node --oidc https://cluster.example.com --fact kubernetes.io/node/name=node-7
  idplane enroll add stock-vm ci --oidc https://token.actions.githubusercontent.com --fact repository=contoso/shop
"""


_METHODS: Mapping[str, tuple[str, str, bool]] = {
    "x509_file": ("x509", "certificateAuthorities", True),
    "ssh_key_file": ("ssh", "publicKey", True),
    "ssh_ca_file": ("ssh", "certificateAuthority", True),
    "tpm_key": ("tpm", "endorsementKey", False),
    "tpm_file": ("tpm", "certificateAuthorities", True),
    "issuer": ("oidc", "issuer", False),
}
"""Option → the method, the member that it becomes, and whether it names a file with that member's text."""


@click.group("enroll", epilog=_EXAMPLES)
def command() -> None:
    """Say which machines become hosts of a resource."""


@command.command("add", short_help="Let machines that prove something become hosts of a resource.", epilog=_ADD_EXAMPLES)
@click.argument("host")
@click.argument("name")
@data_option
@click.option("--x509", "x509_file", metavar="FILE", help="By a certificate that one of these authorities (PEM) signed.")
@click.option("--ssh-key", "ssh_key_file", metavar="FILE", help="By this SSH host key (the public file).")
@click.option("--ssh-ca", "ssh_ca_file", metavar="FILE", help="By an SSH host certificate of this authority (its public file).")
@click.option("--tpm", "tpm_key", metavar="SHA256", help="By the TPM whose endorsement key has this digest.")
@click.option("--tpm-ca", "tpm_file", metavar="FILE", help="By a TPM of one of these makers (PEM).")
@click.option(
    "--pcrs", metavar="REGISTERS=DIGEST", help="With --tpm or --tpm-ca: what it must have measured, such as 0,7=9f31..."
)
@click.option("--oidc", "issuer", metavar="URL", help="By a token of this issuer.")
@click.option("--audience", metavar="TEXT", help="With --oidc: what tokens must be for.  [default: idplane-agent:SERVER]")
@click.option("--fact", "facts", multiple=True, metavar="NAME=VALUE", help="What must be proved; repeat for several.")
@click.option("--expression", metavar="TEXT", help="What else must hold, such as \"claims['dns'] matches '*.example.com'\".")
@click.option(
    "--carries", multiple=True, metavar="RESOURCE", help="A further resource that the machine serves; repeat for several."
)
@click.option("--replace", is_flag=True, help="Instead of the enrollment that has this name already, whose agents end.")
@json_option
def _add(*, host: str, name: str, data: Path, carries: Sequence[str], replace: bool, as_json: bool, **given: object) -> None:
    """Let machines that prove something become hosts of HOST, a resource's full id or unique name."""
    properties = _properties(given)
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host)
    if carries:
        properties["carries"] = [str(plane.resolve(one)) for one in carries]
    if not replace and name.lower() in plane.names(resource, _TYPE):
        raise CommandError(f"{resource.name} has an enrollment named '{name}': add --replace to put this one in its place")
    made = plane.write(resource, _TYPE, name, {"properties": properties}, {} if replace else {"If-None-Match": "*"})
    if as_json:
        say_json(made)
        return
    click.echo(f"{name} lets machines become hosts of {resource.name} by {_words(made)}")


@command.command("list", short_help="List the enrollments of a resource, or all.")
@click.argument("host", required=False)
@data_option
@json_option
def _list(*, host: str | None, data: Path, as_json: bool) -> None:
    """List what machines become hosts of HOST by; without it, of every resource."""
    plane = WorkloadPlane.open(data)
    found = plane.list(plane.resolve(host) if host is not None else None, _TYPE)
    if as_json:
        say_json(found)
    elif not found:
        click.echo("there are no enrollments")
    else:
        rows = [(ResourceId.parse(str(one.get("id"))).scope.name, str(one.get("name")), _words(one)) for one in found]
        say_table(("HOST", "ENROLLMENT", "BY"), rows)


@command.command("remove", short_help="Take an enrollment away, and the agents that it let in.")
@click.argument("host")
@click.argument("name")
@data_option
@json_option
def _remove(*, host: str, name: str, data: Path, as_json: bool) -> None:
    """Take an enrollment of HOST away. The agents that it let in end with it."""
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host)
    plane.delete(resource, _TYPE, name)
    if as_json:
        say_json({"removed": name, "host": str(resource)})
        return
    click.echo(f"removed {name} of {resource.name}")


@command.command("token", short_help="Make a join token: it lets one machine become a host of a resource, once.")
@click.argument("host")
@data_option
@click.option("--name", default=_JOIN, show_default=True, help="The enrollment that it is for; made when it is not there.")
@click.option("--minutes", type=click.IntRange(1, _MAX_MINUTES), default=60, show_default=True, help="How long it can be used.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to a new file that only you can read.",
)
@json_option
def _token(*, host: str, data: Path, name: str, minutes: int, out: Path | None, as_json: bool) -> None:
    """Make a join token for HOST, a resource's full id or unique name. It is shown once and kept nowhere."""
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host)
    if name.lower() not in plane.names(resource, _TYPE):
        plane.write(resource, _TYPE, name, {"properties": {"method": JoinMethod.TOKEN.value}})
    made = plane.act(resource, _TYPE, name, "issueToken", {"expiresInSeconds": minutes * 60})
    if out is not None:
        _store(out, str(made.get("token")))
        made = {member: value for member, value in made.items() if member != "token"} | {"file": str(out)}
    if as_json:
        say_json(made)
    elif out is not None:
        click.echo(f"{out} lets one machine become a host of {resource.name}, until {made.get('expiresAt')}")
    else:
        click.echo(str(made.get("token")))
        click.echo(f"lets one machine become a host of {resource.name}, until {made.get('expiresAt')}", err=True)


def _properties(given: Mapping[str, object]) -> dict[str, object]:
    """What Resource Manager is to be told; a usage error unless it is one method."""
    chosen = [name for name in _METHODS if given.get(name) is not None]
    if len(chosen) != 1:
        raise click.UsageError("say how machines join: one of --x509, --ssh-key, --ssh-ca, --tpm, --tpm-ca, --oidc")
    method, member, from_file = _METHODS[chosen[0]]
    value = str(given[chosen[0]])
    members: dict[str, object] = {member: _read(value) if from_file else value, "audience": given.get("audience")}
    pairs = given.get("facts")
    facts = _facts(pairs if isinstance(pairs, tuple) else ())
    further = {"facts": facts or None, "expression": given.get("expression"), "pcrs": _pcrs(given.get("pcrs"))}
    found = {"method": method, **members, **further}
    return {name: value for name, value in found.items() if value is not None}


def _facts(pairs: Sequence[str]) -> dict[str, object]:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise click.UsageError(f"'{pair}' is no fact: write NAME=VALUE")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _pcrs(text: object) -> JsonObject | None:
    if not isinstance(text, str):
        return None
    registers, equals, digest = text.partition("=")
    numbers = registers.split(",")
    if not equals or not all(one.isascii() and one.isdigit() for one in numbers):
        raise click.UsageError(f"'{text}' says nothing about registers: write them as 0,7=DIGEST")
    return {"bank": "sha256", "registers": [int(one) for one in numbers], "digest": digest}


def _read(path: str) -> str:
    """A small file's text; raises `CommandError`."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE + 1)
        text = content.decode()
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not a text") from error
    if len(content) > _MAX_FILE:
        raise CommandError(f"{path} is larger than {_MAX_FILE} bytes")
    if "PRIVATE KEY" in text:
        raise CommandError(f"{path} holds a private key, which nobody else must see")
    return text


def _words(enrollment: JsonObject) -> str:
    properties = enrollment.get("properties")
    values = properties if isinstance(properties, Mapping) else {}
    facts = values.get("facts")
    parts = [str(values.get("method"))]
    parts += [f"{name}={value}" for name, value in facts.items()] if isinstance(facts, Mapping) else []
    parts += [str(values["expression"])] if "expression" in values else []
    parts += [f"carries {one}" for one in values.get("carries", ())]
    return ", ".join(parts)


def _store(path: Path, token: str) -> None:
    """A new file with mode 0600; raises `CommandError` rather than write over one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with contextlib.closing(os.fdopen(descriptor, "w")) as file:
            file.write(token + "\n")
    except FileExistsError as error:
        raise CommandError(f"{path} is there already") from error
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from error
