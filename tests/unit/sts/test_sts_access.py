import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from tests.unit.sts.sts_world import ARM, VM_ID, Published, StsWorld, foreign_rsa_pair, replacing, shared_ring

from idplane.directory.audiences import Audiences
from idplane.directory.identities import removal_of
from idplane.jose import Algorithm, Signer, b64url, parse
from idplane.keys import KeyRing, PublicKeyInfo, SigningPermit
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.model.resources import identity_assignment_key
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS
from idplane.ports.store import Delete
from idplane.sts import TokenAuthenticator, TokenService
from idplane.sts.bounded import Bounded
from idplane.testing.worlds import MemoryCustody

ANY_TEXT = ["", ".", "a.b.c", "x" * 20_000, "e30.e30.e30", "\ud800", "ü"]


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


async def refusal(world: StsWorld, token: str, *audiences: str) -> FailureKind:
    with pytest.raises(Failure) as raised:
        await world.authenticator.authenticate(token, audiences or (ARM,))
    return raised.value.kind


async def app_token(world: StsWorld) -> str:
    return (await world.service.issue(world.by_secret(), world.call())).access_token


def resigned(token: str, change: Callable[[dict[str, object]], object]) -> str:
    """The token with changed claims, signed by the ring all the same."""
    claims = dict(parse(token).claims)
    change(claims)
    return shared_ring().sign(SigningPermit(claims=claims)).token


class TestCallers:
    async def test_application(self, world: StsWorld) -> None:
        caller = await world.authenticator.authenticate(await app_token(world), (ARM,))
        assert (caller.principal_id, caller.client_id, caller.display_name) == (world.app.id, world.app.client_id, "pipeline")
        assert (caller.tenant_id, caller.host, caller.roles) == (world.tenant.id, None, ())

    async def test_graph_roles(self, world: StsWorld) -> None:
        issued = await world.service.issue(world.by_secret(audience="https://graph.microsoft.com"), world.call())
        caller = await world.authenticator.authenticate(issued.access_token, ("https://graph.microsoft.com/",))
        assert (caller.roles, caller.token_id) == (("AuditLog.Read.All",), issued.token_id)

    async def test_managed_identities_carry_their_host(self, world: StsWorld) -> None:
        for principal in (world.system, world.user):
            issued = await world.service.issue(world.by_agent(principal), world.call())
            caller = await world.authenticator.authenticate(issued.access_token, (ARM,))
            assert (caller.principal_id, caller.host) == (principal.id, VM_ID.lower())

    async def test_version_2(self, world: StsWorld) -> None:
        issued = await world.service.issue(world.by_secret(audience="api://AzureADTokenExchange"), world.call())
        caller = await world.authenticator.authenticate(issued.access_token, ("fb60f99c-7a34-4190-8149-302f77469936",))
        assert caller.client_id == world.app.client_id

    @pytest.mark.parametrize("audience", ["https://management.azure.com", "HTTPS://MANAGEMENT.azure.com/"])
    async def test_audiences_ignore_case_and_a_final_slash(self, world: StsWorld, audience: str) -> None:
        await world.authenticator.authenticate(await app_token(world), (audience,))


class TestRefusals:
    @pytest.mark.parametrize("text", ANY_TEXT)
    async def test_not_a_token(self, world: StsWorld, text: str) -> None:
        assert await refusal(world, text) is (FailureKind.TOKEN_INVALID if text else FailureKind.TOKEN_MISSING)

    async def test_expired(self, world: StsWorld) -> None:
        token = await app_token(world)
        world.clock.advance(timedelta(seconds=3599))
        await world.authenticator.authenticate(token, (ARM,))
        world.clock.advance(1)
        assert await refusal(world, token) is FailureKind.TOKEN_EXPIRED

    async def test_a_clock_that_is_set_back_ends_no_token(self, world: StsWorld) -> None:
        """Clients keep a token until it expires; none of ours is ever made for later."""
        token = await app_token(world)
        world.clock.set(world.clock.now() - timedelta(days=3))
        await world.authenticator.authenticate(token, (ARM,))

    async def test_another_audience(self, world: StsWorld) -> None:
        token = await app_token(world)
        assert await refusal(world, token, "https://vault.azure.net") is FailureKind.TOKEN_AUDIENCE
        await world.authenticator.authenticate(token, (ARM,))

    async def test_signed_by_a_stranger_under_our_key_id(self, world: StsWorld) -> None:
        genuine = parse(await app_token(world))
        forged = Signer(foreign_rsa_pair().key, Algorithm.RS256, {"kid": genuine.key_id}).sign(genuine.claims)
        assert await refusal(world, forged) is FailureKind.TOKEN_INVALID

    @pytest.mark.parametrize("kid", [None, "another", 7, ["a"]])
    async def test_unknown_key(self, world: StsWorld, kid: object) -> None:
        genuine = parse(await app_token(world))
        forged = Signer(foreign_rsa_pair().key, Algorithm.RS256, {"kid": kid}).sign(genuine.claims)
        assert await refusal(world, forged) is FailureKind.TOKEN_INVALID

    @pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256", "RS512", None])
    async def test_another_algorithm(self, world: StsWorld, algorithm: object) -> None:
        genuine = await app_token(world)
        _, claims, signature = genuine.split(".")
        header = b64url(json.dumps({"alg": algorithm, "kid": parse(genuine).key_id}).encode())
        for forged in (f"{header}.{claims}.", f"{header}.{claims}.{signature}"):
            assert await refusal(world, forged) is FailureKind.TOKEN_INVALID

    async def test_public_key_as_hmac_secret(self, world: StsWorld) -> None:
        genuine = await app_token(world)
        kid = parse(genuine).key_id
        key = shared_ring().public_key(kid or "")
        assert key is not None
        public = key.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        signing_input = f"{b64url(json.dumps({'alg': 'HS256', 'kid': kid}).encode())}.{genuine.split('.')[1]}"
        mac = hmac.digest(public, signing_input.encode(), hashlib.sha256)
        assert await refusal(world, f"{signing_input}.{b64url(mac)}") is FailureKind.TOKEN_INVALID

    async def test_tampered_after_it_was_remembered(self, world: StsWorld) -> None:
        genuine = await app_token(world)
        await world.authenticator.authenticate(genuine, (ARM,))
        header, _, signature = genuine.split(".")
        claims = b64url(json.dumps({**parse(genuine).claims, "oid": world.system.id}).encode())
        assert await refusal(world, f"{header}.{claims}.{signature}") is FailureKind.TOKEN_INVALID

    @pytest.mark.parametrize("name", ["tid", "oid", "aud", "nbf", "appid", "uti"])
    async def test_claims_that_must_be_there(self, world: StsWorld, name: str) -> None:
        token = await app_token(world)
        assert await refusal(world, resigned(token, lambda claims: claims.pop(name))) is FailureKind.TOKEN_INVALID

    @pytest.mark.parametrize(("name", "value"), [("iss", "https://evil"), ("appid", "another"), ("tid", "x"), ("aud", ["a"])])
    async def test_inconsistent_claims(self, world: StsWorld, name: str, value: object) -> None:
        token = resigned(await app_token(world), lambda claims: claims.update({name: value}))
        assert await refusal(world, token) is FailureKind.TOKEN_INVALID

    async def test_another_tenant_of_ours(self, world: StsWorld) -> None:
        token = await app_token(world)
        changed = resigned(token, lambda claims: claims.update(tid="22222222-2222-4222-8222-222222222222"))
        assert await refusal(world, changed) is FailureKind.TOKEN_INVALID


