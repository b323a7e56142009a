"""`idplane run`: become a workload of a resource (design section 4).

    connect → the plane accepts this process → namespaces → sockets → hand them over → files, variables → seal → exec

This process is the workload: its id, terminal, working folder, open files, signals and exit code are the command's own, as with env(1).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from idplane.bootstrap.settings import environment
from idplane.cli import isolation
from idplane.cli.description import read_plane
from idplane.cli.java import TRUSTSTORE, is_java_likely, java_variables, truststore
from idplane.cli.launch import (
    become,
    hosts_file,
    name_service_switch,
    resolver_file,
    without_locale_coercion,
    workload_environment,
)
from idplane.cli.link import ControlLink, ask
from idplane.cli.options import (
    data_option,
    dialect_option,
    json_option,
    resource_option,
    workload_choice,
    workload_options,
)
from idplane.cli.output import CommandError
from idplane.cli.trust import SYSTEM_BUNDLES, bundle_variables, bundle_with, kept_trust, read_system_bundle
from idplane.model.dialects import INSIDE_ADDRESSES, KEY_FOLDER, TOKEN_FOLDER, Dialect
from idplane.model.values import JsonObject

__all__ = ["command"]

_NAMESPACE = "namespace"
_ENV = "env"
_BUNDLE = "ca-bundle.pem"
_ARC_PROGRAM = "/opt/azcmagent/bin/himds"
_ARC_PROGRAM_TEXT = "Azure's clients take a machine with this file for one of Arc's, MSAL.NET only if it is not empty.\n"
_FOLDERS: Final = {Dialect.ARC: KEY_FOLDER, Dialect.WORKLOAD_IDENTITY: TOKEN_FOLDER}
"""Of files that clients read, by dialect."""
_NAME_CACHE = "/run/nscd"
"""The folder with the socket of a name cache, which lives outside the namespace and would answer for it. (That of systemd-resolved
is left alone: `/etc/resolv.conf` may be a link into it, and `nsswitch.conf` no longer names it.)"""


_EXAMPLES = """\b
Examples:
  idplane run --as stock-vm -- python app.py
  idplane run --as stock-vm --isolation env -- ./app --port 8080
  idplane run --as my-cluster --dialect workload-identity --service-account shop/cart -- python app.py
"""


@click.command("run", context_settings={"allow_interspersed_args": False}, epilog=_EXAMPLES)
@data_option
@resource_option
@click.option(
    "--isolation",
    "mode",
    type=click.Choice([_NAMESPACE, _ENV]),
    help="namespace: own network namespace with the platform's addresses and Azure's names inside (Linux). env: variables only."
    "  [default: namespace on Linux, else env]",
)
@dialect_option(
    "How code inside asks for tokens.  [default: as the resource's type has it; with --isolation env, app-service for machines]"
)
@workload_options
@click.option(
    "--network/--no-network", default=False, help="In a namespace: let the command reach other networks.  [default: no]"
)
@json_option
@click.argument("arguments", metavar="-- COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(  # noqa: PLR0913 - click passes each option by itself
    *,
    data: Path,
    resource: str,
    mode: str | None,
    dialect: str | None,
    account: str | None,
    identity: str | None,
    network: bool,
    as_json: bool,
    arguments: tuple[str, ...],
) -> None:
    """Run COMMAND as a resource: code inside gets tokens for the resource's managed identities, and for nothing else.

    In a namespace, code for production runs unmodified: the token endpoint answers where it does on a resource of that type
    (for machines at 169.254.169.254), and login.microsoftonline.com, management.azure.com, graph.microsoft.com and *.vault.azure.net lead here.
    The exit code is COMMAND's own; 127 if it is not found, 126 if it can't be executed. With --json, one line about the
    run goes to standard error first.
    """
    _die_by_interrupt()
    chosen = mode or (_NAMESPACE if sys.platform == "linux" else _ENV)
    if network and chosen != _NAMESPACE:
        raise click.UsageError("--network is for --isolation namespace: with env, the command has this machine's network")
    choice = workload_choice(dialect, account, identity)
    plane_port, ca_file = _plane(data)
    base = _initial_environment()
    if chosen == _NAMESPACE:
        wish = _wish(data, resource, dialect, choice=choice, network=network, java=is_java_likely(base, arguments[0]))
        with ControlLink.open(data) as link:
            opened, variables = _enter(link, data, wish, base, plane_port=plane_port)
    else:
        with ControlLink.open(data) as link:
            opened = link.ask({**choice, "operation": "run", "isolation": _ENV, "resource": resource, "dialect": dialect})
        variables = _redirected(opened, data, base, ca_file=ca_file, command=arguments[0])
    if as_json:
        _describe(opened)
    become(arguments, variables)


def _plane(data: Path) -> tuple[int, Path]:
    plane = read_plane(data)
    return plane.port, Path(plane.ca_file)


def _die_by_interrupt() -> None:
    """Until the command runs, Ctrl-C ends this process as it would end the command."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _initial_environment() -> dict[str, str]:
    try:
        return without_locale_coercion(environment(), Path("/proc/self/environ").read_bytes())
    except OSError:
        return environment()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a namespace is to be: the sockets to make depend on the dialect, hence on the resource."""

    resource: str
    dialect: Dialect
    choice: JsonObject
    """Of workload identity."""
    network: bool
    java: bool


def _wish(data: Path, resource: str, dialect: str | None, *, choice: JsonObject, network: bool, java: bool) -> _Wish:
    """Ask the plane what it must decide before there is a namespace, from which a resource can't be looked up any more."""
    if dialect is not None:
        return _Wish(resource=resource, dialect=Dialect(dialect), choice=choice, network=network, java=java)
    found = ask(data, {"operation": "resolve", "resource": resource})
    resolved, own = str(found["resource"]), Dialect(str(found["dialect"]))
    return _Wish(resource=resolved, dialect=own, choice=choice, network=network, java=java)


