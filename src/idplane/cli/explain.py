"""`idplane explain`: why something was refused, or whether something would be, through Resource Manager as the operator."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.cli.workload_plane import WorkloadPlane
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId, is_guid
from idplane.model.values import JsonObject

__all__ = ["command"]

_API_VERSION: Final = "2026-11-01"
_NAMESPACE: Final = "/providers/Idplane.Diagnostics"
_OK: Final = 200
_NOT_FOUND: Final = 404
_ALLOWED, _REFUSED = 0, 3
"""How the command ends when it was asked beforehand."""
_EXAMPLES = """\b
Examples:
  idplane explain 0f3999f8-7495-4e6c-b352-0d3664b8f239
  idplane explain --recent 20
  idplane explain --as stock-vm --action Microsoft.KeyVault/vaults/secrets/getSecret/action --data-action \\
      --scope /subscriptions/.../vaults/prices
Asked beforehand, it ends with 0 where it would be allowed and with 3 where it would not.
"""


@click.command("explain", epilog=_EXAMPLES)
@click.argument("refusal", metavar="[ID]", required=False)
@click.option("--recent", type=click.IntRange(1, 1000), metavar="N", help="List the N newest refusals, with their ids.")
@click.option("--as", "resource", metavar="RESOURCE", help="Ask beforehand: as a resource, by its full id or its name.")
@click.option("--principal", metavar="ID", help="Ask beforehand: as a user, a group's member or an application, by object id.")
@click.option("--action", metavar="ACTION", help="With --as or --principal: what it would do.")
@click.option("--scope", metavar="SCOPE", help="With --action: where.  [default: the plane's subscription]")
@click.option("--data-action", "is_data", is_flag=True, help="With --action: it is a data action.")
@data_option
@json_option
def command(  # noqa: PLR0913 - click passes each option by itself
    *,
    refusal: str | None,
    recent: int | None,
    resource: str | None,
    principal: str | None,
    action: str | None,
    scope: str | None,
    is_data: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Tell why something was refused: who asked, what for, every rule that was considered, what came nearest, and which command helps.

    ID is what the refused program was shown: `x-ms-request-id`, a Trace ID, or the "refusal id" in a text. With --as and --action it is asked
    before anything is tried.
    """
    asked = resource is not None or principal is not None
    if sum((refusal is not None, recent is not None, asked)) != 1 or (resource is not None and principal is not None):
        raise click.UsageError("say one of an ID, --recent N, --as RESOURCE and --principal ID")
    if asked is not (action is not None) or (not asked and (scope is not None or is_data)):
        raise click.UsageError("--as and --principal go with --action; --scope and --data-action go with them")
    plane = WorkloadPlane.open(data)
    if refusal is not None:
        _one(plane, refusal, as_json=as_json)
    elif recent is not None:
        _recent(plane, recent, as_json=as_json)
    else:
        subject = {"principalId": principal} if principal is not None else {"resourceId": str(plane.resolve(resource or ""))}
        _beforehand(plane, scope, {**subject, "action": action, "isDataAction": is_data}, as_json=as_json)


def _one(plane: WorkloadPlane, refusal: str, *, as_json: bool) -> None:
    if not is_guid(refusal.strip()):
        raise CommandError(f"'{refusal[:80]}' is no id of a refusal: those are GUIDs, such as in x-ms-request-id or a Trace ID")
    url = f"{plane.description.arm}{_NAMESPACE}/refusals/{refusal.strip().lower()}?api-version={_API_VERSION}"
    found = plane.client.request("GET", url, headers={"Authorization": f"Bearer {plane.token}"})
    if found.status == _NOT_FOUND:
        raise CommandError(
            f"there is no refusal with the id {refusal.strip()}: they are kept for 30 days, and of those that come very fast not all are; "
            "'idplane explain --recent 20' lists the newest"
        )
    properties = (found.body if found.status == _OK else plane.client.get(url, token=plane.token)).get("properties")
    if as_json:
        say_json(properties)
        return
    from idplane.cli.explanations import show_refusal  # noqa: PLC0415 - rich takes long to load

    show_refusal(_object(properties))


def _recent(plane: WorkloadPlane, count: int, *, as_json: bool) -> None:
    from idplane.cli.paging import pages  # noqa: PLC0415 - only for lists

    url = f"{plane.description.arm}{_NAMESPACE}/refusals?api-version={_API_VERSION}&$top={min(count, 100)}"
    found = [_object(one.get("properties")) for one in itertools.islice(pages(plane.client, url, plane.token), count)]
    if as_json:
        say_json(found)
        return
    from idplane.cli.explanations import show_list  # noqa: PLC0415 - rich takes long to load

    show_list(found)


def _beforehand(plane: WorkloadPlane, scope: str | None, question: JsonObject, *, as_json: bool) -> None:
    where = _scope(plane, scope)
    url = f"{plane.description.arm}{quote(where)}{_NAMESPACE}/explain?api-version={_API_VERSION}"
    answer = plane.client.send("POST", url, token=plane.token, body=question).body
    if as_json:
        say_json(answer)
    else:
        from idplane.cli.explanations import show_answer  # noqa: PLC0415 - rich takes long to load

        show_answer(answer)
    raise click.exceptions.Exit(_ALLOWED if answer.get("allowed") else _REFUSED)


def _scope(plane: WorkloadPlane, text: str | None) -> str:
    """A scope as it begins an address: `/` is the tenant, which has no words there."""
    if text is None:
        return f"/subscriptions/{plane.description.subscription_id}"
    if text.strip("/") == "":
        return ""
    try:
        return str(ResourceId.parse(text) if text.startswith("/") else plane.resolve(text))
    except Failure as failure:
        raise CommandError(failure.detail) from failure


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}
