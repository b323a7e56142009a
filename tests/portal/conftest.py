"""The portal in a real browser: Chromium against an `idplane up` process, over TLS that it trusts as a person's browser would.

    def test_a_page(portal: Portal) -> None:
        page = portal.signed_in()                       # as the tenant's first user; portal.signed_in("ada", "Reader") makes one
        page.goto(portal.url("/portal/identities"))
        check_accessible(page)
        keep_screenshots(page, "identities")            # light and dark, 1280 and 390 pixels, into IDPLANE_SCREENSHOTS if that is set

Whatever a page logs as an error, or the policy of its headers refuses, fails the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright
from tests.portal.browsing import Portal, browser_in, trust
from tests.portal.contoso import Contoso
from tests.portal.contoso_portal import ContosoPortal
from tests.stories.planes import Up


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.wide)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A plane for one module."""
    plane = Up(tmp_path_factory.mktemp("plane") / "data", "--no-rates")
    yield plane
    plane.stop()


@pytest.fixture(scope="module")
def browser(playwright: Playwright, up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, which trusts the plane's authority beside those that it brings along."""
    home = tmp_path_factory.mktemp("home")
    trust(home, Path(up.info["ca_file"]))
    with browser_in(playwright, home) as started:
        yield started


@pytest.fixture
def portal(up: Up, browser: Browser) -> Iterator[Portal]:
    """The plane's portal, and browsers for people."""
    opened = Portal(up=up, browser=browser)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def contoso() -> Iterator[Contoso]:
    """A company's installation after two weeks, for one module."""
    made = Contoso.lived()
    yield made
    made.plane.close()


@pytest.fixture(scope="module")
def people(playwright: Playwright, contoso: Contoso, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContosoPortal]:
    """Browsers of the company's people."""
    home = tmp_path_factory.mktemp("home")
    trust(home, contoso.plane.ca_file)
    with browser_in(playwright, home) as browser:
        opened = ContosoPortal(browser=browser, world=contoso)
        yield opened
        opened.close()