def _enter(
    link: ControlLink, data: Path, wish: _Wish, base: Mapping[str, str], *, plane_port: int
) -> tuple[JsonObject, dict[str, str]]:
    """Namespace mode, up to the point where only exec is left."""
    _refuse_folder(data)
    files = _existing_files(base)
    try:
        isolation.enter()
        opened = _hand_over(link, wish, plane_port=plane_port)
        _furnish(data, files, opened, java=wish.java)
        isolation.seal()
    except isolation.IsolationForbidden as error:
        raise CommandError(
            f"this system does not let its users make namespaces ({error}): run with --isolation env instead"
        ) from error
    except OSError as error:
        raise CommandError(f"the run's namespace can't be furnished ({error}): run with --isolation env instead") from error
    trust = bundle_variables(str(data / _BUNDLE))
    if wish.java:
        trust |= java_variables(base, str(data / TRUSTSTORE))
    return opened, workload_environment(base, given=_given(opened), trust=trust, inside=True, network=wish.network)


def _refuse_folder(data: Path) -> None:
    """The data folder is hidden from the workload, which can't work if it is already in it."""
    if Path.cwd().is_relative_to(data.resolve()):
        raise CommandError("a command can't be run from within the plane's data folder: change to another folder first")


def _existing_files(base: Mapping[str, str]) -> dict[str, bytes]:
    files = {"bundle": read_system_bundle(base)}
    for path in ("/etc/hosts", "/etc/nsswitch.conf"):
        try:
            files[path] = Path(path).read_bytes()
        except OSError:
            files[path] = b""
    return files


def _given(opened: JsonObject) -> dict[str, str]:
    given = opened["variables"]
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _hand_over(link: ControlLink, wish: _Wish, *, plane_port: int) -> JsonObject:
    """Give the agent the sockets that answer inside; our own copies are closed, so that it alone holds them."""
    with ExitStack() as ours:
        sockets = isolation.listen(plane_port, INSIDE_ADDRESSES.get(wish.dialect))
        for sock in sockets.named().values():
            ours.enter_context(sock)
        descriptors = {name: sock.fileno() for name, sock in sockets.named().items()}
        if wish.dialect in _FOLDERS:
            descriptors["key_folder"] = _fixed_folder(wish.dialect)
            ours.callback(os.close, descriptors["key_folder"])
        if wish.network:
            for name, path in (("user_namespace", "/proc/self/ns/user"), ("network_namespace", "/proc/self/ns/net")):
                descriptors[name] = os.open(path, os.O_RDONLY)
                ours.callback(os.close, descriptors[name])
        asked = {"operation": "run", "resource": wish.resource, "dialect": wish.dialect.value, "isolation": _NAMESPACE}
        return link.ask({**wish.choice, **asked}, descriptors)


def _fixed_folder(dialect: Dialect) -> int:
    """A dialect's folder at its fixed path, open; and for Arc the program by which clients know it (MIE section 3)."""
    program = Path(_ARC_PROGRAM)
    if dialect is Dialect.ARC and not program.exists():
        isolation.grow(program.parent)
        program.write_text(_ARC_PROGRAM_TEXT, encoding="ascii")
        program.chmod(0o444)
    folder = Path(_FOLDERS[dialect])
    isolation.grow(folder)
    folder.chmod(0o700)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _furnish(data: Path, files: Mapping[str, bytes], opened: JsonObject, *, java: bool) -> None:
    """Put the files of the run in place."""
    nameservers = [str(one) for one in opened["nameservers"]] if isinstance(opened["nameservers"], list) else []
    bundle = bundle_with(files["bundle"], str(opened["authority"]).encode())
    contents = {
        _BUNDLE: bundle,
        **({TRUSTSTORE: truststore(bundle)} if java else {}),
        "hosts": hosts_file(_text(files["/etc/hosts"]), azure=opened.get("azureNames") is not False).encode(
            errors="surrogateescape"
        ),
        "resolv.conf": resolver_file(nameservers).encode(),
        "nsswitch.conf": name_service_switch(_text(files["/etc/nsswitch.conf"])).encode(errors="surrogateescape"),
    }
    masked = {
        "/etc/hosts": "hosts",
        "/etc/resolv.conf": "resolv.conf",
        "/etc/nsswitch.conf": "nsswitch.conf",
        **dict.fromkeys(SYSTEM_BUNDLES, _BUNDLE),
        _NAME_CACHE: "",
    }
    isolation.cover(data, contents, masked)


def _text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")


def _redirected(opened: JsonObject, data: Path, base: Mapping[str, str], *, ca_file: Path, command: str) -> dict[str, str]:
    """Env mode: variables that lead to ports of this run's own."""
    authorities = ca_file.read_bytes() + str(opened["authority"] or "").encode()
    trust = kept_trust(data, bundle_with(read_system_bundle(base), authorities), base, command)
    return workload_environment(base, given=_given(opened), trust=trust, inside=False, network=True)


def _describe(opened: JsonObject) -> None:
    import json  # noqa: PLC0415 - for --json only

    shown = {name: opened[name] for name in ("id", "resource", "dialect", "isolation", "network", "pid", "openedAt")}
    click.echo(json.dumps(shown), err=True)
