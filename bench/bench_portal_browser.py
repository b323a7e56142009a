"""What a browser gets of the portal: bytes over the wire (budget 150 KB for a first page) and time to interactive (budget 1 s on this machine).

`idplane up` with one machine, and Chromium over TLS. A first view has an empty cache; a second one has style, script and icons, which
are named by their content and asked for once. Interactive is when the document is built and its script has run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import print_environment
from playwright.sync_api import Browser, Page, sync_playwright
from tests.portal.browsing import Portal, browser_in, trust
from tests.stories.planes import Up

ROUNDS = 20
PAGES = (
    ("overview", "/portal"),
    ("resources", "/portal/resources"),
    ("a machine's identity", "/portal/resource/identity{machine}"),
    ("sign-in log", "/portal/sign-ins"),
    ("explain", "/portal/explain"),
)
_INTERACTIVE = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
"""Modules run before this event, so the page does all that it can by then; in milliseconds since the visit began."""


def viewed(page: Page, url: str) -> tuple[float, float]:
    """Kilobytes and milliseconds of one visit."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(float(event["encodedDataLength"])))
    page.goto(url)
    page.wait_for_load_state("networkidle")
    spent = float(page.evaluate(_INTERACTIVE))
    session.detach()
    return sum(received) / 1e3, spent


def first_and_second(browser: Browser, cookies: Sequence[Any], url: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """A visit of a browser that knows the session and nothing else, and one more."""
    context = browser.new_context()
    context.add_cookies(list(cookies))
    page = context.new_page()
    both = viewed(page, url), viewed(page, url)
    context.close()
    return both


def measured(portal: Portal, cookies: Sequence[Any], name: str, path: str) -> None:
    """One line."""
    rounds = [first_and_second(portal.browser, cookies, portal.url(path)) for _ in range(ROUNDS)]
    told = []
    for title, number in (("first", 0), ("again", 1)):
        sizes, times = zip(*(one[number] for one in rounds), strict=True)
        told.append(f"{title} {max(sizes):6.1f} KB  p50 {sorted(times)[ROUNDS // 2]:5.0f} ms  worst {max(times):5.0f} ms")
    print(f"  {name:<24} {'   '.join(told)}")


def main() -> None:
    """Print a table."""
    print_environment()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        up = Up(Path(folder) / "data", "--no-rates")
        group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/stock"
        machine = f"{group}/providers/Microsoft.Compute/virtualMachines/stock-vm"
        up.arm("PUT", f"{group}?api-version=2022-12-01", {"location": "westeurope"})
        body = {"location": "westeurope", "properties": {}, "identity": {"type": "SystemAssigned"}}
        up.arm("PUT", f"{machine}?api-version=2024-11-01", body)
        trust(Path(folder) / "home", Path(up.info["ca_file"]))
        with browser_in(playwright, Path(folder) / "home") as browser:
            portal = Portal(browser=browser, up=up)
            cookies = portal.signed_in().context.cookies()
            print(f"{ROUNDS} visits of each page:")
            for name, path in PAGES:
                measured(portal, cookies, name, path.format(machine=machine))
        up.stop()


if __name__ == "__main__":
    main()
