"""Signing in at another issuer: an issuer of the tests' own, which answers as it is told."""

from __future__ import annotations

import hashlib
import html
import json
import shlex
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.unit.web.portal_world import HOST, PageAnswer, PortalClient, PortalWorld, portal_world

from idplane.jose import Algorithm, Signer, b64url, new_rsa_key
from idplane.model.events import EventStatus
from idplane.ports.collections import ACTIVITY, PRINCIPALS
from idplane.ports.store import ANY, Batch, Put
from idplane.ports.world import Clock, Entropy
from idplane.sts.sign_in_provider import ProviderSettings, SignInProvider

ISSUER = "https://login.example"
SESSION = "__Host-idplane-session"
SIGNING_IN = "__Host-idplane-signing-in"
_KEY, _OTHER_KEY = new_rsa_key(), new_rsa_key()


@dataclass
class Issuer:
    """Publishes what an issuer publishes, and redeems its codes for ID tokens with `claims` changed as a test says."""

    clock: Clock
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    forged: bool = False
    answer: bytes | None = None
    nonce: str = ""
    challenge: str = ""
    posted: list[dict[str, str]] = field(default_factory=list)

    async def fetch(self, url: str, *, private: bool = False) -> bytes:
        assert not private
        if url.endswith("/keys"):
            numbers = _KEY.public_key().public_numbers()
            n, e = numbers.n.to_bytes(256), numbers.e.to_bytes(3)
            return json.dumps({"keys": [{"kty": "RSA", "kid": "1", "n": b64url(n), "e": b64url(e)}]}).encode()
        assert url == f"{ISSUER}/.well-known/openid-configuration"
        described = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            **self.described,
        }
        return json.dumps(described).encode()

    async def post(self, url: str, form: str, *, authorization: str | None, private: bool = False) -> bytes:
        assert not private
        assert authorization is not None
        if url == f"{ISSUER}/me":
            assert (authorization, form) == ("Bearer t0ken", "")
            return json.dumps(self.userinfo).encode()
        assert url == f"{ISSUER}/token"
        assert b64decode(authorization.removeprefix("Basic ")) == b"portal:s%3Aecret"
        self.posted.append(dict(parse_qsl(form)))
        if self.answer is not None:
            return self.answer
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": "portal",
            "sub": "1",
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "email": "Ada@idplane.onmicrosoft.com",
            "email_verified": True,
            **self.claims,
        }
        header = {"alg": "RS256", "kid": "1", **self.header}
        signer = Signer(_OTHER_KEY if self.forged else _KEY, Algorithm.RS256, header)
        token = signer.sign({name: value for name, value in claims.items() if value is not None})
        return json.dumps({"id_token": token, "access_token": "t0ken"}).encode()


@dataclass
class Stage:
    world: PortalWorld
    issuer: Issuer

    async def leave(self, browser: PortalClient, to: str = "/portal/account") -> dict[str, str]:
        """To the issuer; what it was asked."""
        off = await browser.get(f"/portal/sign-in/provider?{urlencode({'to': to})}")
        assert off.status == 303, off.text
        parts = urlsplit(off.location)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{ISSUER}/authorize"
        asked = dict(parse_qsl(parts.query))
        self.issuer.nonce, self.issuer.challenge = asked["nonce"], asked["code_challenge"]
        return asked

    async def come_back(self, browser: PortalClient, state: str, **more: str) -> PageAnswer:
        return await browser.get(f"/portal/sign-in/return?{urlencode({'code': 'c0de', 'state': state, **more})}")

    async def tried(self, **more: str) -> tuple[PortalClient, PageAnswer]:
        browser = self.world.browser()
        asked = await self.leave(browser)
        return browser, await self.come_back(browser, asked["state"], **more)

    async def refused(self, because: str, **more: str) -> PageAnswer:
        """One try, which ends with a page that says why, under an id that is in the log, and without a session."""
        browser, answer = await self.tried(**more)
        assert answer.status == 403, answer.text
        assert because.lower() in answer.text.lower()
        assert SESSION not in browser.cookies
        event = (await self.world.store.read_log(ACTIVITY, limit=1))[0].event
        assert event.status is EventStatus.FAILED
        assert event.operation_id == answer.refusal_id
        assert await self.world.server.refusals.find(answer.refusal_id) is not None
        return answer


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Stage]:
    issuers: list[Issuer] = []

    def provider(clock: Clock, entropy: Entropy) -> SignInProvider:
        issuers.append(Issuer(clock))
        settings = ProviderSettings(issuer=ISSUER, client_id="portal", client_secret="s:ecret")
        return SignInProvider(settings=settings, documents=issuers[0], endpoints=issuers[0], clock=clock, entropy=entropy)

    async with portal_world(provider) as world:
        yield Stage(world, issuers[0])


