from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import pytest
from tests.unit.web.portal_world import HOST, PortalWorld, portal_world

from idplane.model.events import EventStatus
from idplane.ports.collections import ACTIVITY
from idplane.web.portal.routes import Route, Router
from idplane.web.portal.sign_in import local_target
from idplane.web.portal.view import Html, Page, Visit

PAGE = "/portal/account"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


@pytest.fixture
async def world(shared: PortalWorld) -> AsyncIterator[PortalWorld]:
    yield shared
    await shared.forget_people()


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example",
        "//evil.example",
        "/portal//evil.example",
        "/\\evil.example",
        "/portal/\\evil",
        "/portalevil",
        "/",
        "portal",
        "javascript:alert(1)",
        "/portal/x\r\nSet-Cookie: a=b",
        "/portal/sign-out",
        "/portal/sign-in?to=/portal/sign-in",
        "/portal/" + "x" * 3000,
    ],
)
async def test_a_sign_in_leads_nowhere_else(world: PortalWorld, to: str) -> None:
    assert local_target(to) == "/portal"
    answer = await world.browser().send(
        "POST", "/portal/sign-in", form={"code": await world.link(await world.user("a")), "to": to}
    )
    assert (answer.status, answer.location) == (303, "/portal")


@pytest.mark.parametrize("path", [PAGE, "/portal/sign-in", "/portal/nothing", "/portal/static/nothing.css"])
async def test_every_answer_has_the_headers_that_keep_others_out(world: PortalWorld, path: str) -> None:
    answer = await (await world.person()).get(path)
    policy = answer.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.header("x-frame-options") == "DENY"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "same-origin"
    assert answer.header("cross-origin-opener-policy") == "same-origin"
    assert answer.header("cache-control") == "no-store"


async def test_pages_hold_no_script_or_style_of_their_own(world: PortalWorld) -> None:
    ada = await world.person()
    for path in (PAGE, "/portal/nothing", "/portal/sign-in"):
        page = (await ada.get(path)).html
        assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=", page) == []


async def test_cookies_are_of_this_host_alone_and_of_no_script(world: PortalWorld) -> None:
    answer = await world.browser().send("POST", "/portal/sign-in", form={"code": await world.link(await world.user("a"))})
    kept = [value for name, value in answer.headers if name == "set-cookie"]
    assert len(kept) == 1
    assert kept[0].startswith("__Host-idplane-session=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in kept[0].split(";")}
    assert "Domain" not in kept[0]


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({}, {}),  # no token
        ({}, {"csrf": "wrong"}),
        ({}, {"csrf": ""}),
        ({"origin": "https://evil.example"}, None),
        ({"origin": "null"}, None),
        ({"origin": ""}, None),
        ({"origin": f"http://{HOST}"}, None),
        ({"origin": f"https://{HOST}.evil.example"}, None),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"sec-fetch-site": "same-site"}, None),
    ],
)
async def test_a_form_of_somebody_else_changes_nothing(
    world: PortalWorld, headers: dict[str, str], form: dict[str, str] | None
) -> None:
    ada = await world.person("ada")
    await ada.get(PAGE)
    refused = await ada.send("POST", "/portal/sign-out", form={"csrf": ada.csrf} if form is None else form, headers=headers)
    assert refused.status == 403
    assert refused.refusal_id in refused.text
    assert (await ada.get(PAGE)).status == 200
    event = (await world.store.read_log(ACTIVITY, limit=1))[0].event
    assert (event.status, event.sub_status, event.caller) == (
        EventStatus.FAILED,
        "PortalForm",
        "ada@idplane.onmicrosoft.com",
    )
    assert event.operation_id == refused.refusal_id


async def test_the_hidden_value_of_another_session_is_not_taken(world: PortalWorld) -> None:
    ada, bob = await world.person("ada"), await world.person("bob")
    await ada.get(PAGE)
    await bob.get(PAGE)
    assert ada.csrf != bob.csrf
    assert (await ada.send("POST", "/portal/sign-out", form={"csrf": bob.csrf})).status == 403
    assert (await ada.send("POST", "/portal/sign-out", form=f"csrf={ada.csrf}&csrf={ada.csrf}".encode())).status == 403


async def test_a_flood_of_foreign_forms_does_not_fill_the_log(world: PortalWorld) -> None:
    ada = await world.person("ada")
    for _ in range(60):
        await ada.send("POST", "/portal/sign-out", form={"csrf": "wrong"})
    assert ada.principal is not None
    events = await world.store.read_log(ACTIVITY, where={"caller_id": ada.principal.id}, limit=100)
    failed = [row for row in events if row.event.status is EventStatus.FAILED]
    assert 0 < len(failed) <= 20


