"""Resources and identities in a real browser: the walk of the Azure tutorial, and every page as people with eyes, keyboards or phones have it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.portal.browsing import Portal, check_everywhere, keep_screenshots
from tests.stories.workloads import Workload, require_namespaces

IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
PROGRAM = (sys.executable, str(Path(__file__).with_name("lister.py")))


def put(portal: Portal, path: str, version: str, **members: object) -> str:
    status, made = portal.up.arm("PUT", f"{path}?api-version={version}", {"location": "westeurope", **members})
    assert status in {200, 201}, made
    return path


@pytest.fixture
def group(portal: Portal) -> str:
    return put(portal, f"/subscriptions/{portal.up.info['subscription_id']}/resourceGroups/stock", "2022-12-01")


@pytest.fixture
def machine(portal: Portal, group: str) -> str:
    return put(portal, f"{group}/providers/Microsoft.Compute/virtualMachines/stock-vm", "2024-07-01", properties={})


@pytest.fixture
def shared(portal: Portal, group: str) -> str:
    return put(portal, f"{group}/providers/{IDENTITIES}/shared", "2023-01-31")


def title(page: Page) -> str:
    return str(page.get_by_role("heading", level=1).inner_text())


def test_the_walk_of_the_tutorial(portal: Portal, group: str, machine: str) -> None:
    """Open the machine, Identity, Status On, Save, confirm, a role: and the next request of the program that runs there succeeds."""
    require_namespaces()
    with Workload(portal.up.data, machine, (*PROGRAM, group)) as program:
        assert program.say("list").startswith("no token")
        page = portal.signed_in()
        page.get_by_role("link", name="Resources", exact=True).click()
        page.get_by_role("link", name="stock-vm").click()
        page.get_by_role("navigation", name="Virtual machine stock-vm").get_by_role("link", name="Identity").click()
        page.get_by_role("radio", name="On").check()
        page.get_by_role("button", name="Save").click()
        dialog = page.get_by_role("dialog", name="Enable system assigned managed identity")
        expect(dialog).to_be_visible()
        keep_screenshots(page, "identity-confirm")
        dialog.get_by_role("button", name="Yes").click()
        expect(page.get_by_role("status")).to_contain_text("is on")
        expect(page.get_by_text("Object (principal) id")).to_be_visible()
        assert program.say("list").startswith("403")
        page.get_by_role("link", name="Add role assignment").click()
        keep_screenshots(page, "role-assignment")
        page.get_by_label("Role", exact=True).select_option("Reader")
        page.get_by_label("Scope", exact=True).select_option("Resource group: stock")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row", name=re.compile("Reader"))).to_be_visible()
        assert program.say("list") == "200 stock-vm"
        check_everywhere(page)
        keep_screenshots(page, "identity-system-assigned")
        page.get_by_role("radio", name="Off").check()
        page.get_by_role("button", name="Save").click()
        page.get_by_role("dialog").get_by_role("button", name="Yes").click()
        expect(page.get_by_role("status")).to_contain_text("is off")
        assert not program.say("list").startswith("200")


def test_without_scripts_the_switch_asks_and_saves_as_well(portal: Portal, machine: str) -> None:
    page = portal.page(scripts=False)
    page.goto(portal.url("/portal/sign-in"))
    page.get_by_label("Link or code").fill(portal.link())
    page.get_by_role("button", name="Sign in").click()
    for wanted, said in (("On", "is on"), ("Off", "is off")):
        page.goto(portal.url(f"/portal/resource/identity{machine}"))
        page.get_by_role("radio", name=wanted).check()
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Yes").click()
        expect(page.get_by_role("status")).to_contain_text(said)


def test_an_identity_is_created_shared_and_taken_away(portal: Portal, group: str, machine: str) -> None:
    page = portal.signed_in()
    page.goto(portal.url("/portal/identities"))
    page.get_by_role("link", name="Create").first.click()
    page.get_by_label("Name").fill("front-end")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("front-end")
    check_everywhere(page)
    keep_screenshots(page, "identity")
    page.goto(portal.url(f"/portal/resource/user-assigned{machine}"))
    page.get_by_role("link", name="Add", exact=True).first.click()
    page.get_by_label("front-end").check()
    check_everywhere(page)
    keep_screenshots(page, "identity-picker")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("front-end"))).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "identity-user-assigned")
    page.goto(portal.url(f"/portal/identity/resources{group}/providers/{IDENTITIES}/front-end"))
    expect(page.get_by_role("row", name=re.compile("stock-vm"))).to_be_visible()
    page.goto(portal.url(f"/portal/resource/user-assigned{machine}"))
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="No user-assigned identity")).to_be_visible()


def test_a_workflow_of_github_is_trusted(portal: Portal, shared: str) -> None:
    page = portal.signed_in()
    page.goto(portal.url(f"/portal/identity/federated{shared}"))
    page.get_by_role("link", name="Add credential").first.click()
    for label, text in (("Name", "deploy"), ("Organization", "contoso"), ("Repository", "shop"), ("Its name", "main")):
        page.get_by_role("textbox", name=re.compile(f"^{label}")).fill(text)
    check_everywhere(page)
    keep_screenshots(page, "federated-form")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("repo:contoso/shop:ref:refs/heads/main", exact=True)).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "federated")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No federated credential yet")).to_be_visible()


def test_a_resource_is_created_moved_and_deleted(portal: Portal, group: str) -> None:
    put(portal, group.replace("stock", "elsewhere"), "2022-12-01")
    page = portal.signed_in()
    page.goto(portal.url("/portal/resources/new"))
    check_everywhere(page)
    keep_screenshots(page, "create")
    page.get_by_role("link", name=re.compile("^Web app")).click()
    page.get_by_label("Resource group").select_option("stock")
    page.get_by_label("Name").fill("shop")
    page.get_by_label("System assigned managed identity").check()
    check_everywhere(page)
    keep_screenshots(page, "create-web-app")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text("shop is created")
    page.get_by_role("link", name="Move").click()
    check_everywhere(page)
    keep_screenshots(page, "move")
    page.get_by_label("To the resource group").select_option("elsewhere")
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_role("status")).to_contain_text("is in elsewhere now")
    page.get_by_role("link", name="Delete").click()
    check_everywhere(page)
    keep_screenshots(page, "delete")
    page.get_by_label("Write shop to confirm").fill("shop")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("shop is deleted")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("resources", "/portal/resources"),
        ("resource-groups", "/portal/resources?type=microsoft.resources/resourcegroups"),
        ("resources-nothing", "/portal/resources?q=zzz"),
        ("resource", "/portal/resource{machine}"),
        ("resource-group", "/portal/resource{group}"),
        ("resource-activity", "/portal/resource/activity{machine}"),
        ("identities", "/portal/identities"),
        ("identity-roles", "/portal/identity/roles{shared}"),
        ("identity-credentials", "/portal/identity/credentials{shared}"),
        ("identity-sign-ins", "/portal/identity/sign-ins{shared}"),
        ("applications", "/portal/applications?type=all"),
    ],
)
def test_a_page_is_for_everybody(portal: Portal, group: str, machine: str, shared: str, name: str, path: str) -> None:
    page = portal.signed_in()
    page.goto(portal.url(path.format(group=group, machine=machine, shared=shared)))
    check_everywhere(page)
    keep_screenshots(page, name)
    assert title(page)


def test_a_service_principal_is_for_everybody(portal: Portal, shared: str) -> None:
    page = portal.signed_in()
    page.goto(portal.url("/portal/applications"))
    page.get_by_role("link", name="shared", exact=True).first.click()
    check_everywhere(page)
    keep_screenshots(page, "application")
    for tab in ("Azure role assignments", "App roles", "Credentials", "Sign-ins"):
        page.get_by_role("navigation", name=re.compile("shared$")).get_by_role("link", name=tab).click()
        check_everywhere(page)
    assert shared


def test_a_reader_sees_what_is_missing(portal: Portal, machine: str) -> None:
    page = portal.signed_in(portal.person("reader", "Reader"))
    page.goto(portal.url(f"/portal/resource/identity{machine}"))
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    expect(page.get_by_text("It takes Microsoft.Compute/virtualMachines/write")).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "identity-reader")


def test_a_list_sorts_and_narrows_itself(portal: Portal, group: str, machine: str) -> None:
    put(portal, f"{group}/providers/Microsoft.Compute/virtualMachines/another-vm", "2024-07-01", properties={})
    page = portal.signed_in()
    page.goto(portal.url("/portal/resources"))
    page.get_by_role("searchbox", name="Filter by name").fill("ANOTHER")
    expect(page.get_by_role("row", name=re.compile("stock-vm"))).to_have_count(0)
    expect(page.get_by_role("row", name=re.compile("another-vm"))).to_be_visible()
    page.goto(portal.url("/portal/resources"))
    page.get_by_role("link", name="Name").click()
    expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", re.compile("ascending|descending"))
    assert machine
