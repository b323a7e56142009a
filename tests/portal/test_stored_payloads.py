"""Text that would like to be more than text, wherever text goes: shown by every page, and doing nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.sync_api import Dialog, Page
from tests.portal.browsing import DESKTOP, PHONE
from tests.portal.contoso import Contoso
from tests.portal.contoso_portal import ContosoPortal
from tests.portal.hostile import PAYLOAD, plant
from tests.portal.sights import SIGHTS, Sight, addresses, patterns

_EVERY = [sight for pattern, sights in SIGHTS.items() if pattern in patterns() for sight in sights]
_COMPUTE = "Microsoft.Compute/virtualMachines"
_INJECTED = """() => {
  const found = [];
  for (const one of document.querySelectorAll("*")) {
    for (const attribute of one.attributes) {
      if (attribute.name.startsWith("on") || attribute.name === "style") found.push(`${one.tagName} ${attribute.name}`);
      if (["href", "src", "action", "formaction"].includes(attribute.name) && /^\\s*(javascript|data|vbscript):/i.test(attribute.value))
        found.push(`${one.tagName} ${attribute.value.slice(0, 80)}`);
    }
  }
  for (const one of document.querySelectorAll("script, style, img, iframe, object, embed, base, meta[http-equiv]"))
    if (!(one.tagName === "SCRIPT" && /^\\/portal\\/static\\/portal-[0-9a-f]+\\.js$/.test(one.getAttribute("src"))))
      found.push(one.outerHTML.slice(0, 120));
  return found;
}"""


@pytest.fixture(scope="module")
def planted(contoso: Contoso) -> Mapping[str, int]:
    return plant(contoso)


@pytest.fixture(scope="module")
def page(people: ContosoPortal, planted: Mapping[str, int]) -> Page:
    assert planted
    return people.signed_in()


def test_much_of_it_is_taken_and_the_rest_refused(planted: Mapping[str, int]) -> None:
    assert not [(name, status) for name, status in planted.items() if status >= 500]
    taken = {name.rpartition(" ")[0] for name, status in planted.items() if status < 300}
    assert taken >= {"user", "group", "application", "app role", "secret's name", "management group", "subscription"}
    assert taken >= {"tag", "tag's value", "property", "container", "role", "assignment", "condition", "deny assignment"}
    assert taken >= {"trust", "enrollment", "binding"}


@pytest.mark.parametrize("sight", _EVERY, ids=lambda sight: sight.name)
def test_a_page_shows_it_and_nothing_comes_of_it(page: Page, people: ContosoPortal, contoso: Contoso, sight: Sight) -> None:
    _check_inert(page, people, lambda: sight.open(page, people, addresses(contoso)))


@pytest.mark.parametrize(
    "path",
    [
        "/portal/applications?type=all&q=%3Cimg",
        "/portal/resources?q=tagged",
        "/portal/resources?location=%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
        "/portal/sign-ins?outcome=refused&range=all",
        "/portal/activity?range=all",
        "/portal/nothing/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/portal/explain/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/portal/resource/subscriptions/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ],
)
def test_what_an_address_says_is_text_as_well(page: Page, people: ContosoPortal, path: str) -> None:
    people.expected = ["status of 4"]
    _check_inert(page, people, lambda: page.goto(people.url(path)))
    people.expected = []


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", ["tagged", "valued", "typed"])
def test_a_resource_that_is_made_of_it(page: Page, people: ContosoPortal, contoso: Contoso, name: str, number: int) -> None:
    people.expected = ["status of 404"]
    path = f"/portal/resource{contoso.shop}/providers/{_COMPUTE}/{name}{number}"
    _check_inert(page, people, lambda: page.goto(people.url(path)))
    people.expected = []


def test_it_is_shown_as_it_was_written(page: Page, people: ContosoPortal, contoso: Contoso) -> None:
    page.goto(people.url(f"/portal/resource{contoso.shop}/providers/{_COMPUTE}/valued0"))
    assert f"x={PAYLOAD}" in page.get_by_label("One on a line").input_value()


def _check_inert(page: Page, people: ContosoPortal, go: object) -> None:
    """No dialog, nothing injected, no report of the policy; no template was run; and nothing is wider than a window."""
    dialogs: list[str] = []

    def opened(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", opened)
    people.complaints.clear()
    assert callable(go)
    go()
    assert page.evaluate(_INJECTED) == []
    assert "50337" not in page.content()
    for size in (PHONE, DESKTOP):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), size
    page.remove_listener("dialog", opened)
    assert dialogs == []
    assert [one for one in people.complaints if not any(part in one for part in people.expected)] == []
    people.complaints.clear()
