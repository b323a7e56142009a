"""Which hosts this server answers for, and how the outside names it on each listener.

A foreign Host header is refused: it means DNS rebinding or a misconfigured proxy, and answering would put a stranger's name into
discovery documents and challenges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
        hosts = {f"{name}{suffix}": _single(f"https://{name}{suffix}", suffix) for name in ("localhost", "127.0.0.1", "[::1]")}
        return cls(hosts=hosts, vaults={f"vault.localhost{suffix}": hosts[f"localhost{suffix}"]})

    @classmethod
    def azure(cls) -> Origins:
        """Azure's public names, which only the inside of a run resolves to this server."""
        origin = Origin(
            authority=f"https://{PUBLIC_HOSTS['authority'][0]}",
            management=f"https://{PUBLIC_HOSTS['management'][0]}",
            graph=f"https://{PUBLIC_HOSTS['graph'][0]}",
            portal="https://portal.azure.com",
            vault_domain=VAULT_DOMAIN,
        )
        hosts = {host: origin for group in PUBLIC_HOSTS.values() for host in group}
        for host in PUBLIC_HOSTS["authority"]:
            hosts[host] = replace(origin, authority=f"https://{host}")
        return cls(hosts=hosts, vaults={VAULT_DOMAIN: origin}, issuers=dict.fromkeys(ISSUER_DOMAINS, origin))


def _single(base: str, suffix: str) -> Origin:
    return Origin(authority=base, management=base, graph=base, portal=f"{base}/portal", vault_domain=f"vault.localhost{suffix}")
