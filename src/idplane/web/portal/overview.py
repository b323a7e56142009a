"""The first page: how much there is, how tokens went lately, what needs somebody, and what to do first where nothing is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from idplane.graph.permissions import Area, may
from idplane.model.ids import ROOT
from idplane.ports.collections import SIGN_INS, microseconds
from idplane.web.portal.attention import Matter, matters_of
from idplane.web.portal.charts import Column, Columns
from idplane.web.portal.figures import Figures, figures_of
from idplane.web.portal.offers import offer
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import subscriptions_of
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["ROUTES"]

_HOME: Final = "/portal"
_SIGN_INS: Final = "Microsoft.Authorization/roleAssignments/write"
"""What whoever has it at the tenant may read the sign-in log by; see `graph.permissions`."""
_COUNTED: Final = 50_000
_SPANS: Final = {"1h": (timedelta(minutes=2), 30, "%H:%M"), "24h": (timedelta(minutes=30), 48, "%b %d %H:%M")}
"""By name: the length of a step, how many there are, and how their times are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Tokens and refusals over time."""

    chart: Columns
    span: str
    form: str
    whole: bool
    """Whether all of the time was counted."""


async def _overview(visit: Visit) -> Page:
    figures, traffic = await figures_of(visit), await _traffic(visit)
    return Html(
        template="overview.html",
        values={
            "title": "Overview",
            "figures": figures,
            "traffic": traffic,
            "counted": _COUNTED,
            "reading": await offer(visit, _SIGN_INS, ROOT),
            "matters": [*_refusals(traffic), *await matters_of(visit)],
            "steps": _steps(figures) if await subscriptions_of(visit) else None,
        },
    )


async def _traffic(visit: Visit) -> Traffic | None:
    """From the sign-in log, for whoever may read it."""
    if not await may(visit.person.caller, visit.desk.access, Area.SIGN_INS, writes=False):
        return None
    span = visit.query("span") if visit.query("span") in _SPANS else "1h"
    step, count, form = _SPANS[span]
    start = _floor(visit.desk.now, step) - step * (count - 1)
    tallies = await visit.desk.store.tally(
        SIGN_INS,
        "error_code",
        where={"tenant_id": visit.desk.tenant.id},
        since=microseconds(start),
        until=microseconds(start + step * count),
        step=step // timedelta(microseconds=1),
        limit=_COUNTED,
    )
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    for one in tallies:
        (good if one.value == 0 else bad)[one.step] += one.count
    columns = [Column(at=start + step * number, good=good[number], bad=bad[number]) for number in range(count)]
    return Traffic(chart=Columns(columns=columns), span=span, form=form, whole=sum(one.count for one in tallies) < _COUNTED)


def _floor(at: datetime, step: timedelta) -> datetime:
    return at - timedelta(microseconds=microseconds(at) % (step // timedelta(microseconds=1)))


def _refusals(traffic: Traffic | None) -> list[Matter]:
    if traffic is None or not traffic.chart.bad:
        return []
    count = traffic.chart.bad
    said = f"{count} request{'' if count == 1 else 's'} for tokens {'was' if count == 1 else 'were'} refused in the {'last hour' if traffic.span == '1h' else 'last day'}"
    return [Matter(text=said, to=f"/portal/sign-ins?outcome=refused&range={traffic.span}", action="See which")]


def _steps(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """What to do first: title, words, address, done. Nothing once identities are in use."""
    if figures.in_use:
        return []
    return [
        (
            "Create a resource group",
            "What everything else lies in.",
            "/portal/resources/new/resource-group",
            figures.groups > 0,
        ),
        (
            "Create what your program runs as",
            "A virtual machine, a web app, a container group …: with a system-assigned identity.",
            "/portal/resources/new",
            figures.resources > 0,
        ),
        (
            "Give its identity a role",
            "On the vault, the storage account or the group that it is to use.",
            "/portal/resources",
            False,
        ),
        ("Run your program as it", "It gets tokens from the address that its SDK looks for, and no secret.", "", False),
    ]


ROUTES: Final = (Route(method="GET", pattern=_HOME, handler=_overview),)
