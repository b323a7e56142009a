"""Forms that others send, and forms of people who may not: each form of the portal, in a table that a new one fails without."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from tests.attacks.portal_forms import FORMS, OF_THE_SESSION, Form, Target, stage, standing
from tests.unit.web.portal_world import HOST, PageAnswer, PortalClient, PortalWorld, portal_world

from idplane.model.directory import Principal
from idplane.model.events import ActivityEvent
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Order
from idplane.web.portal.catalogue import ROUTES

_ALL = {**FORMS, **OF_THE_SESSION}
_EXPLAINED = "/providers/Idplane.Diagnostics/refusals"


@dataclass
class Attacked:
    world: PortalWorld
    target: Target
    user: Principal
    """May read everything, and nothing else."""

    async def reader(self) -> PortalClient:
        return await self.world.sign_in(self.user)

    async def record(self, answer: PageAnswer) -> ActivityEvent:
        """What the activity log holds of a request, by the id that its sender was shown."""
        newest = await self.world.store.read_log(ACTIVITY, order=Order.NEWEST_FIRST, limit=20)
        return next(one.event for one in newest if one.event.operation_id == answer.refusal_id)


@pytest.fixture(scope="module")
async def attacked() -> AsyncIterator[Attacked]:
    async with portal_world() as world:
        target = await stage(world)
        yield Attacked(world, target, await world.user("rita", "Reader"))


def test_every_form_is_attacked() -> None:
    patterns = {route.pattern for route in ROUTES if route.method == "POST"}
    assert sorted(patterns - set(_ALL)) == [], "forms without a line in tests/attacks/portal_forms.py"
    assert sorted(set(FORMS) - patterns) == []


@pytest.mark.parametrize("form", _ALL.values(), ids=_ALL)
async def test_a_form_that_no_page_of_the_session_sent_does_nothing(attacked: Attacked, form: Form) -> None:
    """Sent for an Owner's browser: without the hidden value, with another session's, and by a page of another origin."""
    world, owner, reader = attacked.world, await attacked.world.administrator(), await attacked.reader()
    for one in (owner, reader):
        await one.get("/portal/account")
    url, fields = form.at(attacked.target)
    before = await standing(world)
    strange = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    attempts: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
        (fields, {}),
        ({**fields, "csrf": reader.csrf}, {}),
        ({**fields, "csrf": owner.csrf}, strange),
        ({**fields, "csrf": owner.csrf}, {"origin": f"https://{HOST}", "sec-fetch-site": "same-site"}),
        ({**fields, "csrf": owner.csrf}, {"origin": ""}),
    )
    for sent, headers in attempts:
        world.clock.advance(timedelta(minutes=1))
        answer = await owner.send("POST", url, form=sent, headers=headers)
        assert answer.status == 403
        assert answer.refusal_id in answer.text
        event = await attacked.record(answer)
        assert (event.caller_id, event.sub_status) == (world.server.installation.user_id, "PortalForm")
    assert await standing(world) == before
    assert (await owner.get("/portal/account")).status == 200, "still signed in"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_reader_changes_nothing(attacked: Attacked, form: Form) -> None:
    """The page's own form, sent by somebody who may only read: refused by the API, on record, and explained by the id that was shown."""
    world, reader = attacked.world, await attacked.reader()
    url, fields = form.at(attacked.target)
    if "request" in fields:
        shown = re.search(r'name="request" value="([0-9a-f]+)"', (await reader.get(url)).html)
        assert shown is not None
        fields["request"] = shown[1]
    before = await standing(world)
    answer = await reader.post(url, fields)
    assert answer.status == 403, answer.text[:500]
    assert answer.refusal_id in answer.text
    assert f"/portal/explain/{answer.refusal_id}" in answer.html
    assert await standing(world) == before
    event = await attacked.record(answer)
    assert (event.caller_id, event.sub_status) == (attacked.user.id, "AuthorizationFailed")
    told = await world.manage("GET", f"{_EXPLAINED}/{answer.refusal_id}", version="2026-11-01")
    assert attacked.user.id in json.dumps(told["properties"])
    assert told["properties"]["explanation"]["fixes"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_thief_of_a_session_that_is_over_changes_nothing(attacked: Attacked, form: Form) -> None:
    """Cookie and hidden value of a session that was signed out: to the sign-in, and nothing else."""
    world = attacked.world
    victim = await world.administrator()
    await victim.get("/portal/account")
    thief = world.browser()
    thief.cookies, thief.csrf = dict(victim.cookies), victim.csrf
    await victim.post("/portal/sign-out")
    url, fields = form.at(attacked.target)
    before = await standing(world)
    answer = await thief.send("POST", url, form={**fields, "csrf": thief.csrf})
    assert (answer.status, answer.location.partition("?")[0]) == (303, "/portal/sign-in")
    assert await standing(world) == before
