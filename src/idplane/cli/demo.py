"""`idplane demo`: the whole story, live. A plane of its own, real processes, real SDKs; nothing is faked and nothing is left behind."""

from __future__ import annotations

import signal
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import click

from idplane.cli.options import json_option
from idplane.cli.output import CommandError

__all__ = ["command"]


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave the plane running afterwards, and say how to use it.")
@json_option
def command(*, keep: bool, as_json: bool) -> None:
    """Watch the main job: a machine gets an identity, its code reads a secret with no secret, and loses both.

    Starts a plane in a temporary folder on a free port; both are gone afterwards.
    """
    if find_spec("azure") is None or find_spec("azure.keyvault.secrets") is None:
        raise CommandError("the demonstration's program needs Azure's client libraries: pip install 'idplane[demo]'")
    # The terminal library takes longer to import than the commands above need altogether.
    from idplane.cli.stories.cast import Cast  # noqa: PLC0415 - see above
    from idplane.cli.stories.stage import JsonStage, TerminalStage  # noqa: PLC0415 - see above
    from idplane.cli.stories.story import perform  # noqa: PLC0415 - see above

    stage = JsonStage() if as_json else TerminalStage()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idplane-demo-")))
        cast = stack.enter_context(Cast(folder / "data"))
        perform(cast, stage)
        stage.epilogue(str(cast.data), keep=keep)
        if keep:
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
