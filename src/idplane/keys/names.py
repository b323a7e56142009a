"""Name constraints (RFC 5280 section 4.2.1.10): what an authority for listeners can sign at all, whoever gets hold of its key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from cryptography import x509

from idplane.model.failure import Failure, FailureKind

__all__ = ["LOOPBACK", "PermittedNames", "general_name"]

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_MAX_HOST = 253
Network: TypeAlias = IPv4Network | IPv6Network
_EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PermittedNames:
    """Domains, each with everything below it, and networks. With no network, no address is permitted."""

    domains: tuple[str, ...]
    networks: tuple[Network, ...] = ()

    def extension(self) -> x509.NameConstraints:
        """As a certificate says it. A kind of name that is not mentioned would be unconstrained, so addresses always are."""
        domains: list[x509.GeneralName] = [x509.DNSName(domain) for domain in self.domains]
        networks: list[x509.GeneralName] = [x509.IPAddress(network) for network in self.networks]
        nowhere: list[x509.GeneralName] = [x509.IPAddress(network) for network in _EVERYTHING]
        return x509.NameConstraints(permitted_subtrees=domains + networks, excluded_subtrees=None if networks else nowhere)

    def permit(self, name: x509.GeneralName) -> bool:
        """Whether a name, from `general_name`, lies within."""
        if isinstance(name, x509.IPAddress):
            return any(name.value in network for network in self.networks)
        host = str(name.value).removeprefix("*.")
        return any(host == domain or host.endswith("." + domain) for domain in self.domains)

    def with_hosts(self, hosts: Sequence[str]) -> PermittedNames:
        """These and the given host names and addresses; raises `Failure(INVALID_PARAMETER)` for what is neither."""
        more = [general_name(host) for host in hosts]
        domains = tuple(name.value.removeprefix("*.") for name in more if isinstance(name, x509.DNSName))
        addresses = tuple(ip_network(str(name.value)) for name in more if isinstance(name, x509.IPAddress))
        return PermittedNames(
            domains=tuple(dict.fromkeys(self.domains + domains)), networks=tuple(dict.fromkeys(self.networks + addresses))
        )


LOOPBACK = PermittedNames(domains=("localhost",), networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
"""What only ever reaches the machine itself: `localhost` and everything below it (RFC 6761), and the loopback addresses."""


def general_name(text: str) -> x509.DNSName | x509.IPAddress:
    """A host name (in ASCII; `*.` may stand first) or an address; raises `Failure(INVALID_PARAMETER)`."""
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        host = text.lower().removesuffix(".")
    if len(host) > _MAX_HOST or _HOST.fullmatch(host) is None:
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{text[:100]}' is neither a host name nor an address", name=text[:100])
    return x509.DNSName(host)
