"""What a deployment request asks for, read from its body, and the facts that its template may look at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from idplane.arm.bodies import MAX_BODY, parse_object
from idplane.arm.context import Context
from idplane.arm.tags import read_tags
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, normalize_location
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.providers.deployment_rollbacks import Rollback, read_rollback
from idplane.providers.fields import Fields
from idplane.providers.management_groups import shown_group
from idplane.providers.vault_secrets import secret_parameter
from idplane.templates.evaluation import Evaluator
from idplane.templates.facts import Facts, Locals
from idplane.templates.lenient import locate, read_lenient
from idplane.templates.limits import MAX_NESTING
from idplane.templates.planning import Plan, plan_nested, plan_template
from idplane.templates.problems import TemplateProblem

__all__ = ["COMPLETE", "Ask", "Nested", "facts_of", "planned", "read_ask", "read_body", "template_hash", "with_secrets"]

COMPLETE = "Complete"
_MODES = {"incremental": "Incremental", "complete": COMPLETE}
_UNSUPPORTED = {
    "templateLink": "The template must be in the request: links to templates are not followed.",
    "parametersLink": "The parameters must be in the request: links to parameters are not followed.",
}


class _Text(dict[str, object]):
    """A body that remembers the text it was read from, so that a refusal can name the line."""

    text: str = ""


def read_body(body: bytes) -> JsonObject:
    """A deployment's body: JSON, or what clients paste together from template files (control-plane.md section 1 point 2).

    Raises `Failure(MALFORMED_BODY | BODY_TOO_LARGE | TEMPLATE_INVALID)`.
    """
    try:
        made = _Text(parse_object(body))
    except Failure as failure:
        if failure.kind is not FailureKind.MALFORMED_BODY or len(body) > MAX_BODY:
            raise
        try:
            value = read_lenient(body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise failure from error
        except TemplateProblem as problem:
            raise problem.failure() from problem
        if not isinstance(value, dict):
            raise
        made = _Text(value)
    made.text = body.decode("utf-8-sig")
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """Handed over by the deployment that a nested one is part of."""

    depth: int
    outer: Evaluator | None = field(default=None, repr=False)
    """The outer template's evaluator, when the nested template is evaluated in its scope."""
    local: Locals | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A deployment as it is asked for."""

    template: object
    parameters: JsonObject = field(repr=False)
    mode: str
    location: str | None
    tags: Mapping[str, str]
    ids_only: bool
    """What-if: whether only resource ids are wanted."""
    text: str = field(default="", repr=False)
    """The body's text, for positions."""
    on_error: Rollback | None = None


def read_ask(body: JsonObject, identifier: ResourceId) -> Ask:
    """Read a body; raises `Failure(INVALID_PARAMETER)` with Azure's codes for what deployments cannot have."""
    fields = Fields(body)
    properties = fields.inner("properties")
    for name, words in _UNSUPPORTED.items():
        if properties.has(name):
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="NotSupported", target=f"properties.{name}")
    mode = _MODES.get((properties.text("mode") or "Incremental").lower())
    if mode is None:
        raise properties.refuse("mode", "must be 'Incremental' or 'Complete'")
    if mode == COMPLETE and identifier.resource_group is None:
        words = f"The deployment mode 'Complete' is not supported for '{identifier.name}': it is for resource groups only."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="InvalidDeployment")
    template = properties.values.get("template")
    if template is None:
        words = "The request content is missing the required property 'properties.template'."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="InvalidRequestContent")
    return Ask(
        template=template,
        parameters=properties.inner("parameters").values,
        mode=mode,
        location=_location(fields, identifier),
        tags=read_tags(fields.values) or {},
        ids_only=(properties.inner("whatIfSettings").text("resultFormat") or "").lower() == "resourceidonly",
        text=body.text if isinstance(body, _Text) else "",
        on_error=read_rollback(properties),
    )


async def with_secrets(context: Context, ask: Ask) -> Ask:
    """The request with the secrets of vaults that its parameters refer to; raises `Failure` for those it may not have."""
    given = dict(ask.parameters)
    for name, value in ask.parameters.items():
        reference = value.get("reference") if isinstance(value, Mapping) else None
        if reference is None:
            continue
        if not isinstance(reference, Mapping) or not _is_secure(ask.template, name):
            words = f"The parameter '{name}' refers to a secret of a key vault: its type must be 'securestring'."
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="InvalidTemplate", target=f"properties.parameters.{name}")
        given[name] = {"value": await secret_parameter(context, name, reference)}
    return ask if given == ask.parameters else replace(ask, parameters=given)


