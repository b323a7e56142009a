"""Every page of the portal: what it is looked at with. Whoever adds a page adds a line, or `test_every_page.py` fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from playwright.sync_api import Page
from tests.portal.browsing import Browsing
from tests.portal.contoso import Contoso
from tests.unit.web.refusals_world import identity

from idplane.web.portal.catalogue import ROUTES

__all__ = ["FRAGMENTS", "SIGHTS", "Sight", "addresses", "patterns"]


@dataclass(frozen=True)
class Sight:
    """A page with something on it; the name is its pictures'."""

    name: str
    url: str
    """May hold the words of `Contoso.places` in braces."""
    follow: str = ""
    """An expression: not this page, but the first link on it whose address is such."""

    def open(self, page: Page, browsing: Browsing, places: Mapping[str, str]) -> None:
        """Go there."""
        page.goto(browsing.url(self.url.format_map(places)))
        if self.follow:
            found = [str(link.get_attribute("href")) for link in page.locator("main a[href]").all()]
            page.goto(browsing.url(next(one for one in found if re.fullmatch(self.follow, one))))


_RESOURCE = "/portal/resource"
_IDENTITY = "/portal/identity"
_APPLICATIONS = "/portal/applications"
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_ASKED = "as={principal}&action=Microsoft.KeyVault/vaults/delete&scope={vault}"

