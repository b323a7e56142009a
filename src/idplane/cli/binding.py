"""`idplane binding`: which processes of a resource may use which of its identities, through Resource Manager as the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from idplane.cli.binding_words import OPEN, identities_in_words, local_file, processes_in_words
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.cli.workload_plane import WorkloadPlane
from idplane.model.bindings import ContainerEngine
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["command"]

_TYPE = "Idplane.Workloads/bindings"
_NUMBER = click.IntRange(min=0)
_EXAMPLES = """\b
Examples:
  idplane binding add stock-vm tracker --user tracker --unit tracker.service
  idplane binding add stock-vm jobs --container-engine docker --identity batch-jobs
  idplane binding list stock-vm --json
  idplane binding remove stock-vm jobs

A resource without bindings is as at Azure: whatever reaches its endpoint may use its identities. With the first one, only processes
that some binding admits may. 'add', 'list' and 'remove' take --data and --json.
"""
_ADD_EXAMPLES = """Everything that is given must hold of a process. Several bindings admit whom any of them admits.

\b
Examples:
  idplane binding add stock-vm tracker --user tracker
  idplane binding add stock-vm tracker --unit tracker.service --identity system
  idplane binding add stock-vm import --executable /opt/import/bin/import --pin
  idplane binding add stock-vm web --container-engine podman --container-id $(podman inspect -f '{{.Id}}' web)
  idplane binding add stock-vm pod --pod $(kubectl get pod web-0 -o jsonpath='{.metadata.uid}')
  idplane binding add stock-vm mine --run
"""


@click.group("binding", epilog=_EXAMPLES)
def command() -> None:
    """Say which processes of a resource may use its identities."""


@command.command("add", short_help="Admit processes to identities of a resource.", epilog=_ADD_EXAMPLES)
@click.argument("host")
@click.argument("name")
@data_option
@click.option("--user", metavar="USER", help="Run by this user: a name or a number.")
@click.option("--group", metavar="GROUP", help="In this group, its own or a supplementary one: a name or a number.")
@click.option("--executable", metavar="PATH", help="Executes the file at this path, which no symbolic link may lead to.")
@click.option("--pin", is_flag=True, help="With --executable: only with the content that the file has now.")
@click.option("--sha256", metavar="HEX", help="Executes a file with this SHA-256.")
@click.option("--device", type=_NUMBER, metavar="NUMBER", help="Executes the file with this device number; with --inode.")
@click.option("--inode", type=_NUMBER, metavar="NUMBER", help="Executes the file with this inode number; with --device.")
@click.option("--unit", metavar="UNIT", help="Belongs to this unit of the system's systemd, such as app.service.")
@click.option("--cgroup", metavar="PATH", help="Lives in this cgroup (version 2) or below.")
@click.option(
    "--container-engine", type=click.Choice([one.value for one in ContainerEngine]), help="Lives in a container of this engine."
)
@click.option("--container-id", metavar="ID", help="Lives in the container with this full id, 64 digits.")
@click.option("--pod", metavar="UID", help="Lives in the Kubernetes pod with this uid.")
@click.option("--run", is_flag=True, help="Was started by 'idplane run' as this resource.")
@click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="IDENTITY",
    help="What it may use: 'system', or a user-assigned identity's id or unique name; repeat for several.  [default: all]",
)
@click.option("--replace", is_flag=True, help="Instead of the binding that has this name already.")
@json_option
def _add(  # noqa: PLR0913 - click passes each option by itself
    *,
    host: str,
    name: str,
    data: Path,
    executable: str | None,
    pin: bool,
    sha256: str | None,
    identities: Sequence[str],
    replace: bool,
    as_json: bool,
    **facts: Any,
) -> None:
    """Admit processes to identities of HOST, a resource's full id or unique name. NAME tells the binding apart."""
    file, notes = local_file(executable, sha256, pin=pin)
    processes = _processes({**facts, **file})
    if not processes:
        raise click.UsageError("say which processes are meant: --user, --executable, --unit, --container-id, ... (see --help)")
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host)
    named = {"identities": [plane.identity(one) for one in identities]} if identities else {}
    before = plane.names(resource, _TYPE)
    if name.lower() in before and not replace:
        raise CommandError(f"{resource.name} has a binding named '{name}': add --replace to put this one in its place")
    # What another writer has put there meanwhile is not ours to replace.
    condition = {} if replace else {"If-None-Match": "*"}
    made = plane.write(resource, _TYPE, name, {"properties": {**named, "processes": processes}}, condition)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        say_json(made)
        return
    click.echo(f"{name} admits {processes_in_words(made)} to {identities_in_words(made)} of {resource.name}")
    if not before:
        click.echo(f"{resource.name} had no binding before: from now on, nothing else there gets its identities")


