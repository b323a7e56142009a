"""The declared namespaces, composed: each can be registered, and each is told of by Microsoft.Resources."""

from __future__ import annotations

from dataclasses import replace

from idplane.arm.declare import Provider
from idplane.providers.agents import AGENTS_PROVIDER
from idplane.providers.authorization import AUTHORIZATION
from idplane.providers.compute import COMPUTE
from idplane.providers.containers import APP, CONTAINER_INSTANCE, CONTAINER_SERVICE
from idplane.providers.decisions import AUTHORIZATION_OWN
from idplane.providers.diagnostics import DIAGNOSTICS
from idplane.providers.directory import DIRECTORY
from idplane.providers.enrollments import workload_enrollments
from idplane.providers.further_hosts import FURTHER_HOSTS
from idplane.providers.insights import INSIGHTS
from idplane.providers.keyvault import KEY_VAULT
from idplane.providers.managed_identity import MANAGED_IDENTITY
from idplane.providers.management import MANAGEMENT
from idplane.providers.metadata import ProviderCatalogue
from idplane.providers.provider_operations import provider_operations
from idplane.providers.registration import registration
from idplane.providers.resources import RESOURCES_VERSIONS, resources_provider
from idplane.providers.security_keys import SECURITY
from idplane.providers.storage import STORAGE
from idplane.providers.subscriptions import SUBSCRIPTION
from idplane.providers.surroundings import SURROUNDINGS, joined
from idplane.providers.token_revocation import AUTHORITY
from idplane.providers.web import WEB
from idplane.providers.workload_bindings import workload_bindings

__all__ = ["PROVIDERS", "composed"]


def composed(*providers: Provider) -> tuple[Provider, ...]:
    """These namespaces and Microsoft.Resources, which describes them all. What stands under one name is one namespace."""
    catalogue = ProviderCatalogue()
    own = (resources_provider(catalogue), provider_operations(catalogue))
    actions, views = registration(catalogue, RESOURCES_VERSIONS), catalogue.views(RESOURCES_VERSIONS)
    registrable = tuple(
        replace(one, actions={**one.actions, **actions}, views={**one.views, **views}) for one in joined(*own, *providers)
    )
    catalogue.providers = registrable
    return registrable


_AZURE = (
    AUTHORIZATION,
    COMPUTE,
    INSIGHTS,
    KEY_VAULT,
    MANAGED_IDENTITY,
    STORAGE,
    MANAGEMENT,
    SUBSCRIPTION,
    WEB,
    APP,
    CONTAINER_INSTANCE,
    CONTAINER_SERVICE,
    *FURTHER_HOSTS,
    *SURROUNDINGS,
)
PROVIDERS = composed(
    *_AZURE,
    workload_bindings(_AZURE),
    workload_enrollments(_AZURE),
    AGENTS_PROVIDER,
    DIRECTORY,
    AUTHORITY,
    SECURITY,
    DIAGNOSTICS,
    AUTHORIZATION_OWN,
)
