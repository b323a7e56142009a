import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.sts.sts_world import OTHER_TENANT_ID, TENANT_ID
from tests.unit.sts.user_world import ARM_SCOPE, People

from idplane.directory.audiences import Audiences
from idplane.directory.clients import new_application, new_application_principal
from idplane.directory.identities import removal_of
from idplane.directory.people import new_user, sign_out
from idplane.jose import parse
from idplane.model.directory import Application, UserDetails
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.model.public_clients import AZURE_CLI
from idplane.ports.collections import APPLICATIONS, DEVICE_CODES, PRINCIPALS, REFRESH_TOKENS, SESSIONS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.sts import SignInUpkeep, TokenService
from idplane.sts.requests import Endpoint
from idplane.testing.worlds import SeededEntropy

ARM = "https://management.azure.com/"
POWERSHELL = "1950a258-227b-4e31-a9cf-717495945fc2"


@pytest.fixture
async def people() -> AsyncIterator[People]:
    opened = await People.open()
    yield opened
    await opened.world.store.close()


async def refusal(people: People, request: Any) -> FailureKind:
    with pytest.raises(Failure) as raised:
        await people.issue(request)
    return raised.value.kind


async def register(people: People, *, public: bool, tenant_id: str = TENANT_ID, enabled: bool = True) -> Application:
    now, entropy = people.world.clock.now(), people.world.entropy
    made = replace(
        new_application(tenant_id=tenant_id, display_name="till", entropy=entropy, now=now, identifier_uris=("api://till",)),
        public_client=public,
    )
    principal = new_application_principal(
        tenant_id=tenant_id, display_name="till", entropy=entropy, now=now, client_id=made.client_id
    )
    await people.world.store.commit(
        Batch.of(
            Put(collection=APPLICATIONS, value=made, expect=ABSENT),
            Put(collection=PRINCIPALS, value=replace(principal, enabled=enabled), expect=ABSENT),
        )
    )
    return made


