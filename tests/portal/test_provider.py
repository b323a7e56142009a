"""Signing in at a certified OpenID Connect provider with a real browser: a server process, the provider's, and Chromium between them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect
from tests.needed import postgres
from tests.portal.browsing import browser_in, check_everywhere, keep_screenshots, trust
from tests.servers.server_world import Installation

_FOLDER = Path(__file__).parent / "provider"
_SECRET = "a secret: with+signs/that=are&encoded"


@contextmanager
def provider(portal: str, *options: str) -> Iterator[str]:
    """A running provider for one portal; its issuer."""
    assert (_FOLDER / "node_modules").exists(), "run these with `make portal`"
    node = shutil.which("node")
    assert node, "node is not installed"
    command = [node, str(_FOLDER / "provider.mjs"), portal, _SECRET, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            issuer = process.stdout.readline().strip()
            assert issuer.startswith("http://localhost:")
            yield issuer
        finally:
            process.kill()


@dataclass
class World:
    """A server whose people sign in at a provider."""

    servers: Installation
    browser: Browser
    portal: str

    def page(self) -> Page:
        return self.browser.new_context(
            viewport={"width": 1280, "height": 800}, locale="en-GB", reduced_motion="reduce"
        ).new_page()

    def ask(self, method: str, path: str, document: object = None) -> object:
        client = self.servers.client(self.servers.ports["one"])
        token = client.token("https://graph.microsoft.com" if path.startswith("/v1.0") else "https://management.azure.com")[1]
        status, body = client.ask(method, path, document=document, headers={"Authorization": f"Bearer {token['access_token']}"})
        client.close()
        assert status < 300, body
        return body

    def user(self, name: str) -> None:
        body = {"accountEnabled": True, "displayName": "Ada", "mailNickname": "ada", "userPrincipalName": name}
        self.ask("POST", "/v1.0/users", body)

    def sign_in(self, page: Page, name: str) -> None:
        """From the portal to the provider, and back."""
        page.goto(f"{self.portal}/account")
        page.get_by_role("link", name="Continue with localhost").click()
        page.get_by_placeholder("Enter any login").fill(name)
        page.get_by_placeholder("and password").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()

    def log(self) -> str:
        since = "eventTimestamp%20ge%20'2026-01-01T00:00:00Z'"
        path = f"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter={since}"
        return json.dumps(self.ask("GET", path))


@pytest.fixture(scope="module", params=["", "conform"])
def world(request: pytest.FixtureRequest, playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("provider")
    with postgres() as cluster:
        servers = Installation.create(folder, cluster)
        servers.config("one")
        portal = f"https://localhost:{servers.ports['one']}/portal"
        secret = folder / "client-secret"
        secret.write_text(f"{_SECRET}\n")
        secret.chmod(0o600)
        with provider(portal, *([request.param] if request.param else [])) as issuer:
            servers.server = f'private_issuers = ["{issuer}"]'
            servers.more = f'[portal]\nissuer = "{issuer}"\nclient_id = "idplane"\nclient_secret_file = "client-secret"'
            servers.start("one")
            home = tmp_path_factory.mktemp("home")
            trust(home, servers.folder / "one" / "ca.pem")
            with browser_in(playwright, home) as browser:
                yield World(servers=servers, browser=browser, portal=portal)
            servers.stop_all()


def test_a_user_whom_the_provider_vouches_for_is_signed_in(world: World) -> None:
    world.user("ada@example.com")
    page = world.page()
    page.goto(f"{world.portal}/sign-in")
    check_everywhere(page)
    keep_screenshots(page, "sign-in-provider")
    world.sign_in(page, "Ada@example.com")
    expect(page).to_have_url(f"{world.portal}/account")
    expect(page.get_by_role("heading", level=1)).to_have_text("Ada")
    page.get_by_role("button", name=re.compile("Account")).click()
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_whom_nobody_here_is_called_is_told_what_would_help(world: World) -> None:
    page = world.page()
    world.sign_in(page, "mallory@example.com")
    expect(page.get_by_role("heading", level=1)).to_have_text("You could not be signed in")
    expect(page.get_by_text("idplane az ad user create --user-principal-name mallory@example.com")).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "sign-in-unknown")
    assert "mallory@example.com" in world.log()
    page.goto(f"{world.portal}/account")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_an_address_that_nobody_has_verified_is_nobody_s(world: World) -> None:
    world.user("unverified-ada@example.com")
    page = world.page()
    world.sign_in(page, "unverified-ada@example.com")
    expect(page.get_by_text("has not verified")).to_be_visible()


def test_a_sign_in_that_the_person_ends_is_told(world: World) -> None:
    page = world.page()
    page.goto(f"{world.portal}/sign-in")
    page.get_by_role("link", name="Continue with localhost").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_text("access_denied")).to_be_visible()


def test_an_answer_that_is_shown_a_second_time_signs_nobody_in(world: World) -> None:
    page = world.page()
    back: list[str] = []
    page.on("request", lambda request: back.append(request.url) if "/sign-in/return" in request.url else None)
    world.sign_in(page, "ada@example.com")
    page.wait_for_url(f"{world.portal}/**")
    thief = world.page()
    thief.goto(back[-1])
    expect(thief.get_by_text("began no sign-in")).to_be_visible()
