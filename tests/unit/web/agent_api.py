"""The agent API's surface as one agent calls it."""

from __future__ import annotations

import json

from tests.unit.directory.hosts_world import TENANT, Enrolled, HostsWorld
from tests.unit.sts.sts_world import shared_ring

from idplane.directory.attestation import Attestation
from idplane.directory.feed_tail import FeedTail
from idplane.directory.refusals import RefusalKeeper
from idplane.keys import TlsAuthority
from idplane.keys.names import LOOPBACK
from idplane.model.failure import Failure
from idplane.model.profile import OPEN
from idplane.sts.projected import ProjectedTokens
from idplane.sts.reported import RefusalLog
from idplane.testing.worlds import MemoryCustody
from idplane.web.agent_trust import AgentTrust
from idplane.web.agents import AgentSurface
from idplane.web.enrollments import EnrollmentApi
from idplane.web.http import HttpRequest, HttpResponse, Origin

BASE = "https://localhost:8443"


class Api:
    """The surface as one agent calls it."""

    def __init__(self, world: HostsWorld, agent: Enrolled) -> None:
        self.world = world
        self.agent = agent
        store, clock, entropy = world.store, world.clock, world.entropy
        self.refusals = RefusalKeeper(store=store, clock=clock)
        attestation = Attestation(
            store=store,
            authority=world.authority,
            custody=MemoryCustody(),
            clock=clock,
            entropy=entropy,
            profile=OPEN,
            home_tenant=TENANT,
            readers={},
        )
        self.surface = AgentSurface(
            agents=world.agents,
            enrollments=EnrollmentApi(attestation=attestation, agents=world.agents, chain=world.authority, clock=clock),
            hosts=world.hosts,
            projected=ProjectedTokens(store=store, ring=shared_ring().under(clock), clock=clock, entropy=entropy, profile=OPEN),
            refusals=RefusalLog(store=store, clock=clock, entropy=entropy, kept=self.refusals),
            trust=AgentTrust(
                tls=TlsAuthority(store=store, custody=MemoryCustody(), clock=clock, entropy=entropy, permitted=LOOPBACK),
                credentials=world.authority,
            ),
            store=store,
            tail=FeedTail(store=store),
            clock=clock,
        )

    async def call(self, method: str, path: str, *query: tuple[str, str], body: bytes = b"", **headers: str) -> HttpResponse:
        sent = {"authorization": f"Bearer {self.world.proof(self.agent)}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(
            method=method,
            path=path,
            query=query,
            headers={name: (value,) for name, value in sent.items() if value},
            body=body,
            origin=Origin(authority=BASE, management=BASE, graph=BASE, portal=BASE, vault_domain="vault.localhost:8443"),
            call=self.world.call(self.agent),
        )
        try:
            return await self.surface.handle(request)
        except Failure as failure:
            return self.surface.refuse(failure, request)

    async def certificate(self, body: object, **headers: str) -> HttpResponse:
        return await self.call("POST", "/agent/v1/certificates", body=json.dumps(body).encode(), **headers)

    async def changes(self, after: int | str, wait: int | str = 0) -> tuple[int, list[dict[str, object]]]:
        response = await self.call("GET", "/agent/v1/changes", ("after", str(after)), ("wait", str(wait)))
        assert response.status == 200, response.body
        answer = json.loads(response.body)
        return answer["position"], answer["changes"]


def code(response: HttpResponse) -> tuple[int, str]:
    error = json.loads(response.body)["error"]
    assert error["requestId"] == "request-1"
    assert error["message"]
    return response.status, error["code"]
