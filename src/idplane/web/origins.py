"""Which hosts this server answers for, and how the outside names it on each listener.

A foreign Host header is refused: it means DNS rebinding or a misconfigured proxy, and answering would put a stranger's name into
discovery documents and challenges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from idplane.model.azure import ISSUER_DOMAINS, PUBLIC_HOSTS, VAULT_DOMAIN
from idplane.web.http import Origin

__all__ = ["Origins"]

_LABEL = re.compile(r"[a-z0-9]{1,63}")
_VAULT_NAME = re.compile(r"[a-z0-9-]{1,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The names of one listener: exact hosts, and the domain below which vaults live."""

    hosts: Mapping[str, Origin]
    vaults: Mapping[str, Origin]
    """Vault domain (with the port, if any) → the origin that its vaults belong to."""
    issuers: Mapping[str, Origin] = field(default_factory=dict)
    """Domain below which hosts' own issuers are → the origin that they belong to."""

    def match(self, host: str | None) -> Origin | None:
        """The origin that a Host header names; None for a foreign one."""
        if host is None:
            return None
        # A client may write the scheme's default port (RFC 9110 section 4.2.3); at other ports the names hold their own.
        host = host.lower()
        bare = host.removesuffix(":443")
        known = self.hosts.get(host) or self.hosts.get(bare)
        if known is not None:
            return known
        name, _, domain = bare.partition(".")
        issuers = self.issuers.get(domain)
        if issuers is not None and _LABEL.fullmatch(name) is not None:
            return replace(issuers, authority=f"https://{bare}")
        origin = self.vaults.get(domain)
        if origin is None or _VAULT_NAME.fullmatch(name) is None:
            return None
        return replace(origin, vault=name)

    @classmethod
    def local(cls, port: int) -> Origins:
        """The installation's own listener: `https://localhost:{port}` and `{vault}.vault.localhost:{port}`."""
        suffix = "" if port == 443 else f":{port}"  # noqa: PLR2004 - the default port of https is not written
        domain = f"vault.localhost{suffix}"
        hosts = {f"{name}{suffix}": _single(f"https://{name}{suffix}", domain) for name in ("localhost", "127.0.0.1", "[::1]")}
        return cls(hosts=hosts, vaults={f"vault.localhost{suffix}": hosts[f"localhost{suffix}"]})

    @classmethod
    def public(cls, url: str, *, names: Sequence[str] = (), port: int) -> Origins:
        """An installation's listener under its public `https` URL and further `names`, which have that URL's port or one of their own.

        The machine itself may also say `localhost` and the `port` that is listened on.
        """
        base = urlsplit(url)
        suffix = f":{base.port}" if base.port not in (None, 443) else ""
        local = cls.local(port)
        hosts, vaults = dict(local.hosts), dict(local.vaults)
        shared = next(iter(vaults)) if _is_address(base.hostname or "") else f"vault.{base.hostname}{suffix}"
        for name in (base.netloc, *names):
            host, own = _split(name, suffix)
            domain = shared if _is_address(host) else f"vault.{host}{own}"  # nothing is below an address
            hosts[f"{host}{own}"] = vaults[domain] = _single(f"https://{host}{own}", domain)
        return cls(hosts=hosts, vaults=vaults)

    @property
    def tls_names(self) -> tuple[str, ...]:
        """What a certificate for this listener is for: every host, and every vault."""
        hosts = (_split(host, "")[0].strip("[]") for host in self.hosts)
        vaults = (f"*.{domain.partition(':')[0]}" for domain in self.vaults)
        return tuple(dict.fromkeys((*hosts, *vaults)))

    @classmethod
    def azure(cls, port: int | None = None) -> Origins:
        """Azure's public names, which only a run leads to this server, whose own names are at `port`."""
        own = frozenset(cls.local(port).hosts) if port is not None else frozenset()
        origin = Origin(
            authority=f"https://{PUBLIC_HOSTS['authority'][0]}",
            management=f"https://{PUBLIC_HOSTS['management'][0]}",
            graph=f"https://{PUBLIC_HOSTS['graph'][0]}",
            portal="https://portal.azure.com",
            vault_domain=VAULT_DOMAIN,
            also=own,
        )
        hosts = {host: origin for group in PUBLIC_HOSTS.values() for host in group}
        for host in PUBLIC_HOSTS["authority"]:
            hosts[host] = replace(origin, authority=f"https://{host}")
        return cls(hosts=hosts, vaults={VAULT_DOMAIN: origin}, issuers=dict.fromkeys(ISSUER_DOMAINS, origin))


def _single(base: str, vault_domain: str) -> Origin:
    return Origin(authority=base, management=base, graph=base, portal=f"{base}/portal", vault_domain=vault_domain)


def _split(name: str, suffix: str) -> tuple[str, str]:
    """Host and `:port` of a name; without a port of its own it has `suffix`. An IPv6 address has brackets, as in URLs."""
    name = name.lower()
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdigit() or ("]" not in host and ":" in host):
        host, own = name, suffix
    else:
        own = "" if port == "443" else f":{port}"
    return (f"[{host}]" if ":" in host and not host.startswith("[") else host), own


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
