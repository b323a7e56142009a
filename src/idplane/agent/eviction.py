"""What a change of the server's records means for what an agent holds: one table, pure.

- `identity_assignments`: the host's identities changed. Its description and tokens go; on removal, the identity's key on it too.
- `resources`: the host changed or is gone. Identities come and go by assignments, so a changed tag costs no token.
- `bindings`: who may ask on the host changed. Its description goes, and with it every proof; tokens are the same whoever asks.
- `principals`: its tokens go (it may be disabled); on removal, its keys too.
- `role_assignments`, `memberships`: the principal's tokens go, so that the next one shows what it may do now.
- `credentials`: a certificate that this agent holds was revoked. Other certificates of the same identity, on other hosts and
  renewed all the time, are none of its business, and neither is one that comes into being.
- `signing_keys`, `tenants`: every token's signature or issuer may be void.
"""

from __future__ import annotations

from dataclasses import dataclass

from idplane.ports.collections import (
    BINDINGS,
    CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    MEMBERSHIPS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SIGNING_KEYS,
    TENANTS,
)
from idplane.ports.store import Change

__all__ = ["Eviction", "eviction_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """What must go. Names are resource id keys of hosts and object ids of principals."""

    every_token: bool = False
    tokens: str | None = None
    """Of this host or principal."""
    description: str | None = None
    """Of this host."""
    keys: frozenset[str] = frozenset()
    """Held credentials whose host and principal include all of these."""
    credential: str | None = None
    """The held credential with this id."""


def eviction_of(change: Change) -> Eviction | None:
    """What the change means; None for nothing."""
    rule = _RULES.get(change.collection)
    return rule(change) if rule else None


def _assignment(change: Change) -> Eviction:
    host, _, principal = change.key.rpartition("|")
    keys = frozenset((host, principal)) if change.deleted else frozenset[str]()
    return Eviction(tokens=host, description=host, keys=keys)


def _resource(change: Change) -> Eviction:
    if not change.deleted:
        return Eviction(description=change.key)
    return Eviction(tokens=change.key, description=change.key, keys=frozenset((change.key,)))


def _binding(change: Change) -> Eviction:
    return Eviction(description=change.subject)


def _principal(change: Change) -> Eviction:
    return Eviction(tokens=change.key, keys=frozenset((change.key,)) if change.deleted else frozenset())


def _role(change: Change) -> Eviction:
    return Eviction(tokens=change.subject)


def _credential(change: Change) -> Eviction | None:
    return Eviction(credential=change.key) if change.deleted else None


def _everything(_: Change) -> Eviction:
    return Eviction(every_token=True)


_RULES = {
    IDENTITY_ASSIGNMENTS.name: _assignment,
    RESOURCES.name: _resource,
    BINDINGS.name: _binding,
    PRINCIPALS.name: _principal,
    ROLE_ASSIGNMENTS.name: _role,
    MEMBERSHIPS.name: _role,
    CREDENTIALS.name: _credential,
    SIGNING_KEYS.name: _everything,
    TENANTS.name: _everything,
}
