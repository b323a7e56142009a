"""Records for the store conformance suite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from idplane.model.bindings import (
    SYSTEM_ASSIGNED,
    Binding,
    ContainerEngine,
    ContainerRule,
    ExecutableRule,
    ProcessRule,
)
from idplane.model.calls import Workload
from idplane.model.directory import (
    Agent,
    Application,
    AppRoleAssignment,
    Credential,
    CredentialKind,
    Principal,
    PrincipalType,
    Setting,
    Subscription,
    Tenant,
)
from idplane.model.enrollments import (
    AgentSighting,
    AgentSightings,
    Carriage,
    Enrollment,
    JoinMethod,
    JoinToken,
    PcrRule,
    SpentProof,
)
from idplane.model.enrollments import Trust as JoinTrust
from idplane.model.events import ActivityEvent, EventStatus, SignIn
from idplane.model.federation import FederatedCredential, Trust
from idplane.model.ids import ResourceId
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.leases import Lease
from idplane.model.locks import Lock, LockLevel, LockMark
from idplane.model.management_groups import ManagementGroup, SubscriptionAlias
from idplane.model.refusals import Refusal as Refused
from idplane.model.resources import AssignedIdentity, Identity, IdentityAssignment, IdentityType, Resource
from idplane.model.roles import DenyAssignment, Permission, RoleAssignment, RoleDefinition
from idplane.model.vault import SecretVersion
from idplane.ports.collections import (
    AGENT_SIGHTINGS,
    AGENTS,
    APP_ROLE_ASSIGNMENTS,
    APPLICATIONS,
    BINDINGS,
    CARRIAGES,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    ENROLLMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    JOIN_TOKENS,
    LOCK_MARKS,
    LOCKS,
    MANAGEMENT_GROUPS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
    SETTINGS,
    SIGNING_KEYS,
    SPENT_PROOFS,
    SUBSCRIPTION_ALIASES,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.collections import REFUSALS as KEPT_REFUSALS
from idplane.ports.store import Batch
from idplane.testing.store_people import PEOPLE
from idplane.testing.store_refusals import create

__all__ = [
    "GROUP",
    "NOW",
    "TENANT",
    "VAULT",
    "VM",
    "activity",
    "agent",
    "alias",
    "app_role_assignment",
    "application",
    "binding",
    "carriage",
    "create",
    "credential",
    "denial",
    "enrollment",
    "everything",
    "federated_credential",
    "identity_assignment",
    "lock",
    "management_group",
    "principal",
    "resource",
    "role",
    "role_assignment",
    "secret",
    "setting",
    "sign_in",
    "signing_key",
    "tenant",
]

T = TypeVar("T")

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
TENANT = "00000000-0000-0000-0000-00000000000a"
_SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
GROUP = f"{_SUBSCRIPTION}/resourceGroups/Stock"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Tracker"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/Prices"


def tenant(identifier: str, name: str = "Home") -> Tenant:
    """A tenant."""
    return Tenant(id=identifier, display_name=name, domain=f"{name}.Example", issuer_v1="v1", issuer_v2="v2", created_at=NOW)


def setting(name: str, value: str = "") -> Setting:
    """A setting: the smallest record."""
    return Setting(name=name, value=value)


def resource(identifier: str, **properties: object) -> Resource:
    """A resource of whatever type its id says."""
    parsed = ResourceId.parse(identifier)
    return Resource(id=parsed, type=parsed.type, created_at=NOW, changed_at=NOW, properties=properties)


def principal(name: str, *, client_id: str | None = None) -> Principal:
    """A service principal."""
    return Principal(
        id=name,
        tenant_id=TENANT,
        client_id=client_id or f"client-{name}",
        display_name=name.title(),
        type=PrincipalType.MANAGED_IDENTITY,
        created_at=NOW,
        resource_id=VM,
        names=("a", "b"),
    )


def identity_assignment(host: str = VM, principal_id: str = "ann") -> IdentityAssignment:
    """The entitlement of a host to an identity."""
    return IdentityAssignment(
        host=ResourceId.parse(host), principal_id=principal_id, client_id=f"client-{principal_id}", identity=None
    )


def binding(name: str = "App", host: str = VM) -> Binding:
    """An admission of one process to the host's own identity."""
    return Binding(
        host=ResourceId.parse(host),
        name=name,
        identities=(SYSTEM_ASSIGNED, VAULT),
        created_at=NOW,
        processes=ProcessRule(
            user="alice",
            executable=ExecutableRule(path="/usr/bin/app", device=64769, inode=2**62, sha256="0" * 64),
            systemd_unit="app.service",
            container=ContainerRule(engine=ContainerEngine.PODMAN, id="f" * 64),
            run=False,
        ),
    )


def federated_credential(name: str = "federated", principal_id: str = "ann") -> FederatedCredential:
    """A trust in another issuer's subject."""
    trust = Trust(issuer="https://issuer.example", subject="someone", audiences=("api://AzureADTokenExchange",))
    return FederatedCredential(id=f"id-{name}", principal_id=principal_id, name=name, trust=trust, created_at=NOW)


