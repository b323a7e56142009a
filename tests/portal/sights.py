"""Every page of the portal: what it is looked at with. Whoever adds a page adds a line, or `test_every_page.py` fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from playwright.sync_api import Page
from tests.portal.browsing import Browsing
from tests.portal.contoso import Contoso

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
        Sight("sign-ins-refused", "/portal/sign-ins?status=refused"),
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
    # Why
    "/portal/explain": (Sight("explain", "/portal/explain"),),
    "/portal/explain/ask": (
        Sight("explain-ask", "/portal/explain/ask"),
        Sight("explain-answer", "/portal/explain/ask?as={principal}&action=Microsoft.KeyVault/vaults/delete&scope={vault}"),
    ),
    "/portal/explain/{id}": (
        Sight("explain-refusal", "/portal/explain/{refusal}"),
        Sight("explain-denied", "/portal/explain/{refusal_denied}"),
        Sight("explain-condition", "/portal/explain/{refusal_condition}"),
        Sight("explain-process", "/portal/explain/{refusal_process}"),
        Sight("explain-federation", "/portal/explain/{refusal_federation}"),
    ),
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
        "identity": world.front_end.id,
        "federated": world.deploy.id,
        "principal": world.front_end.principal_id,
        "application": world.web.principal_id,
    }
