"""`idplane log checkpoint | keys | verify | prove | check-proof | bundle`: that nobody has rewritten the log."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from idplane.audit.checkpoints import Checkpoint, KnownKeys, notes_in, read_checkpoint
from idplane.audit.tree import root_from_consistency
from idplane.cli.client import PlaneClient
from idplane.cli.description import read_document
from idplane.cli.options import inner_data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.jose.notes import NoteKey, NoteProblem

if TYPE_CHECKING:
    from idplane.audit.log_check import LogReport
    from idplane.bootstrap.log_place import LogPlace

__all__ = ["COMMANDS"]

_T = TypeVar("_T")
_LARGEST = 1 << 20

config_option = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A server's settings, instead of --data."
)
key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="The log's keys, as `idplane log keys` printed them; without it, those that the custody vouches for.",
)


@click.command("checkpoint")
@inner_data_option
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Keep it there.")
@key_option
def checkpoint(*, data: Path, save: Path | None, key_file: Path | None) -> None:
    """Print the newest checkpoint of a running plane, or keep it in a file, which belongs on another machine.

    A file that holds an earlier one is replaced only if the log has grown out of that; else the exit code is 1.
    """
    base = str(read_document(data)["authority"])
    client = PlaneClient(data / "ca.pem")
    answer = client.get(f"{base}/log/checkpoint")
    keys = (
        _keys_in(key_file) if key_file else [NoteKey.parse(str(one)) for one in _list(client.get(f"{base}/log/keys")["keys"])]
    )
    newest, known = _read(str(answer["checkpoint"]), "the plane"), KnownKeys(keys)
    if known.trusted(newest) is None:
        for note in _list(client.get(f"{base}/log/successions")["checkpoints"]):
            known.trusted(_read(str(note), "the plane"))
    if known.trusted(newest) is None:
        raise CommandError("the plane's checkpoint is not signed by the log's key")
    if save is None:
        click.echo(newest.note, nl=False)
        return
    if save.exists():
        (earlier,) = _kept([save])[-1:] or [newest]
        _grown(client, base, earlier, newest)
    save.write_text(newest.note, encoding="utf-8")
    click.echo(f"{save}: {newest.size} records, {newest.at.isoformat()}")


@click.command("keys")
@inner_data_option
@config_option
def keys(*, data: Path, config: Path | None) -> None:
    """Print the keys that checkpoints are signed with, the active one first: who verifies elsewhere needs them."""

    async def shown() -> tuple[NoteKey, ...]:
        async with _place(data, config) as place:
            return place.keys

    for one in _run(shown()):
        click.echo(str(one))


@click.command("verify")
@inner_data_option
@config_option
@key_option
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    multiple=True,
    help="A checkpoint that was kept elsewhere, several in one file too; may be given several times.",
)
@click.option(
    "--offline", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="BUNDLE", help="A bundle, no database."
)
@json_option
def verify(
    *, data: Path, config: Path | None, key_file: Path | None, kept: tuple[Path, ...], offline: Path | None, as_json: bool
) -> None:
    """Hold every record to the tree, and the tree to every checkpoint. Exit code 1 when something was changed, and the first thing that was.

    Only a checkpoint kept elsewhere tells of a database that was put back as a whole.
    """
    given = _keys_in(key_file) if key_file else []
    seen = _kept(kept)
    report = _offline(offline, given, seen) if offline is not None else _run(_verified(data, config, given, seen))
    _tell(report, as_json=as_json)
    if report.findings:
        raise click.exceptions.Exit(1)


@click.command("prove")
@click.argument("record")
@inner_data_option
@config_option
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Prove it to that one.",
)
def prove(*, record: str, data: Path, config: Path | None, kept: Path | None) -> None:
    """Print the proof that a record is in the log: RECORD is its id, or like sign_ins:17."""
    from idplane.audit.proofs import ProofProblem  # noqa: PLC0415 - only who proves waits for it
    from idplane.audit.proofs import prove as proof  # noqa: PLC0415 - as above

    async def made() -> Any:
        async with _place(data, config) as place:
            stored = await place.tree.newest()
            if stored is None:
                raise CommandError("there is no checkpoint yet")
            return await proof(place.tree, record, _kept([kept])[-1] if kept else _read(stored.note, "the database"))

    try:
        say_json(_run(made()))
    except ProofProblem as problem:
        raise CommandError(str(problem)) from problem


@click.command("check-proof")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@inner_data_option
@config_option
@key_option
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    multiple=True,
    help="The proof must be to one of these.",
)
def check_proof(*, file: Path, data: Path, config: Path | None, key_file: Path | None, kept: tuple[Path, ...]) -> None:
    """Check a proof. With --key, nothing but the file is needed. Exit code 1 when it proves nothing."""
    from idplane.audit.proofs import ProofProblem  # noqa: PLC0415 - only who checks waits for it
    from idplane.audit.proofs import check_proof as checked  # noqa: PLC0415 - as above

    async def known() -> list[NoteKey]:
        async with _place(data, config) as place:
            return list(place.keys)

    trusted = _keys_in(key_file) if key_file else _run(known())
    try:
        entry, shown = checked(file.read_bytes()[:_LARGEST], keys=trusted, kept=_kept(kept))
    except ProofProblem as problem:
        raise CommandError(str(problem)) from problem
    click.echo(f"{entry} is in the log: {shown.origin}, {shown.size} records, {shown.at.isoformat()}")


@click.command("bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@inner_data_option
@config_option
def bundle(*, file: Path, data: Path, config: Path | None) -> None:
    """Write the whole log to a file that can be verified without the database (verify --offline). It is as confidential as the log."""
    from idplane.audit.bundle import bundle_lines  # noqa: PLC0415 - only who needs one waits for it

    async def written() -> int:
        count = -1
        async with _place(data, config) as place:
            with file.open("wb") as out:
                async for line in bundle_lines(place.tree):
                    out.write(line)
                    count += 1
        return count

    file.touch(mode=0o600)
    click.echo(f"{file}: {_run(written())} records")


COMMANDS = (checkpoint, keys, verify, prove, check_proof, bundle)


async def _verified(data: Path, config: Path | None, given: Sequence[NoteKey], kept: Sequence[Checkpoint]) -> LogReport:
    from idplane.audit.log_check import check_log  # noqa: PLC0415 - only who verifies waits for it

    async with _place(data, config) as place:
        trusted = given or place.keys
        if not trusted and await place.tree.newest() is not None:
            raise CommandError("no key of the log is known: the custody does not vouch for one, so name a file with --key")
        return await check_log(place.tree, keys=trusted, kept=kept, sealed=place.sealed, tainted=place.tainted)


def _offline(path: Path, given: Sequence[NoteKey], kept: Sequence[Checkpoint]) -> LogReport:
    from idplane.audit.bundle import Bundle, BundleProblem  # noqa: PLC0415 - only who verifies waits for it
    from idplane.audit.log_check import check_bundle  # noqa: PLC0415 - as above

    if not given:
        raise CommandError("a bundle proves nothing by itself: name the log's keys with --key")
    try:
        return check_bundle(Bundle(path), keys=given, kept=kept)
    except BundleProblem as problem:
        raise CommandError(str(problem)) from problem


def _tell(report: LogReport, *, as_json: bool) -> None:
    newest = report.newest
    facts = {
        "size": report.size,
        "checked": report.checked,
        "removedByTrims": report.removed,
        "withoutSeal": report.unsealed,
        "notYetInTheTree": report.waiting,
        "checkpoints": report.checkpoints,
        "newest": newest.at.isoformat() if newest else None,
    }
    if as_json:
        say_json({"sound": not report.findings, **facts, "findings": [str(one) for one in report.findings]})
        return
    for one in report.findings:
        click.echo(str(one))
    if report.findings:
        click.echo("The log is not what was signed.")
        return
    since = f", the newest of {newest.at.isoformat()}" if newest else ""
    click.echo(
        f"{report.checked} records are what was recorded, {report.removed} were removed in their time, "
        f"{report.waiting} are not in the tree yet; {report.checkpoints} checkpoints{since}."
    )
    if report.unsealed:
        click.echo(f"{report.unsealed} records are from before records were sealed: nothing tells who wrote those.")


@asynccontextmanager
async def _place(data: Path, config: Path | None) -> AsyncIterator[LogPlace]:
    from idplane.bootstrap.log_place import folder_log, settings_log  # noqa: PLC0415 - costly, and not needed offline

    async with settings_log(config) if config is not None else folder_log(data) as place:
        yield place


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    from idplane.bootstrap.settings_file import SettingsProblem  # noqa: PLC0415 - as above
    from idplane.store.datafolder import DataFolderProblem  # noqa: PLC0415 - as above

    try:
        return asyncio.run(work)
    except (DataFolderProblem, SettingsProblem) as problem:
        raise CommandError(str(problem)) from problem


def _grown(client: PlaneClient, base: str, earlier: Checkpoint, newest: Checkpoint) -> None:
    if earlier.origin != newest.origin or earlier.size > newest.size:
        raise CommandError(
            f"the log was rolled back, or is another one: {earlier.size} records were kept, and the plane shows {newest.size}"
        )
    query = {"first": str(earlier.size), "second": str(newest.size)}
    shown = _list(client.get(f"{base}/log/consistency", query=query)["hashes"])
    try:
        hashes = [base64.b64decode(str(one), validate=True) for one in shown]
        roots = root_from_consistency(earlier.size, newest.size, earlier.root, hashes)
    except ValueError as error:
        raise CommandError("the plane's proof that the log has grown is none") from error
    if earlier.size and roots != (earlier.root, newest.root):
        raise CommandError(f"the log was rewritten: it did not grow out of the {earlier.size} records that were kept")


def _kept(files: Sequence[Path]) -> list[Checkpoint]:
    return [_read(note, str(file)) for file in files for note in notes_in(_text(file))]


def _keys_in(file: Path) -> list[NoteKey]:
    try:
        return [NoteKey.parse(line) for line in _text(file).splitlines() if line.strip()]
    except NoteProblem as problem:
        raise CommandError(f"{file}: {problem}") from problem


def _text(file: Path) -> str:
    try:
        return file.read_bytes()[:_LARGEST].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read") from error


def _read(note: str, where: str) -> Checkpoint:
    try:
        return read_checkpoint(note)
    except NoteProblem as problem:
        raise CommandError(f"{where}: {problem}") from problem


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