SIGHTS: Mapping[str, tuple[Sight, ...]] = {
    "/portal": (Sight("overview", "/portal"),),
    "/portal/account": (Sight("account", "/portal/account"),),
    # Resources
    "/portal/resources": (
        Sight("resources", "/portal/resources"),
        Sight("resources-filtered", "/portal/resources?q=front&sort=-name"),
        Sight("resources-none", "/portal/resources?q=nothing-is-called-so"),
    ),
    "/portal/resources/new": (Sight("create", "/portal/resources/new"),),
    "/portal/resources/new/resource-group": (Sight("create-group", "/portal/resources/new/resource-group"),),
    "/portal/resources/new/{kind}": (Sight("create-machine", "/portal/resources/new/virtual-machine"),),
    _RESOURCE + "/{id:path}": (
        Sight("resource", _RESOURCE + "{machine}"),
        Sight("resource-group", _RESOURCE + "{group}"),
        Sight("resource-vault", _RESOURCE + "{vault}"),
    ),
    _RESOURCE + "/activity/{id:path}": (Sight("resource-activity", _RESOURCE + "/activity{machine}"),),
    _RESOURCE + "/identity/{id:path}": (Sight("resource-identity", _RESOURCE + "/identity{machine}"),),
    _RESOURCE + "/user-assigned/{id:path}": (Sight("resource-user-assigned", _RESOURCE + "/user-assigned{site}"),),
    _RESOURCE + "/user-assigned/add/{id:path}": (
        Sight("resource-user-assigned-add", _RESOURCE + "/user-assigned/add{machine}"),
    ),
    _RESOURCE + "/delete/{id:path}": (Sight("resource-delete", _RESOURCE + "/delete{group}"),),
    _RESOURCE + "/move/{id:path}": (Sight("resource-move", _RESOURCE + "/move{site}"),),
    # Identities
    "/portal/identities": (Sight("identities", "/portal/identities"),),
    "/portal/identities/new": (Sight("identity-new", "/portal/identities/new"),),
    _IDENTITY + "/overview/{id:path}": (Sight("identity", _IDENTITY + "/overview{identity}"),),
    _IDENTITY + "/resources/{id:path}": (Sight("identity-resources", _IDENTITY + "/resources{identity}"),),
    _IDENTITY + "/roles/{id:path}": (Sight("identity-roles", _IDENTITY + "/roles{identity}"),),
    _IDENTITY + "/credentials/{id:path}": (Sight("identity-credentials", _IDENTITY + "/credentials{identity}"),),
    _IDENTITY + "/sign-ins/{id:path}": (Sight("identity-sign-ins", _IDENTITY + "/sign-ins{identity}"),),
    _IDENTITY + "/federated/{id:path}": (Sight("federated", _IDENTITY + "/federated{federated}"),),
    _IDENTITY + "/federated/edit/{id:path}": (
        Sight("federated-new", _IDENTITY + "/federated/edit{federated}"),
        Sight("federated-edit", _IDENTITY + "/federated/edit{federated}?name=main"),
    ),
    _IDENTITY + "/grants/{principal}/add": (Sight("grant-add", _IDENTITY + "/grants/{principal}/add"),),
    # Enterprise applications
    _APPLICATIONS: (
        Sight("applications", _APPLICATIONS),
        Sight("applications-all", _APPLICATIONS + "?type=all"),
    ),
    _APPLICATIONS + "/{id}": (Sight("application", _APPLICATIONS + "/{application}"),),
    _APPLICATIONS + "/{id}/roles": (Sight("application-roles", _APPLICATIONS + "/{application}/roles"),),
    _APPLICATIONS + "/{id}/app-roles": (Sight("application-app-roles", _APPLICATIONS + "/{application}/app-roles"),),
    _APPLICATIONS + "/{id}/credentials": (Sight("application-credentials", _APPLICATIONS + "/{application}/credentials"),),
    _APPLICATIONS + "/{id}/sign-ins": (Sight("application-sign-ins", _APPLICATIONS + "/{application}/sign-ins"),),
    # Logs
    "/portal/sign-ins": (
        Sight("sign-ins", "/portal/sign-ins"),
        Sight("sign-ins-refused", "/portal/sign-ins?outcome=refused"),
    ),
    "/portal/sign-ins/{place}": (Sight("sign-in-detail", "/portal/sign-ins", follow="/portal/sign-ins/[^/?]+"),),
    "/portal/activity": (Sight("activity", "/portal/activity"),),
    "/portal/activity/{place}": (Sight("activity-detail", "/portal/activity", follow="/portal/activity/[^/?]+"),),
    # Hosts and keys
    "/portal/hosts": (
        Sight("hosts", "/portal/hosts"),
        Sight("hosts-detail", "/portal/hosts?host={rack}"),
    ),
    "/portal/hosts/agent/{agent}": (Sight("agent", "/portal/hosts/agent/{agent}"),),
    "/portal/hosts/enroll": (Sight("enroll", "/portal/hosts/enroll?host={machine}"),),
    "/portal/keys": (Sight("keys", "/portal/keys"),),
    # Access
    "/portal/access": (Sight("access", "/portal/access"),),
    "/portal/access/identity/{id}": (Sight("access-identity", "/portal/access/identity/{principal}"),),
    "/portal/access/role/{role}": (Sight("access-role", f"/portal/access/role/{_READER}"),),
    "/portal/access/source/{id:path}": (Sight("access-source", "/portal/access/source{machine}"),),
    "/portal/access/target": (Sight("access-root", "/portal/access/target"),),
    "/portal/access/target/{scope:path}": (Sight("access-target", "/portal/access/target{vault}"),),
    "/portal/access/unused": (Sight("unused", "/portal/access/unused?show=all"),),
    "/portal/iam": (Sight("iam", "/portal/iam"),),
    "/portal/iam/{scope:path}": (Sight("iam-scope", "/portal/iam{vault}"),),
    "/portal/iam/check": (Sight("iam-root-check", "/portal/iam/check?q=stock"),),
    "/portal/iam/check/{scope:path}": (Sight("iam-check", "/portal/iam/check{vault}?principal={stock}"),),
    "/portal/iam/assignments": (Sight("iam-root-assignments", "/portal/iam/assignments"),),
    "/portal/iam/assignments/{scope:path}": (
        Sight("iam-assignments", "/portal/iam/assignments{vault}"),
        Sight("iam-conditions", "/portal/iam/assignments{data}"),
    ),
    "/portal/iam/denies": (Sight("iam-root-denies", "/portal/iam/denies"),),
    "/portal/iam/denies/{scope:path}": (Sight("iam-denies", "/portal/iam/denies{platform}"),),
    "/portal/iam/roles": (Sight("iam-root-roles", "/portal/iam/roles"),),
    "/portal/iam/roles/{scope:path}": (Sight("iam-roles", "/portal/iam/roles{vault}"),),
    "/portal/iam/role/{role}": (Sight("iam-role", f"/portal/iam/role/{_READER}"),),
    "/portal/iam/add": (Sight("iam-root-add", "/portal/iam/add"),),
    "/portal/iam/add/{scope:path}": (
        Sight("iam-add", "/portal/iam/add{vault}"),
        Sight("iam-add-last", f"/portal/iam/add{{vault}}?role={_READER}&who={{principal}}"),
    ),
    # Why
    "/portal/explain": (Sight("explain", "/portal/explain"),),
    "/portal/explain/ask": (
        Sight("explain-ask", "/portal/explain/ask"),
        Sight("explain-answer", f"/portal/explain/ask?{_ASKED}"),
    ),
    "/portal/explain/ask/fix": (Sight("explain-ask-fix", f"/portal/explain/ask/fix?{_ASKED}&fix=0"),),
    "/portal/explain/{id}": (
        Sight("explain-refusal", "/portal/explain/{refusal}"),
        Sight("explain-denied", "/portal/explain/{refusal_denied}"),
        Sight("explain-condition", "/portal/explain/{refusal_condition}"),
        Sight("explain-process", "/portal/explain/{refusal_process}"),
        Sight("explain-selector", "/portal/explain/{refusal_selector}"),
        Sight("explain-secret", "/portal/explain/{refusal_secret}"),
        Sight("explain-federation", "/portal/explain/{refusal_federation}"),
        Sight("explain-graph", "/portal/explain/{refusal_graph}"),
    ),
    "/portal/explain/{id}/fix": (Sight("explain-fix", "/portal/explain/{refusal}/fix?fix=0"),),
}
"""By the pattern of the route."""

FRAGMENTS = frozenset({"/portal/sign-ins/rows", "/portal/activity/rows"})
"""Parts of pages that scripts put in place: they are seen with their pages."""


def patterns() -> set[str]:
    """The patterns of all pages that there are."""
    return {route.pattern for route in ROUTES if route.method == "GET"} - FRAGMENTS


def addresses(world: Contoso) -> dict[str, str]:
    """What the tables' addresses are written with."""
    return {
        **world.places,
        "group": world.shop,
        "machine": world.stock.id,
        "rack": world.rack.id,
        "site": world.site.id,
        "vault": world.stock_vault,
        "data": world.data,
        "platform": world.platform,
        "stock": identity(world.stock).principal_id,
        "identity": world.front_end.id,
        "federated": world.deploy.id,
        "principal": world.front_end.principal_id,
        "application": world.web.principal_id,
    }