@pytest.fixture
async def stage(shared: Stage) -> AsyncIterator[Stage]:
    yield shared
    fresh = Issuer(shared.world.clock)
    shared.issuer.__dict__.update(fresh.__dict__)
    shared.world.clock.advance(
        timedelta(hours=2)
    )  # what is known of the issuer is asked anew, and the log hears of strangers again
    await shared.world.forget_people()


async def test_a_person_whom_the_issuer_vouches_for_is_signed_in(stage: Stage) -> None:
    user = await stage.world.user("ada")
    browser = stage.world.browser()
    assert "login.example" in (await browser.get("/portal/sign-in")).text
    asked = await stage.leave(browser)
    assert asked | {"response_type": "code", "client_id": "portal", "scope": "openid email"} == asked
    assert asked["redirect_uri"] == f"https://{HOST}/portal/sign-in/return"
    done = await stage.come_back(browser, asked["state"], iss=ISSUER)
    assert (done.status, done.location) == (303, "/portal/account")
    assert SIGNING_IN not in browser.cookies
    assert "ada@idplane.onmicrosoft.com" in (await browser.get("/portal/account")).text
    sent = stage.issuer.posted[-1]
    assert (sent["grant_type"], sent["code"], sent["redirect_uri"]) == ("authorization_code", "c0de", asked["redirect_uri"])
    assert b64url(hashlib.sha256(sent["code_verifier"].encode()).digest()) == stage.issuer.challenge
    event = (await stage.world.store.read_log(ACTIVITY, limit=1))[0].event
    assert (event.status, event.caller_id) == (EventStatus.SUCCEEDED, user.id)


async def test_what_stands_for_a_sign_in_under_way_is_sealed(stage: Stage) -> None:
    browser = stage.world.browser()
    asked = await stage.leave(browser)
    assert asked["state"] not in browser.cookies[SIGNING_IN]
    assert asked["nonce"] not in browser.cookies[SIGNING_IN]


@pytest.mark.parametrize(
    ("claims", "because"),
    [
        ({"iss": "https://evil.example"}, "another issuer's"),
        ({"iss": None}, "another issuer's"),
        ({"aud": "somebody-else"}, "for another client"),
        ({"aud": ["portal", "somebody-else"]}, "for another client"),
        ({"aud": None}, "for another client"),
        ({"azp": "somebody-else"}, "for another client"),
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"exp": 1}, "within its time"),
        ({"exp": None}, "within its time"),
        ({"iat": 4_000_000_000}, "within its time"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email": None}, "has no 'email'"),
        ({"email": 5}, "has no 'email'"),
        ({"email": "\u212ada@idplane.onmicrosoft.com"}, "has no 'email'"),
        ({"email": "x" * 300}, "has no 'email'"),
    ],
)
async def test_an_id_token_that_does_not_say_all_that_it_must_is_refused(
    stage: Stage, claims: dict[str, Any], because: str
) -> None:
    await stage.world.user("ada")
    stage.issuer.claims = claims
    await stage.refused(because)


async def test_a_name_that_only_userinfo_tells_counts_for_the_same_person(stage: Stage) -> None:
    await stage.world.user("ada")
    stage.issuer.claims = {"email": None, "email_verified": None}
    stage.issuer.described = {"userinfo_endpoint": f"{ISSUER}/me"}
    stage.issuer.userinfo = {"sub": "1", "email": "ada@idplane.onmicrosoft.com", "email_verified": True}
    _, answer = await stage.tried()
    assert answer.status == 303, answer.text
    stage.issuer.userinfo["sub"] = "2"
    await stage.refused("somebody else")
    del stage.issuer.userinfo["sub"]
    await stage.refused("somebody else")
    stage.issuer.userinfo = {"sub": "1", "email": "ada@idplane.onmicrosoft.com"}
    await stage.refused("not verified")


async def test_an_id_token_of_another_key_is_refused(stage: Stage) -> None:
    await stage.world.user("ada")
    stage.issuer.forged = True
    await stage.refused("not signed by the issuer")
    stage.issuer.forged, stage.issuer.header = False, {"kid": "2"}
    await stage.refused("not signed by the issuer")


async def test_a_token_without_a_signature_is_refused(stage: Stage) -> None:
    await stage.world.user("ada")
    header, claims = ({"alg": "none"}, {"iss": ISSUER, "aud": "portal"})
    text = ".".join((*(b64url(json.dumps(part).encode()) for part in (header, claims)), ""))
    stage.issuer.answer = json.dumps({"id_token": text}).encode()
    _, answer = await stage.tried()
    assert answer.status == 403


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"id_token": 5}', b'{"id_token": "x"}', b"<html>"])
async def test_an_issuer_that_answers_nonsense_signs_nobody_in(stage: Stage, answer: bytes) -> None:
    stage.issuer.answer = answer
    browser, told = await stage.tried()
    assert told.status in (400, 403)
    assert SESSION not in browser.cookies


