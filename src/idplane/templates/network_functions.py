"""CIDR functions of the template language."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from idplane.templates.builtin import Arguments, Builtin, table

__all__ = ["NETWORK_FUNCTIONS"]


def _network(it: Arguments) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(it.text(0), strict=False)
    except ValueError as error:
        raise it.refuse(f"'{it.text(0)[:60]}' is not a network in CIDR notation.") from error


def _parse(it: Arguments) -> dict[str, object]:
    network = _network(it)
    usable = network.num_addresses > 2  # noqa: PLR2004 - network and broadcast address
    found: dict[str, object] = {
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "firstUsable": str(network[1] if usable else network[0]),
        "lastUsable": str(network[-2] if usable else network[-1]),
        "cidr": network.prefixlen,
    }
    if isinstance(network, ipaddress.IPv4Network):
        found["broadcast"] = str(network.broadcast_address)
    return found


def _subnet(it: Arguments) -> str:
    network, prefix, index = _network(it), it.integer(1), it.integer(2)
    if not network.prefixlen <= prefix <= network.max_prefixlen or not 0 <= index < 2 ** (prefix - network.prefixlen):
        raise it.refuse("the network holds no such subnet.")
    first = int(network.network_address) + (index << (network.max_prefixlen - prefix))
    return f"{type(network.network_address)(first)}/{prefix}"


def _host(it: Arguments) -> str:
    network, index = _network(it), it.integer(1)
    if not 0 <= index < network.num_addresses - 1:
        raise it.refuse("the network holds no such host.")
    return str(network[index + 1])


NETWORK_FUNCTIONS: Mapping[str, Builtin] = table(
    ("parseCidr", 1, 1, _parse),
    ("cidrSubnet", 3, 3, _subnet),
    ("cidrHost", 2, 2, _host),
)
