"""The namespace Microsoft.Management: management groups, what lies below them, and questions about the tree as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Invocation,
    Listed,
    Listing,
    OperationInfo,
    Outcome,
    Own,
    Placement,
    Provider,
    ResourceType,
    Visibility,
)
from idplane.model.directory import Subscription
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import MANAGEMENT_GROUP, ResourceId
from idplane.model.management_groups import ManagementGroup
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields
from idplane.providers.hierarchy_settings import settings_type
from idplane.providers.management_groups import GROUP_NAMES, MANAGEMENT_VERSIONS, group_types, is_taken
from idplane.providers.management_tree import Tree, require_group

__all__ = ["MANAGEMENT"]

_READ, _WRITE = (f"{MANAGEMENT_GROUP}/{verb}" for verb in ("read", "write"))
_SUBSCRIPTION_READ = "Microsoft.Resources/subscriptions/read"
_SUBSCRIPTION_WRITE = "Microsoft.Resources/subscriptions/write"


# What lies below a group --------------------------------------------------------------------------------------------


async def _descendants(listing: Listing) -> Listed:
    """Every group and subscription below one, groups first, in order of name."""
    context = listing.context
    group = (await require_group(context, listing.scope.name)).value
    tree = await Tree.of(context)
    groups = list(tree.below(group))
    found = {f"0|{one.key}": _descendant(one.id, MANAGEMENT_GROUP, one.display_name, tree.chain(one)[0]) for one in groups}
    for parent in (group, *groups):
        for one in tree.subscriptions(parent):
            identifier = ResourceId(("subscriptions", one.id))
            found[f"1|{one.id}"] = _descendant(identifier, "/subscriptions", one.display_name, parent)
    keys = sorted(key for key in found if listing.after is None or key > listing.after)
    shown = keys[: listing.top]
    return Listed(items=tuple(found[key] for key in shown), after=shown[-1] if len(keys) > len(shown) else None)


def _descendant(identifier: ResourceId, kind: str, display_name: str, parent: ManagementGroup) -> JsonObject:
    properties = {"displayName": display_name, "parent": {"id": str(parent.id)}}
    return {"id": str(identifier), "type": kind, "name": identifier.name, "properties": properties}


# Entities -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entity:
    """A group or a subscription with the groups above it, nearest first."""

    group: ManagementGroup | None
    subscription: Subscription | None
    above: Sequence[ManagementGroup]

    @property
    def id(self) -> ResourceId:
        if self.group is not None:
            return self.group.id
        assert self.subscription is not None  # one of the two is there
        return ResourceId(("subscriptions", self.subscription.id))


async def _entities(invocation: Invocation) -> Outcome:
    """The part of the tree that the caller may see: groups and subscriptions that it may read."""
    context = invocation.context
    tree = await Tree.of(context)
    wanted = _wanted(context, tree)
    found: list[JsonObject] = []
    for one in _all(tree):
        if not wanted(one):
            continue
        read, write = (_READ, _WRITE) if one.group else (_SUBSCRIPTION_READ, _SUBSCRIPTION_WRITE)
        if (await context.access.check(context.caller.principal_ids, read, one.id)).allowed:
            edits = (await context.access.check(context.caller.principal_ids, write, one.id)).allowed
            found.append(_entity(tree, one, context.tenant.id, "edit" if edits else "view"))
    return Outcome(body={"value": found, "count": len(found), "nextLink": None})


def _all(tree: Tree) -> list[_Entity]:
    groups = [tree.root, *tree.below(tree.root)]
    found = [_Entity(one, None, tree.chain(one)) for one in groups]
    for group in groups:
        above = [group, *tree.chain(group)]
        found += [_Entity(None, one, above) for one in tree.subscriptions(group)]
    return found


def _wanted(context: Context, tree: Tree) -> Callable[[_Entity], bool]:
    """What `groupName`, `$search` and `$view` leave; raises `Failure(INVALID_PARAMETER)` for searches that are not known."""
    view = context.query.get("$view", "").lower()
    search = context.query.get("$search", "").lower()
    focus = context.query.get("groupname", "").lower()
    if search not in _SEARCHES:
        words = f"The value of '$search' must be one of {', '.join(filter(None, _SEARCHES))}."
        raise Failure(FailureKind.INVALID_PARAMETER, words, parameter="$search")
    if focus and focus not in tree.groups:
        raise Failure(FailureKind.MANAGEMENT_GROUP_NOT_FOUND, "the management group was not found", name=focus)

    def wanted(one: _Entity) -> bool:
        if (view == "groupsonly" and one.group is None) or (view == "subscriptionsonly" and one.group is not None):
            return False
        return not focus or _in_focus(one, focus, search)

    return wanted


_SEARCHES = ("", "parentandfirstlevelchildren", "parentonly", "childrenonly")


def _in_focus(one: _Entity, focus: str, search: str) -> bool:
    itself = one.group is not None and one.group.key == focus
    if search == "parentonly":
        return itself
    if search:
        child = bool(one.above) and one.above[0].key == focus
        return child or (itself and search != "childrenonly")
    return itself or any(group.key == focus for group in one.above)


def _entity(tree: Tree, one: _Entity, tenant_id: str, permission: str) -> JsonObject:
    groups = tree.children(one.group) if one.group else ()
    below = [one.group, *tree.below(one.group)] if one.group else []
    subscriptions = sum(len(tree.subscriptions(group)) for group in below)
    named = one.group or one.subscription
    assert named is not None  # an entity is one of the two
    return {
        "id": str(one.id),
        "type": MANAGEMENT_GROUP if one.group else "/subscriptions",
        "name": one.id.name,
        "properties": {
            "tenantId": tenant_id,
            "displayName": named.display_name,
            "parent": {"id": str(one.above[0].id)} if one.above else {"id": None},
            "permissions": permission,
            "inheritedPermissions": permission,
            "numberOfDescendants": max(len(below) - 1, 0) + subscriptions,
            "numberOfChildren": len(groups) + (len(tree.subscriptions(one.group)) if one.group else 0),
            "numberOfChildGroups": len(groups),
            "parentDisplayNameChain": [group.display_name for group in reversed(one.above)],
            "parentNameChain": [group.name for group in reversed(one.above)],
        },
    }


# Names, and the tree's own state ------------------------------------------------------------------------------------


async def _name_available(invocation: Invocation) -> Outcome:
    context, fields = invocation.context, Fields(invocation.body)
    name = fields.text("name") or ""
    if GROUP_NAMES.pattern.fullmatch(name) is None:
        words = f"The name '{name[:100]}' is not valid: it must have {GROUP_NAMES.words}."
        return Outcome(body={"nameAvailable": False, "reason": "Invalid", "message": words})
    if await is_taken(context, name):
        words = f"The management group name '{name}' is not available."
        return Outcome(body={"nameAvailable": False, "reason": "AlreadyExists", "message": words})
    return Outcome(body={"nameAvailable": True})


async def _backfilled(invocation: Invocation) -> Outcome:
    """Every subscription lies in the tree from its first day."""
    return Outcome(body={"tenantId": invocation.context.tenant.id, "status": "Completed"})


def _operations() -> tuple[OperationInfo, ...]:
    groups = ("managementGroups", "Management group", ("read", "write", "delete"))
    subscriptions = ("managementGroups/subscriptions", "Subscription in a management group", ("read", "write", "delete"))
    settings = ("managementGroups/settings", "Hierarchy settings", ("read", "write", "delete"))
    return tuple(
        OperationInfo(
            name=f"Microsoft.Management/{kind}/{verb}",
            operation=f"{verb.capitalize()} {words.lower()}",
            resource=words,
            provider="Microsoft Management",
        )
        for kind, words, verbs in (groups, subscriptions, settings)
        for verb in verbs
    )


_OPEN = Visibility.OPEN
MANAGEMENT = Provider(
    namespace="Microsoft.Management",
    types=(
        *group_types(),
        settings_type(MANAGEMENT_VERSIONS),
        ResourceType(
            name=f"{MANAGEMENT_GROUP}/descendants",
            api_versions=MANAGEMENT_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            own=Own(list=_descendants),
            permissions=MANAGEMENT_GROUP,
            located=False,
        ),
    ),
    operations=_operations(),
    operations_versions=MANAGEMENT_VERSIONS,
    actions={
        "getEntities": Action(run=_entities, visibility=_OPEN),
        "checkNameAvailability": Action(run=_name_available, visibility=_OPEN),
        "tenantBackfillStatus": Action(run=_backfilled, visibility=_OPEN),
        "startTenantBackfill": Action(run=_backfilled, visibility=_OPEN),
    },
    actions_versions=MANAGEMENT_VERSIONS,
)
