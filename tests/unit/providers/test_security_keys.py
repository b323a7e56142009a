"""Keys by hand, over Resource Manager."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.providers.surface_plane import AWAY, HOME, OpenPlane, Plane, opening

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

    async def ask(self, method: str, rest: str = "", *, caller: str = "owner") -> Any:
        return await self.plane.call(method, f"{KEYS}{rest}", by=caller, version=VERSION)

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
        made.plane = plane = await prepared(open_plane)
        ports: Any = {"store": plane.store, "custody": MemoryCustody(), "clock": plane.clock, "entropy": SeededEntropy("keys")}
        made.ring = await KeyRing.open(**ports, profile=OPEN, algorithm=Algorithm.ES256)
        made.credentials = await CredentialAuthority.open(**ports, profile=OPEN)
        made.tls = await TlsAuthority.open(**ports)
        yield made
        for one in (made.ring, made.credentials, made.tls):
            one.close()


async def prepared(open_plane: OpenPlane) -> Plane:
    plane = await open_plane(group=False)
    await plane.store.commit(Batch.of(Put(collection=SETTINGS, value=Setting(name=HOME_TENANT, value=HOME), expect=ABSENT)))
    await plane.person("manager", ("Contributor", "/"))
    await plane.person("watcher", ("Reader", "/"))
    return plane


async def test_the_list_shows_every_key_and_nothing_private(installation: Installation) -> None:
    reply = await installation.ask("GET", caller="watcher")
    assert reply.status == 200
    shown = {one["properties"]["purpose"]: one["properties"] for one in reply.body["value"]}
    assert shown.keys() == {"token", "credential-authority", "tls-authority", "key-encryption"}
    assert all(one["signs"] and one["state"] == "active" for name, one in shown.items() if name != "key-encryption")
    for row in await installation.plane.store.all(SIGNING_KEYS):
        assert row.value.sealed.hex() not in str(reply.body)
        one = await installation.ask("GET", f"/{row.value.id}")
        assert one.body["name"] == row.value.id
    assert (await installation.ask("GET", "/nobodys")).status == 404


@pytest.mark.parametrize("purpose", [KeyPurpose.TOKEN, KeyPurpose.CREDENTIAL_AUTHORITY, KeyPurpose.TLS_AUTHORITY])
async def test_rotation_lets_another_key_sign_and_leaves_the_earlier_one_good(
    installation: Installation, purpose: KeyPurpose
) -> None:
    before = await installation.active(purpose)
    assert (await installation.ask("POST", f"/{before}/rotate")).status == 200
    after = await installation.active(purpose)
    assert after != before
    states = {one["name"]: one["properties"]["state"] for one in (await installation.ask("GET")).body["value"]}
    assert (states[before], states[after]) == ("retired", "active")
    again = await installation.ask("POST", f"/{before}/rotate")
    assert (again.status, again.body["error"]["code"]) == (400, "KeyNotActive")
    assert await installation.active(purpose) == after


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
