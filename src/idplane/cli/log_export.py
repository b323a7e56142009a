"""`idplane log export`: a log in the shape in which Azure's diagnostic settings hand logs on, or as OpenTelemetry's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click

from idplane.audit.diagnostics import activity_records, sign_in_records
from idplane.audit.otlp import logs_request
from idplane.bootstrap.world import SystemClock
from idplane.cli.log_reading import (
    ACTIVITY,
    SIGN_INS,
    Follower,
    Reader,
    activity_addresses,
    follow_log,
    parse_since,
    until_interrupted,
)
from idplane.cli.options import inner_data_option, since_option
from idplane.cli.output import say_json
from idplane.model.values import JsonObject

__all__ = ["command"]

_SPAN = timedelta(hours=6)
"""Read at once, since a log is listed newest first and exported oldest first."""
_KINDS = {"activity": replace(ACTIVITY, addresses=activity_addresses), "signins": SIGN_INS}
_RECORDS: dict[str, Callable[[Iterable[JsonObject]], list[JsonObject]]] = {
    "activity": activity_records,
    "signins": sign_in_records,
    "user-signins": sign_in_records,
}

_EXAMPLES = """\b
Examples:
  idplane log export activity --since 7d > activity.jsonl
  idplane log export signins --follow --format otlp-json
"""


@click.command("export", epilog=_EXAMPLES)
@click.argument("kind", type=click.Choice(list(_KINDS)))
@inner_data_option
@since_option
@click.option("--until", metavar="WHEN", help="Up to then, as --since; without it, up to now.")
@click.option("--follow", "-f", is_flag=True, help="Then wait for more, until Ctrl-C.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["jsonl", "otlp-json"]),
    default="jsonl",
    show_default=True,
    help="jsonl: one record on each line. otlp-json: one export request of OpenTelemetry's on each line.",
)
def command(*, kind: str, data: Path, since: str, until: str | None, follow: bool, shape: str) -> None:
    """Print a log as JSON lines, oldest first: the whole span, in the schema of Azure's resource logs.

    To hand the logs on to a collector for good, without a gap, use `idplane up --otlp-endpoint`.
    """
    if follow and until is not None:
        raise click.UsageError("--follow and --until do not go together")
    clock = SystemClock()
    begin, end = parse_since(since, clock.now()), parse_since(until, clock.now()) if until else clock.now()
    reader = Reader(data, _KINDS[kind], clock)
    follower = Follower(reader.kind, begin)

    def show(events: Sequence[JsonObject]) -> None:
        records = _RECORDS[kind](events)
        if shape == "jsonl":
            for record in records:
                say_json(record)
        elif records:
            say_json(logs_request(kind, records, clock.now()))

    while begin < end:
        span = min(begin + _SPAN, end)
        show(follower.fresh(reader.read(begin, span)))
        begin = span
    if follow:
        until_interrupted(follow_log(reader, follower, clock, show))
