"""What holds of every page: nothing that axe finds, nothing from elsewhere, one heading, a way in for the keyboard, and no need for scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request
from tests.portal.browsing import DESKTOP, check_everywhere
from tests.portal.contoso import Contoso
from tests.portal.contoso_portal import ContosoPortal
from tests.portal.sights import SIGHTS, Sight, addresses, patterns

_FIRST_PAGE = 150_000
"""Bytes over the wire, all files of a page that nobody has seen before included."""
_PRESENT = [(pattern, sight) for pattern, sights in SIGHTS.items() if pattern in patterns() for sight in sights]
_EVERY = pytest.mark.parametrize(("pattern", "sight"), _PRESENT, ids=[sight.name for _, sight in _PRESENT])


@pytest.fixture(scope="module")
def signed_in(people: ContosoPortal) -> Page:
    return people.signed_in()


@pytest.fixture(scope="module")
def without_scripts(people: ContosoPortal) -> Page:
    return people.signed_in_without_scripts()


@pytest.fixture
def page(signed_in: Page, people: ContosoPortal) -> Iterator[Page]:
    """The signed-in page; whatever it asks for elsewhere or complains of fails the test."""
    strange: list[str] = []

    def note(request: Request) -> None:
        if urlsplit(request.url).scheme != "data" and not request.url.startswith(people.address):
            strange.append(request.url)

    signed_in.on("request", note)
    people.complaints.clear()
    yield signed_in
    signed_in.remove_listener("request", note)
    assert strange == []
    assert people.complaints == []


def test_every_page_is_looked_at() -> None:
    assert sorted(patterns() - set(SIGHTS)) == [], "pages without a line in tests/portal/sights.py"


@_EVERY
def test_a_page_is_for_everybody(page: Page, people: ContosoPortal, contoso: Contoso, pattern: str, sight: Sight) -> None:
    del pattern
    _at_a_desk(page)
    sight.open(page, people, addresses(contoso))
    heading = page.get_by_role("heading", level=1).inner_text().strip()
    assert heading
    assert re.fullmatch(r".+ · .+ · idplane", page.title()), page.title()
    check_everywhere(page)
    _at_a_desk(page)
    _check_keyboard(page)


@_EVERY
def test_a_page_is_the_same_without_scripts(
    page: Page, without_scripts: Page, people: ContosoPortal, contoso: Contoso, pattern: str, sight: Sight
) -> None:
    del pattern
    sight.open(page, people, addresses(contoso))
    sight.open(without_scripts, people, addresses(contoso))
    assert _content(without_scripts) == _content(page)


def test_the_first_page_is_small(people: ContosoPortal) -> None:
    page = people.page()
    page.goto(people.link())
    page.wait_for_url(lambda url: "/sign-in" not in url)
    fresh = people.page()
    fresh.context.add_cookies(
        [{"name": one["name"], "value": one["value"], "url": people.address} for one in page.context.cookies()]
    )
    devtools = fresh.context.new_cdp_session(fresh)
    devtools.send("Network.enable")
    received: list[float] = []
    devtools.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    fresh.goto(people.url("/portal"))
    fresh.wait_for_load_state("networkidle")
    assert len(received) >= 3
    assert sum(received) < _FIRST_PAGE


def _at_a_desk(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})


def _check_keyboard(page: Page) -> None:
    """The first stop is the way past the menu; from there on, what has the focus is seen."""
    # A list that was filtered begins in its filter, so the first stop is gone to rather than come to.
    assert page.evaluate("document.querySelector('a[href], button, input').className") == "skip"
    page.locator(".skip").focus()
    shown = page.locator(".skip").bounding_box()
    assert shown is not None
    assert shown["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    told = page.evaluate(
        """() => {
          const place = document.activeElement, style = getComputedStyle(place);
          return {
            inside: document.getElementById("content").contains(place),
            seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none",
            what: place.outerHTML.slice(0, 200),
          };
        }"""
    )
    assert told["inside"], told
    assert told["seen"], told


def _content(page: Page) -> dict[str, object]:
    """What a page says, apart from how long ago something was and what counts its own visits."""
    main = page.locator("main")
    return {
        "title": page.title(),
        "headings": main.locator("h1, h2, h3").all_inner_texts(),
        "columns": main.locator("th").all_inner_texts(),
        "labels": main.locator("label").all_inner_texts(),
        "links": main.locator("a[href]").count(),
        "rows": main.locator("tbody tr").count(),
    }