class TestRevocation:
    async def test_disabled_principal(self, world: StsWorld) -> None:
        token = await app_token(world)
        await world.authenticator.authenticate(token, (ARM,))
        await world.commit(replacing(PRINCIPALS, replace(world.app, enabled=False)))
        assert await refusal(world, token) is FailureKind.TOKEN_REVOKED

    async def test_removed_principal(self, world: StsWorld) -> None:
        token = (await world.service.issue(world.by_agent(world.system), world.call())).access_token
        await world.authenticator.authenticate(token, (ARM,))
        await world.store.commit(await removal_of(world.store, world.system.id))
        assert await refusal(world, token) is FailureKind.TOKEN_REVOKED

    async def test_identity_taken_off_the_host(self, world: StsWorld) -> None:
        tokens = {
            it.id: (await world.service.issue(world.by_agent(it), world.call())).access_token
            for it in (world.system, world.user)
        }
        await world.commit(Delete(collection=IDENTITY_ASSIGNMENTS, key=identity_assignment_key(VM_ID.lower(), world.user.id)))
        assert await refusal(world, tokens[world.user.id]) is FailureKind.TOKEN_REVOKED
        await world.authenticator.authenticate(tokens[world.system.id], (ARM,))

    async def test_key_that_is_no_longer_ours(self, world: StsWorld) -> None:
        class Forgetful:
            forgotten = False

            async def refresh(self) -> None:
                return

            def public_key(self, kid: str, /) -> PublicKeyInfo | None:
                return None if self.forgotten else shared_ring().public_key(kid)

            async def find(self, kid: str, /) -> PublicKeyInfo | None:
                return self.public_key(kid)

        ring = Forgetful()
        authenticator = TokenAuthenticator(store=world.store, ring=ring, clock=world.clock)
        token = await app_token(world)
        await authenticator.authenticate(token, (ARM,))
        ring.forgotten = True
        with pytest.raises(Failure) as raised:
            await authenticator.authenticate(token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_INVALID

    async def test_tainted_key_verifies_nothing_from_the_next_request_on(self, world: StsWorld) -> None:
        ring = await KeyRing.open(
            store=world.store, custody=MemoryCustody(), clock=world.clock, entropy=world.entropy, profile=AZURE
        )
        service = TokenService(
            store=world.store,
            ring=ring,
            audiences=Audiences(store=world.store),
            clock=world.clock,
            entropy=world.entropy,
            profile=AZURE,
            authenticator=TokenAuthenticator(store=world.store, ring=ring, clock=world.clock),
            documents=Published(),
        )
        authenticator = TokenAuthenticator(store=world.store, ring=ring, clock=world.clock)
        before = await service.issue(world.by_secret(), world.call())
        await authenticator.authenticate(before.access_token, (ARM,))
        await ring.taint(parse(before.access_token).key_id or "")
        with pytest.raises(Failure) as raised:
            await authenticator.authenticate(before.access_token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_INVALID
        after = await service.issue(world.by_secret(), world.call())
        await authenticator.authenticate(after.access_token, (ARM,))
        ring.close()


def test_memory_is_bounded_and_forgets_the_least_used() -> None:
    memory: Bounded[int, int] = Bounded(3)
    for number in range(3):
        memory.put(number, number)
    assert memory.get(0) == 0
    memory.put(3, 3)
    assert (len(memory), memory.get(1), memory.get(0)) == (3, None, 0)
