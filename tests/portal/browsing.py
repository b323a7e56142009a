"""What tests do with the portal in a browser. `tests/portal/conftest.py` shows how."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright
from tests.stories.planes import Up

DESKTOP: Mapping[str, int] = {"width": 1280, "height": 800}
PHONE: Mapping[str, int] = {"width": 390, "height": 844}
_CHROMIUM = "/usr/bin/chromium"
_GRAPH = "https://graph.microsoft.com"
_WHOLE_CARDS = "[...document.querySelectorAll('.table tbody tr')].every(row => row.scrollHeight <= row.clientHeight + 2)"


def trust(home: Path, authority: Path) -> None:
    """Make Chromium with this home trust an authority, by the certificate database that it reads on Linux."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    folder = f"sql:{database}"
    subprocess.run(["certutil", "-d", folder, "-N", "--empty-password"], check=True)
    subprocess.run(["certutil", "-d", folder, "-A", "-t", "C,,", "-n", "idplane", "-i", authority], check=True)


@contextmanager
def browser_in(playwright: Playwright, home: Path) -> Iterator[Browser]:
    """Chromium with a home of its own."""
    browser = playwright.chromium.launch(
        executable_path=os.environ.get("IDPLANE_CHROMIUM", _CHROMIUM),
        args=["--no-sandbox"] if os.geteuid() == 0 else [],
        env={**os.environ, "HOME": str(home)},
    )
    try:
        yield browser
    finally:
        browser.close()


@dataclass
class Browsing:
    """Browsers of one installation's people. Subclasses say where its portal is, and get links to it."""

    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of complaints that a test means to cause."""
    any_certificate: bool = False
    """For an installation of another time than this machine's."""

    @property
    def address(self) -> str:
        raise NotImplementedError

    def link(self, user: str | None = None) -> str:
        """What `idplane portal` prints."""
        raise NotImplementedError

    def url(self, path: str) -> str:
        return f"{self.address}{path}"

    def page(self, *, scripts: bool = True, size: Mapping[str, int] = DESKTOP, theme: str = "light") -> Page:
        """A browser's first page; nobody is signed in."""
        context = self.browser.new_context(
            java_script_enabled=scripts,
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="dark" if theme == "dark" else "light",
            locale="en-GB",
            reduced_motion="reduce",
            ignore_https_errors=self.any_certificate,
        )
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def signed_in(self, user: str | None = None, *, page: Page | None = None, **how: Any) -> Page:
        """A page of a browser that somebody is signed in with: the tenant's first user, or `user` by name."""
        page = page or self.page(**how)
        page.goto(self.link(user))
        page.wait_for_url(lambda url: "/sign-in" not in url)
        return page

    def close(self) -> None:
        """End all browsers; whatever their pages complained about fails the test."""
        for context in self.contexts:
            context.close()
        unexpected = [one for one in self.complaints if not any(part in one for part in self.expected)]
        assert not unexpected, unexpected


@dataclass
class Portal(Browsing):
    """The portal of one `idplane up`."""

    up: Up = field(kw_only=True)

    @property
    def address(self) -> str:
        return str(self.up.info["arm"])

    def link(self, user: str | None = None) -> str:
        """What `idplane portal` prints."""
        done = self.up.cli("portal", *(("--as", user) if user else ()))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def person(self, name: str, *roles: str, scope: str = "/") -> str:
        """A new user with these built-in roles; its sign-in name."""
        token = self.up.operator_token(_GRAPH)
        domain = "idplane.onmicrosoft.com"
        body = {
            "accountEnabled": True,
            "displayName": name.capitalize(),
            "mailNickname": name,
            "userPrincipalName": f"{name}@{domain}",
        }
        status, made = self.up.arm("POST", "/v1.0/users", body, token=token)
        assert status == 201, made
        for role in roles:
            self.grant(made["id"], role, scope, kind="User")
        return f"{name}@{domain}"

    def grant(self, principal: str, role: str, scope: str = "/", *, kind: str = "ServicePrincipal") -> None:
        """Assign a built-in role by its name."""
        version = "api-version=2022-04-01"
        base = "" if scope == "/" else scope
        query = f"$filter=roleName%20eq%20'{role.replace(' ', '%20')}'"
        _, found = self.up.arm("GET", f"{base}/providers/Microsoft.Authorization/roleDefinitions?{version}&{query}")
        identifier = subprocess.run(["uuidgen"], check=True, capture_output=True, text=True).stdout.strip()
        body = {
            "properties": {
                "roleDefinitionId": found["value"][0]["id"],
                "principalId": principal,
                "principalType": kind,
            }
        }
        status, made = self.up.arm(
            "PUT", f"{base}/providers/Microsoft.Authorization/roleAssignments/{identifier}?{version}", body
        )
        assert status == 201, made


def check_accessible(page: Page) -> None:
    """No rule of axe is broken, in the theme and size that the page has just now; one h1, and the landmarks."""
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    assert page.locator("h1").count() == 1
    assert page.get_by_role("main").count() == 1


def keep_screenshots(page: Page, name: str) -> None:
    """What a person sees, whole, light and dark, at a desk and on a phone: into the folder that IDPLANE_SCREENSHOTS names."""
    folder = os.environ.get("IDPLANE_SCREENSHOTS")
    if not folder:
        return
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for size in (DESKTOP, PHONE):
            page.set_viewport_size({"width": size["width"], "height": size["height"]})
            page.screenshot(path=Path(folder) / f"{name}-{theme}-{size['width']}.png", full_page=True)


def check_everywhere(page: Page) -> None:
    """`check_accessible` light and dark, at a desk and on a phone; nothing is wider than the window."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for size in (DESKTOP, PHONE):
            page.set_viewport_size({"width": size["width"], "height": size["height"]})
            check_accessible(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{theme} {size['width']}"
            assert page.evaluate(_WHOLE_CARDS), f"a row is smaller than what is in it: {theme} {size['width']}"
