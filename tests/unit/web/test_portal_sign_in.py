from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.web.portal_world import HOST, PortalWorld, portal_world

from idplane.bootstrap.server import Server
from idplane.directory.people import sign_out
from idplane.directory.portal_sessions import IDLE, LIFETIME
from idplane.directory.revocation import revoke_principal, revoke_tenant
from idplane.model.directory import Principal
from idplane.model.events import EventStatus
from idplane.model.portal import LINK_LIFETIME
from idplane.ports.collections import ACTIVITY, PORTAL_LINKS, PORTAL_SESSIONS, PRINCIPALS, TENANTS
from idplane.ports.store import ANY, Batch, Delete, Put
from idplane.web.origins import Origins

PAGE = "/portal/account"
SESSION = "__Host-idplane-session"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


@pytest.fixture
async def world(shared: PortalWorld) -> AsyncIterator[PortalWorld]:
    yield shared
    await shared.forget_people()


async def test_whoever_is_not_signed_in_is_led_to_the_sign_in_and_back(world: PortalWorld) -> None:
    browser, user = world.browser(), await world.user("ada")
    sent = await browser.get(f"{PAGE}?tab=a%26b")
    assert (sent.status, sent.location) == (303, "/portal/sign-in?to=%2Fportal%2Faccount%3Ftab%3Da%2526b")
    form = await browser.get(sent.location)
    assert form.status == 200
    assert 'value="/portal/account?tab=a%26b"' in form.html
    signed = await browser.send(
        "POST", "/portal/sign-in", form={"code": await world.link(user), "to": "/portal/account?tab=a%26b"}
    )
    assert (signed.status, signed.location) == (303, "/portal/account?tab=a%26b")
    assert "ada@idplane.onmicrosoft.com" in (await browser.get(signed.location)).text


async def test_a_whole_link_may_be_pasted_for_its_code(world: PortalWorld) -> None:
    browser = world.browser()
    link = f" https://{HOST}/portal/sign-in#{await world.link(await world.user('ada'))} "
    assert (await browser.send("POST", "/portal/sign-in", form={"code": link})).status == 303
    assert (await browser.get(PAGE)).status == 200


async def test_a_link_counts_once(world: PortalWorld) -> None:
    user = await world.user("ada")
    code = await world.link(user)
    first, second = world.browser(), world.browser()
    assert (await first.send("POST", "/portal/sign-in", form={"code": code})).status == 303
    refused = await second.send("POST", "/portal/sign-in", form={"code": code})
    assert refused.status == 403
    assert "used before" in refused.text
    assert refused.refusal_id in refused.text
    assert SESSION not in second.cookies
    assert (await first.get(PAGE)).status == 200


async def test_a_link_expires(world: PortalWorld) -> None:
    code = await world.link(await world.user("ada"))
    world.clock.advance(LINK_LIFETIME)
    refused = await world.browser().send("POST", "/portal/sign-in", form={"code": code})
    assert (refused.status, "expired" in refused.text) == (403, True)
    event = (await world.store.read_log(ACTIVITY, limit=1))[0].event
    assert (event.status, event.caller, event.operation) == (
        EventStatus.FAILED,
        "ada@idplane.onmicrosoft.com",
        "Idplane.Directory/portalSessions/signIn/action",
    )
    assert event.operation_id == refused.refusal_id


@pytest.mark.parametrize("code", ["", "#", "nonsense", "x" * 100_000, "\udcff", "' or 1=1 --"])
async def test_a_code_that_was_never_given_out_signs_nobody_in(world: PortalWorld, code: str) -> None:
    browser = world.browser()
    form = f"code={code.encode('utf-8', 'surrogateescape').hex()}".encode() if "\udcff" in code else {"code": code}
    assert (await browser.send("POST", "/portal/sign-in", form=form)).status == 403
    assert not browser.cookies


async def test_a_disabled_user_is_not_signed_in_and_the_attempt_is_in_the_log(world: PortalWorld) -> None:
    user = await world.user("ada")
    code = await world.link(user)
    await _disable(world, user)
    refused = await world.browser().send("POST", "/portal/sign-in", form={"code": code})
    assert (refused.status, "disabled" in refused.text) == (400, True)
    event = (await world.store.read_log(ACTIVITY, limit=1))[0].event
    assert (event.status, event.caller_id, event.sub_status) == (EventStatus.FAILED, user.id, "UserDisabled")


async def test_signing_in_and_out_is_in_the_activity_log_and_no_secret_is_anywhere(world: PortalWorld) -> None:
    user = await world.user("ada")
    code = await world.link(user)
    browser = world.browser()
    await browser.send("POST", "/portal/sign-in", form={"code": code})
    secret = browser.cookies[SESSION]
    stored = [*await world.store.all(PORTAL_SESSIONS), *await world.store.all(PORTAL_LINKS)]
    assert secret not in repr(stored)
    await browser.post("/portal/sign-out")
    events = [row.event for row in await world.store.read_log(ACTIVITY, limit=2)]
    assert [event.operation.rpartition("/")[0].rpartition("/")[2] for event in events] == ["signOut", "signIn"]
    assert all(event.caller == "ada@idplane.onmicrosoft.com" for event in events)
    assert secret not in repr(events)
    assert code not in repr(events)


async def test_a_session_that_was_signed_out_counts_nowhere(world: PortalWorld) -> None:
    ada = await world.person("ada")
    thief = world.browser()
    thief.cookies = dict(ada.cookies)
    assert (await thief.get(PAGE)).status == 200
    gone = await ada.post("/portal/sign-out")
    assert (gone.status, gone.location) == (303, "/portal/sign-in")
    assert SESSION not in ada.cookies
    assert (await thief.get(PAGE)).location.startswith("/portal/sign-in")


