"""What is stored: every collection and log, with the columns that queries use; logs and what follows them are in `ports.records`.

The SQL schema (`idplane/store/migrations`) mirrors this page and adds the constraints: unique columns and references.
"""

from __future__ import annotations

from idplane.model.bindings import Binding
from idplane.model.deployments import Deployment, DeploymentOperation, deployment_key
from idplane.model.directory import (
    Agent,
    Application,
    AppRoleAssignment,
    Credential,
    Membership,
    Principal,
    Setting,
    Subscription,
    Tenant,
)
from idplane.model.enrollments import AgentSightings, Carriage, Enrollment, JoinToken, SpentProof
from idplane.model.federation import FederatedCredential
from idplane.model.keys import SigningKey
from idplane.model.locks import Lock, LockMark
from idplane.model.long_operations import LongOperation
from idplane.model.management_groups import ManagementGroup, SubscriptionAlias, stored_group
from idplane.model.portal import PortalLink, PortalSession
from idplane.model.resources import IdentityAssignment, Resource
from idplane.model.roles import DenyAssignment, RoleAssignment, RoleDefinition
from idplane.model.tags import PredefinedTag
from idplane.model.user_sessions import DeviceCode, RefreshToken, Session
from idplane.model.vault import SecretVersion
from idplane.ports.records import (
    ACTIVITY,
    EVENT_CURSORS,
    EVENT_STREAMS,
    EVENT_SUBJECTS,
    LEASES,
    QUEUED_EVENTS,
    REFUSALS,
    SIGN_INS,
    group_key_of,
    microseconds,
)
from idplane.ports.store import Collection, Log

__all__ = [
    "ACTIVITY",
    "AGENTS",
    "AGENT_SIGHTINGS",
    "APPLICATIONS",
    "APP_ROLE_ASSIGNMENTS",
    "BINDINGS",
    "CARRIAGES",
    "COLLECTIONS",
    "CREDENTIALS",
    "DENY_ASSIGNMENTS",
    "DEPLOYMENTS",
    "DEPLOYMENT_OPERATIONS",
    "DEVICE_CODES",
    "ENROLLMENTS",
    "EVENT_CURSORS",
    "EVENT_STREAMS",
    "EVENT_SUBJECTS",
    "FEDERATED_CREDENTIALS",
    "IDENTITY_ASSIGNMENTS",
    "JOIN_TOKENS",
    "LEASES",
    "LOCKS",
    "LOCK_MARKS",
    "LOGS",
    "LONG_OPERATIONS",
    "MANAGEMENT_GROUPS",
    "MEMBERSHIPS",
    "PORTAL_LINKS",
    "PORTAL_SESSIONS",
    "PREDEFINED_TAGS",
    "PRINCIPALS",
    "QUEUED_EVENTS",
    "REFRESH_TOKENS",
    "REFUSALS",
    "RESOURCES",
    "ROLE_ASSIGNMENTS",
    "ROLE_DEFINITIONS",
    "SECRETS",
    "SESSIONS",
    "SETTINGS",
    "SIGNING_KEYS",
    "SIGN_INS",
    "SPENT_PROOFS",
    "SUBSCRIPTIONS",
    "SUBSCRIPTION_ALIASES",
    "TENANTS",
    "group_key_of",
    "microseconds",
]


def _group_key(resource: Resource) -> str | None:
    identifier = resource.id
    if identifier.resource_group is None:
        return None
    return f"/subscriptions/{identifier.subscription}/resourcegroups/{identifier.resource_group.lower()}"


def _parent_key(resource: Resource) -> str | None:
    """The stored resource that must exist for this one: parent resource or group; None at the top of a subscription or tenant."""
    parent = resource.id.parent
    if parent is None or not parent.segments or parent.type == "Microsoft.Resources/subscriptions":
        return None
    return parent.key


