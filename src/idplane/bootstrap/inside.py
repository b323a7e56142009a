"""What runs need of the server: Azure's public names over TLS inside a namespace, and finding a resource by its short name."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from idplane.agent.opening import ServerCertificate
from idplane.agent.runs import choose_host
from idplane.bootstrap.certificates import context_for
from idplane.bootstrap.server import Server
from idplane.keys import RunAuthority
from idplane.model.azure import ISSUER_DOMAINS, PUBLIC_HOSTS, VAULT_DOMAIN
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, is_guid
from idplane.model.scale_sets import host_on, identity_host
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import EXCHANGE_AUDIENCE, subject_of
from idplane.ports.collections import BINDINGS, RESOURCES, SUBSCRIPTIONS
from idplane.providers.identity_block import IDENTITY_RESOURCE
from idplane.sts.projected import WorkloadIssuers
from idplane.web.origins import Origins
from idplane.web.serving import Listener

__all__ = ["PlaneHosts", "PlanePublicNames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Serving:
    ca_pem: bytes
    listeners: Sequence[Listener]

    async def close(self) -> None:
        for listener in self.listeners:
            await listener.close()


class PlanePublicNames:
    """Serves the plane under Azure's names, with a certificate authority of the run's own."""

    def __init__(self, server: Server, *, port: int | None = None) -> None:
        """`port` is where the plane itself listens, if it does."""
        self._server = server
        self._port = port

    def certificate(self, names: Sequence[str], /) -> ServerCertificate:
        """One of the installation's own, which every run trusts."""
        identity = self._server.tls.issue(names)
        leaf = x509.load_pem_x509_certificates(identity.certificate_chain_pem)[0]
        thumbprint = leaf.fingerprint(hashes.SHA1())  # noqa: S303 - not ours to choose: how Service Fabric names a certificate
        return ServerCertificate(context=context_for(identity), thumbprint=thumbprint.hex().upper())

    async def open(self, https: socket.socket, plane: socket.socket | None, /) -> _Serving:
        """Start both listeners. The installation's own names keep the installation's own certificate."""
        authority = RunAuthority.create(self._server.world.clock, self._server.world.entropy)
        names = [host for hosts in PUBLIC_HOSTS.values() for host in hosts]
        listener = Listener(self._server.app(Origins.azure(self._port)))
        names += [f"*.{domain}" for domain in (VAULT_DOMAIN, *ISSUER_DOMAINS)]
        await self._server.certificates.listen(listener, https, identity=lambda: authority.issue(names))
        listeners = [listener]
        if plane is not None:
            listeners.append(await self._server.listen(plane))
        return _Serving(ca_pem=authority.ca_pem + self._server.tls.ca_pem, listeners=listeners)


class PlaneHosts:
    """Finds resources in the plane's store."""

    def __init__(self, server: Server) -> None:
        self._store = server.world.store

    async def resolve(self, text: str, /) -> ResourceId:
        """A full id as it is stored, or the one resource of that name. Raises RESOURCE_NOT_FOUND, CONFLICT."""
        if text.startswith("/"):
            asked = ResourceId.parse(text)
            bearer = await self._store.get(RESOURCES, identity_host(asked).key)
            host = host_on(bearer.value, asked) if bearer else None
            if host is None:
                raise Failure(FailureKind.RESOURCE_NOT_FOUND, f"there is no resource '{text[:200]}'", name=text[:200])
            return host
        named = await self._store.all(RESOURCES, where={"name": text.lower()})
        return choose_host(text, (item.value.id for item in named))

    async def is_open(self, host: ResourceId, /) -> bool:
        """Whether the resource is there without any binding; an instance has those of its scale set."""
        bearer = identity_host(host).key
        page = await self._store.page(BINDINGS, where={"host_key": bearer}, limit=1)
        return not page.items and await self._store.get(RESOURCES, bearer) is not None

    async def client(self, text: str, /) -> str:
        """A client id as it is, or that of a user-assigned identity; raises RESOURCE_NOT_FOUND, CONFLICT."""
        if is_guid(text):
            return text.lower()
        where = {"type": IDENTITY_RESOURCE.lower()}
        if text.startswith("/"):
            where["path"] = ResourceId.parse(text).key
        else:
            where["name"] = text.lower()
        found = {item.value.id: item.value for item in await self._store.all(RESOURCES, where=where)}
        chosen = found[choose_host(text, found)]
        return str(chosen.properties["clientId"])

    async def issuer(self, resource: ResourceId, account: str | None, /) -> JsonObject:
        """As the workload's tokens will have them; raises RESOURCE_NOT_FOUND, and INVALID_PARAMETER for a cluster without an issuer."""
        host = identity_host(resource)
        subscription = await self._store.get(SUBSCRIPTIONS, host.subscription or "")
        issuer, _ = await WorkloadIssuers(store=self._store).issuer(host, subscription.value.tenant_id if subscription else "")
        return {"issuer": issuer, "subject": subject_of(host, account), "audience": EXCHANGE_AUDIENCE}
