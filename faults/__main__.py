"""`make faults`: one run in a room of its own; the table on standard output, and all of it in faults/last-run.json."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from faults import room
from faults.allowances import FaultName
from faults.catalogue import FAULTS
from faults.page import replaced
from faults.stage.installation import names
from faults.stage.programs import StageError
from faults.suite import HOSTS, Run, perform
from faults.table import as_json, as_text

_RESULT: Final = Path(__file__).with_name("last-run.json")
_PAGE: Final = _RESULT.parent.parent / "docs" / "testing.md"
_SHOWN: Final = 40


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _options(arguments)
    if options.page:
        _PAGE.write_text(replaced(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    if options.list:
        print("\n".join(FAULTS))
        return 0
    if not room.is_inside():
        return room.enter("faults", arguments, rootless=options.rootless)
    room.furnish(names())
    kept = Path(tempfile.mkdtemp(prefix="idplane-faults-"))
    folder = room.memory_folder("/run/stage")
    try:
        run = perform(folder, options.faults or tuple(FAULTS), hosts=HOSTS[: options.hosts], say=_say)
    except StageError as error:
        print(f"the stage is broken: {error}")
        return 2
    finally:
        if options.keep:
            _copy(folder, kept)
            print(f"what was written is in {kept}")
        else:
            kept.rmdir()
    _print(run)
    _RESULT.write_text(as_json(run.judgement.verdicts, troubles=run.troubles, **run.figures), encoding="utf-8")
    return 0 if run.is_good else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description="Break an installation in every way while it is in use.")
    parser.add_argument("--faults", type=_names, help="only these, by the beginnings of their names, with commas between them")
    parser.add_argument("--hosts", type=int, default=len(HOSTS), help="how many hosts there are")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and outcomes")
    parser.add_argument("--rootless", action="store_true", help="go through a user namespace even as root")
    parser.add_argument(
        "--page", action="store_true", help="run nothing; write the table of what is allowed into docs/testing.md"
    )
    parser.add_argument("--list", action="store_true", help="say which faults there are")
    return parser.parse_args(arguments)


def _copy(folder: Path, kept: Path) -> None:
    """What was written, but for the database's files and sockets."""
    wanted = [one for one in folder.iterdir() if one.is_dir() and one.name != "database"]
    for one in wanted:
        shutil.copytree(one, kept / one.name, ignore=shutil.ignore_patterns("*.sock"), dirs_exist_ok=True)


def _names(text: str) -> tuple[FaultName, ...]:
    return tuple(name for part in text.split(",") for name in FAULTS if name.startswith(part))


def _say(text: str) -> None:
    print(text, flush=True)


def _print(run: Run) -> None:
    print(f"\n{as_text(run.judgement.verdicts)}\n")
    wrong = [f"FORBIDDEN  {one}" for one in run.judgement.forbidden] + [f"WRONG      {one}" for one in run.troubles]
    print("\n".join(wrong[:_SHOWN]))
    if len(wrong) > _SHOWN:
        print(f"... and {len(wrong) - _SHOWN} more in {_RESULT.name}")
    figures = ", ".join(f"{value} {name}" for name, value in run.figures.items() if not isinstance(value, dict))
    print(f"{figures}: " + ("nothing that the design does not allow" if run.is_good else f"{len(wrong)} things are wrong"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