def credential(identifier: str = "credential", principal_id: str = "ann") -> Credential:
    """An identity certificate."""
    return Credential(
        id=identifier,
        principal_id=principal_id,
        client_id=f"client-{principal_id}",
        kind=CredentialKind.IDENTITY_CERTIFICATE,
        not_before=NOW,
        not_after=NOW + timedelta(days=1),
        certificate=bytes(range(256)),
        thumbprint="ff",
        host=VM.lower(),
    )


def app_role_assignment(identifier: str = "app-role", resource_id: str = "bob") -> AppRoleAssignment:
    """A role of a resource's service principal, given to ann."""
    return AppRoleAssignment(
        id=identifier, tenant_id=TENANT, principal_id="ann", resource_id=resource_id, role_id="role", created_at=NOW
    )


def role_assignment(identifier: str = "assignment", principal_id: str = "ann", scope: str = GROUP) -> RoleAssignment:
    """A role given to a principal."""
    return RoleAssignment(
        id=identifier,
        tenant_id=TENANT,
        scope=scope,
        role_id="reader",
        principal_id=principal_id,
        principal_type="ServicePrincipal",
        created_at=NOW,
        changed_at=NOW,
    )


def denial(anchor: str | None = None) -> DenyAssignment:
    """A deny assignment, at the machine's group or another scope."""
    return DenyAssignment(
        id="deny",
        tenant_id=TENANT,
        name="no",
        scope=anchor or GROUP,
        permissions=(Permission(actions=("*",)),),
        principals=("ann",),
        anchor=None if anchor is None else anchor.lower(),
    )


def management_group(name: str, parent: str | None = None) -> ManagementGroup:
    """A management group; `parent` is a key, None for the root group."""
    return ManagementGroup(name=name, tenant_id=TENANT, display_name=name, parent=parent, changed_at=NOW)


def alias() -> SubscriptionAlias:
    """Another name of the subscription."""
    return SubscriptionAlias(name="Home", tenant_id=TENANT, subscription_id="sub", workload="Production", created_at=NOW)


def lock(scope: str) -> Lock:
    """A lock."""
    identifier = ResourceId.parse(scope).extension("Microsoft.Authorization/locks", "Keep")
    return Lock(id=identifier, level=LockLevel.READ_ONLY, created_at=NOW, changed_at=NOW, anchor=scope.lower())


def role(identifier: str, name: str) -> RoleDefinition:
    """A custom role."""
    return RoleDefinition(
        id=identifier,
        tenant_id=TENANT,
        name=name,
        description="",
        built_in=False,
        permissions=(Permission(actions=("*/read",)),),
        assignable_scopes=("/",),
    )


def signing_key(identifier: str, state: KeyState, purpose: KeyPurpose = KeyPurpose.TOKEN) -> SigningKey:
    """A key of some state."""
    return SigningKey(
        id=identifier, purpose=purpose, algorithm="RS256", state=state, certificate=b"\x00", sealed=b"\xff", created_at=NOW
    )


def secret(version: str, sequence: int, name: str = "Password") -> SecretVersion:
    """A version of a secret in `VAULT`."""
    return SecretVersion(
        vault=VAULT.lower(),
        name=name,
        version=version,
        sealed=b"sealed",
        created_at=NOW,
        updated_at=NOW,
        sequence=sequence,
        tags={"Team": "stock"},
    )


def agent(identifier: str, thumbprint: str) -> Agent:
    """An agent of the machine."""
    return Agent(
        id=identifier, display_name="", certificate=b"der", thumbprint=thumbprint, enrolled_at=NOW, hosts=(VM.lower(),)
    )


def application(identifier: str, client_id: str) -> Application:
    """An application."""
    return Application(id=identifier, client_id=client_id, tenant_id=TENANT, display_name="", created_at=NOW)


def activity(identifier: str, at: datetime = NOW, resource_id: str = VM, tenant_id: str = TENANT) -> ActivityEvent:
    """A control-plane operation."""
    return ActivityEvent(
        id=identifier,
        at=at,
        tenant_id=tenant_id,
        subscription_id=None,
        resource_id=resource_id,
        operation="Microsoft.Compute/virtualMachines/write",
        status=EventStatus.SUCCEEDED,
        properties={"deep": [1, {"er": None}]},
    )


def sign_in(identifier: str, at: datetime = NOW, error_code: int = 0) -> SignIn:
    """A token issuance."""
    return SignIn(
        id=identifier,
        at=at,
        tenant_id=TENANT,
        client_id="client-ann",
        principal_id="ann",
        principal_name="Ann",
        principal_type="ManagedIdentity",
        resource="https://vault.azure.net",
        resource_name="Azure Key Vault",
        error_code=error_code,
        failure_reason="",
        correlation_id="correlation",
        token_id=identifier,
        credential_kind="identity-certificate",
    )


