"""The identities of a host, and which of them an asker means (MIE section 1.2).

Pure: the listener says which host is asking, the server says what it has, and this module chooses.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from idplane.model.bindings import Binding
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["HostDescription", "HostedIdentity", "NoSelector", "Selector", "SelectorKind", "select"]


class SelectorKind(enum.Enum):
    """What a selector names an identity by."""

    CLIENT_ID = "client_id"
    OBJECT_ID = "object_id"
    RESOURCE_ID = "resource_id"


@dataclass(frozen=True, slots=True)
class Selector:
    """One identity, as the asker named it."""

    kind: SelectorKind
    value: str


class NoSelector(enum.Enum):
    """What a dialect does when the asker names no identity."""

    SYSTEM_OR_ONLY = "system-or-only"
    """The system-assigned identity if there is one, else the only user-assigned one (IMDS)."""
    SYSTEM = "system"
    """The system-assigned identity or nothing (App Service, MIE section 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedIdentity:
    """An identity that the host may use."""

    principal_id: str
    client_id: str
    resource_id: str | None
    """Of a user-assigned identity."""
    system_assigned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDescription:
    """A resource as the server describes it to its agent."""

    id: ResourceId
    """The resource that bears the identities: of a scale set's instance it is the scale set."""
    type: str
    tenant_id: str
    token_endpoint: str
    """Absolute, in the server's own words: what client assertions name as their audience."""
    location: str = ""
    identities: tuple[HostedIdentity, ...] = ()
    bindings: tuple[Binding, ...] = ()
    """Which processes may use which identities; with none, all may use all."""
    compute: JsonObject = field(default_factory=dict)
    """The `compute` document of `/metadata/instance`."""


_MAX_NAMED = 300
_NOT_FOUND = "Identity not found"
_AMBIGUOUS = (
    "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"
)


def select(host: HostDescription, selector: Selector | None, default: NoSelector) -> HostedIdentity:
    """The identity that is meant; raises `Failure` IDENTITY_NOT_FOUND or IDENTITY_AMBIGUOUS.

    An identity is never chosen in place of a named one: a name that fits nothing is refused.
    """
    if selector is not None:
        return _named(host, selector)
    system = next((one for one in host.identities if one.system_assigned), None)
    if system is not None:
        return system
    if default is NoSelector.SYSTEM or not host.identities:
        raise Failure(FailureKind.IDENTITY_NOT_FOUND, _NOT_FOUND)
    if len(host.identities) > 1:
        raise Failure(FailureKind.IDENTITY_AMBIGUOUS, _AMBIGUOUS)
    return host.identities[0]


def _named(host: HostDescription, selector: Selector) -> HostedIdentity:
    wanted = _comparable(selector.kind, selector.value)
    for identity in host.identities:
        own = _names(identity)[selector.kind]
        if own is not None and wanted is not None and _comparable(selector.kind, own) == wanted:
            return identity
    raise Failure(
        FailureKind.IDENTITY_NOT_FOUND, _NOT_FOUND, selector=selector.kind.value, selected=selector.value[:_MAX_NAMED]
    )


def _names(identity: HostedIdentity) -> Mapping[SelectorKind, str | None]:
    return {
        SelectorKind.CLIENT_ID: identity.client_id,
        SelectorKind.OBJECT_ID: identity.principal_id,
        SelectorKind.RESOURCE_ID: identity.resource_id,
    }


def _comparable(kind: SelectorKind, value: str) -> str | None:
    """Ids compare without case, resource ids by Azure's grammar; None for what is no id at all."""
    if kind is not SelectorKind.RESOURCE_ID:
        return value.lower()
    try:
        return ResourceId.parse(value).key
    except Failure:
        return None
