"""Which pages there are, and what the menu shows of them. Whoever adds a page adds its module's `ROUTES` here."""

from __future__ import annotations

from typing import Final

from idplane.web.portal import (
    access,
    account,
    activity,
    applications,
    creation,
    enrolling,
    explained_fixes,
    explanations,
    federation,
    grants,
    hosts,
    iam,
    iam_roles,
    iam_scopes,
    identities,
    keys,
    overview,
    resource,
    resource_identity,
    resource_moves,
    resources,
    sign_ins,
    unused,
)
from idplane.web.portal.routes import NavigationEntry, Route

__all__ = ["NAVIGATION", "ROUTES"]

ROUTES: Final[tuple[Route, ...]] = (
    *access.ROUTES,
    *account.ROUTES,
    *activity.ROUTES,
    *applications.ROUTES,
    *creation.ROUTES,
    *enrolling.ROUTES,
    *explained_fixes.ROUTES,
    *explanations.ROUTES,
    *federation.ROUTES,
    *grants.ROUTES,
    *hosts.ROUTES,
    *iam.ROUTES,
    *iam_roles.ROUTES,
    *iam_scopes.ROUTES,
    *identities.ROUTES,
    *keys.ROUTES,
    *overview.ROUTES,
    *resource.ROUTES,
    *resource_identity.ROUTES,
    *resource_moves.ROUTES,
    *resources.ROUTES,
    *sign_ins.ROUTES,
    *unused.ROUTES,
)

NAVIGATION: Final = (
    NavigationEntry(label="Overview", to="/portal", icon="overview"),
    NavigationEntry(label="Resources", to="/portal/resources", icon="resources", group="Manage", also=("/portal/resource",)),
    NavigationEntry(
        label="Managed identities", to="/portal/identities", icon="identity", group="Manage", also=("/portal/identity",)
    ),
    NavigationEntry(label="Enterprise applications", to="/portal/applications", icon="application", group="Manage"),
    NavigationEntry(label="Hosts", to="/portal/hosts", icon="host", group="Manage"),
    NavigationEntry(label="Access control (IAM)", to="/portal/iam", icon="access", group="Access"),
    NavigationEntry(label="Access", to="/portal/access", icon="graph", group="Access"),
    NavigationEntry(label="Explain", to="/portal/explain", icon="explain", group="Access"),
    NavigationEntry(label="Sign-in log", to="/portal/sign-ins", icon="sign-in", group="Monitor"),
    NavigationEntry(label="Activity log", to="/portal/activity", icon="activity", group="Monitor"),
    NavigationEntry(label="Keys", to="/portal/keys", icon="key", group="Monitor"),
)