def _is_secure(template: object, name: str) -> bool:
    """Whether a parameter's value will be shown nowhere."""
    declared = template.get("parameters") if isinstance(template, Mapping) else None
    folded = {key.lower(): one for key, one in declared.items()} if isinstance(declared, Mapping) else {}
    one = folded.get(name.lower())
    return isinstance(one, Mapping) and str(one.get("type", "")).lower() == "securestring"


def _location(fields: Fields, identifier: ResourceId) -> str | None:
    """Deployments outside of groups have a place of their own; those in groups have their group's."""
    location = fields.text("location")
    if identifier.resource_group is not None:
        if location:
            words = (
                f"The 'location' property is not allowed for '{identifier.name}' at resource group scope. "
                "Please see https://aka.ms/arm-deployment-subscription for usage details."
            )
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="InvalidDeployment")
        return None
    if not location or not location.strip():
        words = (
            f"The 'location' property must be specified for '{identifier.name}'. "
            "Please see https://aka.ms/arm-deployment-subscription for usage details."
        )
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="LocationRequired")
    return normalize_location(location)


async def facts_of(context: Context, identifier: ResourceId, ask: Ask) -> Facts:
    """The circumstances of a deployment as its template sees them."""
    subscription, tenant, caller = context.subscription, context.tenant, context.caller
    group = await _group(context, identifier)
    return Facts(
        scope=ResourceId.parse(str(group["id"])) if group else identifier.scope,
        name=identifier.name,
        now=context.now,
        new_guid=context.entropy.guid,
        location=ask.location,
        mode=ask.mode,
        tenant={
            "countryCode": "",
            "displayName": tenant.display_name,
            "id": f"/tenants/{tenant.id}",
            "tenantId": tenant.id,
        },
        subscription=None
        if subscription is None
        else {
            "id": f"/subscriptions/{subscription.id}",
            "subscriptionId": subscription.id,
            "tenantId": subscription.tenant_id,
            "displayName": subscription.display_name,
        },
        group=group,
        management_group=await shown_group(context, identifier.scope.name) if identifier.scope.is_management_group else None,
        environment=_environment(context),
        versions=context.manager.versions,
        most_resources=context.profile.resources_per_template,
        deployer={"objectId": caller.principal_id, "tenantId": caller.tenant_id, "userPrincipalName": caller.display_name},
    )


async def _group(context: Context, identifier: ResourceId) -> JsonObject | None:
    if identifier.resource_group is None:
        return None
    found = await context.store.get(RESOURCES, identifier.scope.key)
    if found is None:
        return None
    group = found.value
    return {
        "id": str(group.id),
        "name": group.id.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Succeeded"},
        **({"managedBy": group.envelope["managedBy"]} if "managedBy" in group.envelope else {}),
    }


def _environment(context: Context) -> JsonObject:
    """`environment()`: this plane's addresses; where idplane has no service of a kind, Azure's own suffix."""
    addresses = context.addresses
    return {
        "name": "idplane",
        "portal": addresses.portal,
        "resourceManager": f"{addresses.management}/",
        "graph": f"{addresses.graph}/",
        "graphAudience": f"{addresses.graph}/",
        "authentication": {
            "loginEndpoint": f"{addresses.authority}/",
            "audiences": [f"{addresses.management}/", addresses.management],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {
            "keyvaultDns": f".{addresses.vault_domain}",
            "storage": "core.windows.net",
            "sqlServerHostname": ".database.windows.net",
            "acrLoginServer": ".azurecr.io",
        },
    }


def planned(ask: Ask, facts: Facts, nested: Nested | None) -> Plan:
    """The plan of a template; raises `Failure(TEMPLATE_INVALID)` with the line where that is known."""
    try:
        if nested is not None and nested.depth > MAX_NESTING:
            raise TemplateProblem(
                f"Deployments are nested deeper than {MAX_NESTING} levels.", code="NestedDeploymentDepthExceeded"
            )
        if nested is not None and nested.outer is not None and nested.local is not None:
            return plan_nested(ask.template, facts, nested.outer, nested.local)
        return plan_template(ask.template, ask.parameters, facts)
    except TemplateProblem as problem:
        position = locate(ask.text, ("properties", "template", *problem.path)) if ask.text and problem.path else None
        raise problem.failure(position) from problem


def template_hash(template: object) -> str:
    """Digits that tell templates apart. Azure's own hash is not published."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"), default=str)
    return str(int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8]))
