"""The directory's values: tenants, subscriptions, principals and what they authenticate with."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from idplane.model.ids import ResourceId
from idplane.model.scale_sets import identity_host_key
from idplane.model.values import JsonObject

__all__ = [
    "HOME_TENANT",
    "HOME_USER",
    "MARK_BYTES",
    "Agent",
    "AgentState",
    "AppRole",
    "AppRoleAssignment",
    "Application",
    "AssertionUse",
    "Credential",
    "CredentialKind",
    "GrantedRole",
    "GroupDetails",
    "Membership",
    "Principal",
    "PrincipalType",
    "ResourceApplication",
    "Setting",
    "Subscription",
    "Tenant",
    "TokenBinding",
    "UserDetails",
]


HOME_TENANT = "home-tenant"
"""The setting that names the tenant which the installation was made with."""
HOME_USER = "home-user"
"""The setting that holds the object id of the home tenant's first user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A directory. The issuers are settings, apart from the host that serves the keys (design section 7)."""

    id: str
    display_name: str
    domain: str
    issuer_v1: str
    issuer_v2: str
    created_at: datetime
    private_issuers: tuple[str, ...] = ()
    """Issuers of federated tokens whose documents may be fetched over `http` and from addresses that are not public."""
    tokens_valid_from: datetime | None = None
    """When all tokens of the tenant were revoked last, for people: `tokens_mark` is what decides."""
    tokens_mark: str = ""
    """As `Principal.tokens_mark`, for every principal of the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A billing-less subscription: a scope that belongs to one tenant."""

    id: str
    tenant_id: str
    display_name: str
    state: str = "Enabled"
    """`Enabled`, `Warned` or `Disabled`."""
    management_group: str | None = None
    """Key of the management group above it; None for the tenant's root group."""
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    unregistered: tuple[str, ...] = ()
    """Namespaces, in lower case, in which nothing can be made until they are registered again."""


class PrincipalType(enum.StrEnum):
    """What kind of directory object a principal is; service principals carry Graph's `servicePrincipalType` words."""

    APPLICATION = "Application"
    MANAGED_IDENTITY = "ManagedIdentity"
    USER = "User"
    GROUP = "Group"

    @property
    def rbac_type(self) -> str:
        """The `principalType` that role assignments use for it (control-plane.md section 7.3)."""
        return {"User": "User", "Group": "Group"}.get(self.value, "ServicePrincipal")

    @property
    def is_client(self) -> bool:
        """Whether it is a service principal: something that signs in by itself, under its `client_id`."""
        return self in (PrincipalType.APPLICATION, PrincipalType.MANAGED_IDENTITY)


MARK_BYTES = 8
"""Length of `Principal.tokens_mark` and `Tenant.tokens_mark`."""


class TokenBinding(enum.StrEnum):
    """What a principal's tokens are bound to."""

    NONE = "none"
    CERTIFICATE = "certificate"
    """The certificate on the connection that they were issued over (RFC 8705): elsewhere they are refused."""


