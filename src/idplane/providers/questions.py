"""Questions that Resource Manager answers by itself: reserved names, peers of availability zones, hashes of templates."""

from __future__ import annotations

import json
import re

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, Outcome, Visibility
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, is_guid, normalize_location
from idplane.model.values import JsonObject
from idplane.ports.collections import SUBSCRIPTIONS
from idplane.providers.deployment_requests import template_hash
from idplane.providers.fields import Fields

__all__ = ["questions"]

_WHOLE = frozenset(
    {
        *("ACCESS", "AZURE", "BING", "BIZSPARK", "BIZTALK", "CORTANA", "DIRECTX", "DOTNET", "DYNAMICS", "EXCEL", "EXCHANGE"),
        *("FOREFRONT", "GROOVE", "HOLOLENS", "HYPERV", "KINECT", "LYNC", "MSDN", "O365", "OFFICE", "OFFICE365", "ONEDRIVE"),
        *("ONENOTE", "OUTLOOK", "POWERPOINT", "SHAREPOINT", "SKYPE", "VISIO", "VISUALSTUDIO"),
    }
)
"""Reserved as whole names; two others at the start of one, and two anywhere in it."""
_RESERVED = re.compile(r"(LOGIN|XBOX).*|.*(MICROSOFT|WINDOWS).*", re.DOTALL)
_ZONES = ("1", "2", "3")
_MOST_PEERS = 100


def questions(api_versions: tuple[str, ...]) -> dict[str, Action]:
    """POST `{tenant or subscription}/providers/Microsoft.Resources/{word}`."""
    return {
        "checkResourceName": Action(run=_check_name, visibility=Visibility.OPEN, api_versions=api_versions),
        "checkZonePeers": Action(run=_check_zones, api_versions=api_versions),
        "calculateTemplateHash": Action(run=_hash, visibility=Visibility.OPEN, api_versions=api_versions),
    }


async def _check_name(invocation: Invocation) -> Outcome:
    body = Fields(invocation.body)
    name, kind = body.required_text("name", limit=260), body.required_text("type", limit=260)
    reserved = name.upper() in _WHOLE or _RESERVED.fullmatch(name.upper())
    return Outcome(body={"name": name, "type": kind, "status": "Reserved" if reserved else "Allowed"})


async def _check_zones(invocation: Invocation) -> Outcome:
    """A zone has the same number in every subscription: there are no machine halls behind it."""
    subscription = invocation.context.subscription
    if subscription is None or invocation.id.type != "Microsoft.Resources/subscriptions":
        raise Failure(FailureKind.PATH_NOT_FOUND, "zones are compared from a subscription", path=str(invocation.id))
    body = Fields(invocation.body)
    location = normalize_location(body.required_text("location", limit=100))
    asked = body.texts("subscriptionIds", limit=_MOST_PEERS, length=100)
    peers = [await _peer(invocation.context, body, one) for one in asked]
    zones: list[JsonObject] = [
        {"availabilityZone": zone, "peers": [{"subscriptionId": one, "availabilityZone": zone} for one in peers]}
        for zone in _ZONES
    ]
    return Outcome(body={"subscriptionId": subscription.id, "location": location, "availabilityZonePeers": zones})


async def _peer(context: Context, body: Fields, asked: str) -> str:
    """The id of a subscription that the caller sees, from `subscriptions/{id}` or the id alone."""
    identifier = asked.lower().strip("/").removeprefix("subscriptions/")
    if not is_guid(identifier):
        raise body.refuse("subscriptionIds", "must hold ids of subscriptions")
    found = await context.store.get(SUBSCRIPTIONS, identifier)
    scope = ResourceId(("subscriptions", identifier))
    seen = await context.access.check(context.caller.principal_ids, "Microsoft.Resources/subscriptions/read", scope)
    if found is None or found.value.tenant_id != context.tenant.id or not seen.allowed:
        raise Failure(FailureKind.SUBSCRIPTION_NOT_FOUND, "the subscription was not found", subscription=identifier)
    return found.value.id


async def _hash(invocation: Invocation) -> Outcome:
    text = json.dumps(invocation.body, separators=(",", ":"), ensure_ascii=False, default=dict)
    return Outcome(body={"minifiedTemplate": text, "templateHash": template_hash(invocation.body)})