def lease(name: str = "purge", holder: str = "one", term: int = 1) -> Lease:
    """A lease on a duty."""
    return Lease(name=name, holder=holder, term=term)


def enrollment() -> Enrollment:
    """Of a machine, with every kind of trust."""
    return Enrollment(
        id="e",
        host=ResourceId.parse(VM),
        name="Rack",
        tenant_id=TENANT,
        method=JoinMethod.TPM,
        created_at=NOW,
        trust=JoinTrust(authorities="PEM", pcrs=PcrRule(bank="sha256", registers=(0, 7), digest="00")),
        facts=(("endorsementKey", "aa"),),
        expression="claims['serial'] eq '1'",
    )


def carriage() -> Carriage:
    """Of the machine by an enrollment."""
    return Carriage(enrollment_id="e", resource=ResourceId.parse(VM))


_JOIN_TOKEN = JoinToken(id="t", enrollment_id="e", secret_hash=b"hash", created_at=NOW, expires_at=NOW, used_at=NOW)


def _refusal() -> Refused:
    """A kept refusal with every member."""
    attributes = {"request": {"microsoft.authorization/roleassignments:principaltype": ["User"]}}
    return Refused(
        id="request",
        at=NOW,
        surface="management",
        kind="FORBIDDEN",
        detail="may not",
        facts={"action": "a/read"},
        status=403,
        method="GET",
        url=VM,
        client_address="::1",
        user_agent="tests/1",
        correlation_id="correlation",
        dialect="imds",
        resource="https://vault.azure.net",
        count=2,
        position=7,
        proved=True,
        tenant_id=TENANT,
        principal_id="ann",
        client_id="client-ann",
        caller_name="Ann",
        token_id="uti",
        groups=("staff",),
        host=VM.lower(),
        workload=Workload(pid=1, executable="/usr/bin/app"),
        action="a/read",
        scope=VM,
        data=True,
        attributes=attributes,
        reason="condition",
        because="assignment",
        considered=("assignment",),
        sign_in_id="sign-in",
    )


def everything() -> Batch:
    """One record in every collection, with every kind of member, each after what it refers to."""
    bearer = resource(VM, size="Standard_B1s", zones=["1", "2"], weight=1.5, big=2**70, nothing=None, text='é"\\\u2028😀')
    identity = Identity(
        type=IdentityType.BOTH,
        tenant_id=TENANT,
        principal_id="ann",
        client_id="client-ann",
        user_assigned=(AssignedIdentity(id=ResourceId.parse(VAULT), principal_id="bob", client_id="client-bob"),),
    )
    bearer = Resource(
        id=bearer.id,
        type=bearer.type,
        created_at=NOW,
        changed_at=NOW,
        tags={"Env": "prod"},
        identity=identity,
        properties=bearer.properties,
        envelope={"sku": {"name": "x"}},
    )
    return Batch.of(
        create(TENANTS, tenant(TENANT)),
        create(MANAGEMENT_GROUPS, management_group("Shops")),
        create(MANAGEMENT_GROUPS, management_group("Web", "shops")),
        create(SUBSCRIPTIONS, Subscription(id="sub", tenant_id=TENANT, display_name="Home", management_group="web")),
        create(SUBSCRIPTION_ALIASES, alias()),
        create(SETTINGS, setting("home", TENANT)),
        create(RESOURCES, resource(GROUP)),
        create(RESOURCES, bearer),
        create(RESOURCES, resource(VAULT)),
        create(PRINCIPALS, principal("ann")),
        create(IDENTITY_ASSIGNMENTS, identity_assignment()),
        create(BINDINGS, binding()),
        create(ENROLLMENTS, enrollment()),
        create(CARRIAGES, carriage()),
        create(JOIN_TOKENS, _JOIN_TOKEN),
        create(SPENT_PROOFS, SpentProof(id="challenge|0", expires_at=NOW)),
        create(
            AGENT_SIGHTINGS, AgentSightings(shard="00", seen={"agent": AgentSighting(at=NOW, address="::1", version="x/1")})
        ),
        create(APPLICATIONS, application("app", "client-app")),
        create(CREDENTIALS, credential()),
        create(FEDERATED_CREDENTIALS, federated_credential()),
        create(APP_ROLE_ASSIGNMENTS, app_role_assignment(resource_id="ann")),
        create(AGENTS, agent("agent", "aa")),
        create(ROLE_DEFINITIONS, role("role", "Price Reader")),
        create(ROLE_ASSIGNMENTS, role_assignment()),
        create(DENY_ASSIGNMENTS, denial()),
        create(LOCKS, lock(VAULT)),
        create(LOCK_MARKS, LockMark(subscription_id="sub")),
        create(SIGNING_KEYS, signing_key("key", KeyState.ACTIVE)),
        create(SECRETS, secret("0" * 32, 1)),
        create(KEPT_REFUSALS, _refusal()),
        *PEOPLE.operations,
    )