async def test_signing_in_gives_a_new_session_and_ends_the_one_before(world: PortalWorld) -> None:
    mallory, user = await world.person("mallory"), await world.user("ada")
    victim = world.browser()
    victim.cookies = dict(mallory.cookies)  # planted by whoever wants to know the session's secret beforehand
    await world.sign_in(user, victim)
    assert victim.cookies[SESSION] != mallory.cookies[SESSION]
    assert "ada@" in (await victim.get(PAGE)).text
    assert (await mallory.get(PAGE)).status == 303


async def test_a_session_ends_after_an_hour_without_use(world: PortalWorld) -> None:
    ada = await world.person("ada")
    for _ in range(3):
        world.clock.advance(IDLE - timedelta(minutes=1))
        assert (await ada.get(PAGE)).status == 200
    world.clock.advance(IDLE)
    assert (await ada.get(PAGE)).status == 303
    assert SESSION not in ada.cookies


async def test_what_a_script_asks_for_by_itself_does_not_keep_a_session_alive(world: PortalWorld) -> None:
    ada = await world.person("ada")
    world.clock.advance(IDLE / 2)
    assert (await ada.get(PAGE, sec_fetch_mode="cors")).status == 200
    world.clock.advance(IDLE / 2)
    answer = await ada.get(PAGE, sec_fetch_mode="cors")
    assert answer.status == 401
    assert answer.location == ""


async def test_a_session_ends_after_eight_hours_however_much_it_is_used(world: PortalWorld) -> None:
    ada = await world.person("ada")
    for _ in range(16):
        assert (await ada.get(PAGE)).status == 200
        world.clock.advance(LIFETIME / 16)
    assert (await ada.get(PAGE)).status == 303


async def _disable(world: PortalWorld, user: Principal) -> None:
    await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=replace(user, enabled=False), expect=ANY)))


async def _delete(world: PortalWorld, user: Principal) -> None:
    await world.store.commit(Batch.of(Delete(collection=PRINCIPALS, key=user.id)))


async def _revoke(world: PortalWorld, user: Principal) -> None:
    row = await world.store.get(PRINCIPALS, user.id)
    assert row is not None
    await world.store.commit(
        await revoke_principal(world.store, row, entropy=world.server.world.entropy, now=world.clock.now())
    )


async def _revoke_tenant(world: PortalWorld, user: Principal) -> None:
    row = await world.store.get(TENANTS, user.tenant_id)
    assert row is not None
    await world.store.commit(revoke_tenant(row, entropy=world.server.world.entropy, now=world.clock.now()))


async def _sign_out(world: PortalWorld, user: Principal) -> None:
    await world.store.commit(await sign_out(world.store, user.id))


@pytest.mark.parametrize("end", [_disable, _delete, _revoke, _revoke_tenant, _sign_out])
async def test_a_session_dies_with_what_it_rests_on(
    world: PortalWorld, end: Callable[[PortalWorld, Principal], Awaitable[None]]
) -> None:
    user = await world.user("ada")
    ada = await world.sign_in(user)
    assert (await ada.get(PAGE)).status == 200
    await end(world, user)
    assert (await ada.get(PAGE)).status == 303


async def test_links_that_wait_go_with_a_revocation(world: PortalWorld) -> None:
    user = await world.user("ada")
    code = await world.link(user)
    await _revoke(world, user)
    assert (await world.browser().send("POST", "/portal/sign-in", form={"code": code})).status == 403


async def test_servers_over_one_store_share_sessions(world: PortalWorld) -> None:
    other = await Server.open(world.server.world)
    try:
        app = other.app(Origins.local(8443))
        user = await world.user("ada")
        browser = world.browser(app)
        await world.sign_in(user, browser)
        here, there = world.browser(), world.browser(app)
        here.cookies = there.cookies = browser.cookies
        assert (await here.get(PAGE)).status == (await there.get(PAGE)).status == 200
        here.csrf = browser.csrf
        await here.post("/portal/sign-out")
        there.cookies = {SESSION: browser.cookies.get(SESSION, "")}
        assert (await there.get(PAGE)).status == 303
    finally:
        await other.close()


async def test_a_person_ends_its_other_browsers_and_nobody_elses(world: PortalWorld) -> None:
    user = await world.user("ada")
    here, there, bob = await world.sign_in(user), await world.sign_in(user), await world.person("bob")
    assert bob.principal is not None
    (theirs,) = await world.store.all(PORTAL_SESSIONS, where={"principal_id": bob.principal.id})
    await here.post("/portal/account/end", session=theirs.value.sid)
    assert (await bob.get(PAGE)).status == 200
    page = await here.get(PAGE)
    assert "had ended already" in page.text
    assert "had ended already" not in (await here.get(PAGE)).text
    sid = page.html.partition('name="session" value="')[2].partition('"')[0]
    assert (await here.post("/portal/account/end", session=sid)).status == 303
    assert (await there.get(PAGE)).status == 303
    assert (await here.get(PAGE)).status == 200


async def test_what_is_over_is_purged(world: PortalWorld) -> None:
    ada = await world.person()
    assert ada.principal is not None
    mine = {"principal_id": ada.principal.id}
    await world.link(ada.principal)
    duty = next(one for one in world.server.duty_list() if "portal" in one.name)
    world.clock.advance(timedelta(minutes=10))
    await duty.turn()
    assert len(await world.store.all(PORTAL_SESSIONS, where=mine)) == len(await world.store.all(PORTAL_LINKS, where=mine)) == 1
    world.clock.advance(LIFETIME)
    await duty.turn()
    assert not await world.store.all(PORTAL_SESSIONS)
    assert not await world.store.all(PORTAL_LINKS)
