"""`idplane hosts`: vault names for programs outside of runs, since plain glibc resolves no name below localhost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.cli.paging import pages

__all__ = ["command", "with_lines"]

_API_VERSION = "2023-07-01"
_BEGIN = "# idplane: vaults on this machine"
_END = "# idplane: end"


@click.command("hosts")
@data_option
@click.option("--install", is_flag=True, help="Write the lines into the hosts file, after asking.")
@click.option("--yes", is_flag=True, help="With --install: do not ask.")
@click.option(
    "--hosts-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/hosts"),
    show_default=True,
    help="The file that --install writes.",
)
@json_option
def command(*, data: Path, install: bool, yes: bool, hosts_file: Path, as_json: bool) -> None:
    """Print the hosts file lines under which this plane's vaults are found outside of `idplane run`, or install them."""
    plane = read_plane(data)
    names = _vault_hosts(data, plane)
    lines = [f"127.0.0.1 {name}" for name in names]
    if install:
        _install(hosts_file, lines, yes=yes)
    if as_json:
        say_json({"hosts": names, "installed": install})
    elif install:
        click.echo(f"{hosts_file} has {len(lines)} vault names")
    else:
        click.echo("\n".join(lines) if lines else "# no vaults yet")


def with_lines(existing: str, lines: Sequence[str]) -> str:
    """A hosts file with our block replaced by these lines, and everything else as it was. No lines, no block."""
    before, begin, rest = existing.partition(_BEGIN + "\n")
    _, end, after = rest.partition(_END + "\n")
    kept = before + after if begin and end else existing
    if not lines:
        return kept
    separator = "" if not kept or kept.endswith("\n") else "\n"
    return kept + separator + "\n".join((_BEGIN, *lines, _END)) + "\n"


def _vault_hosts(data: Path, plane: PlaneDescription) -> list[str]:
    client = PlaneClient(Path(plane.ca_file))
    token = operator_access(data, plane, client, ARM_RESOURCE)
    url = f"{plane.arm}/subscriptions/{plane.subscription_id}/providers/Microsoft.KeyVault/vaults?api-version={_API_VERSION}"
    domain = plane.vault_suffix.split(":")[0]
    return sorted(f"{str(vault.get('name')).lower()}.{domain}" for vault in pages(client, url, token))


def _install(path: Path, lines: Sequence[str], *, yes: bool) -> None:
    if not yes:
        click.confirm(f"Write {len(lines)} lines into {path}?", abort=True, err=True)
    try:
        existing = path.read_text(encoding="utf-8", errors="surrogateescape")
        # In place: a hosts file is often mounted, and can't be replaced.
        path.write_text(with_lines(existing, lines), encoding="utf-8", errors="surrogateescape")
    except PermissionError as error:
        raise CommandError(f"{path} is not yours to write: run this as root, with --data naming this folder") from error
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from error
