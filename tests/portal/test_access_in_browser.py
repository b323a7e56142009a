"""Explanations, access control and the access pictures with a real browser: each page, each action, with and without scripts."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.portal.browsing import Portal, check_everywhere, keep_screenshots
from tests.stories.planes import Up


@dataclass(frozen=True)
class Stage:
    """What the pages are about."""

    group: str
    machine: str
    identity: str
    vault: str
    principal: str


@pytest.fixture(scope="module")
def stage(up: Up) -> Stage:
    base = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/shop"
    shared = f"{base}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/front-end"
    machine = f"{base}/providers/Microsoft.Compute/virtualMachines/stock-vm"
    vault = f"{base}/providers/Microsoft.KeyVault/vaults/shop-secrets"
    _put(up, base, {"location": "westeurope"}, "2022-12-01")
    principal = _put(up, shared, {"location": "westeurope"}, "2023-01-31")["properties"]["principalId"]
    identity = {"type": "UserAssigned", "userAssignedIdentities": {shared: {}}}
    _put(up, machine, {"location": "westeurope", "identity": identity, "properties": {}}, "2024-07-01")
    tenant = up.info["tenant_id"]
    properties = {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    _put(up, vault, {"location": "westeurope", "properties": properties}, "2023-07-01")
    return Stage(group=base, machine=machine, identity=shared, vault=vault, principal=principal)


def _put(up: Up, path: str, body: dict[str, Any], version: str) -> Any:
    status, made = up.arm("PUT", f"{path}?api-version={version}", body)
    assert status in (200, 201), made
    return made


def refused(portal: Portal, page: Page, stage: Stage) -> str:
    """Somebody may not make a resource group; the id that the page shows."""
    portal.expected.append("403")
    page.goto(portal.url("/portal/resources/new/resource-group"))
    page.get_by_label("Name").fill("mine")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("link", name="Explain this").click()
    expect(page).to_have_url(re.compile(r"/portal/explain/[0-9a-f-]{36}$"))
    assert stage.group
    return str(page.url).rpartition("/")[2]


def test_a_refusal_is_followed_to_its_fix(portal: Portal, stage: Stage) -> None:
    ada = portal.signed_in(portal.person("ada", "Reader"))
    identifier = refused(portal, ada, stage)
    expect(ada.get_by_role("heading", name="What would help")).to_be_visible()
    expect(ada.get_by_role("link", name="Make this change")).to_have_count(0)
    check_everywhere(ada)
    admin = portal.signed_in()
    admin.goto(portal.url("/portal/explain"))
    expect(admin.get_by_role("table", name="Recent refusals")).to_contain_text("ada@")
    check_everywhere(admin)
    keep_screenshots(admin, "explain")
    admin.get_by_label("Id of a refusal").fill(identifier)
    admin.get_by_role("button", name="Explain", exact=True).click()
    keep_screenshots(admin, "explain-refusal")
    admin.get_by_role("link", name="Make this change").first.click()
    check_everywhere(admin)
    keep_screenshots(admin, "explain-fix")
    admin.get_by_role("button", name="Make this change").click()
    expect(admin.get_by_text("Done. It would be allowed now.")).to_be_visible()
    expect(admin).to_have_url(re.compile(identifier))
    check_everywhere(admin)


def test_what_is_not_there_says_so(portal: Portal) -> None:
    portal.expected.append("404")
    page = portal.signed_in()
    page.goto(portal.url("/portal/explain/00000000-0000-4000-8000-000000000000"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to explain")
    check_everywhere(page)
    keep_screenshots(page, "explain-missing")


def test_a_question_is_asked_without_scripts(portal: Portal, stage: Stage) -> None:
    page = portal.page(scripts=False)
    page.goto(portal.url("/portal/explain/ask"))
    page.get_by_label("Link or code").fill(portal.link())
    page.get_by_role("button", name="Sign in").click()
    page.goto(portal.url("/portal/explain/ask"))
    page.get_by_label("Who").fill(stage.machine)
    page.get_by_label("Action", exact=False).first.fill("Microsoft.KeyVault/vaults/secrets/getSecret/action")
    page.get_by_label("Scope").fill(stage.vault)
    page.get_by_role("switch", name="It is a data action").check()
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("front-end may not do the data action")).to_be_visible()
    page.get_by_role("link", name="Make this change").first.click()
    page.get_by_role("button", name="Make this change").click()
    expect(page.get_by_text("Done. It would be allowed now.")).to_be_visible()
    expect(page.get_by_text("Allowed", exact=True)).to_be_visible()


def test_a_question_is_for_everybody(portal: Portal, stage: Stage) -> None:
    page = portal.signed_in()
    asked = f"/portal/explain/ask?as={stage.principal}&action=Microsoft.KeyVault/vaults/delete&scope={stage.vault}"
    page.goto(portal.url(asked))
    check_everywhere(page)
    keep_screenshots(page, "explain-ask")


def test_a_role_is_given_and_taken_at_a_scope(portal: Portal, stage: Stage) -> None:
    page = portal.signed_in()
    page.goto(portal.url("/portal/iam"))
    check_everywhere(page)
    keep_screenshots(page, "iam-scopes")
    page.goto(portal.url(f"/portal/resource{stage.machine}"))
    page.get_by_role("link", name="Access control (IAM)").last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("stock-vm")
    page.get_by_role("link", name="Add role assignment").click()
    page.get_by_label("Search roles").fill("reader")
    page.keyboard.press("Enter")
    check_everywhere(page)
    keep_screenshots(page, "iam-add-role")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="Select the role Reader", exact=True).click()
    page.get_by_label("Search by name or object id").fill("front")
    page.keyboard.press("Enter")
    check_everywhere(page)
    keep_screenshots(page, "iam-add-who")
    page.get_by_role("link", name="Select front-end").click()
    page.get_by_label("Description").fill("looks after the stock")
    check_everywhere(page)
    keep_screenshots(page, "iam-add-review")
    page.get_by_role("button", name="Add role assignment").click()
    expect(page.get_by_text("front-end has the role Reader at stock-vm.")).to_be_visible()
    check_everywhere(page)
    keep_screenshots(page, "iam-assignments")
    page.set_viewport_size({"width": 1280, "height": 800})
    row = page.get_by_role("row").filter(has_text="front-end")
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("The role assignment is removed.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="front-end")).to_have_count(0)


def test_a_wrong_condition_is_told(portal: Portal, stage: Stage) -> None:
    portal.expected.append("400")
    page = portal.signed_in()
    reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    page.goto(portal.url(f"/portal/iam/add{stage.vault}?role={reader}&who={stage.principal}"))
    page.get_by_label("Condition").fill("@Resource[nonsense")
    page.get_by_role("button", name="Add role assignment").click()
    expect(page.get_by_role("alert")).to_contain_text("condition")
    expect(page.get_by_label("Condition")).to_have_value("@Resource[nonsense")
    check_everywhere(page)


def test_access_is_checked_and_roles_are_looked_up(portal: Portal, stage: Stage) -> None:
    portal.grant(stage.principal, "Key Vault Secrets User", stage.group)
    _denied(portal.up, stage)
    page = portal.signed_in()
    page.goto(portal.url(f"/portal/iam/check{stage.vault}"))
    check_everywhere(page)
    keep_screenshots(page, "iam-check-start")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_label("Find a user").fill("front-end")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table")).to_contain_text("Inherited")
    check_everywhere(page)
    keep_screenshots(page, "iam-check")
    for tab in ("Deny assignments", "Roles"):
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_role("navigation", name="Access control").get_by_role("link", name=tab).click()
        check_everywhere(page)
        keep_screenshots(page, f"iam-{tab.split()[0].lower()}")
    page.get_by_role("link", name="Key Vault Administrator").first.click()
    check_everywhere(page)
    keep_screenshots(page, "iam-role")


def _denied(up: Up, stage: Stage) -> None:
    name = subprocess.run(["uuidgen"], check=True, capture_output=True, text=True).stdout.strip()
    properties = {
        "denyAssignmentName": "Keep the secrets",
        "description": "Nobody deletes the shop's vault.",
        "permissions": [{"actions": ["Microsoft.KeyVault/vaults/delete"], "notActions": []}],
        "principals": [{"id": stage.principal, "type": "ServicePrincipal"}],
        "excludePrincipals": [],
    }
    path = f"{stage.vault}/providers/Microsoft.Authorization/denyAssignments/{name}"
    _put(up, path, {"properties": properties}, "2024-07-01-preview")


def test_access_is_followed_from_either_end(portal: Portal, stage: Stage) -> None:
    portal.grant(stage.principal, "Key Vault Reader", stage.vault)
    page = portal.signed_in()
    page.goto(portal.url("/portal/access"))
    check_everywhere(page)
    keep_screenshots(page, "access")
    page.set_viewport_size({"width": 1280, "height": 800})
    picture = page.get_by_role("region", name="Who reaches what")
    picture.locator("a.paths-node", has_text="shop-secrets").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Who can reach shop-secrets")
    check_everywhere(page)
    keep_screenshots(page, "access-target")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator("a.paths-node", has_text="front-end").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What front-end can reach")
    check_everywhere(page)
    keep_screenshots(page, "access-identity")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator("a.paths-node", has_text="stock-vm").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("What stock-vm can reach")
    check_everywhere(page)
    page.locator("a.paths-node", has_text="Key Vault Reader").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Who has the role Key Vault Reader")
    check_everywhere(page)


def test_unused_grants_are_for_everybody(portal: Portal, stage: Stage) -> None:
    portal.grant(stage.principal, "Contributor", stage.machine)
    page = portal.signed_in()
    page.goto(portal.url("/portal/access/unused?show=all"))
    expect(page.get_by_role("table")).to_contain_text("front-end")
    check_everywhere(page)
    keep_screenshots(page, "access-unused")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_label("Show").select_option("unused")
    expect(page).to_have_url(re.compile("show=unused"))
    check_everywhere(page)
