"""The portal's first page: its figures, its picture of tokens, what needs attention, and for whom."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.unit.web.log_samples import log_sign_ins, sign_in
from tests.unit.web.portal_world import PortalWorld, portal_world

from idplane.model.directory import Agent, AgentState, Credential, CredentialKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import AGENTS, CREDENTIALS, PRINCIPALS, SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, Put

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


def figures(page: str) -> dict[str, str]:
    found = re.findall(r'<a class="figure"[^>]*><strong>([^<]*)</strong><span>([^<]*)</span>', page)
    return {label: count for count, label in found}


async def machine(world: PortalWorld, name: str, group: str = "stock", *, identity: bool = True) -> str:
    identifier = f"{await world.group(group)}/providers/Microsoft.Compute/virtualMachines/{name}"
    body = {"location": "westeurope", "properties": {}, **({"identity": {"type": "SystemAssigned"}} if identity else {})}
    await world.manage("PUT", identifier, body, version="2024-07-01")
    return identifier


async def user_assigned(world: PortalWorld, name: str, group: str = "stock") -> str:
    identifier = f"{await world.group(group)}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    await world.manage("PUT", identifier, {"location": "westeurope"}, version="2023-01-31")
    return identifier


async def test_an_empty_plane_says_what_to_do_first(world: PortalWorld) -> None:
    page = await (await world.administrator()).get("/portal")
    assert page.status == 200
    assert "First steps" in page.text
    assert 'href="/portal/resources/new/resource-group"' in page.html
    assert "idplane run --as NAME" in page.text
    await world.group()
    page = await (await world.administrator()).get("/portal")
    assert page.html.count('<li class="done">') == 1
    await machine(world, "vm")
    assert "First steps" not in (await (await world.administrator()).get("/portal")).text


async def test_figures_are_what_there_is_and_what_one_may_read(world: PortalWorld) -> None:
    for number in range(3):
        await machine(world, f"vm-{number}")
    await machine(world, "other", "shop")
    await machine(world, "bare", "shop", identity=False)
    await user_assigned(world, "shared")
    seen = figures((await (await world.administrator()).get("/portal")).html)
    assert seen["System-assigned identities"] == "4"
    assert seen["User-assigned identities"] == "1"
    assert seen["Identities on resources"] == "4"
    assert seen["Resources"] == "6"
    assert "Applications" in seen
    rita = await world.person("rita", "Reader", scope=f"{world.subscription}/resourceGroups/shop".lower())
    page = await rita.get("/portal")
    few = figures(page.html)
    assert few["System-assigned identities"] == "1"
    assert few["User-assigned identities"] == "0"
    assert few["Resources"] == "2"
    assert few["Role assignments"] == "1"
    assert "Applications" not in few
    assert "You may not see the sign-in log" in page.text
    nora = await world.person("nora")
    page = await nora.get("/portal")
    assert "You hold no role here yet" in page.text
    assert figures(page.html) == {}


async def test_tokens_are_pictured_with_the_same_figures_as_a_table(world: PortalWorld) -> None:
    admin = await world.administrator()
    now = world.clock.now()
    good = [sign_in(world, at=now - timedelta(minutes=5)) for _ in range(7)]
    bad = [sign_in(world, at=now - timedelta(minutes=5), error_code=50034) for _ in range(2)]
    old = [sign_in(world, at=now - timedelta(hours=5)) for _ in range(11)]
    foreign = [sign_in(world, tenant_id="11111111-1111-4111-8111-111111111111") for _ in range(13)]
    await log_sign_ins(world, *good, *bad, *old, *foreign)
    page = await admin.get("/portal")
    assert "7 tokens and 2 refusals" in page.html
    assert re.search(r'data-label="Tokens">7</td><td data-label="Refused">2</td>', page.html)
    assert "2 requests for tokens were refused in the last hour" in page.text
    day = await admin.get("/portal?span=24h")
    assert "18 tokens and 2 refusals" in day.html
    assert "7 tokens" in (await admin.get("/portal?span=nonsense")).html
    assert "of-others" not in page.text


async def test_no_more_tokens_are_counted_than_is_said(world: PortalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from idplane.web.portal import overview  # noqa: PLC0415 - its bound is made smaller for this test alone

    monkeypatch.setattr(overview, "_COUNTED", 3)
    admin = await world.administrator()
    await log_sign_ins(world, *(sign_in(world) for _ in range(5)))
    page = await admin.get("/portal")
    assert "3 tokens and 0 refusals" in page.html
    assert "Only the newest 3 attempts are counted" in page.text


async def test_what_needs_attention_leads_to_where_it_is_mended(world: PortalWorld) -> None:
    admin = await world.administrator()
    now = world.clock.now()
    identity = await user_assigned(world, "lonely")
    host = ResourceId.parse(await machine(world, "vm"))
    der = (await world.store.all(SIGNING_KEYS))[0].value.certificate
    agents = [
        Agent(
            id=f"agent-{number}",
            display_name="a",
            certificate=der,
            thumbprint=str(number) * 64,
            enrolled_at=now - timedelta(hours=number),
            hosts=(host.key,),
            host=host,
            tenant_id=world.tenant_id,
            state=state,
        )
        for number, state in enumerate((AgentState.ACTIVE, AgentState.ACTIVE, AgentState.LOCKED))
    ]
    principal = next(
        one.value for one in await world.store.all(PRINCIPALS) if one.value.resource_id == str(host) or one.value.type.is_client
    )
    secrets = [
        Credential(
            id=f"cred-{number}",
            principal_id=principal.id,
            client_id=principal.client_id,
            kind=CredentialKind.SECRET,
            not_before=now - timedelta(days=90),
            not_after=now + timedelta(days=days),
            display_name=name,
        )
        for number, (days, name) in enumerate(((3, HOSTILE), (-2, "old"), (300, "late")))
    ]
    puts = [Put(collection=AGENTS, value=one, expect=ABSENT) for one in agents]
    await world.store.commit(Batch.of(*puts, *(Put(collection=CREDENTIALS, value=one, expect=ABSENT) for one in secrets)))
    page = await admin.get("/portal")
    assert page.status == 200
    for words, to in (
        ("1 machine is locked", "/portal/hosts?state=Locked"),
        ("1 machine is silent", "/portal/hosts?state=Silent"),
        ("vm has no workload binding", "/portal/hosts?host="),
        ("lonely is used by nothing", f"/portal/identity/overview{identity}"),
        ("“old”", f"/portal/applications/{principal.id}"),
    ):
        assert words in page.text, words
        assert to in page.html, to
    assert "“late”" not in page.text
    assert HOSTILE not in page.html
    assert "ends in 3 days" in page.text
    for to in re.findall(r'<ul class="attention">.*?</ul>', page.html, re.DOTALL):
        for link in re.findall(r'href="([^"#]+)', to):
            assert (await admin.get(link.replace("&amp;", "&"))).status == 200, link
    rita = await world.person("rita", "Reader", scope=f"{world.subscription}/resourceGroups/none".lower())
    seen = await rita.get("/portal")
    for words in ("locked", "silent", "lonely", "“old”", "binding"):
        assert words not in seen.text


async def test_nothing_to_do_is_said(world: PortalWorld) -> None:
    rita = await world.person("rita", "Reader", scope=world.subscription)
    assert "Nothing, as far as you may see." in (await rita.get("/portal")).text
