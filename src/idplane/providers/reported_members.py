"""What services report of a resource beside what was sent: names and addresses that templates look up, by type.

Nothing stands behind the addresses, which are Azure's; what is stored under the same name wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from idplane.model.resources import Resource
from idplane.model.values import JsonObject

__all__ = ["with_reported"]

_Reported = Callable[[Resource], JsonObject]


def with_reported(resource: Resource, members: JsonObject) -> JsonObject:
    """The members of a resource with what its service would add to its properties."""
    reported = _REPORTED.get(resource.type.lower())
    properties = members.get("properties")
    if reported is None or not isinstance(properties, Mapping):
        return members
    return {**members, "properties": {**reported(resource), **properties}}


def _guid(resource: Resource) -> str:
    """The same for as long as the resource is there."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{resource.id.key}#{resource.created_at.isoformat()}"))


def _name(resource: Resource) -> str:
    return resource.id.name.lower()


def _component(one: Resource) -> JsonObject:
    key = _guid(one)
    place = f"https://{one.location}.in.applicationinsights.azure.com/"
    text = f"InstrumentationKey={key};IngestionEndpoint={place}"
    return {"AppId": key, "ApplicationId": one.id.name, "InstrumentationKey": key, "ConnectionString": text}


def _public_ip(one: Resource) -> JsonObject:
    """An address of a range that is for documentation: nothing is there."""
    return {"ipAddress": f"192.0.2.{uuid.UUID(_guid(one)).int % 254 + 1}"}


_REPORTED: Mapping[str, _Reported] = {
    "microsoft.appconfiguration/configurationstores": lambda one: {"endpoint": f"https://{_name(one)}.azconfig.io"},
    "microsoft.cache/redis": lambda one: {"hostName": f"{_name(one)}.redis.cache.windows.net", "sslPort": 6380},
    "microsoft.cognitiveservices/accounts": lambda one: {"endpoint": f"https://{_name(one)}.cognitiveservices.azure.com/"},
    "microsoft.containerregistry/registries": lambda one: {"loginServer": f"{_name(one)}.azurecr.io"},
    "microsoft.dbforpostgresql/flexibleservers": lambda one: {
        "fullyQualifiedDomainName": f"{_name(one)}.postgres.database.azure.com"
    },
    "microsoft.documentdb/databaseaccounts": lambda one: {"documentEndpoint": f"https://{_name(one)}.documents.azure.com:443/"},
    "microsoft.eventgrid/topics": lambda one: {
        "endpoint": f"https://{_name(one)}.{one.location}-1.eventgrid.azure.net/api/events"
    },
    "microsoft.eventhub/namespaces": lambda one: {"serviceBusEndpoint": f"https://{_name(one)}.servicebus.windows.net:443/"},
    "microsoft.insights/components": _component,
    "microsoft.maps/accounts": lambda one: {"uniqueId": _guid(one)},
    "microsoft.network/publicipaddresses": _public_ip,
    "microsoft.operationalinsights/workspaces": lambda one: {"customerId": _guid(one)},
    "microsoft.servicebus/namespaces": lambda one: {"serviceBusEndpoint": f"https://{_name(one)}.servicebus.windows.net:443/"},
    "microsoft.signalrservice/signalr": lambda one: {"hostName": f"{_name(one)}.service.signalr.net"},
    "microsoft.sql/servers": lambda one: {"fullyQualifiedDomainName": f"{_name(one)}.database.windows.net", "state": "Ready"},
}
