"""What the commands about an installation's database share: which one is meant, and how problems are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from idplane.cli.output import CommandError

if TYPE_CHECKING:
    from idplane.bootstrap.admin import Installation

__all__ = ["installation_of", "place_options", "said"]

_F = TypeVar("_F", bound=Callable[..., Any])


def place_options(function: _F) -> _F:
    """`--config` or `--data`: which installation."""
    function = click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="The data folder of `idplane up`.")(
        function
    )
    return click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="A server's settings file.")(function)


def installation_of(config: Path | None, data: Path | None) -> Installation:
    """The one that the options name. Raises `SettingsProblem`, and a usage error unless exactly one is given."""
    from idplane.bootstrap.admin import of_folder, of_settings  # noqa: PLC0415 - takes long to import
    from idplane.bootstrap.server_settings import read_server_settings  # noqa: PLC0415 - as above

    if (config is None) == (data is None):
        raise click.UsageError("say --config FILE (a server's settings) or --data DIR (of idplane up)")
    return (
        of_settings(read_server_settings(config)) if config is not None else of_folder(Path(data or "").expanduser().absolute())
    )


@contextmanager
def said() -> Iterator[None]:
    """Turn problems into the sentence that ends a command."""
    from idplane.store.backup import BackupProblem  # noqa: PLC0415 - as above

    try:
        yield
    except BackupProblem as problem:
        raise CommandError(str(problem)) from problem
