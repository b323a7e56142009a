"""`onErrorDeployment`: an earlier deployment that is deployed again when a later one fails.

It is a deployment of its own history: the same template with the same parameters, by whoever asked for the one that failed. Secure
parameters are kept nowhere, so a deployment that needs any cannot be deployed again.
"""

from __future__ import annotations

from collections.abc import Mapping

from idplane.arm.context import Context
from idplane.arm.inner import InnerRequest
from idplane.model.deployments import Deployment, DeploymentState, deployment_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import DEPLOYMENTS
from idplane.providers.fields import Fields
from idplane.templates.parameters import SECURE

__all__ = ["Rollback", "again", "named_rollback", "read_rollback"]

Rollback = tuple[str, str]
"""Type and name of the deployment, which is empty until it is known."""
_LAST, _SPECIFIC = "LastSuccessful", "SpecificDeployment"


def read_rollback(properties: Fields) -> Rollback | None:
    """The member `onErrorDeployment`; raises `Failure(INVALID_PARAMETER)`."""
    if not properties.has("onErrorDeployment"):
        return None
    fields = properties.inner("onErrorDeployment")
    kind = (fields.text("type") or _LAST).lower()
    if kind == _LAST.lower():
        if fields.has("deploymentName"):
            raise fields.refuse("deploymentName", f"is for the type '{_SPECIFIC}'")
        return _LAST, ""
    if kind != _SPECIFIC.lower():
        raise fields.refuse("type", f"must be '{_LAST}' or '{_SPECIFIC}'")
    return _SPECIFIC, fields.required_text("deploymentName", limit=64)


async def named_rollback(context: Context, identifier: ResourceId, asked: Rollback) -> Rollback:
    """The rollback with its deployment's name; raises `Failure(INVALID_PARAMETER)` for one that could not be deployed again."""
    kind, name = asked
    found = await _earlier(context, identifier, name)
    if found is None:
        words = f"The deployment '{name}' cannot be used" if name else "There is no deployment that can be used"
        raise _refused(f"{words} as onErrorDeployment: it must be an earlier one at the same scope that succeeded.")
    declared = found.template.get("parameters")
    for parameter, one in (declared if isinstance(declared, Mapping) else {}).items():
        if str(one.get("type", "")).lower() in SECURE and "defaultValue" not in one:
            words = f"The deployment '{found.id.name}' cannot be used as onErrorDeployment: the value of its secure parameter '{parameter}' is not kept."
            raise _refused(words)
    return kind, found.id.name


async def _earlier(context: Context, identifier: ResourceId, name: str) -> Deployment | None:
    if name:
        sibling = ResourceId((*identifier.segments[:-1], name))
        one = await context.store.get(DEPLOYMENTS, deployment_key(context.tenant.id, sibling))
        found = [one] if one is not None else []
    else:
        scope = deployment_key(context.tenant.id, identifier.scope)
        found = list(await context.store.all(DEPLOYMENTS, where={"scope_key": scope}))
    usable = [one.value for one in found if one.value.state is DeploymentState.SUCCEEDED and one.value.id != identifier]
    return max(usable, key=lambda it: it.finished_at or it.started_at, default=None)


def _refused(words: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, words, code="InvalidOnErrorDeployment", target="properties.onErrorDeployment")


async def again(context: Context, failed: Deployment) -> JsonObject:
    """Deploy the earlier one again, and say how that ended."""
    assert failed.on_error is not None  # the caller has looked
    kind, name = failed.on_error
    told: JsonObject = {"type": kind, "deploymentName": name}
    sibling = ResourceId((*failed.id.segments[:-1], name))
    key = deployment_key(failed.tenant_id, sibling)
    found = await context.store.get(DEPLOYMENTS, key)
    state = DeploymentState.FAILED
    if found is not None:
        earlier = found.value
        body: dict[str, object] = {"properties": _properties(earlier)}
        if earlier.location is not None:
            body["location"] = earlier.location
        try:
            await context.manager.perform(
                InnerRequest(method="PUT", path=str(sibling), api_version=context.api_version, body=body)
            )
            await context.manager.finished(key)
            ended = await context.store.get(DEPLOYMENTS, key)
            state = ended.value.state if ended is not None else state
        except Failure as failure:
            return {**told, "provisioningState": state.value, "error": context.manager.explain(failure)}
    return {**told, "provisioningState": state.value}


def _properties(earlier: Deployment) -> JsonObject:
    values = {
        name: {"value": one["value"]}
        for name, one in earlier.parameters.items()
        if isinstance(one, Mapping) and one.get("value") is not None
    }
    return {"mode": earlier.mode, "template": earlier.template, "parameters": values}