class AssertionUse(enum.StrEnum):
    """How often a client assertion that an application signed counts (RFC 7523 section 3, `jti`)."""

    ANY = "any"
    """Until it expires: most client libraries keep one and send it with each request."""
    ONCE_PER_RESOURCE = "oncePerResource"
    """For one token of each resource: what a library sends that keeps its assertion, and its tokens too."""
    ONCE = "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDetails:
    """What a user has beside what every principal has. There is no password: see docs/decisions/0011."""

    user_principal_name: str
    """As written; unique in the tenant without regard to case."""
    mail: str | None = None
    mail_nickname: str | None = None
    given_name: str | None = None
    surname: str | None = None
    further: Mapping[str, str] = field(default_factory=dict)
    """Texts that nothing here reads, such as `jobTitle`, by Graph's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDetails:
    """What a group has beside what every principal has. Its members are `Membership`s."""

    mail_nickname: str = ""
    description: str | None = None
    security_enabled: bool = True
    mail_enabled: bool = False
    kinds: tuple[str, ...] = ()
    """Graph's `groupTypes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedRole:
    """An application role that a principal holds: what tokens for that resource say of it."""

    resource: str
    """Client id of the resource application, lower case."""
    role: str
    """Id of the role."""
    value: str
    """What the claim `roles` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A directory object that roles can be assigned to. `id` is the object id, `client_id` the application id.

    Users and groups are no applications: their `client_id` is their object id, and nothing can sign in under it. A managed identity names its ARM resource in `resource_id` (the host for system-assigned, the identity itself for
    user-assigned) and its names follow control-plane.md section 8.
    """

    id: str
    tenant_id: str
    client_id: str
    display_name: str
    type: PrincipalType
    created_at: datetime
    enabled: bool = True
    resource_id: str | None = None
    """As written, for claims and logs; compare its lower-case form."""
    system_assigned: bool = False
    names: tuple[str, ...] = ()
    """`servicePrincipalNames`."""
    alternative_names: tuple[str, ...] = ()
    app_roles: tuple[GrantedRole, ...] = ()
    """What its app role assignments come to. Each change of those changes this record too, so that whatever rests on the principal ends."""
    settings: JsonObject = field(default_factory=dict)
    """Further members that Graph's clients set and read back, such as `tags` and `notes`."""
    user: UserDetails | None = None
    """Of users."""
    group: GroupDetails | None = None
    """Of groups."""
    tokens_valid_from: datetime | None = None
    """When its tokens were revoked last, for people: clocks differ and a token's times are whole seconds, so `tokens_mark` decides."""
    tokens_mark: str = ""
    """Hex of random bytes (`MARK_BYTES`), new at each revocation; tokens carry it, and count only under the one that stands. Empty before
    the first, when any token counts."""
    token_binding: TokenBinding = TokenBinding.NONE
    """Whether its tokens are worth anything without the key of a certificate."""
    assertion_use: AssertionUse = AssertionUse.ANY
    """How often one of its own client assertions counts; its application's setting."""

    @property
    def caller_name(self) -> str:
        """What logs and refusals call it: users by the name that they sign in under, everything else by its display name."""
        return self.user.user_principal_name if self.user is not None else self.display_name

    def roles_for(self, resource: str) -> tuple[str, ...]:
        """The values of the roles that it holds for the application with that client id, sorted."""
        return tuple(sorted({one.value for one in self.app_roles if one.resource == resource}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """That a principal is a direct member of a group. Groups may be members, even of one another."""

    group_id: str
    member_id: str

    @property
    def key(self) -> str:
        """Unique: nobody is a member twice."""
        return f"{self.group_id}|{self.member_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRole:
    """A role that an application offers to callers (Graph `appRole`)."""

    id: str
    value: str
    """Empty for one that can be assigned and that no token shows."""
    display_name: str = ""
    description: str = ""
    enabled: bool = True
    member_types: tuple[str, ...] = ("Application",)
    """`User` (users and groups), `Application`, or both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRoleAssignment:
    """That a principal holds a role of a resource's service principal (Graph `appRoleAssignment`)."""

    id: str
    tenant_id: str
    principal_id: str
    resource_id: str
    """Object id of the resource's service principal."""
    role_id: str
    """All zeros for access without a role."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A resource or client application. `token_version` is its `requestedAccessTokenVersion`: the resource decides (MIE section 9.2)."""

    id: str
    """Object id."""
    client_id: str
    tenant_id: str
    display_name: str
    created_at: datetime
    identifier_uris: tuple[str, ...] = ()
    token_version: int = 1
    app_roles: tuple[AppRole, ...] = ()
    public_client: bool = False
    """`isFallbackPublicClient`: it may sign users in without a credential of its own, since it runs where it could keep none."""
    settings: JsonObject = field(default_factory=dict)
    """Further members that Graph's clients set and read back, such as `web` and `requiredResourceAccess`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceApplication:
    """What a token is for, as far as issuing one needs to know it: the application behind a resource string."""

    client_id: str
    """Lower case."""
    display_name: str
    token_version: int = 1
    """1 or 2: the resource decides the form of its tokens (MIE section 9.2)."""
    roles_of: str | None = None
    """Client id of the application whose roles its tokens list, if not its own: Graph's, for an address that Graph shares."""

    @property
    def roles_resource(self) -> str:
        """The client id that the caller's roles are looked up by."""
        return self.roles_of or self.client_id


class CredentialKind(enum.StrEnum):
    """What a principal authenticates to the token service with."""

    SECRET = "secret"
    CERTIFICATE = "certificate"
    IDENTITY_CERTIFICATE = "identity-certificate"
    WORKLOAD_CERTIFICATE = "workload-certificate"
    """A workload's own, of an identity that it has on a host: the key was born in the workload, not in the host's agent."""
    FEDERATED = "federated"
    """Another issuer's token; such credentials are `model.federation.FederatedCredential`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A credential of a principal. Holds hashes and public parts only; no private key and no secret is ever stored.

    An identity certificate also names the host and the agent that it was issued to; it dies with either's entitlement.
    """

    id: str
    principal_id: str
    """Empty for a credential of an application, which proves all of its service principals."""
    client_id: str
    kind: CredentialKind
    not_before: datetime
    not_after: datetime
    display_name: str = ""
    secret_hash: bytes | None = None
    """SHA-256 of a secret that we generated with 256 bits of entropy, so that no stretching is needed."""
    certificate: bytes | None = None
    """DER."""
    thumbprint: str | None = None
    """Hex SHA-256 of the certificate's DER (RFC 8705 `x5t#S256`, in hex)."""
    host: str | None = None
    """Resource id key."""
    agent_id: str | None = None
    application_id: str | None = None
    """Object id of the application whose credential it is."""
    hint: str = ""
    """The first characters of a secret, so that people can tell which one they hold."""

    @property
    def owner(self) -> str:
        """Object id of what it belongs to: a service principal or an application."""
        return self.principal_id or self.application_id or ""


class AgentState(enum.StrEnum):
    """Whether an agent is served."""

    ACTIVE = "active"
    LOCKED = "locked"
    """Its state was in two places: nobody knows which of them is the host."""
    BANNED = "banned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A host process enrolled to serve token endpoints.

    `hosts` are the resource id keys bound to it; `*` is every resource of the plane, which only the embedded agent has.
    """

    id: str
    display_name: str
    certificate: bytes
    """DER; the agent signs its requests with the matching key."""
    thumbprint: str
    enrolled_at: datetime
    hosts: tuple[str, ...] = ()
    state: AgentState = AgentState.ACTIVE
    state_because: str = ""
    """Why it is not served, for people."""
    method: str = ""
    """How it proved what it is; empty for the embedded agent."""
    facts: tuple[tuple[str, str], ...] = ()
    """What was proved: public, sorted."""
    enrollment: str | None = None
    """Id of the enrollment that admitted it."""
    host: ResourceId | None = None
    """The source resource that it is the host of."""
    tenant_id: str = ""
    addresses: tuple[str, ...] = ()
    """Where its certificate was asked for, newest first; of a locked agent, both places that it was shown from."""
    renewed_at: datetime | None = None
    previous_thumbprint: str | None = None
    """Of the certificate before the present one, which counts until the present one is first used."""
    confirmed: bool = True
    """Whether the present certificate was used."""

    @property
    def key(self) -> str | None:
        """Id key of its host."""
        return self.host.key if self.host is not None else None

    def serves(self, host_key: str) -> bool:
        """Whether this agent is bound to the resource with that id key, or to a scale set's instance that has its identities."""
        return "*" in self.hosts or host_key in self.hosts or any(identity_host_key(one) == host_key for one in self.hosts)

    def is_shown_by(self, thumbprint: str | None) -> bool:
        """Whether a certificate with this thumbprint is one that the agent may authenticate with now."""
        if self.state is not AgentState.ACTIVE or thumbprint is None:
            return False
        return thumbprint == self.thumbprint or (not self.confirmed and thumbprint == self.previous_thumbprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A named value of the installation, such as the id of its home tenant."""

    name: str
    value: str
