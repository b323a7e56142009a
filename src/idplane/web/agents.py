"""The agent API: what host agents ask of the server.

    GET  /agent/v1/host?id={resource id}              what a host is, and which identities it has
    POST /agent/v1/certificates                       {host, principalId, csr} → a certificate for an identity's new key
    POST /agent/v1/projected-tokens                   {host, serviceAccount?, seconds?, runId?} → a token of the host's own issuer
    GET  /agent/v1/changes[?after=N&wait=seconds]     what changed since, waiting for something to change; or "reset"
    GET  /agent/v1/trust                              the authorities that vouch for servers (`agent_trust`)
    POST /agent/v1/refusals                           {refusals: [...]}: what the agent refused by itself, for the sign-in log

How machines become agents and renew their certificates is in `enrollments`, below the same path.

Every request carries `Authorization: Bearer` with a token that the agent signed for it alone, with the key of the certificate that the
connection proves (`directory.agents`).
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from idplane.directory.agents import AgentDirectory
from idplane.directory.feed_tail import FeedTail, Watch, concerning
from idplane.directory.hosts import DescribedHost, HostDirectory, check_bound
from idplane.model.binding_documents import process_document
from idplane.model.directory import Agent, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.refusals import Evidence
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import USUAL
from idplane.ports.store import Change, Store
from idplane.ports.world import Clock
from idplane.sts.assertions import workload_of
from idplane.sts.projected import ProjectedTokens, Wanted
from idplane.sts.reported import RefusalLog, ReportedRefusal
from idplane.web.agent_errors import agent_error
from idplane.web.agent_trust import AgentTrust
from idplane.web.enrollments import EnrollmentApi, decoded_csr, read_body
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["AgentSurface"]

_MAX_WAIT = 30
_MAX_POSITION = 2**63 - 1
_MAX_BODY = 16 * 1024
_MAX_REPORT = 1024 * 1024
"""Room for a hundred callers with long paths: who is refused must not be able to push the report of it over the limit."""
_MAX_REFUSALS = 100
_MAX_WAITING = 4
_PAGE = 500
_LOOK_SECONDS = 5.0
"""How often a question that waits makes sure that this server still hears of what happens."""
_MAX_RUN_ID = 64


_OTHERS: Final = frozenset({FailureKind.HOST_NOT_BOUND, FailureKind.NOT_ENTITLED})
"""What an agent is told that asks for another host, or for an identity that its host has not."""


class _CertificateRequest(msgspec.Struct, rename="camel"):
    host: str
    principal_id: str
    csr: str


class _ProjectionRequest(msgspec.Struct, rename="camel"):
    host: str
    service_account: str | None = None
    seconds: int = USUAL
    run_id: str | None = None


class _Refusal(msgspec.Struct):
    """Members that are not here are dropped, and nothing of them is kept."""

    host: str
    at: datetime
    reason: str
    detail: str
    dialect: str
    resource: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 1
    workload: dict[str, object] | None = None
    id: str = ""
    facts: dict[str, str] = {}


class _Report(msgspec.Struct):
    refusals: Annotated[tuple[_Refusal, ...], msgspec.Meta(max_length=_MAX_REFUSALS)]


class AgentSurface:
    """The surface for `/agent/v1`. Counts how many requests of each agent wait for changes, which is bounded."""

    def __init__(  # noqa: PLR0913 - one service behind each endpoint
        self,
        *,
        agents: AgentDirectory,
        enrollments: EnrollmentApi,
        hosts: HostDirectory,
        projected: ProjectedTokens,
        refusals: RefusalLog,
        trust: AgentTrust,
        store: Store,
        tail: FeedTail,
        clock: Clock,
        is_current: Callable[[], bool] = lambda: True,
    ) -> None:
        """`is_current` tells whether this process may still say that nothing happened."""
        self._agents = agents
        self._hosts = hosts
        self._projected = projected
        self._refusals = refusals
        self._trust = trust
        self._store = store
        self._clock = clock
        self._tail = tail
        self._is_current = is_current
        self._waiting: Counter[str] = Counter()
        self._ending = False
        self._routes: dict[str, tuple[str, Callable[[Agent, HttpRequest], Awaitable[HttpResponse]]]] = {
            "/agent/v1/host": ("GET", self._host),
            "/agent/v1/certificates": ("POST", self._certificate),
            "/agent/v1/workload-certificates": ("POST", self._workload_certificate),
            "/agent/v1/projected-tokens": ("POST", self._projected_token),
            "/agent/v1/changes": ("GET", self._changes),
            "/agent/v1/trust": ("GET", self._anchors),
            "/agent/v1/refusals": ("POST", self._report),
            "/agent/v1/renewals": ("POST", enrollments.renew),
        }
        self._strangers: dict[str, Callable[[HttpRequest], Awaitable[HttpResponse]]] = {
            "/agent/v1/challenges": enrollments.challenge,
            "/agent/v1/enrollments": enrollments.enroll,
        }

    def end_waiting(self) -> None:
        """Answer whoever waits for changes, now and from now on: this process is about to end."""
        self._ending = True
        self._tail.wake()

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; raises `Failure`. Who asks is settled before what is asked, but for machines that are no agents yet."""
        join = self._strangers.get(request.path)
        if join is not None:
            request.require_method("POST")
            return await join(request)
        agent = await self._agents.authenticate(_bearer(request), request.call)
        try:
            return await self._serve(agent, request)
        except Failure as failure:
            failure.with_evidence(_evidence(agent))
            raise

    async def _serve(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        method, serve = self._routes.get(request.path, ("", None))
        if serve is None:
            raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such endpoint")
        request.require_method(method)
        try:
            return await serve(agent, request)
        except Failure as failure:
            if failure.kind in _OTHERS:
                await self._agents.refused(agent, failure, request.call)
            raise

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure, in the agent API's words."""
        return agent_error(failure, request.call.request_id)

    async def _host(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        host = await self._hosts.describe(agent, ResourceId.parse(_only(request, "id") or ""))
        return _json(_description(host, f"{request.origin.authority}/{host.tenant_id}/oauth2/token"))

    async def _workload_certificate(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        return await self._certificate(agent, request, workload=True)

    async def _certificate(self, agent: Agent, request: HttpRequest, *, workload: bool = False) -> HttpResponse:
        wanted = read_body(request, _CertificateRequest, "a certificate request", limit=_MAX_BODY)
        csr = decoded_csr(wanted.csr)
        host = ResourceId.parse(wanted.host)
        credential = await self._hosts.certify(agent, host, wanted.principal_id, csr, workload=workload)
        return _json(
            {
                "certificate": base64.b64encode(credential.certificate or b"").decode(),
                "notBefore": credential.not_before,
                "notAfter": credential.not_after,
                "credentialId": credential.id,
            }
        )

    async def _report(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        report = read_body(request, _Report, f"a report of at most {_MAX_REFUSALS} refusals", limit=_MAX_REPORT)
        refusals = tuple(map(_reported, report.refusals))
        for one in refusals:
            check_bound(agent, one.host)
        await self._refusals.record(refusals, request.call)
        return _json({})

    async def _projected_token(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        asked = read_body(request, _ProjectionRequest, "a request for a workload's token", limit=_MAX_BODY)
        host = await self._hosts.describe(agent, ResourceId.parse(asked.host))
        wanted = Wanted(
            host=host.id,
            tenant_id=host.tenant_id,
            account=asked.service_account,
            seconds=asked.seconds,
            run_id=asked.run_id[:_MAX_RUN_ID] if asked.run_id else None,
        )
        made = await self._projected.issue(wanted, request.call)
        return _json(
            {
                "token": made.token,
                "issuer": made.issuer,
                "subject": made.subject,
                "tenantId": host.tenant_id,
                "issuedAt": made.issued_at,
                "expiresAt": made.expires_at,
                "trustedBy": [
                    {"clientId": it.client_id, "name": it.display_name, "managed": it.type is PrincipalType.MANAGED_IDENTITY}
                    for it in made.trusted_by
                ],
            }
        )

    async def _changes(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        after = _number(request, "after", _MAX_POSITION)
        wait = _number(request, "wait", _MAX_WAIT) or 0
        await self._tail.ready()
        if after is None:
            return _json({"position": self._tail.end, "changes": [], **await self._news_of_trust(request)})
        with self._one_more_waiting(agent):
            found = await self._awaited(agent, after, wait)
        if found is None:
            return _json({"position": self._tail.end, "changes": [], "reset": True, **await self._news_of_trust(request)})
        position, changes = found
        self._trust.apply(changes)
        return _json({"position": position, "changes": changes, **await self._news_of_trust(request)})

    async def _news_of_trust(self, request: HttpRequest) -> JsonObject:
        return await self._trust.hints(request.call, _only(request, "trust"))

    async def _anchors(self, _: Agent, __: HttpRequest) -> HttpResponse:
        return _json(await self._trust.document())

    @contextmanager
    def _one_more_waiting(self, agent: Agent) -> Iterator[None]:
        if self._waiting[agent.id] >= _MAX_WAITING:
            raise Failure(FailureKind.THROTTLED, f"{_MAX_WAITING} requests of this agent are waiting already")
        self._waiting[agent.id] += 1
        try:
            yield
        finally:
            self._waiting[agent.id] -= 1
            if not self._waiting[agent.id]:
                del self._waiting[agent.id]

    async def _awaited(self, agent: Agent, after: int, wait: int) -> tuple[int, Sequence[Change]] | None:
        """The changes that the agent is told of; where there are none, the position from which to ask next.

        None when the feed does not go on from there: trimmed beyond it, or the position is one of another life of the database. The agent
        then forgets what it knows, and goes on from the end.

        An agent that is banned, locked or removed meanwhile hears it at once, in the failure's words.
        """
        if after > self._tail.end and after > await self._store.position():
            return None
        deadline = self._clock.monotonic() + wait
        with self._tail.watching() as watch:
            # Before anything is looked at, so that nothing happens unseen between looking and waiting.
            self._tail.name(watch, frozenset((agent.id, *agent.hosts)))
            while True:
                watch.woken.clear()
                agent = await self._agents.current(agent)
                names = await self._hosts.names(agent)
                if after < self._tail.start:
                    page = await self._tail.read(after, _PAGE)
                    if page is None:
                        return None
                    after, told = page[-1].position if page else after, concerning(page, names)
                else:
                    self._tail.name(watch, names)
                    after, told = self._tail.since(after, names, _PAGE)
                    told, watch.ahead = (*told, *watch.ahead), []
                if told or self._is_over(deadline):
                    return after, told
                if after >= self._tail.end:
                    await self._rest(watch, deadline)

    async def _rest(self, watch: Watch, deadline: float) -> None:
        """Until something happens to what is watched, or it is time to look after other things."""
        timer = asyncio.ensure_future(self._clock.sleep(min(deadline - self._clock.monotonic(), _LOOK_SECONDS)))
        timer.add_done_callback(lambda _: watch.woken.set())
        try:
            await watch.woken.wait()
        finally:
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)

    def _is_over(self, deadline: float) -> bool:
        """Whether a question that has no answer yet gets an empty one; raises `Failure(UNAVAILABLE)` where that would be a guess."""
        if not self._is_current():
            raise Failure(FailureKind.UNAVAILABLE, "this server has not heard of the others' changes for too long")
        return self._ending or self._clock.monotonic() >= deadline


def _description(host: DescribedHost, token_endpoint: str) -> JsonObject:
    return {
        "id": str(host.id),
        "type": host.type,
        "location": host.location,
        "tenantId": host.tenant_id,
        "tokenEndpoint": token_endpoint,
        "identities": [
            {
                "principalId": it.principal_id,
                "clientId": it.client_id,
                "resourceId": str(it.identity) if it.identity else None,
                "systemAssigned": it.identity is None,
            }
            for it in host.identities
        ],
        "bindings": [
            {"name": it.name, "identities": list(it.identities), "processes": process_document(it.processes)}
            for it in host.bindings
        ],
        "compute": host.compute,
    }


def _evidence(agent: Agent) -> Evidence:
    name = agent.display_name or agent.id
    return Evidence(
        proved=True, tenant_id=agent.tenant_id or None, caller_name=name, host=str(agent.host) if agent.host else None
    )


def _reported(refusal: _Refusal) -> ReportedRefusal:
    return ReportedRefusal(
        host=ResourceId.parse(refusal.host),
        at=refusal.at if refusal.at.tzinfo else refusal.at.replace(tzinfo=UTC),
        reason=refusal.reason,
        detail=refusal.detail,
        dialect=refusal.dialect,
        resource=refusal.resource,
        count=refusal.count,
        workload=workload_of({"workload": refusal.workload}),
        id=refusal.id,
        facts=refusal.facts,
    )


def _bearer(request: HttpRequest) -> str:
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Failure(FailureKind.AGENT_UNKNOWN, "the request carries no agent's token")
    return token.strip()


def _only(request: HttpRequest, name: str) -> str | None:
    values = [value for key, value in request.query if key == name]
    if len(values) > 1:
        raise Failure(FailureKind.INVALID_PARAMETER, f"the parameter '{name}' is repeated")
    return values[0] if values else None


def _number(request: HttpRequest, name: str, most: int) -> int | None:
    text = _only(request, name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or int(text) > most:
        raise Failure(FailureKind.INVALID_PARAMETER, f"the parameter '{name}' is not a number from 0 to {most}")
    return int(text)


def _json(body: JsonObject) -> HttpResponse:
    return HttpResponse(status=200, body=msgspec.json.encode(body))
