"""`/metadata/endpoints`: this cloud as clients register it (control-plane.md section 2)."""

from __future__ import annotations

from idplane.model.values import JsonObject
from idplane.web.http import Origin

__all__ = ["cloud_metadata"]


def cloud_metadata(origin: Origin) -> JsonObject:
    """One cloud description, seen from the listener that was asked.

    Resource strings of services that idplane does not run are Azure's own: the token service knows them, and clients only use
    them to ask for tokens.
    """
    management = origin.management
    return {
        "name": "idplane",
        "portal": origin.portal,
        "authentication": {
            "loginEndpoint": origin.authority,
            "audiences": [f"{management}/", management],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": f"{management}/",
        "microsoftGraphResourceId": f"{origin.graph}/",
        "graph": f"{origin.graph}/",
        "graphAudience": f"{origin.graph}/",
        "batch": "https://batch.core.windows.net/",
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "ossrdbmsResourceId": "https://ossrdbms-aad.database.windows.net",
        "logAnalyticsResourceId": "https://api.loganalytics.io",
        "appInsightsResourceId": "https://api.applicationinsights.io",
        "synapseAnalyticsResourceId": "https://dev.azuresynapse.net",
        "attestationResourceId": "https://attest.azure.net",
        "appServiceResourceId": "https://appservice.azure.com",
        "suffixes": {
            "keyVaultDns": origin.vault_domain,
            "storage": "core.windows.net",
            "sqlServerHostname": "database.windows.net",
            "acrLoginServer": "azurecr.io",
        },
    }