class TestDeviceCodes:
    async def test_nothing_is_given_before_somebody_approves(self, people: People) -> None:
        started = await people.start()
        assert (started.expires_in, started.interval, len(started.user_code)) == (900, 5, 9)
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_PENDING
        people.world.clock.advance(timedelta(seconds=5))
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_PENDING
        assert await people.world.sign_ins() == ()

    async def test_neither_code_is_stored(self, people: People) -> None:
        started = await people.start()
        stored = repr(await people.world.store.all(DEVICE_CODES))
        assert started.device_code not in stored
        assert started.user_code not in stored
        assert started.device_code not in repr(started)

    async def test_a_client_that_polls_too_often_is_told(self, people: People) -> None:
        started = await people.start()
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_PENDING
        people.world.clock.advance(timedelta(seconds=2))
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_SLOW_DOWN
        # The wait counts from the last poll, whatever it was told.
        people.world.clock.advance(timedelta(seconds=3))
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_SLOW_DOWN
        people.world.clock.advance(timedelta(seconds=5))
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_PENDING

    async def test_an_approved_code_is_good_once(self, people: People) -> None:
        started = await people.start()
        await people.decide(started, people.ada)
        assert (await people.issue(people.poll(started))).access_token
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_UNKNOWN

    async def test_expiry_counts_even_when_approved(self, people: People) -> None:
        started = await people.start(tenant=TENANT_ID)
        await people.decide(started, people.ada)
        people.world.clock.advance(timedelta(minutes=15))
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_EXPIRED
        await SignInUpkeep(store=people.world.store).purge_due(people.world.clock.now())
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_EXPIRED
        people.world.clock.advance(timedelta(minutes=15))
        await SignInUpkeep(store=people.world.store).purge_due(people.world.clock.now())
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_UNKNOWN

    async def test_a_declined_sign_in_is_logged(self, people: People) -> None:
        started = await people.start()
        await people.decide(started, None)
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_DECLINED
        (logged,) = await people.world.sign_ins()
        assert (logged.error_code, logged.principal_type, logged.client_id) == (65004, "User", AZURE_CLI)

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"device_code": None}, FailureKind.MISSING_PARAMETER),
            ({"device_code": "made-up"}, FailureKind.DEVICE_CODE_UNKNOWN),
            ({"client_id": None}, FailureKind.MISSING_PARAMETER),
            ({"client_id": POWERSHELL}, FailureKind.DEVICE_CODE_UNKNOWN),
            ({"client_id": "11111111-2222-4333-8444-555555555555"}, FailureKind.CLIENT_UNKNOWN),
            ({"client_secret": "x"}, FailureKind.CLIENT_IS_PUBLIC),
            ({"client_assertion": "x"}, FailureKind.CLIENT_IS_PUBLIC),
            ({"tenant": "consumers"}, FailureKind.TENANT_NOT_FOUND),
            ({"tenant": OTHER_TENANT_ID}, FailureKind.USER_TENANT),
            ({"claims": "no json"}, FailureKind.INVALID_PARAMETER),
        ],
    )
    async def test_what_a_poll_lacks(self, people: People, changes: dict[str, str | None], kind: FailureKind) -> None:
        started = await people.start()
        await people.decide(started, people.ada)
        assert await refusal(people, people.poll(started, **changes)) is kind
        # The code is not lost on it.
        assert (await people.issue(people.poll(started))).access_token

    async def test_the_old_endpoint_has_no_users(self, people: People) -> None:
        started = await people.start()
        request = replace(people.poll(started), endpoint=Endpoint.V1)
        assert await refusal(people, request) is FailureKind.GRANT_UNSUPPORTED

    async def test_who_waits_is_bounded(self, people: People) -> None:
        for _ in range(64):
            await people.start()
        with pytest.raises(Failure) as raised:
            await people.start()
        assert raised.value.kind is FailureKind.THROTTLED
        people.world.clock.advance(timedelta(minutes=30))
        assert (await people.start()).user_code

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"tenant": "nobody.example"}, FailureKind.TENANT_NOT_FOUND),
            ({"client_id": None}, FailureKind.MISSING_PARAMETER),
            ({"client_id": "x"}, FailureKind.CLIENT_UNKNOWN),
            ({"scope": None}, FailureKind.MISSING_PARAMETER),
            ({"scope": " "}, FailureKind.USER_SCOPE_INVALID),
            ({"scope": "https://a.example/.default https://b.example/.default"}, FailureKind.USER_SCOPE_INVALID),
            ({"scope": "https://a.example/"}, FailureKind.USER_SCOPE_INVALID),
            ({"scope": "/x"}, FailureKind.USER_SCOPE_INVALID),
            ({"scope": "x" * 5000}, FailureKind.USER_SCOPE_INVALID),
        ],
    )
    async def test_what_a_start_lacks(self, people: People, changes: Any, kind: FailureKind) -> None:
        with pytest.raises(Failure) as raised:
            await people.start(**changes)
        assert raised.value.kind is kind

    async def test_another_replica_redeems_it(self, people: People) -> None:
        world = people.world
        started = await people.start()
        await people.decide(started, people.ada)
        other = TokenService(
            store=world.store,
            ring=world.ring,
            audiences=Audiences(store=world.store),
            clock=world.clock,
            entropy=SeededEntropy("another replica"),
            profile=AZURE,
            authenticator=world.authenticator,
            documents=world.published,
        )
        first = await other.issue(people.poll(started), world.call())
        assert first.user is not None
        assert (await people.issue(people.refresh(first.user.refresh_token))).access_token

    async def test_two_polls_at_once_get_one_token(self, people: People) -> None:
        started = await people.start()
        await people.decide(started, people.ada)
        answers = await asyncio.gather(*(people.issue(people.poll(started)) for _ in range(3)), return_exceptions=True)
        refusals = [one.kind for one in answers if isinstance(one, Failure)]
        assert refusals == [FailureKind.DEVICE_CODE_UNKNOWN] * 2
        assert len(await people.world.store.all(SESSIONS)) == 1


