"""Profiles: what differs between behaving as Azure does and lifting limits that are only Azure's (design section 1).

A profile is this one table of values. No logic asks which profile is in force; it reads the value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from idplane.model.rates import AZURE_MANAGEMENT, AZURE_METADATA, ENROLLMENTS, EnrollmentRates, ManagementRates, MetadataRates

__all__ = ["AZURE", "AZURE_UNHURRIED", "OPEN", "PROFILES", "Profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Limits and lifetimes."""

    name: str
    managed_identity_token_lifetime: timedelta
    application_token_lifetime: timedelta
    """Answers announce one second less, as Entra's do: 3599 for an hour (MIE section 9.4)."""
    identity_certificate_lifetime: timedelta
    agent_certificate_lifetime: timedelta
    """Of agents on hosts, which renew it when half of it is over."""
    signing_key_lifetime: timedelta
    """How long a key signs before its successor takes over."""
    signing_key_lead: timedelta
    """How long a prepared key is published before it signs."""
    tls_authority_notice: timedelta
    """How long an authority for listeners is published before it signs, when somebody rotates by hand: agents that are away for less follow by themselves."""
    secret_retention: timedelta
    """How long a deleted secret can be recovered, unless its vault says otherwise."""
    activity_log_retention: timedelta | None
    """How long the activity log is kept, unless the installation says otherwise; None for ever."""
    sign_in_retention: timedelta | None
    management_rates: ManagementRates | None
    """How often Resource Manager may be asked; None for as often as anyone likes."""
    metadata_rates: MetadataRates | None
    enrollment_rates: EnrollmentRates | None
    """How often machines may try to become agents."""
    resources_per_group_and_type: int | None
    groups_per_subscription: int | None
    role_assignments_per_subscription: int | None
    role_assignments_per_management_group: int | None
    custom_roles_per_tenant: int | None
    locks_per_scope: int | None
    management_groups_per_tenant: int | None
    management_group_depth: int | None
    """Levels of management groups below the root group."""
    federated_credentials_per_principal: int | None
    federated_algorithms: tuple[str, ...]
    """How issuers of federated tokens may sign."""
    federated_system_identities: bool
    """Whether a system-assigned identity may be a federated credential, as user-assigned ones may."""
    stopped_by_moves: frozenset[str]
    """Types, in lower case, whose system-assigned identity stops working when they are moved to another subscription."""
    resources_per_move: int | None
    resources_per_template: int | None

    def without_rates(self) -> Profile:
        """The same limits, to be reached as fast as anyone likes: for tests, which ask faster than people do."""
        return replace(self, management_rates=None, metadata_rates=None, enrollment_rates=None)


AZURE = Profile(
    name="azure",
    managed_identity_token_lifetime=timedelta(hours=24),
    application_token_lifetime=timedelta(hours=1),
    identity_certificate_lifetime=timedelta(days=90),
    agent_certificate_lifetime=timedelta(hours=24),
    signing_key_lifetime=timedelta(days=42),
    signing_key_lead=timedelta(days=3),
    tls_authority_notice=timedelta(days=14),
    secret_retention=timedelta(days=90),
    activity_log_retention=timedelta(days=90),
    sign_in_retention=timedelta(days=30),
    management_rates=AZURE_MANAGEMENT,
    metadata_rates=AZURE_METADATA,
    enrollment_rates=ENROLLMENTS,
    resources_per_group_and_type=800,
    groups_per_subscription=980,
    role_assignments_per_subscription=4000,
    role_assignments_per_management_group=500,
    custom_roles_per_tenant=5000,
    locks_per_scope=20,
    management_groups_per_tenant=10_000,
    management_group_depth=6,
    federated_credentials_per_principal=20,
    federated_algorithms=("RS256",),
    federated_system_identities=False,
    stopped_by_moves=frozenset({"microsoft.web/sites", "microsoft.web/sites/slots"}),
    resources_per_move=800,
    resources_per_template=800,
)

OPEN = Profile(
    name="open",
    managed_identity_token_lifetime=timedelta(hours=1),
    application_token_lifetime=timedelta(hours=1),
    identity_certificate_lifetime=timedelta(hours=24),
    agent_certificate_lifetime=timedelta(hours=24),
    signing_key_lifetime=timedelta(days=14),
    signing_key_lead=timedelta(days=1),
    tls_authority_notice=timedelta(days=14),
    secret_retention=timedelta(days=90),
    activity_log_retention=None,
    sign_in_retention=None,
    management_rates=None,
    metadata_rates=None,
    enrollment_rates=ENROLLMENTS,
    resources_per_group_and_type=None,
    groups_per_subscription=None,
    role_assignments_per_subscription=None,
    role_assignments_per_management_group=None,
    custom_roles_per_tenant=None,
    locks_per_scope=None,
    management_groups_per_tenant=None,
    management_group_depth=None,
    federated_credentials_per_principal=None,
    federated_algorithms=("RS256", "PS256", "ES256"),
    federated_system_identities=True,
    stopped_by_moves=frozenset(),
    resources_per_move=None,
    resources_per_template=None,
)

AZURE_UNHURRIED = AZURE.without_rates()
"""What the pytest plugin's plane has. No profile of its own."""

PROFILES = {profile.name: profile for profile in (AZURE, OPEN)}
