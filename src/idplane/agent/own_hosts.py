"""What runs need of a plane, on a host where there is only an agent: finding the resources that it acts for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from idplane.agent.host import HostAgent
from idplane.agent.local_certificates import LocalCertificates
from idplane.agent.opening import ServerCertificate
from idplane.agent.runs import choose_host
from idplane.agent.workload_identity import Projection
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, is_guid
from idplane.model.scale_sets import identity_host
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import EXCHANGE_AUDIENCE

__all__ = ["NoPublicNames", "OwnHosts"]


class OwnHosts:
    """The resources of this host (`runs.Hosts`)."""

    def __init__(self, *, agent: HostAgent, hosts: Callable[[], Sequence[str]]) -> None:
        """`hosts` tells the ids of the resources that the agent is bound to at present."""
        self._agent = agent
        self._hosts = hosts

    def only(self) -> ResourceId:
        """The resource, where there is one alone; raises `Failure(CONFLICT)` or RESOURCE_NOT_FOUND."""
        own = [ResourceId.parse(one) for one in self._hosts()]
        if len(own) != 1:
            kind = FailureKind.CONFLICT if own else FailureKind.RESOURCE_NOT_FOUND
            raise Failure(kind, f"this host acts for {len(own)} resources; say which one is meant")
        return own[0]

    async def resolve(self, text: str, /) -> ResourceId:
        """A full id, or the one resource of this host with that name. Raises RESOURCE_NOT_FOUND, CONFLICT."""
        own = [ResourceId.parse(one) for one in self._hosts()]
        if not text.startswith("/"):
            return choose_host(text, (one for one in own if one.name.lower() == text.lower()))
        asked = ResourceId.parse(text)
        if not {asked.key, identity_host(asked).key} & {one.key for one in own}:
            raise Failure(FailureKind.RESOURCE_NOT_FOUND, f"this host does not act for '{text[:200]}'", name=text[:200])
        return asked

    async def is_open(self, host: ResourceId, /) -> bool:
        """Whether no binding says which processes may use the resource; what can't be told now is not said to be open."""
        try:
            return not (await self._agent.description(host)).bindings
        except Failure:
            return False

    async def client(self, text: str, /) -> str:
        """A client id as it is, or that of a user-assigned identity of this host; raises RESOURCE_NOT_FOUND, CONFLICT."""
        if is_guid(text):
            return text.lower()
        found: dict[ResourceId, str] = {}
        for host in self._hosts():
            for one in (await self._agent.description(ResourceId.parse(host))).identities:
                if one.resource_id is not None:
                    found[ResourceId.parse(one.resource_id)] = one.client_id
        wanted = ResourceId.parse(text).key if text.startswith("/") else None
        return found[choose_host(text, (one for one in found if wanted == one.key or one.name.lower() == text.lower()))]

    async def issuer(self, resource: ResourceId, account: str | None, /) -> JsonObject:
        """As a token of the workload has them; raises what the server refuses."""
        token = await self._agent.projected(Projection(host=resource, account=account))
        return {"issuer": token.issuer, "subject": token.subject, "audience": EXCHANGE_AUDIENCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nothing:
    ca_pem: bytes

    async def close(self) -> None:
        """There is nothing to end."""


class NoPublicNames:
    """Runs on a host with only an agent reach the servers by the servers' own names: nothing stands in for Azure's (`runs.PublicNames`)."""

    def __init__(self, *, certificates: LocalCertificates, authority: Callable[[], bytes]) -> None:
        """`authority` is the CA behind the servers' certificates, PEM."""
        self._certificates = certificates
        self._authority = authority

    def certificate(self, names: Sequence[str], /) -> ServerCertificate:
        """One of this agent's own."""
        return self._certificates.certificate(names)

    async def open(self, https: socket.socket, plane: socket.socket | None, /) -> _Nothing:
        """Serve nothing: connections to these sockets are refused."""
        https.close()
        if plane is not None:
            plane.close()
        return _Nothing(ca_pem=self._authority())
