"""The portal's page of keys: what it says of each, and what it does to them as the person."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.web.portal_world import PortalWorld, portal_world

from idplane.model.keys import KeyPurpose, KeyState
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGNING_KEYS
from idplane.ports.store import Batch, Put
from idplane.web.portal.charts import Bar, Column, Columns, Timeline

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


async def active(world: PortalWorld, purpose: KeyPurpose) -> str:
    found = await world.store.all(SIGNING_KEYS, where={"purpose": purpose.value, "state": KeyState.ACTIVE.value})
    return found[0].value.id


async def test_every_key_is_shown_and_no_private_part(world: PortalWorld) -> None:
    admin = await world.administrator()
    page = await admin.get("/portal/keys")
    assert page.status == 200
    for one in await world.store.all(SIGNING_KEYS):
        assert one.value.id in page.text
        assert one.value.sealed.hex() not in page.html
    for words in ("Token signing", "Credential authority", "Listener authority", "Key-encryption key", "Active", "SHA-256"):
        assert words in page.text
    assert world.server.world.custody.key_id in page.text
    assert 'role="img"' in page.html


@pytest.mark.parametrize("purpose", [KeyPurpose.TOKEN, KeyPurpose.LOG, KeyPurpose.CREDENTIAL_AUTHORITY])
async def test_a_key_is_rotated_as_the_person(world: PortalWorld, purpose: KeyPurpose) -> None:
    admin = await world.administrator()
    if not await world.store.all(SIGNING_KEYS, where={"purpose": purpose.value}):
        pytest.skip("this world has no such key")
    before = await active(world, purpose)
    done = await admin.post("/portal/keys/act/rotate", key=before, now="1")
    assert (done.status, done.location) == (303, "/portal/keys")
    assert await active(world, purpose) != before
    (event, *_) = [one.event for one in await world.store.read_log(ACTIVITY, limit=5) if "rotate" in one.event.operation]
    assert admin.principal is not None
    assert event.caller_id == admin.principal.id
    assert event.resource_id.endswith(before)


async def test_an_authority_for_listeners_is_published_first(world: PortalWorld) -> None:
    admin = await world.administrator()
    before = await active(world, KeyPurpose.TLS_AUTHORITY)
    assert "Rotate at once" in (await admin.get("/portal/keys")).text
    done = await admin.post("/portal/keys/act/rotate", key=before)
    assert done.status == 303
    assert await active(world, KeyPurpose.TLS_AUTHORITY) == before
    page = await admin.get("/portal/keys")
    assert f"ask-rotate-{before}" not in page.html
    assert f"ask-rotate-now-{before}" in page.html
    assert "Begins to sign" in page.text
    again = await admin.post("/portal/keys/act/rotate", key=before)
    assert again.status == 400
    assert "takes over at" in again.text
    assert again.refusal_id in again.html


async def test_taint_and_revoke_say_what_follows_and_do_it(world: PortalWorld) -> None:
    admin = await world.administrator()
    key = await active(world, KeyPurpose.TOKEN)
    page = await admin.get("/portal/keys")
    assert "Every token that it signed is refused at once" in page.text
    assert "every token issued until now is refused" in page.text
    assert (await admin.post("/portal/keys/act/taint", key=key)).status == 303
    tainted = await world.store.get(SIGNING_KEYS, key)
    assert tainted is not None
    assert tainted.value.tainted
    page = await admin.get("/portal/keys")
    assert f"ask-taint-{key}" not in page.html
    again = await admin.post("/portal/keys/act/taint", key=key)
    assert again.status == 400
    assert (await admin.post("/portal/keys/act/revoke", key=await active(world, KeyPurpose.TOKEN))).status == 303


@pytest.mark.parametrize("key", ["nothing", "../../../subscriptions", "", "%2e%2e", "a/b", "<script>"])
async def test_a_key_that_is_not_there_is_refused(world: PortalWorld, key: str) -> None:
    admin = await world.administrator()
    before = [one.value for one in await world.store.all(SIGNING_KEYS)]
    answer = await admin.post("/portal/keys/act/taint", key=key)
    assert answer.status in (400, 404, 405)
    assert "<script>" not in answer.html
    assert [one.value for one in await world.store.all(SIGNING_KEYS)] == before


async def test_there_is_nothing_else_to_do_to_a_key(world: PortalWorld) -> None:
    admin = await world.administrator()
    for action in ("read", "delete", "rotate.now"):
        assert (await admin.post(f"/portal/keys/act/{action}", key=await active(world, KeyPurpose.TOKEN))).status == 404


async def test_a_reader_sees_the_keys_and_can_do_nothing(world: PortalWorld) -> None:
    reader = await world.person("rita", "Reader")
    page = await reader.get("/portal/keys")
    assert page.status == 200
    assert await active(world, KeyPurpose.TOKEN) in page.text
    assert not re.findall(r'action="/portal/keys/act', page.html)
    assert "It takes Idplane.Security/keys/rotate/action" in page.text
    key = await active(world, KeyPurpose.TOKEN)
    for action in ("rotate", "taint", "revoke"):
        answer = await reader.post(f"/portal/keys/act/{action}", key=key)
        assert answer.status == 403, action
        assert answer.refusal_id in answer.html
    assert await active(world, KeyPurpose.TOKEN) == key


async def test_who_may_read_no_keys_is_told_what_it_takes(world: PortalWorld) -> None:
    page = await (await world.person("nora")).get("/portal/keys")
    assert page.status == 200
    assert "You may not see the keys" in page.text
    assert await active(world, KeyPurpose.TOKEN) not in page.text


async def test_another_tenant_has_no_keys_to_see(world: PortalWorld) -> None:
    admin = await world.administrator()
    home = next(one for one in await world.store.all(SETTINGS) if one.value.value == world.tenant_id)
    moved = replace(home.value, value="11111111-1111-4111-8111-111111111111")
    await world.store.commit(Batch.of(Put(collection=SETTINGS, value=moved, expect=home.version)))
    page = await admin.get("/portal/keys")
    assert "Not this tenant's keys" in page.text


def test_a_timeline_stands_within_its_picture() -> None:
    bars = [
        Bar(
            label="a",
            kind="retired",
            start=NOW - timedelta(days=9),
            signs=(NOW - timedelta(days=8), NOW),
            end=NOW + timedelta(days=1),
        ),
        Bar(label="b", kind="prepared", start=NOW, signs=(None, None), end=NOW),
        Bar(label="c", kind="active", start=NOW + timedelta(days=2), signs=(NOW, None), end=NOW - timedelta(days=2)),
    ]
    chart = Timeline(bars=bars, now=NOW)
    for one in chart.placed:
        for number in (one.x, one.width, one.work_x, one.work_width):
            assert 0 <= float(number) <= 1000
    assert 0 < float(chart.now_x) < 1000
    assert 0 <= float(Timeline(bars=(), now=NOW).now_x) <= 1000


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1, 1), (3, 5), (9, 10), (11, 20), (51, 100), (100, 100), (4999, 5000)])
def test_columns_stand_for_round_numbers(most: int, top: int) -> None:
    chart = Columns(columns=[Column(at=NOW, good=most, bad=0), Column(at=NOW, good=0, bad=most)])
    assert chart.top == top
    assert (chart.good, chart.bad) == (most, most)
    for one in chart.stacked:
        assert float(one.good_y) >= 0
        assert float(one.bad_y) >= -1