TENANTS = Collection(name="tenants", type=Tenant, key=lambda it: it.id, columns={"domain": lambda it: it.domain.lower()})
MANAGEMENT_GROUPS = Collection(
    name="management_groups",
    type=ManagementGroup,
    key=lambda it: it.key,
    columns={"tenant_id": lambda it: it.tenant_id, "parent_key": lambda it: it.parent},
)
"""`parent_key` references management_groups; it is absent below a tenant's root group."""
SUBSCRIPTIONS = Collection(
    name="subscriptions",
    type=Subscription,
    key=lambda it: it.id,
    columns={"tenant_id": lambda it: it.tenant_id, "management_group_key": lambda it: it.management_group},
)
"""`management_group_key` references management_groups."""
SUBSCRIPTION_ALIASES = Collection(
    name="subscription_aliases",
    type=SubscriptionAlias,
    key=lambda it: it.key,
    columns={"tenant_id": lambda it: it.tenant_id, "subscription_id": lambda it: it.subscription_id},
)
"""`subscription_id` references subscriptions."""
SETTINGS = Collection(name="settings", type=Setting, key=lambda it: it.name)
RESOURCES = Collection(
    name="resources",
    type=Resource,
    key=lambda it: it.id.key,
    columns={
        "type": lambda it: it.type.lower(),
        "subscription_id": lambda it: it.id.subscription,
        "group_key": _group_key,
        "parent_key": _parent_key,
        "name": lambda it: it.id.name.lower(),
        "path": lambda it: it.id.key,
        "location": lambda it: it.location,
    },
    subject=lambda it: it.id.key,
)
"""`path` repeats the key so that `under` can select a subtree, and `location` is read from the record; no table has them. `parent_key` references `key`. Vaults have unique names: host names."""
IDENTITY_ASSIGNMENTS = Collection(
    name="identity_assignments",
    type=IdentityAssignment,
    key=lambda it: it.key,
    columns={
        "host_key": lambda it: it.host.key,
        "principal_id": lambda it: it.principal_id,
        "identity_key": lambda it: it.identity.key if it.identity else None,
    },
    subject=lambda it: it.host.key,
)
"""`host_key` references resources, `principal_id` references principals."""
BINDINGS = Collection(
    name="bindings",
    type=Binding,
    key=lambda it: it.key,
    columns={"host_key": lambda it: it.host.key},
    subject=lambda it: it.host.key,
)
"""`host_key` references resources."""
PRINCIPALS = Collection(
    name="principals",
    type=Principal,
    key=lambda it: it.id,
    columns={
        "tenant_id": lambda it: it.tenant_id,
        "client_id": lambda it: it.client_id,
        "type": lambda it: it.type.value,
        "display_name": lambda it: it.display_name.lower(),
        "resource_key": lambda it: it.resource_id.lower() if it.resource_id else None,
        "user_principal_name": lambda it: it.user.user_principal_name.lower() if it.user else None,
    },
    subject=lambda it: it.id,
)
"""(tenant_id, client_id) is unique, and so is (tenant_id, user_principal_name) among users."""
MEMBERSHIPS = Collection(
    name="memberships",
    type=Membership,
    key=lambda it: it.key,
    columns={"group_id": lambda it: it.group_id, "member_id": lambda it: it.member_id},
    subject=lambda it: it.member_id,
)
"""`group_id` and `member_id` reference principals."""
DEVICE_CODES = Collection(
    name="device_codes",
    type=DeviceCode,
    key=lambda it: it.id,
    columns={
        "user_code": lambda it: it.user_code,
        "client_address": lambda it: it.client_address,
        "principal_id": lambda it: it.principal_id,
    },
)
"""`user_code` is unique; `principal_id` references principals."""
SESSIONS = Collection(
    name="sessions",
    type=Session,
    key=lambda it: it.id,
    columns={"principal_id": lambda it: it.principal_id},
    subject=lambda it: it.principal_id,
)
"""`principal_id` references principals."""
REFRESH_TOKENS = Collection(
    name="refresh_tokens",
    type=RefreshToken,
    key=lambda it: it.id,
    columns={"session_id": lambda it: it.session_id, "principal_id": lambda it: it.principal_id},
    subject=lambda it: it.principal_id,
)
"""`session_id` references sessions."""
PORTAL_LINKS = Collection(
    name="portal_links",
    type=PortalLink,
    key=lambda it: it.id,
    columns={"principal_id": lambda it: it.principal_id},
    fed=False,
)
PORTAL_SESSIONS = Collection(
    name="portal_sessions",
    type=PortalSession,
    key=lambda it: it.id,
    columns={"principal_id": lambda it: it.principal_id},
    fed=False,
)
"""Links and sessions go with their user (`on delete cascade`). Each request reads its session, so no feed has to tell of one."""
APPLICATIONS = Collection(
    name="applications",
    type=Application,
    key=lambda it: it.id,
    columns={
        "tenant_id": lambda it: it.tenant_id,
        "client_id": lambda it: it.client_id,
        "display_name": lambda it: it.display_name.lower(),
    },
)
"""client_id is unique."""
APP_ROLE_ASSIGNMENTS = Collection(
    name="app_role_assignments",
    type=AppRoleAssignment,
    key=lambda it: it.id,
    columns={
        "principal_id": lambda it: it.principal_id,
        "resource_id": lambda it: it.resource_id,
        "role_id": lambda it: it.role_id,
    },
    subject=lambda it: it.principal_id,
)
"""(principal_id, resource_id, role_id) is unique; `principal_id` and `resource_id` reference principals."""
CREDENTIALS = Collection(
    name="credentials",
    type=Credential,
    key=lambda it: it.id,
    columns={
        "principal_id": lambda it: it.principal_id or None,
        "application_id": lambda it: it.application_id,
        "client_id": lambda it: it.client_id,
        "kind": lambda it: it.kind.value,
        "thumbprint": lambda it: it.thumbprint,
        "host_key": lambda it: it.host,
        "agent_id": lambda it: it.agent_id,
    },
    subject=lambda it: it.owner,
)
"""`principal_id` references principals, `application_id` applications; each credential has one of them."""
FEDERATED_CREDENTIALS = Collection(
    name="federated_credentials",
    type=FederatedCredential,
    key=lambda it: it.key,
    columns={
        "principal_id": lambda it: it.principal_id or None,
        "application_id": lambda it: it.application_id,
        "issuer": lambda it: it.trust.issuer,
        "subject": lambda it: it.trust.subject,
    },
    subject=lambda it: it.owner,
)
"""`principal_id` references principals, `application_id` applications; each credential has one of them. With it, (issuer, subject) is
unique among those that have a subject.
"""
AGENTS = Collection(
    name="agents",
    type=Agent,
    key=lambda it: it.id,
    columns={
        "thumbprint": lambda it: it.thumbprint,
        "enrollment_id": lambda it: it.enrollment,
        "host_key": lambda it: it.key,
    },
)
"""thumbprint is unique."""
AGENT_SIGHTINGS = Collection(name="agent_sightings", type=AgentSightings, key=lambda it: it.shard, fed=False)
"""Nobody keeps them, so nobody is woken for them."""
ENROLLMENTS = Collection(
    name="enrollments",
    type=Enrollment,
    key=lambda it: it.key,
    columns={
        "host_key": lambda it: it.host.key,
        "enrollment_id": lambda it: it.id,
        "method": lambda it: it.method.value,
        "pin": lambda it: it.pin,
    },
)
"""`enrollment_id` is unique; `host_key` references resources."""
CARRIAGES = Collection(
    name="carriages",
    type=Carriage,
    key=lambda it: it.key,
    columns={"enrollment_id": lambda it: it.enrollment_id, "resource_key": lambda it: it.resource.key},
)
"""`resource_key` references resources."""
JOIN_TOKENS = Collection(
    name="join_tokens", type=JoinToken, key=lambda it: it.id, columns={"enrollment_id": lambda it: it.enrollment_id}
)
SPENT_PROOFS = Collection(name="spent_proofs", type=SpentProof, key=lambda it: it.key)
ROLE_DEFINITIONS = Collection(
    name="role_definitions",
    type=RoleDefinition,
    key=lambda it: it.id,
    columns={"tenant_id": lambda it: it.tenant_id, "role_name": lambda it: it.name.lower()},
)
"""Custom roles only; built-ins are data of the package. (tenant_id, role_name) is unique."""
ROLE_ASSIGNMENTS = Collection(
    name="role_assignments",
    type=RoleAssignment,
    key=lambda it: it.id,
    columns={
        "principal_id": lambda it: it.principal_id,
        "scope_key": lambda it: it.scope_key,
        "role_id": lambda it: it.role_id,
        "anchor_key": lambda it: it.anchor,
        "management_group_key": lambda it: stored_group(it.scope, it.tenant_id),
    },
    subject=lambda it: it.principal_id,
)
"""(principal_id, role_id, scope_key) is unique; `principal_id` references principals, `anchor_key` resources, and
`management_group_key` management_groups."""
DENY_ASSIGNMENTS = Collection(
    name="deny_assignments",
    type=DenyAssignment,
    key=lambda it: it.id,
    columns={
        "scope_key": lambda it: it.scope_key,
        "anchor_key": lambda it: it.anchor,
        "management_group_key": lambda it: stored_group(it.scope, it.tenant_id),
    },
    subject=lambda it: it.scope_key,
)
"""`anchor_key` references resources, `management_group_key` management_groups."""
LOCKS = Collection(
    name="locks",
    type=Lock,
    key=lambda it: it.id.key,
    columns={"scope_key": lambda it: it.scope_key, "anchor_key": lambda it: it.anchor},
    subject=lambda it: it.scope_key,
)
"""`anchor_key` references resources."""
LOCK_MARKS = Collection(name="lock_marks", type=LockMark, key=lambda it: it.subscription_id)
SIGNING_KEYS = Collection(
    name="signing_keys",
    type=SigningKey,
    key=lambda it: it.id,
    columns={"purpose": lambda it: it.purpose.value, "state": lambda it: it.state.value},
)
"""At most one active key for each purpose (a partial unique index)."""
SECRETS = Collection(
    name="secrets",
    type=SecretVersion,
    key=lambda it: it.key,
    columns={
        "vault_key": lambda it: it.vault,
        "name": lambda it: it.name.lower(),
        "sequence": lambda it: it.sequence,
        "deleted": lambda it: int(it.deleted_at is not None),
    },
)
"""`vault_key` references resources; (vault_key, name, sequence) is unique."""
DEPLOYMENTS = Collection(
    name="deployments",
    type=Deployment,
    key=lambda it: it.key,
    columns={
        "scope_key": lambda it: deployment_key(it.tenant_id, it.id.scope),
        "group_key": lambda it: it.id.scope.key if it.id.resource_group is not None else None,
        "management_group_key": lambda it: stored_group(str(it.id.scope), it.tenant_id),
    },
)
"""`group_key` references resources, `management_group_key` management_groups. `scope_key` holds the tenant too: the tenant's own scope has the same name in each."""
DEPLOYMENT_OPERATIONS = Collection(
    name="deployment_operations",
    type=DeploymentOperation,
    key=lambda it: it.key,
    columns={"deployment_key": lambda it: it.deployment},
)
"""`deployment_key` references deployments."""
LONG_OPERATIONS = Collection(
    name="long_operations",
    type=LongOperation,
    key=lambda it: it.id,
    columns={"subscription_id": lambda it: it.subscription_id},
)

