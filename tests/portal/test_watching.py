"""Overview, logs, hosts and keys in a real browser: what is live is live, what is confirmed is done, and all of it for everybody."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.portal.browsing import DESKTOP, PHONE, Portal, check_everywhere, keep_screenshots
from tests.stories.planes import IDPLANE

GROUP = "watched"
COMPUTE = "2024-07-01"
SHIFTED = """() => new Promise((told) => {
  let shifted = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((one) => (shifted += one.value)))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => told(shifted), 300);
})"""
"""How much of what was seen has moved by itself."""


def stage(portal: Portal, name: str) -> str:
    """A machine with an identity of its own; its id."""
    subscription = portal.up.info["subscription_id"]
    group = f"/subscriptions/{subscription}/resourceGroups/{GROUP}"
    portal.up.arm("PUT", f"{group}?api-version=2022-12-01", {"location": "westeurope"})
    identifier = f"{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    body = {"location": "westeurope", "properties": {}, "identity": {"type": "SystemAssigned"}}
    status, made = portal.up.arm("PUT", f"{identifier}?api-version={COMPUTE}", body)
    assert status in (200, 201), made
    return identifier


def desk(page: Page) -> Page:
    """The page at a desk again, after it was looked at everywhere."""
    page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})
    page.emulate_media(color_scheme="light")
    return page


def token(portal: Portal, name: str, resource: str = "https://vault.azure.net") -> None:
    """What a program on the machine asks for."""
    portal.up.cli("token", "--as", name, "--resource", resource)


def test_the_overview_shows_what_there_is(portal: Portal) -> None:
    page = portal.signed_in()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    check_everywhere(page)
    keep_screenshots(page, "overview-empty")
    stage(portal, "seen-vm")
    token(portal, "seen-vm")
    token(portal, "seen-vm", "https://nothing.example")
    desk(page)
    page.reload()
    expect(page.get_by_role("img", name=re.compile("tokens and"))).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "overview")
    desk(page)
    page.get_by_role("link", name="Last day").click()
    page.get_by_text("As a table").click()
    check_everywhere(page)


def test_new_sign_ins_come_by_themselves_and_can_be_held(portal: Portal) -> None:
    stage(portal, "live-vm")
    token(portal, "live-vm")
    page = portal.signed_in()
    page.goto(portal.url("/portal/sign-ins?principal=live-vm"))
    rows = page.locator("#sign-ins tbody tr")
    expect(rows.first).to_contain_text("live-vm")
    before = rows.count()
    token(portal, "live-vm", "https://management.azure.com")
    expect(rows).to_have_count(before + 1, timeout=15_000)
    expect(rows.first).to_have_class("fresh")
    expect(page.locator("[data-live-said]")).to_have_text("1 new")
    assert page.evaluate(SHIFTED) < 0.02
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "true")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6000)
    assert not any("/rows" in url for url in asked)
    page.get_by_role("button", name="Paused").click()
    with page.expect_request("**/portal/sign-ins/rows*", timeout=15_000):
        pass
    check_everywhere(page)
    keep_screenshots(page, "sign-ins")
    portal.expected = ["ERR_FAILED", "Failed to load"]
    page.route("**/portal/sign-ins/rows*", lambda route: route.abort())
    expect(page.locator("[data-live-said]")).to_contain_text("Not up to date", timeout=15_000)


def test_a_sign_in_is_found_and_looked_at(portal: Portal) -> None:
    stage(portal, "found-vm")
    token(portal, "found-vm")
    page = portal.signed_in()
    page.goto(portal.url("/portal/sign-ins"))
    page.get_by_text("More filters").click()
    page.get_by_label("Identity or application").fill("found-vm")
    page.get_by_label("Identity or application").press("Enter")
    expect(page).to_have_url(re.compile("principal=found-vm"))
    expect(page.locator("#sign-ins tbody tr")).to_have_count(1)
    check_everywhere(page)
    desk(page)
    page.locator("#sign-ins tbody tr a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("found-vm")
    expect(page.get_by_text("Executable", exact=True)).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "sign-in-detail")


def test_logs_are_filtered_and_saved_without_scripts(portal: Portal) -> None:
    stage(portal, "plain-vm")
    page = portal.page(scripts=False, size=PHONE)
    page.goto(portal.url("/portal/sign-in"))
    page.get_by_label("Link or code").fill(portal.link())
    page.get_by_role("button", name="Sign in").click()
    page.goto(portal.url("/portal/activity?range=all"))
    page.get_by_label("Search operations, resources, people, ids").fill("plain-vm")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#activity tbody tr").first).to_contain_text("virtualMachines/write")
    expect(page.get_by_role("button", name="Live")).to_be_hidden()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Export CSV").click()
    assert re.fullmatch(r"activity-\d{8}-\d{6}\.csv", saved.value.suggested_filename)
    assert "plain-vm" in saved.value.path().read_text()


def test_the_activity_log_is_for_everybody(portal: Portal) -> None:
    stage(portal, "acted-vm")
    page = portal.signed_in()
    page.goto(portal.url("/portal/activity?q=acted-vm"))
    check_everywhere(page)
    keep_screenshots(page, "activity")
    desk(page)
    page.locator("#activity tbody tr a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("virtualMachines/write")
    check_everywhere(page)
    keep_screenshots(page, "activity-detail")


def test_keys_are_rotated_after_being_asked(portal: Portal) -> None:
    page = portal.signed_in()
    page.goto(portal.url("/portal/keys"))
    check_everywhere(page)
    keep_screenshots(page, "keys")
    desk(page)
    first = page.get_by_role("table", name="Token signing keys")
    signing = first.get_by_role("row").filter(has_text="Active").locator("code").first.inner_text()
    first.get_by_role("button", name="Rotate", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Tokens of this one stay good until they end")
    keep_screenshots(page, "keys-rotate")
    desk(page)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    first.get_by_role("button", name="Rotate", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate", exact=True).click()
    expect(page.get_by_text("Another key takes over.")).to_be_visible()
    after = first.get_by_role("row").filter(has_text="Active").locator("code").first.inner_text()
    assert after != signing


def test_a_reader_of_keys_and_hosts_is_told_what_is_missing(portal: Portal) -> None:
    page = portal.signed_in(portal.person("rita", "Reader"))
    page.goto(portal.url("/portal/keys"))
    expect(page.get_by_role("button", name="Rotate", exact=True).first).to_be_disabled()
    check_everywhere(page)
    keep_screenshots(page, "keys-reader")
    page.goto(portal.url("/portal/sign-ins"))
    expect(page.get_by_text("You may not see the sign-in log")).to_be_visible()
    check_everywhere(page)


@contextmanager
def joined(portal: Portal, token_shown: str, command: str) -> Iterator[None]:
    """An agent on its way, started as the page says."""
    folder = portal.up.data.parent / "rack"
    folder.mkdir()
    (folder / "join-token").touch(0o600)
    (folder / "join-token").write_text(token_shown)
    (folder / "ca.pem").write_bytes(Path(portal.up.info["ca_file"]).read_bytes())
    words = command.replace("/var/lib/idplane-agent", str(folder / "data")).split()
    agent = subprocess.Popen([*IDPLANE, *words[1:]], cwd=folder)
    try:
        yield
    finally:
        agent.terminate()
        agent.wait(20)


def enrolled(portal: Portal, page: Page, host: str) -> tuple[str, str]:
    """The token and the command that the page shows once."""
    page.goto(portal.url(f"/portal/hosts/enroll?host={host}"))
    check_everywhere(page)
    keep_screenshots(page, "hosts-enroll")
    desk(page).get_by_role("button", name="Make a join token").click()
    shown = page.get_by_label("Join token", exact=True).inner_text()
    check_everywhere(page)
    keep_screenshots(page, "hosts-enrolled")
    return shown, page.get_by_label("Command", exact=True).last.inner_text()


def do(page: Page, what: str) -> None:
    """A command that asks first."""
    page.get_by_role("button", name=what, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name=what, exact=True).click()


def test_a_machine_is_enrolled_seen_banned_and_removed(portal: Portal) -> None:
    host = stage(portal, "rack-vm")
    page = portal.signed_in()
    page.goto(portal.url("/portal/hosts"))
    check_everywhere(page)
    keep_screenshots(page, "hosts-empty")
    with joined(portal, *enrolled(portal, page, host)):
        desk(page).goto(portal.url("/portal/hosts"))
        row = page.get_by_role("row").filter(has_text="rack-vm")
        for _ in range(40):
            if row.count():
                break
            page.wait_for_timeout(500)
            page.reload()
        expect(row).to_contain_text("Healthy")
        check_everywhere(page)
        keep_screenshots(page, "hosts")
        desk(page)
        row.get_by_role("link").first.click()
        do(page, "Ban")
        expect(page.get_by_text("Banned by").or_(page.get_by_text("Banned:")).first).to_be_visible()
        check_everywhere(page)
        keep_screenshots(page, "hosts-agent")
        desk(page).goto(portal.url(f"/portal/hosts?host={host}"))
        check_everywhere(page)
        keep_screenshots(page, "hosts-of-one")
        desk(page)
        page.get_by_role("row").filter(has_text="Banned").get_by_role("link").first.click()
        do(page, "Remove")
        expect(page.get_by_text("The machine is no host any more.")).to_be_visible()