@command.command("list", short_help="List the bindings of a resource, or all.")
@click.argument("host", required=False)
@data_option
@json_option
def _list(*, host: str | None, data: Path, as_json: bool) -> None:
    """List the bindings of HOST, a resource's full id or unique name; without it, those of every resource."""
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host) if host is not None else None
    found = plane.list(resource, _TYPE)
    if as_json:
        say_json(found)
    elif not found and resource is not None:
        click.echo(f"{resource.name}: {OPEN}")
    elif not found:
        click.echo("there are no bindings")
    else:
        say_columns([("HOST", "BINDING", "IDENTITIES", "PROCESSES"), *_rows(found)])


@command.command("remove", short_help="Take a binding away.")
@click.argument("host")
@click.argument("name")
@data_option
@click.option("--open", "opens", is_flag=True, help="Also if it is the last one, which opens the resource to every process.")
@json_option
def _remove(*, host: str, name: str, data: Path, opens: bool, as_json: bool) -> None:
    """Take a binding of HOST away. Who used its identities by this binding alone no longer may."""
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host)
    names = plane.names(resource, _TYPE)
    if name.lower() not in names:
        raise CommandError(f"{resource.name} has no binding named '{name}'")
    if len(names) == 1 and not opens:
        raise CommandError(
            f"'{name}' is the last binding of {resource.name}: without it, whatever reaches its endpoint may use its identities."
            " Add --open if that is what you want"
        )
    plane.delete(resource, _TYPE, name)
    if as_json:
        say_json({"removed": name, "host": str(resource), "bindings": len(names) - 1})
        return
    click.echo(f"removed {name}")
    if len(names) == 1:
        click.echo(f"{resource.name}: {OPEN}")


def _processes(facts: Mapping[str, Any]) -> JsonObject:
    """The rule as Resource Manager takes it; empty when nothing was given."""
    executable = {name: facts[name] for name in ("path", "device", "inode", "sha256") if facts[name] is not None}
    container = {"engine": facts["container_engine"], "id": facts["container_id"], "pod": facts["pod"]}
    container = {name: value for name, value in container.items() if value is not None}
    rule: dict[str, object] = {
        "user": facts["user"],
        "group": facts["group"],
        "executable": executable or None,
        "systemdUnit": facts["unit"],
        "cgroup": facts["cgroup"],
        "container": container or None,
        "run": facts["run"] or None,
    }
    return {name: value for name, value in rule.items() if value is not None}


def _rows(found: Sequence[JsonObject]) -> list[tuple[str, str, str, str]]:
    """Hosts by their names as long as these tell them apart."""
    hosts = [ResourceId.parse(str(one.get("id"))).scope for one in found]
    keys = {host.key for host in hosts}
    unique = len({host.name.lower() for host in {host.key: host for host in hosts}.values()}) == len(keys)
    return [
        (host.name if unique else str(host), str(one.get("name")), identities_in_words(one), processes_in_words(one))
        for host, one in zip(hosts, found, strict=True)
    ]