class TestClients:
    async def test_an_application_of_the_tenant(self, people: People) -> None:
        till = await register(people, public=True)
        started = await people.start(client_id=till.client_id.upper())
        await people.decide(started, people.ada)
        token = await people.issue(people.poll(started, client_id=till.client_id))
        caller = await people.world.authenticator.authenticate(token.access_token, (ARM,))
        assert (caller.client_id, caller.principal_id) == (till.client_id, people.ada.id)
        found = await people.world.store.get(APPLICATIONS, till.id)
        assert found is not None
        closed = Put(collection=APPLICATIONS, value=replace(till, public_client=False), expect=found.version)
        await people.world.store.commit(Batch.of(closed))
        with pytest.raises(Failure) as raised:
            await people.world.authenticator.authenticate(token.access_token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_REVOKED
        assert token.user is not None
        request = people.refresh(token.user.refresh_token, client_id=till.client_id)
        assert await refusal(people, request) is FailureKind.CLIENT_CREDENTIAL_MISSING

    async def test_an_application_that_is_not_public(self, people: People) -> None:
        till = await register(people, public=False)
        with pytest.raises(Failure) as raised:
            await people.start(client_id=till.client_id)
        assert raised.value.kind is FailureKind.CLIENT_CREDENTIAL_MISSING

    async def test_a_disabled_application(self, people: People) -> None:
        till = await register(people, public=True, enabled=False)
        with pytest.raises(Failure) as raised:
            await people.start(client_id=till.client_id)
        assert raised.value.kind is FailureKind.CLIENT_DISABLED

    async def test_an_application_of_another_tenant(self, people: People) -> None:
        till = await register(people, public=True, tenant_id=OTHER_TENANT_ID)
        with pytest.raises(Failure) as raised:
            await people.start(client_id=till.client_id, tenant=TENANT_ID)
        assert raised.value.kind is FailureKind.CLIENT_UNKNOWN
        started = await people.start(client_id=till.client_id)
        await people.decide(started, people.ada)
        assert await refusal(people, people.poll(started, client_id=till.client_id)) is FailureKind.CLIENT_UNKNOWN

    async def test_neither_a_user_nor_a_group_is_a_client(self, people: People) -> None:
        request = people.world.by_secret(client_id=people.ada.id)
        assert await refusal(people, request) is FailureKind.CLIENT_UNKNOWN
        with pytest.raises(Failure):
            await people.start(client_id=people.ada.id)


class TestTokens:
    async def test_claims_of_an_access_token(self, people: People) -> None:
        token = await people.signed_in()
        claims = parse(token.access_token).claims
        assert {name: claims[name] for name in ("aud", "appid", "appidacr", "idtyp", "scp", "name", "oid", "ver")} == {
            "aud": ARM,
            "appid": AZURE_CLI,
            "appidacr": "0",
            "idtyp": "user",
            "scp": "user_impersonation",
            "name": "Ada Lovelace",
            "oid": people.ada.id,
            "ver": "1.0",
        }
        assert claims["upn"] == claims["unique_name"] == "Ada@Contoso.onmicrosoft.com"
        assert (claims["given_name"], claims["family_name"]) == ("Ada", "Lovelace")
        assert claims["sub"] != people.ada.id
        assert "roles" not in claims

    async def test_an_id_token_is_for_the_client_and_opens_nothing(self, people: People) -> None:
        token = await people.signed_in()
        assert token.user is not None
        assert token.user.id_token is not None
        claims = parse(token.user.id_token).claims
        assert (claims["aud"], claims["tid"], claims["oid"]) == (AZURE_CLI, TENANT_ID, people.ada.id)
        assert claims["preferred_username"] == "Ada@Contoso.onmicrosoft.com"
        assert claims["iss"] == people.world.tenant.issuer_v2
        with pytest.raises(Failure) as raised:
            await people.world.authenticator.authenticate(token.user.id_token, (ARM, AZURE_CLI))
        assert raised.value.kind is FailureKind.TOKEN_INVALID

    async def test_what_goes_with_it(self, people: People) -> None:
        reply = (await people.signed_in()).user
        assert reply is not None
        assert reply.client_info is not None
        padded = reply.client_info + "=" * (-len(reply.client_info) % 4)
        assert json.loads(base64.urlsafe_b64decode(padded)) == {"uid": people.ada.id, "utid": TENANT_ID}
        assert reply.scope.split() == [f"{ARM}/user_impersonation", f"{ARM}/.default", "openid", "profile"]
        assert reply.refresh_token is not None
        assert reply.refresh_token not in repr(reply)

    async def test_only_what_was_asked_for(self, people: People) -> None:
        reply = (await people.signed_in(scope="https://vault.azure.net/.default")).user
        assert reply is not None
        assert (reply.refresh_token, reply.id_token) == (None, None)

    @pytest.mark.parametrize(
        ("scope", "audience", "scp"),
        [
            ("User.Read", "https://graph.microsoft.com", "User.Read"),
            ("https://graph.microsoft.com/.default", "https://graph.microsoft.com", "Directory.AccessAsUser.All"),
            ("openid profile", "https://graph.microsoft.com", "Directory.AccessAsUser.All"),
            ("https://vault.azure.net/user_impersonation", "https://vault.azure.net", "user_impersonation"),
        ],
    )
    async def test_scopes(self, people: People, scope: str, audience: str, scp: str) -> None:
        claims = parse((await people.signed_in(scope=scope)).access_token).claims
        assert (claims["aud"], claims["scp"]) == (audience, scp)

    async def test_a_caller_cannot_choose_what_an_application_reads(self, people: People) -> None:
        await register(people, public=True)
        started = await people.start(scope="api://till/Everything.Write")
        await people.decide(started, people.ada)
        assert await refusal(people, people.poll(started)) is FailureKind.USER_SCOPE_INVALID

    async def test_an_unknown_resource(self, people: People) -> None:
        started = await people.start(scope="https://nowhere.example/.default")
        await people.decide(started, people.ada)
        assert await refusal(people, people.poll(started)) is FailureKind.AUDIENCE_UNKNOWN
        (logged,) = await people.world.sign_ins()
        assert (logged.principal_id, logged.error_code) == (people.ada.id, 500011)

    async def test_the_log_tells_who_through_what_and_who_let_them(self, people: People) -> None:
        token = await people.signed_in()
        assert token.user is not None
        await people.issue(people.refresh(token.user.refresh_token))
        first, second = await people.world.sign_ins()
        assert (first.principal_type, first.principal_name) == ("User", "Ada@Contoso.onmicrosoft.com")
        assert (first.client_id, first.token_id) == (AZURE_CLI, token.token_id)
        assert first.user is not None
        assert second.user is not None
        assert (first.user.interactive, second.user.interactive) == (True, False)
        assert (first.user.client_name, first.user.approved_by) == ("Microsoft Azure CLI", "the-operator")
        assert first.user.session_id == second.user.session_id

    async def test_a_users_token_is_no_federated_credential(self, people: People) -> None:
        token = await people.signed_in(scope="api://AzureADTokenExchange/.default")
        assert await refusal(people, people.world.by_assertion(token.access_token)) in {
            FailureKind.FEDERATION_NONE,
            FailureKind.FEDERATION_OWN_TOKEN,
        }


class TestRefresh:
    async def test_each_answer_brings_the_next(self, people: People) -> None:
        seen = set()
        token = await people.signed_in()
        for _ in range(3):
            assert token.user is not None
            assert token.user.refresh_token not in seen
            seen.add(token.user.refresh_token)
            token = await people.issue(people.refresh(token.user.refresh_token))
        assert (await people.world.authenticator.authenticate(token.access_token, (ARM,))).principal_id == people.ada.id

    async def test_any_resource_but_no_other_client(self, people: People) -> None:
        reply = (await people.signed_in()).user
        assert reply is not None
        wrong = people.refresh(reply.refresh_token, client_id=POWERSHELL)
        assert await refusal(people, wrong) is FailureKind.REFRESH_TOKEN_INVALID
        vault = await people.issue(people.refresh(reply.refresh_token, audience="https://vault.azure.net/.default"))
        assert vault.resource == "https://vault.azure.net"

    async def test_used_again_a_moment_later_it_is_good(self, people: People) -> None:
        reply = (await people.signed_in()).user
        assert reply is not None
        first = await people.issue(people.refresh(reply.refresh_token))
        people.world.clock.advance(timedelta(seconds=59))
        second = await people.issue(people.refresh(reply.refresh_token))
        for token in (first, second):
            assert token.user is not None
            assert (await people.issue(people.refresh(token.user.refresh_token))).access_token

    async def test_used_again_later_it_ends_the_session(self, people: People) -> None:
        token = await people.signed_in()
        assert token.user is not None
        newer = await people.issue(people.refresh(token.user.refresh_token))
        assert newer.user is not None
        people.world.clock.advance(timedelta(seconds=60))
        assert await refusal(people, people.refresh(token.user.refresh_token)) is FailureKind.REFRESH_TOKEN_REUSED
        logged = (await people.world.sign_ins())[-1]
        assert (logged.error_code, logged.principal_id) == (50173, people.ada.id)
        # Whoever has the newer one may be the thief.
        assert await refusal(people, people.refresh(newer.user.refresh_token)) is FailureKind.REFRESH_TOKEN_INVALID
        with pytest.raises(Failure) as raised:
            await people.world.authenticator.authenticate(newer.access_token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_REVOKED
        assert await people.world.store.all(REFRESH_TOKENS) == ()
        assert await people.world.store.all(SESSIONS) == ()

    async def test_other_sessions_go_on(self, people: People) -> None:
        stolen, other = (await people.signed_in()).user, (await people.signed_in()).user
        assert stolen is not None
        assert other is not None
        await people.issue(people.refresh(stolen.refresh_token))
        people.world.clock.advance(timedelta(minutes=2))
        assert await refusal(people, people.refresh(stolen.refresh_token)) is FailureKind.REFRESH_TOKEN_REUSED
        assert (await people.issue(people.refresh(other.refresh_token))).access_token

    async def test_ninety_days_without_use(self, people: People) -> None:
        reply = (await people.signed_in()).user
        assert reply is not None
        people.world.clock.advance(timedelta(days=90))
        assert await refusal(people, people.refresh(reply.refresh_token)) is FailureKind.REFRESH_TOKEN_EXPIRED
        await SignInUpkeep(store=people.world.store).purge_due(people.world.clock.now())
        assert await refusal(people, people.refresh(reply.refresh_token)) is FailureKind.REFRESH_TOKEN_INVALID
        assert await people.world.store.all(SESSIONS) == ()

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"refresh_token": None}, FailureKind.MISSING_PARAMETER),
            ({"refresh_token": "made-up"}, FailureKind.REFRESH_TOKEN_INVALID),
            ({"client_secret": "x"}, FailureKind.CLIENT_IS_PUBLIC),
            ({"tenant": OTHER_TENANT_ID}, FailureKind.USER_TENANT),
            ({"audience": "api://nowhere/.default"}, FailureKind.AUDIENCE_UNKNOWN),
            ({"audience": "https://a.example/.default https://b.example/.default"}, FailureKind.USER_SCOPE_INVALID),
        ],
    )
    async def test_what_a_refresh_lacks(self, people: People, changes: dict[str, str | None], kind: FailureKind) -> None:
        reply = (await people.signed_in()).user
        assert reply is not None
        fields = {"token": reply.refresh_token, **changes}
        fields["token"] = fields.pop("refresh_token", fields["token"])
        assert await refusal(people, people.refresh(**fields)) is kind
        # The token is not lost on it.
        assert (await people.issue(people.refresh(reply.refresh_token))).access_token

    async def test_a_token_is_not_stored(self, people: People) -> None:
        reply = (await people.signed_in()).user
        assert reply is not None
        assert reply.refresh_token is not None
        assert reply.refresh_token not in repr(await people.world.store.all(REFRESH_TOKENS))
        assert len(reply.refresh_token) > 43


