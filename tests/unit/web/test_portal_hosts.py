"""The portal's hosts: who sees which machine, what its state says, and what is done about it as the person."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from tests.unit.web.portal_world import PortalWorld, portal_world

from idplane.directory.sightings import shard_of
from idplane.model.bindings import Binding, ExecutableRule, ProcessRule
from idplane.model.directory import Agent, AgentState
from idplane.model.enrollments import AgentSighting, AgentSightings
from idplane.model.ids import ResourceId
from idplane.ports.collections import ACTIVITY, AGENT_SIGHTINGS, AGENTS, BINDINGS, ENROLLMENTS, JOIN_TOKENS
from idplane.ports.store import ABSENT, ANY, Batch, Put

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


async def machine(world: PortalWorld, name: str = "stock-vm", group: str = "stock") -> str:
    identifier = f"{await world.group(group)}/providers/Microsoft.Compute/virtualMachines/{name}"
    await world.manage("PUT", identifier, {"location": "westeurope", "properties": {}}, version="2024-07-01")
    return identifier


def certificate(world: PortalWorld) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    now = world.clock.now()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=23))
    )
    return built.sign(key, None).public_bytes(Encoding.DER)


async def agent(world: PortalWorld, host: str, *, heard: timedelta | None = timedelta(minutes=1), **members: Any) -> Agent:
    identifier = world.server.world.entropy.guid()
    now = world.clock.now()
    made = Agent(
        id=identifier,
        display_name=f"rack-{identifier[:4]}",
        certificate=certificate(world),
        thumbprint=identifier.replace("-", "") * 2,
        enrolled_at=now - timedelta(days=2),
        hosts=(host.lower(),),
        method="x509",
        facts=(("dns", "stock.example.com"),),
        host=ResourceId.parse(host),
        tenant_id=world.tenant_id,
        addresses=("192.0.2.50",),
    )
    made = replace(made, **members)
    puts: list[object] = [Put(collection=AGENTS, value=made, expect=ABSENT)]
    if heard is not None:
        seen = AgentSighting(at=now - heard, address="192.0.2.51", version="idplane/9")
        shard = shard_of(made.id)
        puts.append(Put(collection=AGENT_SIGHTINGS, value=AgentSightings(shard=shard, seen={made.id: seen}), expect=ANY))
    await world.store.commit(Batch.of(*puts))
    return made


def pages_of(found: str) -> list[str]:
    return re.findall(r'href="/portal/hosts/agent/([^"]+)"', found)


async def test_machines_are_listed_with_their_states(world: PortalWorld) -> None:
    admin = await world.administrator()
    stock, shop = await machine(world), await machine(world, "shop-vm", "shop")
    well = await agent(world, stock)
    silent = await agent(world, shop, heard=timedelta(hours=2))
    never = await agent(world, shop, heard=None)
    locked = await agent(world, shop, state=AgentState.LOCKED, state_because="shown from two places")
    banned = await agent(world, stock, state=AgentState.BANNED)
    page = await admin.get("/portal/hosts")
    assert page.status == 200
    assert set(pages_of(page.html)) == {one.id for one in (well, silent, never, locked, banned)}
    for words in ("Healthy", "Silent", "Locked", "Banned", "192.0.2.51", "X.509 certificate"):
        assert words in page.text
    for query, wanted in (
        ("state=Silent", {silent.id, never.id}),
        ("state=Locked", {locked.id}),
        ("state=Healthy&q=STOCK-VM", {well.id}),
        ("q=shop", {silent.id, never.id, locked.id}),
        ("q=nothing", set()),
    ):
        assert set(pages_of((await admin.get(f"/portal/hosts?{query}")).html)) == wanted, query


async def test_each_sees_the_machines_of_what_it_may_read(world: PortalWorld) -> None:
    stock, shop = await machine(world), await machine(world, "shop-vm", "shop")
    mine, other = await agent(world, stock), await agent(world, shop)
    rita = await world.person("rita", "Reader", scope=stock.rpartition("/providers")[0])
    assert pages_of((await rita.get("/portal/hosts")).html) == [mine.id]
    assert (await rita.get(f"/portal/hosts/agent/{mine.id}")).status == 200
    for url in (f"/portal/hosts/agent/{other.id}", "/portal/hosts/agent/nothing"):
        assert (await rita.get(url)).status == 404
    assert (await rita.get(f"/portal/hosts?host={quote(shop)}")).status == 403
    nora = await world.person("nora")
    page = await nora.get("/portal/hosts")
    assert pages_of(page.html) == []
    assert "None that you may see" in page.text


async def test_the_plane_s_own_agent_is_told_of_and_not_listed(world: PortalWorld) -> None:
    own = Agent(
        id="own",
        display_name="own",
        certificate=certificate(world),
        thumbprint="0" * 64,
        enrolled_at=world.clock.now(),
        hosts=("*",),
    )
    await world.store.commit(Batch.of(Put(collection=AGENTS, value=own, expect=ABSENT)))
    page = await (await world.administrator()).get("/portal/hosts")
    assert "agent of its own" in page.text
    assert pages_of(page.html) == []
    stock = await machine(world)
    rita = await world.person("rita", "Reader", scope=stock.rpartition("/providers")[0])
    assert "agent of its own" not in (await rita.get("/portal/hosts")).text
    assert (await rita.get("/portal/hosts/agent/own")).status == 404


async def test_a_machine_shows_what_it_proved_and_what_a_lock_says(world: PortalWorld) -> None:
    admin = await world.administrator()
    stock = await machine(world)
    one = await agent(
        world,
        stock,
        state=AgentState.LOCKED,
        state_because="its certificate was replaced twice",
        addresses=("192.0.2.60", "198.51.100.9"),
        facts=(("dns", HOSTILE),),
        display_name=HOSTILE,
    )
    page = await admin.get(f"/portal/hosts/agent/{one.id}")
    assert page.status == 200
    for words in (
        "its certificate was replaced twice",
        "192.0.2.60 and from 198.51.100.9",
        "X.509 certificate",
        one.thumbprint.upper(),
    ):
        assert words in page.text, words
    assert HOSTILE not in page.html
    assert HOSTILE not in (await admin.get("/portal/hosts")).html
    assert "Unban" not in page.text


async def test_a_machine_is_banned_unbanned_and_removed_as_the_person(world: PortalWorld) -> None:
    admin = await world.administrator()
    one = await agent(world, await machine(world))
    url = f"/portal/hosts/agent/{one.id}"
    assert "gets nothing any more" in (await admin.get(url)).text
    for word, state in (("ban", AgentState.BANNED), ("unban", AgentState.ACTIVE)):
        done = await admin.post(f"{url}/{word}")
        assert (done.status, done.location) == (303, url)
        found = await world.store.get(AGENTS, one.id)
        assert found is not None
        assert found.value.state is state
    done = await admin.post(f"{url}/remove")
    assert (done.status, done.location) == (303, "/portal/hosts")
    assert await world.store.get(AGENTS, one.id) is None
    events = [row.event for row in await world.store.read_log(ACTIVITY, limit=3)]
    assert {event.operation.rpartition("agents/")[2] for event in events} == {"ban/action", "unban/action", "delete"}
    assert admin.principal is not None
    assert {event.caller_id for event in events} == {admin.principal.id}


async def test_a_locked_machine_is_not_unbanned(world: PortalWorld) -> None:
    admin = await world.administrator()
    one = await agent(world, await machine(world), state=AgentState.LOCKED)
    answer = await admin.post(f"/portal/hosts/agent/{one.id}/unban")
    assert answer.status == 409
    assert "delete it" in answer.text


async def test_a_reader_can_do_nothing_and_is_told_why(world: PortalWorld) -> None:
    stock = await machine(world)
    one = await agent(world, stock)
    rita = await world.person("rita", "Reader")
    page = await rita.get(f"/portal/hosts/agent/{one.id}")
    assert 'action="/portal/hosts/' not in page.html
    assert "It takes Idplane.Workloads/agents/ban/action" in page.text
    for word in ("ban", "unban", "remove"):
        assert (await rita.post(f"/portal/hosts/agent/{one.id}/{word}")).status == 403
    assert (await world.store.get(AGENTS, one.id)) is not None
    # Who may change machines but give no access may ban one, and may not let a banned one in again.
    cora = await world.person("cora", "Contributor")
    assert (await cora.post(f"/portal/hosts/agent/{one.id}/ban")).status == 303
    page = await cora.get(f"/portal/hosts/agent/{one.id}")
    assert "It takes Microsoft.Authorization/roleAssignments/write" in page.text
    assert (await cora.post(f"/portal/hosts/agent/{one.id}/unban")).status == 403
    assert (await cora.post(f"/portal/hosts/agent/{one.id}/remove")).status == 403


# One resource ----------------------------------------------------------------------------------------------------------


async def test_a_resource_shows_its_machines_rules_and_bindings(world: PortalWorld) -> None:
    admin = await world.administrator()
    stock = await machine(world)
    one = await agent(world, stock)
    rule = ProcessRule(user="stock", executable=ExecutableRule(path="/usr/bin/stock"), run=True)
    bound = Binding(host=ResourceId.parse(stock), name="only-stock", processes=rule, created_at=world.clock.now())
    await world.store.commit(Batch.of(Put(collection=BINDINGS, value=bound, expect=ABSENT)))
    page = await admin.get(f"/portal/hosts?host={quote(stock)}")
    assert page.status == 200
    assert pages_of(page.html) == [one.id]
    assert "user stock, executable /usr/bin/stock, started by idplane run" in page.text
    assert "no machine can join" in page.text
    assert (await admin.get("/portal/hosts?host=nothing")).status == 400


# Enrolling -------------------------------------------------------------------------------------------------------------


async def test_a_join_token_is_shown_once(world: PortalWorld) -> None:
    admin = await world.administrator()
    stock = await machine(world)
    form = await admin.get(f"/portal/hosts/enroll?host={quote(stock)}")
    assert form.status == 200
    assert stock in html.unescape(form.html)
    made = await admin.post("/portal/hosts/enroll", method="token", host=stock, name="join", minutes="60")
    assert made.status == 200
    assert made.header("cache-control") == "no-store"
    (token,) = re.findall(r'aria-label="Join token"><code>([^<]+)</code>', made.html)
    assert "idplane agent --server https://localhost:8443 --ca ca.pem --join token:join-token" in made.text
    (stored,) = await world.store.all(JOIN_TOKENS)
    assert token not in repr(stored.value)
    page = await admin.get(f"/portal/hosts?host={quote(stock)}")
    assert token not in page.html
    assert "1 token not used yet" in page.text
    again = await admin.post("/portal/hosts/enroll/token", host=stock, name="join")
    assert again.status == 200
    assert token not in again.html
    one, two = await world.store.all(JOIN_TOKENS)
    used = replace(one.value, used_at=world.clock.now())
    over = replace(two.value, expires_at=world.clock.now())
    await world.store.commit(Batch.of(*(Put(collection=JOIN_TOKENS, value=it, expect=ANY) for it in (used, over))))
    assert "not used yet" not in (await admin.get(f"/portal/hosts?host={quote(stock)}")).text
    events = [row.event for row in await world.store.read_log(ACTIVITY, limit=10)]
    assert all(token not in repr(event) for event in events)


async def test_other_proofs_make_an_enrollment_and_say_the_command(world: PortalWorld) -> None:
    admin = await world.administrator()
    stock = await machine(world)
    form = await admin.get(f"/portal/hosts/enroll?method=oidc&host={quote(stock)}")
    assert "Issuer" in form.text
    assert "PEM" not in form.text
    fields = {
        "method": "oidc",
        "host": stock,
        "name": "ci",
        "issuer": "https://issuer.example",
        "facts": "repository=contoso/shop\nref=main",
    }
    made = await admin.post("/portal/hosts/enroll", fields)
    assert made.status == 200, made.text
    assert "--join oidc:token-file" in made.text
    page = await admin.get(f"/portal/hosts?host={quote(stock)}")
    assert "repository = contoso/shop" in page.text
    gone = await admin.post("/portal/hosts/enroll/delete", host=stock, name="ci")
    assert gone.status == 303
    assert await world.store.all(ENROLLMENTS) == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "x509", "name": "a"}, "certificates in PEM"),
        ({"method": "oidc", "name": "a", "issuer": "https://issuer.example", "facts": "nothing"}, "is no fact"),
        ({"method": "token", "name": "-", "minutes": "60"}, "letter"),
        ({"method": "token", "name": "join", "minutes": "99999"}, "expiresInSeconds"),
        ({"method": "magic", "name": "a"}, "method"),
        ({"method": "token", "name": "join", "host": "/subscriptions"}, ""),
        ({"method": "token", "name": "join", "host": "x"}, ""),
    ],
)
async def test_what_makes_no_enrollment_is_shown_again(world: PortalWorld, fields: dict[str, str], words: str) -> None:
    admin = await world.administrator()
    stock = await machine(world)
    answer = await admin.post("/portal/hosts/enroll", {"host": stock, **fields})
    assert answer.status in (400, 404), answer.text
    assert words in answer.text
    assert answer.refusal_id in answer.html
    assert f'value="{fields["name"]}"' in answer.html


async def test_who_gives_no_access_enrolls_nothing(world: PortalWorld) -> None:
    stock = await machine(world)
    cora = await world.person("cora", "Contributor")
    page = await cora.get(f"/portal/hosts/enroll?host={quote(stock)}")
    assert "It takes Microsoft.Authorization/roleAssignments/write" in page.text
    assert (await cora.post("/portal/hosts/enroll", method="token", host=stock, name="join")).status == 403
    admin = await world.administrator()
    await admin.post("/portal/hosts/enroll", method="token", host=stock, name="join")
    tokens = len(await world.store.all(JOIN_TOKENS))
    assert (await cora.post("/portal/hosts/enroll/token", host=stock, name="join")).status == 403
    assert len(await world.store.all(JOIN_TOKENS)) == tokens
    listed = await cora.get(f"/portal/hosts?host={quote(stock)}")
    assert 'action="/portal/hosts/enroll/token"' not in listed.html
