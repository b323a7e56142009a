"""`exportTemplate` of a resource group: a template that makes what the group holds, there again or elsewhere.

Names become parameters, ids of what is exported become `resourceId(...)`, ids of what is not become parameters of their own; what
only a service knows (principal ids, states) is left out. Secrets are not in it, since they are not kept; role assignments and the
history of deployments are not in it either, as in Azure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from idplane.arm.context import Context
from idplane.arm.declare import Invocation, Outcome
from idplane.arm.inner import InnerRequest
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.providers.fields import Fields

__all__ = ["export_group"]

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_OPTIONS = frozenset(
    {"includeparameterdefaultvalue", "includecomments", "skipresourcenameparameterization", "skipallparameterizations"}
)
_MOST = 1000
_IDENTITIES = "microsoft.managedidentity/userassignedidentities"
_TRUSTS = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
_SHOWN_ALONE = frozenset(
    {"id", "name", "type", "systemdata", "etag", "identity", "properties", "location", "tags", "managedby"}
)
"""Members of a resource that the template has in a form of its own, or not at all; lower case."""
_READ_ONLY: Mapping[str, frozenset[str]] = {
    _IDENTITIES: frozenset({"principalId", "clientId", "tenantId"}),
    "microsoft.compute/virtualmachines": frozenset({"vmId", "timeCreated", "instanceView"}),
    "microsoft.compute/virtualmachinescalesets": frozenset({"uniqueId", "timeCreated"}),
}
"""Stored properties that a PUT does not take, by type."""


async def export_group(invocation: Invocation) -> Outcome:
    """POST `{group}/exportTemplate`; raises `Failure(INVALID_PARAMETER | INVALID_RESOURCE_ID | RESOURCE_NOT_FOUND)`."""
    context, group, fields = invocation.context, invocation.id, Fields(invocation.body)
    if (fields.text("outputFormat") or "Json").lower() != "json":
        raise fields.refuse("outputFormat", "can only be 'Json'")
    options = _options(fields)
    resources = await _wanted(context, group, fields)
    export = _Export(context=context, resources={one.id.key: one for one in resources}, options=options)
    await export.write()
    body: dict[str, object] = {"template": export.template()}
    if export.failures:
        body["error"] = {
            "code": "ExportTemplateCompletedWithErrors",
            "message": "Export template operation completed with errors. Some resources were not exported. Please see details for more information.",
            "details": export.failures,
        }
    return Outcome(body=body)


def _options(fields: Fields) -> frozenset[str]:
    stated = fields.text("options") or ""
    found = frozenset(part.strip().lower() for part in stated.split(",") if part.strip())
    if not found <= _OPTIONS:
        raise fields.refuse(
            "options", "must be a list of IncludeParameterDefaultValue, IncludeComments, Skip...Parameterization"
        )
    return found


async def _wanted(context: Context, group: ResourceId, fields: Fields) -> list[Resource]:
    """The resources that are asked for, children behind their parents."""
    found = [one.value for one in await context.store.all(RESOURCES, under=("path", group.key)) if one.value.id != group]
    named = fields.texts("resources", limit=_MOST) or ("*",)
    if named == ("*",):
        return found
    ids = [ResourceId.parse(one) for one in named]
    for one in ids:
        if not any(resource.id == one for resource in found):
            words = f"the resource '{one}' is not in the resource group '{group.name}'"
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="ResourceNotFound", target="resources")
    return [resource for resource in found if any(resource.id.is_within(one) for one in ids)]


@dataclass(slots=True, kw_only=True)
class _Export:
    """A template as it grows."""

    context: Context
    resources: Mapping[str, Resource]
    options: frozenset[str]
    parameters: dict[str, JsonObject] = field(default_factory=dict)
    written: list[JsonObject] = field(default_factory=list)
    failures: list[JsonObject] = field(default_factory=list)
    _named: dict[str, str] = field(default_factory=dict)
    """Parameters by what they stand for: the id keys of top-level resources, and of what is not exported."""

    def template(self) -> JsonObject:
        return {
            "$schema": _SCHEMA,
            "contentVersion": "1.0.0.0",
            "parameters": self.parameters,
            "variables": {},
            "resources": self.written,
        }

    async def write(self) -> None:
        # Parameters of names come first, so that references find them.
        for one in self.resources.values():
            if one.id.parent is not None and one.id.parent.key not in self.resources:
                self._parameter(one.id)
        for one in self.resources.values():
            try:
                self.written.append(await self._resource(one))
                if one.type.lower() == _IDENTITIES:
                    self.written += await self._trusts(one)
            except Failure as failure:
                told = {**self.context.manager.explain(failure), "target": str(one.id)}
                self.failures.append({"code": "ExportTemplateProviderError", **told})

    # Resources ------------------------------------------------------------------------------------------------------

    async def _resource(self, one: Resource) -> JsonObject:
        version = _stable(self.context.manager.versions(one.type))
        shown = (await self.context.manager.perform(InnerRequest(method="GET", path=str(one.id), api_version=version))).body
        members = {} if not isinstance(shown, Mapping) else shown
        hidden = _READ_ONLY.get(one.type.lower(), frozenset())
        kept = {name: value for name, value in one.properties.items() if name not in hidden}
        needs: set[str] = set()
        made: dict[str, object] = {"type": one.type, "apiVersion": version, "name": self._name(one.id)}
        if "includecomments" in self.options:
            made["comments"] = f"Generalized from resource: '{one.id}'."
        scope = one.id.scope
        if scope.namespace is not None:
            made["scope"] = self._reference(scope, needs)
        if one.location is not None:
            made["location"] = one.location
        if one.tags:
            made["tags"] = {name: _literal(value) for name, value in one.tags.items()}
        made |= {name: self._value(value, needs) for name, value in members.items() if name.lower() not in _SHOWN_ALONE}
        if one.identity is not None:
            made["identity"] = self._identity(one, needs)
        parent = one.id.parent
        if parent is not None and parent.key in self.resources:
            needs.add(self._reference(parent, set()))
        made["properties"] = self._value(kept, needs)
        needs.discard(self._reference(one.id, set()))
        if needs:
            made["dependsOn"] = sorted(needs)
        return made

    def _identity(self, one: Resource, needs: set[str]) -> JsonObject:
        assert one.identity is not None  # the caller has looked
        users: JsonObject = {self._reference(user.id, needs): {} for user in one.identity.user_assigned}
        return {"type": one.identity.type.value, **({"userAssignedIdentities": users} if users else {})}

    async def _trusts(self, one: Resource) -> list[JsonObject]:
        """Federated credentials: they are no resources of the store's, but the identity is nothing without them."""
        version = _stable(self.context.manager.versions(_TRUSTS))
        asked = InnerRequest(method="GET", path=f"{one.id}/federatedIdentityCredentials", api_version=version)
        listed = (await self.context.manager.perform(asked)).body
        made: list[JsonObject] = []
        before: str | None = None
        for shown in listed.get("value", ()) if isinstance(listed, Mapping) else ():
            identifier = ResourceId.parse(str(shown["id"]))
            properties = {name: _literal_value(value) for name, value in shown["properties"].items()}
            # One behind the other, as Azure wants them written.
            needs = [self._reference(one.id, set())] + ([before] if before else [])
            name = self._name(identifier)
            made.append({"type": _TRUSTS, "apiVersion": version, "name": name, "dependsOn": needs, "properties": properties})
            before = self._reference(identifier, set())
        return made

    # Names and references -------------------------------------------------------------------------------------------

    def _parameter(self, identifier: ResourceId, *, external: bool = False) -> str | None:
        """The parameter that stands for a top-level resource's name, or for an id outside; None where there shall be none."""
        known = self._named.get(identifier.key)
        if known is not None:
            return known
        if "skipallparameterizations" in self.options:
            return None
        if not external and "skipresourcenameparameterization" in self.options:
            return None
        words = "_".join((*identifier.type.split("/")[1:], identifier.name))
        base = re.sub(r"[^A-Za-z0-9_]", "_", f"{words}_{'externalid' if external else 'name'}")
        name, count = base, 1
        while name in self.parameters:
            count += 1
            name = f"{base}_{count}"
        default = str(identifier) if external else identifier.name
        with_default = external or "includeparameterdefaultvalue" in self.options
        self.parameters[name] = {**({"defaultValue": default} if with_default else {}), "type": "String"}
        self._named[identifier.key] = name
        return name

    def _top(self, identifier: ResourceId) -> ResourceId | None:
        """The exported resource without an exported parent that an id is, or lies in."""
        tops = [one for one in identifier.lineage() if one.key in self.resources]
        return tops[-1] if tops else None

    def _names(self, identifier: ResourceId) -> list[str]:
        """An id's names as expressions, its parents' first."""
        depth = len(identifier.scope.segments) + 2
        top = self._top(identifier)
        names: list[str] = []
        for at in range(depth + 1, len(identifier.segments), 2):
            prefix = ResourceId(identifier.segments[: at + 1])
            parameter = self._named.get(prefix.key) if top is not None else None
            names.append(f"parameters('{parameter}')" if parameter else _quoted(identifier.segments[at]))
        return names

    def _name(self, identifier: ResourceId) -> str:
        names = self._names(identifier)
        if all(one.startswith("'") for one in names):
            return _literal("/".join(one[1:-1].replace("''", "'") for one in names))
        if len(names) == 1:
            return f"[{names[0]}]"
        joined = ", '/', ".join(names)
        return f"[concat({joined})]"

    def _reference(self, identifier: ResourceId, needs: set[str]) -> str:
        """An id as the template writes it; what it is or lies in is needed first, if that is exported."""
        top = self._top(identifier)
        if top is None:
            parameter = self._parameter(identifier, external=True)
            return f"[parameters('{parameter}')]" if parameter else _literal(str(identifier))
        nearest = next(one for one in identifier.lineage() if one.key in self.resources)
        needs.add(f"[{self._expression(nearest)}]")
        return f"[{self._expression(identifier)}]"

    def _expression(self, identifier: ResourceId) -> str:
        names = ", ".join(self._names(identifier))
        if identifier.scope.namespace is not None:
            return f"extensionResourceId({self._expression(identifier.scope)}, '{identifier.type}', {names})"
        return f"resourceId('{identifier.type}', {names})"

    def _value(self, value: object, needs: set[str]) -> object:
        if isinstance(value, Mapping):
            return {str(self._value(name, needs)): self._value(item, needs) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(one, needs) for one in value]
        return self._text(value, needs) if isinstance(value, str) else value

    def _text(self, text: str, needs: set[str]) -> str:
        if not text.lower().startswith("/subscriptions/"):
            return _literal(text)
        try:
            identifier = ResourceId.parse(text)
        except Failure:
            return _literal(text)
        return self._reference(identifier, needs) if identifier.namespace is not None else _literal(text)


def _literal(text: str) -> str:
    """A text that the template language leaves as it is."""
    return f"[{text}" if text.startswith("[") else text


def _literal_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _literal_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_literal_value(one) for one in value]
    return _literal(value) if isinstance(value, str) else value


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _stable(versions: tuple[str, ...]) -> str:
    """The newest api-version that is no preview, if there is one."""
    return next(_preferred(versions), "")


def _preferred(versions: tuple[str, ...]) -> Iterator[str]:
    yield from (one for one in versions if not one.endswith("preview"))
    yield from versions
