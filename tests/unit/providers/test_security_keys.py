"""Keys by hand, over Resource Manager."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.providers.surface_plane import AWAY, HOME, OpenPlane, Plane, opening

from idplane.arm.envelope import timestamp
from idplane.audit.checkpoints import Checkpoint, read_checkpoint
from idplane.audit.log_check import check_log
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.jose import Algorithm
from idplane.keys import CredentialAuthority, KeyRing, SigningPermit, TlsAuthority
from idplane.model.directory import HOME_TENANT, Setting
from idplane.model.keys import KeyPurpose, KeyState
from idplane.model.profile import OPEN
from idplane.ports.collections import ACTIVITY, SETTINGS, SIGNING_KEYS, TENANTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.testing.worlds import MemoryCustody, SeededEntropy

KEYS = "/providers/Idplane.Security/keys"
VERSION = "2026-11-01"


class Installation:
    """A plane with its keys, followed as a server follows them."""

    plane: Plane
    ring: KeyRing
    credentials: CredentialAuthority
    tls: TlsAuthority
    log: LogKeeping

    async def ask(self, method: str, rest: str = "", body: object = None, *, caller: str = "owner") -> Any:
        return await self.plane.call(method, f"{KEYS}{rest}", body, by=caller, version=VERSION)

    async def vouched(self, change: Batch) -> Batch:
        return await self.log.vouched(change)

    async def shown(self, name: str) -> Any:
        return (await self.ask("GET", f"/{name}")).body["properties"]

    async def active(self, purpose: KeyPurpose = KeyPurpose.TOKEN) -> str:
        rows = await self.plane.store.all(SIGNING_KEYS, where={"purpose": purpose.value, "state": KeyState.ACTIVE.value})
        return rows[0].value.id

    def sign(self) -> str:
        expires = int(self.plane.clock.now().timestamp()) + 600
        return self.ring.sign(SigningPermit(claims={"exp": expires}, algorithm=Algorithm.ES256)).kid


@pytest.fixture
async def installation() -> AsyncIterator[Installation]:
    async with opening() as open_plane:
        made = Installation()
        made.plane = plane = await prepared(open_plane, made.vouched)
        ports: Any = {"store": plane.store, "custody": MemoryCustody(), "clock": plane.clock, "entropy": SeededEntropy("keys")}
        made.ring = await KeyRing.open(**ports, profile=OPEN, algorithm=Algorithm.ES256)
        made.credentials = await CredentialAuthority.open(**ports, profile=OPEN)
        made.tls = await TlsAuthority.open(**ports)
        made.log = await LogKeeping.open(World(**ports, profile=OPEN), tenant_id=HOME)
        yield made
        for one in (made.ring, made.credentials, made.tls, made.log.keys):
            one.close()


async def prepared(open_plane: OpenPlane, vouch: Callable[[Batch], Awaitable[Batch]]) -> Plane:
    plane = await open_plane(group=False, vouch=vouch)
    await plane.store.commit(Batch.of(Put(collection=SETTINGS, value=Setting(name=HOME_TENANT, value=HOME), expect=ABSENT)))
    await plane.person("manager", ("Contributor", "/"))
    await plane.person("watcher", ("Reader", "/"))
    return plane


async def test_the_list_shows_every_key_and_nothing_private(installation: Installation) -> None:
    reply = await installation.ask("GET", caller="watcher")
    assert reply.status == 200
    shown = {one["properties"]["purpose"]: one["properties"] for one in reply.body["value"]}
    assert shown.keys() == {"token", "credential-authority", "tls-authority", "log", "key-encryption"}
    assert all(one["signs"] and one["state"] == "active" for name, one in shown.items() if name != "key-encryption")
    for row in await installation.plane.store.all(SIGNING_KEYS):
        assert row.value.sealed.hex() not in str(reply.body)
        one = await installation.ask("GET", f"/{row.value.id}")
        assert one.body["name"] == row.value.id
    assert (await installation.ask("GET", "/nobodys")).status == 404


@pytest.mark.parametrize("purpose", list(KeyPurpose))
async def test_rotation_lets_another_key_sign_and_leaves_the_earlier_one_good(
    installation: Installation, purpose: KeyPurpose
) -> None:
    before = await installation.active(purpose)
    assert (await installation.ask("POST", f"/{before}/rotate", {"now": True})).status == 200
    after = await installation.active(purpose)
    assert after != before
    states = {one["name"]: one["properties"]["state"] for one in (await installation.ask("GET")).body["value"]}
    assert (states[before], states[after]) == ("retired", "active")
    again = await installation.ask("POST", f"/{before}/rotate")
    assert (again.status, again.body["error"]["code"]) == (400, "KeyNotActive")
    assert await installation.active(purpose) == after


@pytest.mark.parametrize(
    ("purpose", "notice"),
    [(KeyPurpose.CREDENTIAL_AUTHORITY, timedelta(minutes=1)), (KeyPurpose.TLS_AUTHORITY, OPEN.tls_authority_notice)],
)
async def test_an_authority_is_published_before_it_signs(
    installation: Installation, purpose: KeyPurpose, notice: timedelta
) -> None:
    authority = installation.tls if purpose is KeyPurpose.TLS_AUTHORITY else installation.credentials
    before, first = await installation.active(purpose), authority.issuer.pem
    assert (await installation.ask("POST", f"/{before}/rotate")).status == 200
    await authority.refresh()
    assert authority.issuer.pem == first
    assert authority.trust_pem.count(b"BEGIN CERTIFICATE") == 2
    following = next(key.id for key in authority.keys if key.id != before)
    at = timestamp(installation.plane.clock.now() + notice)
    shown = await installation.shown(following)
    assert (shown["state"], shown["signs"], shown["activatedAt"], shown["until"]) == ("prepared", False, None, at)
    again = await installation.ask("POST", f"/{before}/rotate")
    assert (again.status, again.body["error"]["code"]) == (400, "KeyWaits")
    installation.plane.clock.advance((notice - timedelta(seconds=1)).total_seconds())
    await authority.turn()
    assert authority.issuer.pem == first
    installation.plane.clock.advance(1)
    await authority.turn()
    assert await installation.active(purpose) == following
    assert first in authority.trust_pem, "what it has issued is good until it ends"


async def test_an_authority_that_waits_takes_over_at_once_if_told_or_if_the_other_is_tainted(
    installation: Installation,
) -> None:
    for purpose, words in ((KeyPurpose.TLS_AUTHORITY, "rotate"), (KeyPurpose.CREDENTIAL_AUTHORITY, "taint")):
        before = await installation.active(purpose)
        await installation.ask("POST", f"/{before}/rotate")
        (waiting,) = await installation.plane.store.all(SIGNING_KEYS, where={"purpose": purpose.value, "state": "prepared"})
        await installation.ask("POST", f"/{before}/{words}", {"now": True} if words == "rotate" else None)
        assert await installation.active(purpose) == waiting.value.id


async def test_a_tainted_successor_takes_its_turn_with_it(installation: Installation) -> None:
    before = await installation.active(KeyPurpose.TLS_AUTHORITY)
    await installation.ask("POST", f"/{before}/rotate")
    (waiting,) = await installation.plane.store.all(SIGNING_KEYS, where={"purpose": "tls-authority", "state": "prepared"})
    assert (await installation.ask("POST", f"/{waiting.value.id}/taint")).status == 200
    installation.plane.clock.advance(OPEN.tls_authority_notice.total_seconds())
    await installation.tls.turn()
    assert await installation.active(KeyPurpose.TLS_AUTHORITY) == before


@pytest.mark.parametrize("body", [{"now": "yes"}, {"now": None}, {"after": 3}])
async def test_a_rotation_takes_nothing_else(installation: Installation, body: object) -> None:
    before = await installation.plane.store.all(SIGNING_KEYS)
    reply = await installation.ask("POST", f"/{await installation.active()}/rotate", body)
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidRequestContent")
    assert await installation.plane.store.all(SIGNING_KEYS) == before


async def test_the_logs_key_moves_with_its_checkpoint_and_the_record_of_it(installation: Installation) -> None:
    for word in ("rotate", "taint"):
        first, before = await installation.active(KeyPurpose.LOG), await checkpoints(installation)
        assert (await installation.ask("POST", f"/{first}/{word}")).status == 200
        after = await checkpoints(installation)
        assert len(after) > len(before)
        (logged,) = await installation.plane.store.read_log(ACTIVITY, limit=1)
        assert logged.event.operation.lower() == f"idplane.security/keys/{word}/action"
        await installation.log.turn()
        assert after[-2].introduces == installation.log.keys.active.note
        assert len(after[-2].tainted) == (word == "taint")
        assert (await installation.shown(first))["state"] == ("retired" if word == "rotate" else "tainted")
        assert installation.log.watch.problem is None
    keys = installation.log.keys
    report = await check_log(installation.plane.store.tree, keys=keys.notes, sealed=keys.sealed, tainted=keys.tainted)
    assert report.findings == []


async def checkpoints(installation: Installation) -> list[Checkpoint]:
    return [read_checkpoint(one.note) for one in await installation.plane.store.tree.checkpoints(0, 100)]


async def test_the_log_signs_on_while_its_key_is_rotated(installation: Installation) -> None:
    """Whoever comes late plans again: neither a rotation nor a record is lost."""

    async def busy() -> None:
        for _ in range(20):
            await installation.ask("POST", f"/{await installation.active()}/rotate")
            await installation.log.turn()

    first = installation.log.keys.active.note
    working = asyncio.create_task(busy())
    for _ in range(5):
        assert (await installation.ask("POST", f"/{await installation.active(KeyPurpose.LOG)}/rotate")).status == 200
    await working
    await installation.log.turn()
    assert len(installation.log.keys.notes) == 6
    assert (await check_log(installation.plane.store.tree, keys=[first])).findings == []


async def test_a_tainted_key_is_not_tainted_again_but_its_tokens_can_still_be_revoked(installation: Installation) -> None:
    for purpose in KeyPurpose:
        key = await installation.active(purpose)
        assert (await installation.ask("POST", f"/{key}/taint")).status == 200
        after = await installation.plane.store.all(SIGNING_KEYS)
        reply = await installation.ask("POST", f"/{key}/taint")
        assert (reply.status, reply.body["error"]["code"]) == (400, "KeyTainted")
        assert await installation.plane.store.all(SIGNING_KEYS) == after
        if purpose is KeyPurpose.TOKEN:
            assert (await installation.ask("POST", f"/{key}/revoke")).status == 200
            assert all(row.value.tokens_valid_from is not None for row in await installation.plane.store.all(TENANTS))


async def test_a_server_follows_what_was_done_by_hand(installation: Installation) -> None:
    first = installation.sign()
    await installation.ask("POST", f"/{first}/rotate")
    await installation.ring.refresh()
    second = installation.sign()
    assert second != first
    assert installation.ring.public_key(first) is not None
    await installation.ask("POST", f"/{second}/taint")
    await installation.ring.refresh()
    assert installation.ring.public_key(second) is None
    assert installation.sign() not in (first, second)
    assert second not in str(installation.ring.jwks())


async def test_revoking_a_key_ends_every_token_of_until_now(installation: Installation) -> None:
    first = installation.sign()
    await installation.ask("POST", f"/{first}/revoke")
    tenants = [row.value for row in await installation.plane.store.all(TENANTS)]
    assert {one.id for one in tenants} == {HOME, AWAY}
    assert all(one.tokens_valid_from is not None for one in tenants)
    await installation.ring.refresh()
    assert installation.ring.public_key(first) is None


async def test_tainting_does_not_end_the_tokens_of_other_keys(installation: Installation) -> None:
    await installation.ask("POST", f"/{installation.sign()}/taint")
    assert all(row.value.tokens_valid_from is None for row in await installation.plane.store.all(TENANTS))


async def test_what_is_done_to_keys_is_in_the_activity_log(installation: Installation) -> None:
    key = await installation.active()
    for word in ("rotate", "taint"):
        await installation.ask("POST", f"/{key}/{word}")
        (logged,) = await installation.plane.store.read_log(ACTIVITY, limit=1)
        assert logged.event.operation.lower() == f"idplane.security/keys/{word}/action"
        assert key in logged.event.resource_id


@pytest.mark.parametrize("word", ["rotate", "taint", "revoke"])
@pytest.mark.parametrize(
    ("caller", "status"), [("watcher", 403), ("reader", 403), ("contributor", 403), ("nobody", 403), ("stranger", 404)]
)
async def test_who_may_not(installation: Installation, word: str, caller: str, status: int) -> None:
    before = await installation.plane.store.all(SIGNING_KEYS)
    reply = await installation.ask("POST", f"/{before[0].value.id}/{word}", caller=caller)
    assert reply.status == status
    assert await installation.plane.store.all(SIGNING_KEYS) == before


async def test_another_tenants_owner_sees_no_key(installation: Installation) -> None:
    assert (await installation.ask("GET", caller="stranger")).body["value"] == []
    assert (await installation.ask("GET", f"/{await installation.active()}", caller="stranger")).status == 404


async def test_what_cannot_be_done_so_is_said(installation: Installation) -> None:
    authority = await installation.active(KeyPurpose.CREDENTIAL_AUTHORITY)
    reply = await installation.ask("POST", f"/{authority}/revoke")
    assert (reply.status, reply.body["error"]["code"]) == (400, "KeySignsNoTokens")
    reply = await installation.ask("POST", f"/{MemoryCustody().key_id}/rotate")
    assert (reply.status, reply.body["error"]["code"]) == (400, "KeyEncryptionKey")
    assert (await installation.ask("POST", "/nobodys/taint")).status == 404
    assert (await installation.ask("PUT")).status in (404, 405)


async def test_a_tainted_authority_is_replaced_in_the_same_commit(installation: Installation) -> None:
    authority = await installation.active(KeyPurpose.CREDENTIAL_AUTHORITY)
    held = installation.credentials.issuer.pem
    assert (await installation.ask("POST", f"/{authority}/taint")).status == 200
    await installation.credentials.refresh()
    assert held not in installation.credentials.trust_pem
    assert await installation.active(KeyPurpose.CREDENTIAL_AUTHORITY) != authority