async def test_a_sign_in_that_another_origin_sends_is_refused(world: PortalWorld) -> None:
    browser = world.browser()
    code = await world.link(await world.user("mallory"))
    refused = await browser.send("POST", "/portal/sign-in", form={"code": code}, headers={"origin": "https://evil.example"})
    assert refused.status == 403
    assert not browser.cookies


@pytest.mark.parametrize(("body", "status"), [(b"\xff=1", 400), (b"&".join([b"a=b"] * 2000), 400), (b"a=%ff", 400)])
async def test_a_form_that_cannot_be_read_is_refused(world: PortalWorld, body: bytes, status: int) -> None:
    ada = await world.person()
    assert (await ada.send("POST", "/portal/theme", form=body)).status == status
    json = {"content-type": "application/json"}
    assert (await ada.send("POST", "/portal/theme", form=b"{}", headers=json)).status == 415


async def test_two_cookies_of_one_name_are_none(world: PortalWorld) -> None:
    ada = await world.person()
    secret = ada.cookies["__Host-idplane-session"]
    ada.cookies = {}
    answer = await ada.get(PAGE, cookie=f"__Host-idplane-session={secret}; __Host-idplane-session=other")
    assert answer.status == 303


async def test_an_address_without_a_page_says_so_with_an_id(world: PortalWorld) -> None:
    ada = await world.person()
    missing = await ada.get("/portal/nothing")
    assert missing.status == 404
    assert missing.text.count(missing.refusal_id) == 1
    assert f"/portal/explain/{missing.refusal_id}" in missing.html
    wrong = await ada.post(PAGE)
    assert wrong.status == 405


async def test_what_is_refused_is_kept_under_the_id_that_was_shown(world: PortalWorld) -> None:
    ada = await world.person("ada")
    missing = await ada.get("/portal/nothing")
    kept = await world.server.refusals.find(missing.refusal_id)
    assert kept is not None
    assert ada.principal is not None
    assert (kept.surface, kept.principal_id, kept.status) == ("portal", ada.principal.id, 404)
    foreign = await ada.send("POST", "/portal/sign-out", form={"csrf": "wrong"})
    assert await world.server.refusals.find(foreign.refusal_id) is not None


async def test_what_is_asked_for_is_shown_as_text(world: PortalWorld) -> None:
    ada = await world.person()
    page = await ada.get("/portal/%3Cscript%3Ealert(1)%3C%2Fscript%3E".replace("%2F", ""))
    assert page.status == 404
    assert "<script>alert" not in page.html


async def test_files_are_kept_by_browsers_for_good_and_named_by_their_content(world: PortalWorld) -> None:
    browser = world.browser()
    page = await browser.get("/portal/sign-in")
    urls = set(re.findall(r'"(/portal/static/[^"#]+)', page.html))
    assert {url.rpartition(".")[2] for url in urls} == {"css", "js", "svg"}
    whole = len(page.body)
    for url in urls:
        plain = await browser.get(url)
        packed = await browser.get(url, accept_encoding="gzip, br")
        assert "immutable" in (packed.header("cache-control") or "")
        assert packed.header("content-encoding") == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert plain.header("content-type") != "text/html; charset=utf-8"
        whole += len(packed.body)
    assert whole < 50_000
    assert (await browser.send("POST", urls.pop(), form={})).status == 405


async def test_a_head_request_is_a_page_without_its_body(world: PortalWorld) -> None:
    answer = await (await world.person()).send("HEAD", PAGE)
    assert (answer.status, answer.body) == (200, b"")


async def test_the_theme_is_kept(world: PortalWorld) -> None:
    ada = await world.person()
    assert "data-theme" not in (await ada.get(PAGE)).html
    done = await ada.post("/portal/theme", theme="dark", to=f"{PAGE}?x=1")
    assert done.location == f"{PAGE}?x=1"
    assert 'data-theme="dark"' in (await ada.get(PAGE)).html
    await ada.post("/portal/theme", theme='"><script>', to="https://evil.example")
    assert "data-theme" not in (await ada.get(PAGE)).html


async def _page(visit: Visit) -> Page:
    return Html(template="account.html", values={"of": visit.params})


def test_exact_addresses_go_before_patterns_and_the_rest_before_everything_behind() -> None:
    patterns = ("/portal/a/{rest:path}", "/portal/a/{one}", "/portal/a/new", "/portal/b/{id:path}/edit")
    router = Router(Route(method="GET", pattern=one, handler=_page) for one in patterns)

    def found(path: str) -> tuple[str, dict[str, str]]:
        route, params = router.find("GET", path)
        return route.pattern, dict(params)

    assert found("/portal/a/new") == ("/portal/a/new", {})
    assert found("/portal/a/x y") == ("/portal/a/{one}", {"one": "x y"})
    assert found("/portal/a/x/y") == ("/portal/a/{rest:path}", {"rest": "x/y"})
    assert found("/portal/b/subscriptions/1/edit") == ("/portal/b/{id:path}/edit", {"id": "subscriptions/1"})