async def test_whom_nobody_here_is_called_is_told_who_it_is_and_what_would_help(stage: Stage) -> None:
    stage.issuer.claims = {"email": "mallory@example.com"}
    answer = await stage.refused("mallory@example.com")
    assert "idplane az ad user create --user-principal-name mallory@example.com" in answer.text
    assert (await stage.world.store.read_log(ACTIVITY, limit=1))[0].event.caller == "mallory@example.com"


async def test_what_an_operator_is_to_paste_is_one_command_whatever_the_stranger_is_called(stage: Stage) -> None:
    name = "a'$(reboot);`id`\"<b>@example.com"
    stage.issuer.claims = {"email": name}
    answer = await stage.refused("can make one")
    shown = html.unescape(answer.html.partition('<pre tabindex="0" aria-label="Command"><code>')[2].partition("</code>")[0])
    assert shlex.split(shown)[:6] == ["idplane", "az", "ad", "user", "create", "--user-principal-name"]
    assert shlex.split(shown)[6] == name
    assert "<b>" not in answer.html


async def test_a_group_of_that_name_or_a_disabled_user_is_not_signed_in(stage: Stage) -> None:
    user = await stage.world.user("ada")
    disabled = replace(user, enabled=False)
    await stage.world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=disabled, expect=ANY)))
    browser, answer = await stage.tried()
    assert (answer.status, "disabled" in answer.text) == (400, True)
    assert SESSION not in browser.cookies


async def test_an_answer_to_another_browser_s_sign_in_is_refused(stage: Stage) -> None:
    await stage.world.user("ada")
    mallory, victim = stage.world.browser(), stage.world.browser()
    state = (await stage.leave(mallory))["state"]
    without = await stage.come_back(victim, state)
    assert (without.status, "began no sign-in" in without.text) == (403, True)
    await stage.leave(victim)
    other = await stage.come_back(victim, state)
    assert (other.status, "another sign-in" in other.text) == (403, True)
    assert SESSION not in victim.cookies
    assert not stage.issuer.posted  # a code that is not ours is redeemed by nobody


@pytest.mark.parametrize("value", ["", "x", "AAAA", "%ff", "a" * 3000])
async def test_a_made_up_cookie_is_no_sign_in(stage: Stage, value: str) -> None:
    browser = stage.world.browser()
    browser.cookies = {SIGNING_IN: value}
    answer = await stage.come_back(browser, "s")
    assert (answer.status, "began no sign-in" in answer.text) == (403, True)


async def test_a_sign_in_that_takes_too_long_is_begun_anew(stage: Stage) -> None:
    await stage.world.user("ada")
    browser = stage.world.browser()
    asked = await stage.leave(browser)
    stage.world.clock.advance(timedelta(minutes=10))
    answer = await stage.come_back(browser, asked["state"])
    assert (answer.status, "began no sign-in" in answer.text) == (403, True)


async def test_another_issuer_s_answer_is_refused(stage: Stage) -> None:
    await stage.world.user("ada")
    await stage.refused("another issuer answered", iss="https://evil.example")
    stage.world.clock.advance(timedelta(hours=2))
    stage.issuer.described = {"authorization_response_iss_parameter_supported": True}
    await stage.refused("another issuer answered")


async def test_what_the_issuer_refuses_is_told(stage: Stage) -> None:
    answer = await stage.refused("the issuer says 'access_denied<script>'".replace("<script>", ""), error="access_denied")
    assert "<script>" not in answer.html.replace('<script type="module"', "")


@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://login.example/authorize"},
        {"token_endpoint": "http://login.example/token"},
        {"token_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_an_issuer_that_describes_itself_wrongly_is_not_gone_to(stage: Stage, described: dict[str, Any]) -> None:
    stage.issuer.described = described
    answer = await stage.world.browser().get("/portal/sign-in/provider")
    assert answer.status == 400
    assert answer.location == ""


async def test_signing_in_leads_back_to_where_it_began_and_nowhere_else(stage: Stage) -> None:
    await stage.world.user("ada")
    browser = stage.world.browser()
    asked = await stage.leave(browser, to="https://evil.example")
    assert (await stage.come_back(browser, asked["state"])).location == "/portal"


async def test_signing_in_ends_the_session_before(stage: Stage) -> None:
    await stage.world.user("ada")
    browser = await stage.world.person("bob")
    before = browser.cookies[SESSION]
    asked = await stage.leave(browser)
    await stage.come_back(browser, asked["state"])
    assert browser.cookies[SESSION] != before
    old = stage.world.browser()
    old.cookies = {SESSION: before}
    assert (await old.get("/portal/account")).status == 303


async def test_without_an_issuer_there_is_no_such_page() -> None:
    async with portal_world() as world:
        browser = world.browser()
        assert (await browser.get("/portal/sign-in/provider")).status == 404
        assert (await browser.get("/portal/sign-in/return?code=a&state=b")).status == 404
