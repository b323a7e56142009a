"""Hosts of containers: Microsoft.App, Microsoft.ContainerInstance and Microsoft.ContainerService."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, NameRule, Outcome, Provider, Write, Written
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import issuer_of
from idplane.ports.collections import RESOURCES
from idplane.providers.fields import Fields
from idplane.providers.hosts import ASSIGN, EITHER_IDENTITY, host_type
from idplane.providers.identity_block import IDENTITY_RESOURCE
from idplane.providers.operations import operations_of

__all__ = ["APP", "CONTAINER_INSTANCE", "CONTAINER_SERVICE"]

_LOWER_NAMES = NameRule(
    re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])"), "2 to 32 lower-case letters, digits or '-', starting with a letter"
)
_GROUP_NAMES = NameRule(
    re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"),
    "1 to 63 lower-case letters, digits or '-', not starting or ending with '-'",
)
_CLUSTER_NAMES = NameRule(
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"),
    "1 to 63 letters, digits, '-' or '_', starting and ending with a letter or digit",
)


async def _nothing_to_do(_: Invocation) -> Outcome:
    return Outcome()


# Microsoft.App ------------------------------------------------------------------------------------------------------

_APP_VERSIONS = (
    "2026-01-01",
    "2025-10-02-preview",
    "2025-07-01",
    "2025-02-02-preview",
    "2025-01-01",
    "2024-10-02-preview",
    "2024-08-02-preview",
    "2024-03-01",
    "2024-02-02-preview",
    "2023-11-02-preview",
    "2023-08-01-preview",
    "2023-05-02-preview",
    "2023-05-01",
    "2023-04-01-preview",
    "2022-11-01-preview",
    "2022-10-01",
    "2022-06-01-preview",
    "2022-03-01",
)
_APP_TYPES = (
    host_type("Microsoft.App/managedEnvironments", _APP_VERSIONS, naming=_CLUSTER_NAMES),
    host_type(
        "Microsoft.App/containerApps",
        _APP_VERSIONS,
        naming=_LOWER_NAMES,
        actions={"start": Action(run=_nothing_to_do), "stop": Action(run=_nothing_to_do)},
    ),
    host_type("Microsoft.App/jobs", _APP_VERSIONS[:15], naming=_LOWER_NAMES),
)
APP = Provider(
    namespace="Microsoft.App",
    types=_APP_TYPES,
    operations=operations_of("Microsoft Container Apps", _APP_TYPES),
    operations_versions=_APP_VERSIONS,
)


# Microsoft.ContainerInstance ----------------------------------------------------------------------------------------

_INSTANCE_VERSIONS = (
    "2026-07-01",
    "2025-09-01",
    "2024-11-01-preview",
    "2024-10-01-preview",
    "2024-09-01-preview",
    "2024-05-01-preview",
    "2023-05-01",
    "2023-02-01-preview",
    "2022-10-01-preview",
    "2022-09-01",
    "2021-10-01",
    "2021-09-01",
    "2021-07-01",
    "2021-03-01",
    "2020-11-01",
    "2019-12-01",
    "2018-10-01",
)


_INSTANCE_TYPES = (
    host_type(
        "Microsoft.ContainerInstance/containerGroups",
        _INSTANCE_VERSIONS,
        naming=_GROUP_NAMES,
        actions={word: Action(run=_nothing_to_do) for word in ("start", "stop", "restart")},
    ),
)
CONTAINER_INSTANCE = Provider(
    namespace="Microsoft.ContainerInstance",
    types=_INSTANCE_TYPES,
    operations=operations_of("Microsoft Container Instance", _INSTANCE_TYPES),
    operations_versions=_INSTANCE_VERSIONS,
)


# Microsoft.ContainerService -----------------------------------------------------------------------------------------

_CLUSTER_VERSIONS = (
    "2026-05-02-preview",
    "2026-05-01",
    "2026-04-02-preview",
    "2026-04-01",
    "2026-03-02-preview",
    "2026-03-01",
    "2026-02-02-preview",
    "2026-02-01",
    "2026-01-02-preview",
    "2026-01-01",
    "2025-10-02-preview",
    "2025-10-01",
    "2025-09-02-preview",
    "2025-09-01",
    "2025-08-01",
    "2025-07-01",
    "2025-05-01",
    "2025-04-01",
    "2025-03-01",
    "2025-02-01",
    "2025-01-01",
    "2024-10-01",
    "2024-09-01",
    "2024-08-01",
    "2024-07-01",
    "2024-05-01",
    "2024-02-01",
    "2024-01-01",
    "2023-11-01",
    "2023-10-01",
    "2023-09-01",
    "2023-08-01",
    "2023-07-01",
    "2023-06-01",
    "2023-05-01",
    "2023-04-01",
    "2023-03-01",
    "2023-02-01",
    "2023-01-01",
    "2022-11-01",
    "2022-09-01",
    "2022-07-01",
    "2022-06-01",
    "2022-04-01",
    "2022-03-01",
    "2022-02-01",
    "2022-01-01",
    "2021-10-01",
    "2021-09-01",
    "2021-08-01",
    "2021-07-01",
    "2021-05-01",
    "2021-03-01",
    "2021-02-01",
    "2020-12-01",
    "2020-11-01",
    "2020-09-01",
    "2020-07-01",
    "2020-06-01",
)
_KUBELET = "kubeletidentity"


async def _with_kubelet_identity(write: Write, written: Written) -> Written:
    """The kubelet's identity with its ids, in the spelling that Azure shows; raises `Failure(LINKED_FORBIDDEN | INVALID_PARAMETER)`.

    Naming one takes the right to assign it, as for the cluster's own identities; repeating it does not.
    """
    profile = Fields(written.resource.properties).inner("identityProfile")
    strangers = [name for name in profile.values if name.lower() != _KUBELET]
    if strangers:
        raise profile.refuse(strangers[0][:100], f"is not supported: the only key is '{_KUBELET}'")
    named = next(reversed(list(profile.values)), None)  # a PATCH may have added another casing behind the old one
    if named is None or not profile.has(named):
        return written
    identifier = _identity_id(profile.inner(named))
    old = _kubelet_of(write.old)
    shown = (
        old if old and ResourceId.parse(str(old["resourceId"])) == identifier else await _looked_up(write.context, identifier)
    )
    properties = {**written.resource.properties, "identityProfile": {_KUBELET: shown}}
    return replace(written, resource=replace(written.resource, properties=properties))


def _identity_id(kubelet: Fields) -> ResourceId:
    text = kubelet.required_text("resourceId")
    try:
        identifier = ResourceId.parse(text)
    except Failure as failure:
        raise kubelet.refuse("resourceId", "must be the id of a user-assigned identity") from failure
    if identifier.type.lower() != IDENTITY_RESOURCE.lower():
        raise kubelet.refuse("resourceId", "must be the id of a user-assigned identity")
    return identifier


def _kubelet_of(cluster: Resource | None) -> JsonObject | None:
    profile = cluster.properties.get("identityProfile") if cluster else None
    kubelet = profile.get(_KUBELET) if isinstance(profile, Mapping) else None
    return kubelet if isinstance(kubelet, Mapping) else None


async def _looked_up(context: Context, identifier: ResourceId) -> JsonObject:
    await context.require_linked(ASSIGN, identifier)
    found = await context.store.get(RESOURCES, identifier.key)
    if found is None or found.value.properties.get("tenantId") != context.tenant.id:
        raise context.linked_refusal(ASSIGN, identifier)
    properties = found.value.properties
    return {"resourceId": str(identifier), "clientId": properties["clientId"], "objectId": properties["principalId"]}


def _cluster_members(cluster: Resource, context: Context) -> JsonObject:
    defaults = {"nodeResourceGroup": f"MC_{cluster.id.resource_group}_{cluster.id.name}_{cluster.location}"[:80]}
    state = {"provisioningState": "Succeeded", "powerState": {"code": "Running"}, **_issuer_members(cluster, context)}
    return {**cluster.envelope, "properties": {**defaults, **cluster.properties, **state}}


def _issuer_members(cluster: Resource, context: Context) -> JsonObject:
    """`oidcIssuerProfile` with the cluster's true issuer, whatever a body said; left out where it is left out."""
    profile = cluster.properties.get("oidcIssuerProfile")
    if not isinstance(profile, Mapping):
        return {}
    issuer = issuer_of(cluster, context.tenant.id)
    shown = {name: value for name, value in profile.items() if name.lower() != "issuerurl"}
    return {"oidcIssuerProfile": {**shown, **({"issuerURL": issuer} if issuer else {})}}


_CLUSTER_TYPES = (
    host_type(
        "Microsoft.ContainerService/managedClusters",
        _CLUSTER_VERSIONS,
        naming=_CLUSTER_NAMES,
        finish=_with_kubelet_identity,
        members=_cluster_members,
        identities=EITHER_IDENTITY,
        most_user_assigned=1,
        deleted_status=204,
    ),
)
CONTAINER_SERVICE = Provider(
    namespace="Microsoft.ContainerService",
    types=_CLUSTER_TYPES,
    operations=operations_of("Microsoft Container Service", _CLUSTER_TYPES),
    operations_versions=_CLUSTER_VERSIONS,
)
