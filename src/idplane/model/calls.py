"""The circumstances of one request, passed explicitly: who, from where, when, under which ids."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from idplane.model.values import JsonObject

__all__ = ["Call", "Caller", "Workload", "network_of"]

_NETWORK_BITS = 64

_USER_NAMES: Final = ("upn", "preferred_username", "unique_name")
"""Claims with a user's principal name, in the versions of tokens that have one."""
_APPLICATION: Final = "app"
"""`idtyp` of tokens that stand for no user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The process that asked a token endpoint, as far as the agent proved it; absent facts are None."""

    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    executable: str | None = None
    """Path of the file that it executes, as the kernel names it from the agent's point of view."""
    cgroup: str | None = None
    systemd_unit: str | None = None
    container: str | None = None
    """`<engine>:<id>`."""
    run_id: str | None = None
    """The `idplane run` that it belongs to."""
    binding: str | None = None
    """Name of the binding that admitted it; None on a host without bindings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One incoming request. `request_id` is ours and unique; `correlation_id` is the client's if it sent one."""

    request_id: str
    correlation_id: str
    received_at: datetime
    client_address: str | None = None
    user_agent: str = ""
    method: str = ""
    url: str = ""
    """Without query values that could hold secrets."""
    client_certificate: bytes | None = field(default=None, repr=False)
    """DER of the certificate of the credential authority that the client proved on this connection, if it did: an agent's or an identity's.

    Its chain and validity were checked when the connection began; whether it is still good is for whoever relies on it to ask."""
    connected_at: float | None = None
    """When the connection began and that was proved, on this process' monotonic clock; None where there is no connection."""

    @property
    def network(self) -> str:
        """What counts as one address (`network_of`)."""
        return network_of(self.client_address)


def network_of(address: str | None) -> str:
    """What counts as one address: of IPv6 the network, since a machine has as many addresses there as it likes."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "an unknown address"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(parsed), _NETWORK_BITS), strict=False))
        parsed = parsed.ipv4_mapped
    return str(parsed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A verified bearer of an access token: what authorization, logs and error texts need of it.

    Only the token authenticator makes one, so holding a `Caller` means that the signature, lifetime, audience, principal and
    host binding were checked; and the portal's sessions do for a signed-in person, with claims as a token of that person has them.
    """

    tenant_id: str
    principal_id: str
    client_id: str
    display_name: str
    token_id: str
    """The token's `uti`; of a person in the portal the session's `sid`."""
    host: str | None = None
    """Resource id key of the host that the token was issued to, for managed identities."""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    """Application roles of the audience that the token carries."""
    claims: JsonObject = field(default_factory=dict)

    @property
    def principal_ids(self) -> frozenset[str]:
        """Everything that role assignments may name to mean this caller."""
        return frozenset((self.principal_id, *self.groups))

    @property
    def sign_in_name(self) -> str | None:
        """A user's principal name; None for everything else, whose names are not unique."""
        if self.claims.get("idtyp") == _APPLICATION:
            return None
        names = (self.claims.get(claim) for claim in _USER_NAMES)
        return next((name for name in names if isinstance(name, str) and name), None)