class TestRevocation:
    async def test_a_disabled_user(self, people: People) -> None:
        token = await people.signed_in()
        assert token.user is not None
        started = await people.start()
        await people.decide(started, people.ada)
        await people.change(replace(people.ada, enabled=False))
        with pytest.raises(Failure) as raised:
            await people.world.authenticator.authenticate(token.access_token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_REVOKED
        assert await refusal(people, people.refresh(token.user.refresh_token)) is FailureKind.USER_DISABLED
        assert await refusal(people, people.poll(started)) is FailureKind.USER_DISABLED
        assert [it.error_code for it in await people.world.sign_ins()] == [0, 50057, 50057]

    async def test_a_deleted_user_leaves_nothing(self, people: People) -> None:
        token = await people.signed_in()
        assert token.user is not None
        started = await people.start()
        await people.decide(started, people.ada)
        await people.world.store.commit(await removal_of(people.world.store, people.ada.id))
        store = people.world.store
        assert (await store.all(SESSIONS), await store.all(REFRESH_TOKENS), await store.all(DEVICE_CODES)) == ((), (), ())
        with pytest.raises(Failure) as raised:
            await people.world.authenticator.authenticate(token.access_token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_REVOKED
        assert await refusal(people, people.refresh(token.user.refresh_token)) is FailureKind.REFRESH_TOKEN_INVALID
        assert await refusal(people, people.poll(started)) is FailureKind.DEVICE_CODE_UNKNOWN

    async def test_signing_out_ends_access_tokens_at_once(self, people: People) -> None:
        token = await people.signed_in()
        await people.world.store.commit(await sign_out(people.world.store, people.ada.id))
        with pytest.raises(Failure) as raised:
            await people.world.authenticator.authenticate(token.access_token, (ARM,))
        assert raised.value.kind is FailureKind.TOKEN_REVOKED

    async def test_a_token_does_not_pass_to_another_user(self, people: People) -> None:
        token = await people.signed_in()
        other = new_user(
            tenant_id=TENANT_ID,
            display_name="Eve",
            details=UserDetails(user_principal_name="eve@contoso.onmicrosoft.com"),
            entropy=people.world.entropy,
            now=people.world.clock.now(),
        )
        await people.world.commit(Put(collection=PRINCIPALS, value=other, expect=ABSENT))
        mine = await people.world.authenticator.authenticate(token.access_token, (ARM,))
        hers = await people.world.authenticator.authenticate((await people.signed_in(user=other)).access_token, (ARM,))
        assert (mine.display_name, hers.display_name) == ("Ada@Contoso.onmicrosoft.com", "eve@contoso.onmicrosoft.com")
        assert mine.principal_ids.isdisjoint(hers.principal_ids)


async def test_no_password(people: People) -> None:
    request = replace(people.refresh(None), grant_type="password", tenant="organizations")
    assert await refusal(people, replace(request, tenant=TENANT_ID)) is FailureKind.PASSWORD_GRANT
    (logged,) = await people.world.sign_ins()
    assert logged.error_code == 50056
    assert await refusal(people, request) is FailureKind.PASSWORD_GRANT


async def test_the_scope_that_the_cli_sends(people: People) -> None:
    """With two slashes: the audience is registered with one at its end (control-plane.md section 2)."""
    assert (await people.signed_in(scope=ARM_SCOPE)).resource == ARM
