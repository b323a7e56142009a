"""What-if: what a deployment would change, found by carrying it out on a scratch copy of the store.

Every resource is written there by the same code that would really write it, for the same caller; before and after are what a GET
shows. Values that would be chosen at random (ids of new identities) are left out of what is shown, since a real run chooses others.
A write that would be refused is told as `Unsupported` with the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.inner import InnerRequest, Manager, Rehearsal
from idplane.model.failure import Category, Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.providers.deployment_requests import COMPLETE, Ask
from idplane.providers.deployment_runs import Done, Run
from idplane.templates.delta import changes, no_effect
from idplane.templates.planning import Plan

__all__ = ["foreseen"]

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_VOLATILE = frozenset({"systemdata", "etag"})
_VOLATILE_PROPERTIES = frozenset({"provisioningstate", "createdon", "updatedon", "createdby", "updatedby"})
"""Members that change with every write, or with time; lower case."""


class _Nothing:
    """Progress that nobody reads."""

    async def done(self, one: Done) -> None:
        del one


async def foreseen(context: Context, plan: Callable[[], Plan], scope: ResourceId, ask: Ask) -> list[JsonObject]:
    """The changes that a deployment would make, in the order of the template; then what is deleted or left alone.

    `plan` makes a fresh plan: where ids inside nested templates may hang on values chosen at random, a second rehearsal tells
    which of them do.
    """
    rehearsal = context.manager.rehearse()
    try:
        foresight = _Foresight(context, rehearsal, plan(), scope, ask)
        await foresight.rehearse()
        settled = await _deployed(context, plan(), scope, ask) if foresight.chance else None
        return await foresight.changes(settled)
    finally:
        await rehearsal.close()


async def _deployed(context: Context, plan: Plan, scope: ResourceId, ask: Ask) -> set[str]:
    """What a further rehearsal deploys, by lower-case id."""
    rehearsal = context.manager.rehearse()
    try:
        return await _Foresight(context, rehearsal, plan, scope, ask).rehearse()
    finally:
        await rehearsal.close()


class _Foresight:
    """One what-if: a rehearsed run, and the comparison with what there is."""

    def __init__(self, context: Context, rehearsal: Rehearsal, plan: Plan, scope: ResourceId, ask: Ask) -> None:
        self._context = context
        self._rehearsal = rehearsal
        self._plan = plan
        self._ask = ask
        self._scope = scope
        self._versions = {one.id.lower(): one.api_version for one in plan.resources.values()}
        self._run = Run(
            context=replace(context, store=rehearsal.store, manager=rehearsal.manager),
            manager=rehearsal.manager,
            plan=plan,
            scope=scope,
            mode="Incremental",
            depth=0,
            progress=_Nothing(),
            undaunted=True,
        )

    async def rehearse(self) -> set[str]:
        """Carry the plan out on the scratch copy; what was deployed there, by lower-case id."""
        await self._run.perform()
        return {one.lower() for one in self._run.deployed}

    @property
    def chance(self) -> bool:
        """Whether ids may depend on random values: those of the template itself are settled before anything is deployed."""
        return bool(self._rehearsal.generated) and any(one.is_deployment for one in self._plan.resources.values())

    async def changes(self, settled: set[str] | None) -> list[JsonObject]:
        """Compare; `settled` are the ids that a further rehearsal gave, None when all are settled anyway."""
        refused = _refusals(self._run.errors)
        own = [one for one in self._plan.resources.values() if one.wanted and not one.existing]
        ids = [one.id for one in own if not one.is_deployment]
        seen = {one.lower() for one in ids}
        ids += [one for one in self._run.deployed if one.lower() not in seen]
        seen.update(one.lower() for one in ids)
        ids += [target for key, (target, _) in refused.items() if key not in seen and "/deployments/" not in key]
        found: list[JsonObject] = []
        for one in dict.fromkeys(ids):
            known = settled is None or one.lower() in settled or one.lower() in refused
            found.append(await self._change(one, refused.get(one.lower())) if known else _unidentifiable(one))
        found += await self._rest({one.lower() for one in ids})
        return [_without_details(one) for one in found] if self._ask.ids_only else found

    async def _change(self, identifier: str, refused: tuple[str, JsonObject] | None) -> JsonObject:
        before = await self._state(self._context.manager, identifier)
        if refused is not None:
            reason = f"{refused[1].get('code')}: {refused[1].get('message')}"
            change: dict[str, object] = {"resourceId": identifier, "changeType": "Unsupported", "unsupportedReason": reason}
            return change if before is None else {**change, "before": before}
        after = await self._state(self._rehearsal.manager, identifier)
        if before is None:
            return {"resourceId": identifier, "changeType": "Create", "after": after}
        delta = changes(before, after)
        kind = "Modify" if delta else "NoChange"
        delta += _unseen(self._run.sent.get(identifier.lower(), {}), after or {})
        return {"resourceId": identifier, "changeType": kind, "before": before, "after": after, "delta": delta}

    async def _rest(self, ids: set[str]) -> list[JsonObject]:
        """What the group holds beside the template: deleted in complete mode, left alone otherwise."""
        if self._scope.resource_group is None:
            return []
        deleted = {one.key for one in await self._run.rest()} if self._ask.mode == COMPLETE else set()
        found: list[JsonObject] = []
        for one in await self._context.store.all(RESOURCES, under=("path", self._scope.key)):
            identifier = one.value.id
            if identifier.parent != self._scope or identifier.key in ids:
                continue
            change: dict[str, object] = {"resourceId": str(identifier), "changeType": "Ignore"}
            if identifier.key in deleted:
                change |= await self._deletion(identifier)
            found.append({**change, "before": await self._state(self._context.manager, str(identifier))})
        return found

    async def _deletion(self, identifier: ResourceId) -> JsonObject:
        """Delete on the scratch copy, too: a lock may refuse it."""
        manager = self._rehearsal.manager
        version = (manager.versions(identifier.type) or ("",))[0]
        try:
            await manager.perform(InnerRequest(method="DELETE", path=str(identifier), api_version=version))
        except Failure as failure:
            refused = manager.explain(failure)
            return {"changeType": "Unsupported", "unsupportedReason": f"{refused.get('code')}: {refused.get('message')}"}
        return {"changeType": "Delete"}

    async def _state(self, manager: Manager, identifier: str) -> Mapping[str, object] | None:
        """What a GET shows, without what changes by itself or is chosen at random; None for what is not there."""
        version = self._versions.get(identifier.lower()) or (manager.versions(ResourceId.parse(identifier).type) or ("",))[0]
        try:
            found = await manager.perform(InnerRequest(method="GET", path=identifier, api_version=version))
        except Failure as failure:
            if failure.kind.category is Category.NOT_FOUND:
                return None
            raise
        shown = _comparable(found.body)
        known = _without_generated(shown, self._rehearsal.generated)
        if not isinstance(known, dict):
            return None
        return {**known, "apiVersion": version}


def _unidentifiable(identifier: str) -> JsonObject:
    return {
        "resourceId": f"{identifier.rpartition('/')[0]}/[unknown]",
        "changeType": "Unsupported",
        "unsupportedReason": (
            "Changes to the resource cannot be analyzed because its resource ID cannot be calculated until the deployment is under "
            "way. Please see https://aka.ms/WhatIfUnidentifiableResource for more information."
        ),
    }


def _comparable(value: object) -> object:
    """A resource without what every write changes."""
    if not isinstance(value, Mapping):
        return value
    kept = {name: item for name, item in value.items() if name.lower() not in _VOLATILE}
    properties = kept.get("properties")
    if isinstance(properties, Mapping):
        kept["properties"] = {name: item for name, item in properties.items() if name.lower() not in _VOLATILE_PROPERTIES}
    return kept


def _without_generated(value: object, generated: set[str]) -> object:
    """The value without members whose text holds a random value of the rehearsal."""
    if isinstance(value, Mapping):
        return {name: _without_generated(item, generated) for name, item in value.items() if not _random(item, generated)}
    if isinstance(value, list | tuple):
        return [_without_generated(item, generated) for item in value if not _random(item, generated)]
    return value


def _random(value: object, generated: set[str]) -> bool:
    return isinstance(value, str) and any(one.lower() in generated for one in _GUID.findall(value))


def _refusals(errors: list[JsonObject]) -> dict[str, tuple[str, JsonObject]]:
    """The innermost refusals by the lower-case id of what they are about."""
    found: dict[str, tuple[str, JsonObject]] = {}
    stack = list(errors)
    while stack:
        one = stack.pop()
        details = one.get("details")
        if isinstance(details, list) and details:
            stack.extend(detail for detail in details if isinstance(detail, Mapping))
        elif isinstance(one.get("target"), str):
            found[str(one["target"]).lower()] = (str(one["target"]), one)
    return found


def _unseen(sent: JsonObject, after: Mapping[str, object]) -> list[dict[str, object]]:
    """What is sent among the properties and will not be stored. Its value is not told: such members are often secrets."""
    properties, stored = sent.get("properties"), after.get("properties")
    found = no_effect(properties, stored if isinstance(stored, Mapping) else {}, "properties")
    return [{name: value for name, value in one.items() if name != "after"} for one in found]


def _without_details(change: JsonObject) -> JsonObject:
    return {"resourceId": change["resourceId"], "changeType": change["changeType"]}
