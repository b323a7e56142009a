"""The portal's two logs: what is found, who sees it, what belongs together, and what a file of it holds."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.web.log_samples import log_activity, log_sign_ins, sign_in
from tests.unit.web.portal_world import PortalWorld, portal_world

from idplane.model.events import EventStatus, ForeignToken
from idplane.model.failure import Failure
from idplane.model.refusals import Refusal
from idplane.ports.collections import REFUSALS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.web.portal.log_files import cell
from idplane.web.portal.log_search import place_of_text
from idplane.web.portal.spans import span_of

HOSTILE = "<script>alert(1)</script>\"'"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


def places(html: str) -> list[int]:
    """Which records a list shows, as it shows them."""
    return [int(one) for one in re.findall(r'data-key="(\d+)"', html)]


# Sign-ins --------------------------------------------------------------------------------------------------------------


async def test_sign_ins_are_listed_newest_first_and_narrowed(world: PortalWorld) -> None:
    admin = await world.administrator()
    old = sign_in(world, at=world.clock.now() - timedelta(days=3), principal_name="old-vm", token_id="uti-old")
    good = sign_in(world, at=world.clock.now() - timedelta(minutes=2))
    bad = sign_in(
        world,
        at=world.clock.now() - timedelta(minutes=1),
        principal_name="shop",
        principal_type="Application",
        error_code=7000215,
        failure_reason="Invalid client secret provided.",
        resource="https://graph.microsoft.com",
        resource_name="Microsoft Graph",
        host=None,
        workload=None,
        token_id=None,
    )
    foreign = sign_in(world, tenant_id="11111111-1111-4111-8111-111111111111", principal_name="of-others")
    past, first, second, other = await log_sign_ins(world, old, good, bad, foreign)
    page = await admin.get("/portal/sign-ins")
    assert page.status == 200
    assert places(page.html) == [second, first]
    assert "AADSTS7000215" in page.text
    assert "/usr/bin/stock" in page.text or "stock.service" in page.text
    for query, wanted in (
        ("range=7d", [second, first, past]),
        ("range=all&q=old-vm", [past]),
        ("outcome=refused", [second]),
        ("outcome=success", [first]),
        ("code=AADSTS7000215", [second]),
        ("code=7000215&outcome=success", []),
        ("kind=managed", [first]),
        ("kind=user", []),
        (f"principal={good.client_id}", [first]),
        ("principal=SHO", [second]),
        ("host=virtualmachines/stock-vm", [first]),
        ("resource=vault.azure", [first]),
        ("caller=stock.service", [first]),
        ("caller=pid 4242", [first]),
        (f"correlation={bad.correlation_id.upper()}", [second]),
        ("token=uti-1", [first]),
        ("q=INVALID client", [second]),
        ("q=%25", []),
        (f"from={old.at:%Y-%m-%dT%H:%M}&to={good.at:%Y-%m-%dT%H:%M}", [past]),
        ("token=uti-old", [past]),
        ("token=uti-old&range=24h", []),
        ("range=nonsense", [second, first]),
    ):
        found = await admin.get(f"/portal/sign-ins?{query}")
        assert found.status == 200, query
        assert places(found.html) == wanted, query
    assert str(other) not in map(str, places(page.html))


@pytest.mark.parametrize("query", ["code=x", "from=yesterday", "to=99999-01-01", "after=x", "after=" + "9" * 19, "format=exe"])
async def test_what_no_log_can_be_asked_is_refused(world: PortalWorld, query: str) -> None:
    admin = await world.administrator()
    for log in ("sign-ins", "activity"):
        if log == "activity" and query.startswith("code"):
            continue
        answer = await admin.get(f"/portal/{log}?{query}")
        assert answer.status == 400, query
        assert answer.refusal_id


async def test_long_logs_are_read_page_by_page_with_nothing_twice(world: PortalWorld) -> None:
    admin = await world.administrator()
    await log_sign_ins(world, *(sign_in(world, error_code=0 if number % 3 else 50034) for number in range(130)))
    for query, total in (("", 130), ("&outcome=refused", 44)):
        url: str | None = f"/portal/sign-ins?range=24h{query}"
        found: list[int] = []
        while url:
            page = (await admin.get(url)).html
            found += places(page)
            following = re.search(r'href="([^"]+)" rel="next"', page)
            url = following[1].replace("&amp;", "&") if following else None
        assert len(found) == len(set(found)) == total
        assert found == sorted(found, reverse=True)


async def test_a_search_that_finds_little_says_how_far_it_looked(world: PortalWorld) -> None:
    admin = await world.administrator()
    await log_sign_ins(world, sign_in(world, principal_name="needle", at=world.clock.now() - timedelta(hours=1)))
    await log_sign_ins(world, *(sign_in(world) for _ in range(2100)))
    page = await admin.get("/portal/sign-ins?q=needle")
    assert places(page.html) == []
    assert "Looked at 2000 records" in page.text
    further = re.search(r'href="(/portal/sign-ins\?[^"]*after=\d+)"', page.html)
    assert further
    assert len(places((await admin.get(further[1].replace("&amp;", "&"))).html)) == 1


async def test_the_sign_in_log_is_for_whoever_graph_shows_it_to(world: PortalWorld) -> None:
    (place,) = await log_sign_ins(world, sign_in(world))
    reader = await world.person("rita", "Reader")
    page = await reader.get("/portal/sign-ins")
    assert page.status == 200
    assert "You may not see the sign-in log" in page.text
    assert "stock-vm" not in page.text
    for url in (
        f"/portal/sign-ins/{place}",
        "/portal/sign-ins/rows",
        "/portal/sign-ins?format=csv",
        "/portal/sign-ins?format=jsonl",
    ):
        answer = await reader.get(url)
        assert answer.status == 403, url
        assert "stock-vm" not in answer.html
    giver = await world.person("gina", "User Access Administrator")
    assert places((await giver.get("/portal/sign-ins")).html) == [place]


async def test_a_sign_in_shows_all_that_is_on_record(world: PortalWorld) -> None:
    admin = await world.administrator()
    token = ForeignToken(
        issuer="https://issuer.example", subject="repo:shop", token_id="jti-9", nearest="fic-1", differs="subject"
    )
    (place,) = await log_sign_ins(world, sign_in(world, federated=token))
    page = await admin.get(f"/portal/sign-ins/{place}")
    assert page.status == 200
    for words in ("/usr/bin/stock", "4242", "1001", "stock.service", "only-stock", "AB" * 32, "kid-1", "uti-1", "192.0.2.40"):
        assert words in page.text, words
    for words in ("https://issuer.example", "repo:shop", "jti-9", "fic-1", "https://vault.azure.net", "azsdk-python"):
        assert words in page.text, words


@pytest.mark.parametrize("place", ["0", "999999", "-1", "x", "1e3"])
async def test_there_is_no_record_at_other_addresses(world: PortalWorld, place: str) -> None:
    admin = await world.administrator()
    (there,) = await log_sign_ins(world, sign_in(world, tenant_id="11111111-1111-4111-8111-111111111111"))
    for url in (f"/portal/sign-ins/{place}", f"/portal/sign-ins/{there}", f"/portal/activity/{place}"):
        assert (await admin.get(url)).status in (400, 404), url


async def test_a_token_leads_to_its_calls_and_a_call_to_its_sign_in(world: PortalWorld) -> None:
    admin = await world.administrator()
    user = world.server.installation.user_id
    group = await world.group()
    event = sign_in(world, principal_id=user, token_id="uti-7", correlation_id="0a0a0a0a-0000-4000-8000-000000000001")
    (place,) = await log_sign_ins(world, event)
    call = await log_activity(world, group, caller_id=user, claims={"uti": "uti-7"}, correlation_id=event.correlation_id)
    await log_activity(world, group, caller_id=user, claims={"uti": "uti-8"}, operation="Other/operation/write")
    page = await admin.get(f"/portal/sign-ins/{place}")
    assert f"/portal/activity/{call}" in page.html
    assert "Other/operation" not in page.text
    back = await admin.get(f"/portal/activity/{call}")
    assert f"/portal/sign-ins/{place}" in back.html
    reader = await world.person("rita", "Reader")
    seen = await reader.get(f"/portal/activity/{call}")
    assert seen.status == 200
    assert f"/portal/sign-ins/{place}" not in seen.html


async def test_a_refusal_on_record_is_explained_and_another_is_not_offered(world: PortalWorld) -> None:
    admin = await world.administrator()
    one, two = (sign_in(world, error_code=700016, failure_reason="Not found in the directory") for _ in range(2))
    told = Refusal(
        id=one.id, at=one.at, surface="token", kind="UNKNOWN_CLIENT", detail="no such client", tenant_id=world.tenant_id
    )
    await world.store.commit(Batch.of(Put(collection=REFUSALS, value=told, expect=ABSENT)))
    first, second = await log_sign_ins(world, one, two)
    page = (await admin.get(f"/portal/sign-ins/{first}")).html
    assert f"/portal/explain/{one.id}" in page
    assert "AADSTS700016" in page
    assert "/portal/explain/" not in (await admin.get(f"/portal/sign-ins/{second}")).html


async def test_what_clients_wrote_is_shown_and_does_nothing(world: PortalWorld) -> None:
    admin = await world.administrator()
    members = dict.fromkeys(("principal_name", "user_agent", "resource", "resource_name", "failure_reason", "host"), HOSTILE)
    (place,) = await log_sign_ins(world, sign_in(world, error_code=7, client_id=HOSTILE, **members))
    group = await world.group()
    call = await log_activity(
        world,
        group,
        caller_name=HOSTILE,
        operation=HOSTILE,
        claims={HOSTILE: HOSTILE},
        properties={"p": HOSTILE, "j": '{"a": 1}'},
    )
    for url in ("/portal/sign-ins", f"/portal/sign-ins/{place}", "/portal/activity", f"/portal/activity/{call}"):
        page = await admin.get(url)
        assert page.status == 200
        assert "<script>alert" not in page.html, url
        assert "<script>alert(1)</script>" in page.text.replace(" ", ""), url
    for query in ("q", "principal", "host"):
        page = await admin.get(f"/portal/sign-ins?{query}=<script>alert(1)</script>")
        assert "<script>alert" not in page.html


async def test_the_live_part_is_the_list_alone_and_only_of_what_goes_on(world: PortalWorld) -> None:
    admin = await world.administrator()
    await log_sign_ins(world, sign_in(world))
    page = (await admin.get("/portal/sign-ins?outcome=success")).html
    assert 'data-live="5" data-from="/portal/sign-ins/rows?outcome=success"' in page
    part = (await admin.get("/portal/sign-ins/rows?outcome=success")).html
    assert "<html" not in part
    assert "<form" not in part
    assert places(part) == places(page)
    assert "data-live=" not in (await admin.get("/portal/sign-ins?to=2999-01-01")).html


# Activity --------------------------------------------------------------------------------------------------------------


async def test_operations_are_listed_and_narrowed(world: PortalWorld) -> None:
    admin = await world.administrator()
    stock, shop = await world.group("stock"), await world.group("shop")
    machine = f"{stock}/providers/Microsoft.Compute/virtualMachines/vm"
    ada = "0a0a0a0a-0000-4000-8000-00000000000a"
    one = await log_activity(world, machine, caller_id=ada, correlation_id="corr-1")
    two = await log_activity(
        world, shop, operation="Microsoft.Resources/tags/write", status=EventStatus.FAILED, sub_status="ScopeLocked"
    )
    three = await log_activity(world, "/providers/Idplane.Security/keys/k", operation="Idplane.Security/keys/rotate/action")
    subscription = world.subscription.rpartition("/")[2]
    for query, wanted in (
        ("q=virtualMachines/vm", [one]),
        ("outcome=failed", [two]),
        (f"resource={machine.upper()}", [one]),
        (f"resource={stock}&operation=compute", [one]),
        ("resource=shop&operation=tags", [two]),
        (f"caller={ada}", [one]),
        ("caller=ada&operation=rotate", [three]),
        ("correlation=corr-1", [one]),
        (f"subscription={subscription}&operation=tags", [two]),
        (f"subscription={subscription}&operation=rotate", []),
        ("operation=rotate", [three]),
        ("outcome=accepted", []),
    ):
        found = await admin.get(f"/portal/activity?{query}")
        assert places(found.html) == wanted, query
    assert "Failed: ScopeLocked" in (await admin.get(f"/portal/activity/{two}")).text


async def test_each_sees_what_happened_to_what_it_may_read(world: PortalWorld) -> None:
    stock, shop = await world.group("stock"), await world.group("shop")
    seen = await log_activity(world, f"{stock}/providers/Microsoft.Compute/virtualMachines/vm", correlation_id="corr-1")
    hidden = await log_activity(world, f"{shop}/providers/Microsoft.Compute/virtualMachines/other", correlation_id="corr-1")
    tenant = await log_activity(world, "/providers/Idplane.Security/keys/k", operation="Idplane.Security/keys/taint/action")
    foreign = await log_activity(world, stock, tenant_id="11111111-1111-4111-8111-111111111111")
    rita = await world.person("rita", "Reader", scope=stock)
    page = await rita.get("/portal/activity?range=all")
    assert seen in places(page.html)
    assert not {hidden, tenant, foreign} & set(places(page.html))
    assert "Showing only what happened to what you may read" in page.text
    assert "virtualMachines/other" not in (await rita.get("/portal/activity?format=jsonl&range=all")).html
    detail = await rita.get(f"/portal/activity/{seen}")
    assert detail.status == 200
    assert f"/portal/activity/{hidden}" not in detail.html
    for place in (hidden, tenant, foreign):
        assert (await rita.get(f"/portal/activity/{place}")).status == 404
    for query in (f"resource={shop}", f"resource={stock}", "resource=virtualMachines"):
        found = set(places((await rita.get(f"/portal/activity?range=all&{query}")).html))
        assert hidden not in found
        assert (seen in found) == (query != f"resource={shop}"), query
    both = await world.person("bo", "Reader", scope=f"{world.subscription}/resourceGroups/shop".lower())
    assert hidden in places((await both.get("/portal/activity?range=all")).html)
    nobody = await world.person("nora")
    answer = await nobody.get("/portal/activity?range=all")
    assert answer.status == 200
    assert not {seen, hidden, tenant, foreign} & set(places(answer.html))


async def test_what_decided_is_named_for_whoever_may_read_roles(world: PortalWorld) -> None:
    admin = await world.administrator()
    await world.group("stock")
    page = await admin.get("/portal/activity?operation=resourceGroups/write")
    (place,) = places(page.html)
    assert "Owner" in (await admin.get(f"/portal/activity/{place}")).text


# Files -----------------------------------------------------------------------------------------------------------------


async def test_files_hold_what_is_filtered_and_run_nothing(world: PortalWorld) -> None:
    admin = await world.administrator()
    evil = sign_in(world, principal_name='=HYPERLINK("https://evil.example")', user_agent="+1\r\n=2", error_code=7)
    await log_sign_ins(world, evil, sign_in(world))
    answer = await admin.get("/portal/sign-ins?format=csv&outcome=refused")
    assert (answer.header("content-type") or "").startswith("text/csv")
    assert "attachment" in (answer.header("content-disposition") or "")
    head, row = csv.reader(io.StringIO(answer.html))
    told = dict(zip(head, row, strict=True))
    assert told["principal"] == "'" + evil.principal_name
    assert told["user agent"] == "'+1  =2"
    lines = (await admin.get("/portal/sign-ins?format=jsonl&outcome=refused")).html.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [evil.id]
    group = await world.group()
    await log_activity(world, group, caller_name="@SUM(1)")
    head, row = csv.reader(io.StringIO((await admin.get("/portal/activity?format=csv&q=@SUM")).html))
    assert "'@SUM(1)" in row
    assert len(head) == len(row)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "  =1", "\t=1", "\uff1d1", "\r\n=cmd"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


@pytest.mark.parametrize("text", ["", "plain", "a=b", "https://x/?a=b", "10", None, 7])
def test_other_cells_are_as_they_are(text: object) -> None:
    assert cell(text) == ("" if text is None else str(text))


async def test_files_are_bounded_and_say_so(world: PortalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from idplane.web.portal import sign_ins  # noqa: PLC0415 - its bound is made smaller for this test alone
    from idplane.web.portal.log_search import Sifting  # noqa: PLC0415 - as above

    monkeypatch.setattr(sign_ins, "EXPORT", Sifting(limit=3, looks=10))
    admin = await world.administrator()
    await log_sign_ins(world, *(sign_in(world) for _ in range(5)))
    answer = await admin.get("/portal/sign-ins?format=jsonl")
    assert len(answer.html.splitlines()) == 3
    assert "-newest.jsonl" in (answer.header("content-disposition") or "")


# Times and places ------------------------------------------------------------------------------------------------------


def test_a_span_is_what_was_chosen() -> None:
    assert span_of("1h", "", "", NOW).since == NOW - timedelta(hours=1)
    assert span_of("all", "", "", NOW).since is None
    assert span_of("", "", "", NOW).name == "24h"
    assert span_of("", "", "", NOW, "all").name == "all"
    own = span_of("1h", "2026-11-20T10:00", "2026-11-20T11:00+01:00", NOW)
    assert (own.name, own.since, own.until) == (
        "own",
        datetime(2026, 11, 20, 10, tzinfo=UTC),
        datetime(2026, 11, 20, 10, tzinfo=UTC),
    )
    assert not own.goes_on


@pytest.mark.parametrize("text", ["x", "2026-13-01", "99999-01-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Failure):
        span_of("1h", text, "", NOW)


def test_a_place_is_a_number() -> None:
    assert place_of_text("") is None
    assert place_of_text("12") == 12
    with pytest.raises(Failure):
        place_of_text("\u0661")