PREDEFINED_TAGS = Collection(
    name="predefined_tags",
    type=PredefinedTag,
    key=lambda it: it.key,
    columns={"subscription_id": lambda it: it.subscription_id},
)

COLLECTIONS: tuple[Collection[object], ...] = (  # type: ignore[assignment]  # heterogeneous by design; adapters only build tables from it
    TENANTS,
    MANAGEMENT_GROUPS,
    SUBSCRIPTIONS,
    SUBSCRIPTION_ALIASES,
    SETTINGS,
    RESOURCES,
    PRINCIPALS,
    IDENTITY_ASSIGNMENTS,
    BINDINGS,
    APPLICATIONS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    APP_ROLE_ASSIGNMENTS,
    AGENTS,
    AGENT_SIGHTINGS,
    ENROLLMENTS,
    CARRIAGES,
    JOIN_TOKENS,
    SPENT_PROOFS,
    ROLE_DEFINITIONS,
    ROLE_ASSIGNMENTS,
    DENY_ASSIGNMENTS,
    LOCKS,
    LOCK_MARKS,
    SIGNING_KEYS,
    SECRETS,
    DEPLOYMENTS,
    DEPLOYMENT_OPERATIONS,
    MEMBERSHIPS,
    DEVICE_CODES,
    SESSIONS,
    REFRESH_TOKENS,
    PORTAL_LINKS,
    PORTAL_SESSIONS,
    LONG_OPERATIONS,
    PREDEFINED_TAGS,
    LEASES,
    EVENT_STREAMS,
    QUEUED_EVENTS,
    EVENT_SUBJECTS,
    EVENT_CURSORS,
    REFUSALS,
)
LOGS: tuple[Log[object], ...] = (ACTIVITY, SIGN_INS)  # type: ignore[assignment]  # as above
