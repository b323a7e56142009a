"""Signing in and out with a real browser: with scripts and without, and what a person sees when it is refused."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.portal.browsing import PHONE, Portal, check_everywhere, keep_screenshots


def test_a_link_signs_in_once_and_leaves_no_code_behind(portal: Portal) -> None:
    link = portal.link()
    page = portal.page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer', '')}"))
    page.goto(link)
    page.wait_for_url("**/portal")
    code = link.rpartition("#")[2]
    assert len(code) > 40
    assert not any(code in line for line in asked)
    assert code not in page.evaluate("location.href")
    page.go_back()
    assert code not in page.evaluate("location.href")
    portal.expected = ["403"]
    again = portal.page()
    again.goto(link)
    expect(again.get_by_role("heading", level=1)).to_have_text("This link does not sign you in")
    check_everywhere(again)


def test_without_scripts_the_code_is_pasted(portal: Portal) -> None:
    page = portal.page(scripts=False)
    page.goto(portal.url("/portal/account"))
    expect(page).to_have_url(re.compile(r"/portal/sign-in\?to="))
    page.get_by_label("Link or code").fill(portal.link())
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/portal/account$"))
    page.get_by_role("button", name=re.compile("Account")).click()
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto(portal.url("/portal/account"))
    expect(page).to_have_url(re.compile(r"/portal/sign-in\?to="))


def test_the_sign_in_page_is_for_everybody(portal: Portal) -> None:
    page = portal.page()
    page.goto(portal.url("/portal/sign-in"))
    check_everywhere(page)
    keep_screenshots(page, "sign-in")


def test_the_frame_is_for_everybody(portal: Portal) -> None:
    page = portal.signed_in()
    page.goto(portal.url("/portal/account"))
    check_everywhere(page)
    keep_screenshots(page, "account")
    portal.expected = ["404"]
    page.goto(portal.url("/portal/nothing"))
    check_everywhere(page)
    keep_screenshots(page, "refused")


def test_the_theme_is_chosen_and_kept(portal: Portal) -> None:
    page = portal.signed_in()
    page.goto(portal.url("/portal/account"))
    page.get_by_role("button", name="Use the dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Use the light theme")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    check_everywhere(page)


def test_without_scripts_the_theme_is_chosen_as_well(portal: Portal) -> None:
    page = portal.page(scripts=False)
    page.goto(portal.url("/portal/sign-in"))
    page.get_by_label("Link or code").fill(portal.link())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Use the dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page).to_have_url(re.compile(r"/portal$"))


def test_on_a_phone_the_menu_opens_and_closes(portal: Portal) -> None:
    page = portal.signed_in(size=PHONE)
    menu = page.get_by_role("navigation", name="Main")
    expect(menu).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).click()
    expect(menu).to_be_visible()
    page.get_by_role("button", name="Close the menu").click()
    expect(menu).to_be_hidden()


def test_what_is_offered_for_copying_is_copied(portal: Portal) -> None:
    page = portal.signed_in()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(portal.url("/portal/account"))
    page.get_by_role("button", name="Copy object id").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    expect(page.get_by_text(copied, exact=True)).to_be_visible()
    assert re.fullmatch(r"[0-9a-f-]{36}", copied)


def test_another_site_can_neither_frame_the_portal_nor_send_its_forms(portal: Portal) -> None:
    page = portal.signed_in()
    portal.expected = ["frame", "Refused", "403", "X-Frame-Options"]
    other = page.context.new_page()
    # Another origin of the same machine: the browser knows both, and sends the session's cookie to neither on its behalf.
    elsewhere = portal.url("/portal/sign-in").replace("localhost", "127.0.0.1")
    other.goto(elsewhere)
    other.set_content(f'<iframe id="f" src="{portal.url("/portal/account")}"></iframe>')
    expect(other.frame_locator("#f").get_by_text("Object id")).to_have_count(0)
    other.goto(elsewhere)
    other.evaluate(
        """url => {
          const form = document.createElement("form");
          form.method = "post";
          form.action = url;
          document.body.append(form);
          form.submit();
        }""",
        portal.url("/portal/sign-out"),
    )
    page.goto(portal.url("/portal/account"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Administrator")
