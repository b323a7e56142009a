"""`make screenshots`: each page of the portal, light and dark, as it is shown in `docs/portal.md`.

Time, ids and history are the same in every run, so a picture changes when its page does; keys, and what is made of them, are new each time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from tests.portal.browsing import DESKTOP, PHONE, browser_in
from tests.portal.contoso import Contoso
from tests.portal.contoso_portal import ContosoPortal
from tests.portal.sights import SIGHTS, Sight, addresses, patterns

from idplane.testing.values import MovableClock
from idplane.testing.worlds import SeededEntropy

_FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
_NOW = datetime(2026, 11, 20, 14, 37, tzinfo=UTC)
_MORE = {"explain-condition", "explain-federation", "explain-answer"}
"""Those that are shown beside the first one of each page."""
_LEFT_OUT = {"access-root", "explain-ask-fix"}
"""At the tenant they look as at any other scope."""
_ON_A_PHONE = {"overview", "resources", "resource-identity", "sign-ins", "explain-refusal", "access"}
_TALLEST = 720
"""Pixels; what is below is more of the same."""
_MOST = 3_500_000


class StandingClock(MovableClock):
    """Shows the same time until it is moved."""

    def __init__(self, start: datetime) -> None:
        super().__init__()
        self._start = start

    def now(self) -> datetime:
        """The start, moved by what was let pass."""
        return self._start + self._offset


def _photographed(browser: Browser, world: Contoso, theme: str, shown: list[Sight], size: dict[str, int]) -> None:
    """Each page once; what is shown of a page is its beginning, as long as it is."""
    portal = ContosoPortal(browser=browser, world=world, any_certificate=True)
    page = portal.signed_in(size=size, theme=theme)
    for sight in shown:
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        sight.open(page, portal, addresses(world))
        name = f"{sight.name}-{theme}{'-phone' if size['width'] == PHONE['width'] else ''}.png"
        (_FOLDER / name).write_bytes(_picture(page, size["width"]))


def _picture(page: Page, width: int) -> bytes:
    height = int(page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": width, "height": min(height, _TALLEST)})
    taken = bytes(page.screenshot(animations="disabled", caret="hide"))
    return subprocess.run(
        ["pngquant", "--nofs", "--speed", "1", "--strip", "24", "-"], input=taken, check=True, capture_output=True
    ).stdout


def _chosen() -> list[Sight]:
    present = [SIGHTS[pattern] for pattern in SIGHTS if pattern in patterns()]
    return [one for sights in present for number, one in enumerate(sights) if _is_shown(one, first=number == 0)]


def _is_shown(sight: Sight, *, first: bool) -> bool:
    return (first or sight.name in _MORE) and sight.name not in _LEFT_OUT and not sight.name.startswith("iam-root")


def main() -> None:
    """Make all pictures anew."""
    if shutil.which("pngquant") is None:
        sys.exit("pngquant is not installed")
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    world = Contoso.lived(StandingClock(_NOW), SeededEntropy("contoso"))
    world.plane.advance(timedelta(minutes=3))
    chosen = _chosen()
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright, browser_in(playwright, Path(home)) as browser:
        for theme in ("light", "dark"):
            _photographed(browser, world, theme, chosen, dict(DESKTOP))
        _photographed(browser, world, "light", [one for one in chosen if one.name in _ON_A_PHONE], dict(PHONE))
    world.plane.close()
    together = sum(one.stat().st_size for one in _FOLDER.iterdir())
    print(f"{len(list(_FOLDER.iterdir()))} pictures, {together / 1e6:.1f} MB")  # noqa: T201 - a program
    if together > _MOST:
        sys.exit("docs/screenshots is larger than it should be")


if __name__ == "__main__":
    main()
