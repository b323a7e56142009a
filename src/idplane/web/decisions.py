"""The decision API, OpenID AuthZEN Authorization API 1.0: whoever guards something else asks whether a principal may.

    POST /access/v1/evaluation      {"subject", "action", "resource", "context"} → {"decision": true}
    POST /access/v1/evaluations     the same for many, with defaults → {"evaluations": [...]}
    GET  /.well-known/authzen-configuration

A subject's id is a principal's object id, an action's name one of Azure RBAC's, a resource's id a scope; `action.properties.isDataAction` tells data
actions. Attributes for conditions, such as `Contoso.Shop/orders:region`, are members of `resource.properties` (`@Resource`) and of `context`
(`@Request`). Types of subjects and resources are taken as they come.

The asker shows a token for Resource Manager. About itself everybody may ask; about others takes `Idplane.Authorization/decisions/action` at the
scope. What is decided to be refused is kept as a refusal of the subject's, and its id told in `context`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec

from idplane.arm.bodies import parse_object
from idplane.model.attributes import Attributes, AttributeValue
from idplane.model.calls import Caller
from idplane.model.directory import Principal
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.refusals import Evidence, RefusalSurface
from idplane.model.roles import Decision
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import Reads
from idplane.ports.world import Entropy
from idplane.providers.decisions import DECIDE
from idplane.providers.fields import Fields
from idplane.rbac import AccessControl
from idplane.web.arm_errors import challenge
from idplane.web.http import HttpRequest, HttpResponse, RefusalNotes
from idplane.web.introspection import own_audiences

__all__ = ["DecisionSurface", "is_about_decisions"]

_CONFIGURATION: Final = "/.well-known/authzen-configuration"
_ONE: Final = "/access/v1/evaluation"
_MANY: Final = "/access/v1/evaluations"
_MOST: Final = 500
_MAX_ID: Final = 200
_ECHOED: Final = "X-Request-ID"
_SEMANTICS: Final[Mapping[str, bool | None]] = {
    "execute_all": None,
    "deny_on_first_deny": False,
    "permit_on_first_permit": True,
}
"""Which answer ends the row."""
_PARTS: Final = ("subject", "action", "resource", "context")


def is_about_decisions(path: str) -> bool:
    """Whether a path is the decision API's, or would be if there were such an endpoint."""
    return path == _CONFIGURATION or path.lower().startswith("/access/")


class Authenticator(Protocol):
    """Verifies bearer tokens; `sts.TokenAuthenticator` is one."""

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        """The caller that a token for one of `audiences` speaks for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    subject: str
    action: str
    scope: ResourceId
    data: bool
    attributes: Attributes


class DecisionSurface:
    """The surface for these three addresses."""

    def __init__(
        self,
        *,
        access: AccessControl,
        authenticator: Authenticator,
        store: Reads,
        entropy: Entropy,
        refusals: RefusalNotes,
        home_tenant: str,
    ) -> None:
        self._access = access
        self._authenticator = authenticator
        self._store = store
        self._entropy = entropy
        self._refusals = refusals
        self._home_tenant = home_tenant

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; raises `Failure`."""
        if request.path == _CONFIGURATION:
            request.require_method("GET")
            return _answer(request, _configuration(request.origin.authority))
        if request.path not in {_ONE, _MANY}:
            raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such endpoint")
        request.require_method("POST")
        caller = await self._authenticator.authenticate(
            request.bearer(), own_audiences(request.origin), request.call.client_certificate
        )
        body = Fields(parse_object(request.body))
        if request.path == _ONE or not body.has("evaluations"):
            return _answer(request, await self._decided(request, caller, _question(body)))
        return _answer(request, {"evaluations": await self._row(request, caller, body)})

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure: its status, and what is wrong in words. Total over the failure kinds."""
        category = failure.kind.category
        headers: tuple[tuple[str, str], ...] = _echo(request)
        if category is Category.UNAUTHENTICATED:
            origin, at = request.origin.authority, request.call.received_at
            headers += (("WWW-Authenticate", challenge(failure, authority=origin, tenant_id=self._home_tenant, now=at)),)
        if category is Category.METHOD:
            headers += (("Allow", failure.data.get("allowed", "POST")),)
        if category in (Category.THROTTLED, Category.UNAVAILABLE):
            headers += (("Retry-After", failure.data.get("retry_after", "1")),)
        inside = category in (Category.INTERNAL, Category.UNAVAILABLE)
        words = "the request cannot be served now" if inside else failure.detail or failure.kind.name.lower().replace("_", " ")
        error = {"error": {"code": failure.kind.name, "message": words, "requestId": request.call.request_id}}
        return HttpResponse(status=category.value, body=msgspec.json.encode(error), headers=headers)

    async def _row(self, request: HttpRequest, caller: Caller, body: Fields) -> list[JsonObject]:
        """Every question is read, and whether it may be asked settled, before the first is answered."""
        ends = _ending(body)
        defaults = {name: body.values[name] for name in _PARTS if body.has(name)}
        questions = [
            _question(Fields({**defaults, **one.values}, body.path(f"evaluations[{at}]")))
            for at, one in enumerate(body.inners("evaluations", limit=_MOST))
        ]
        for one in questions:
            await self._require(caller, one)
        answers: list[JsonObject] = []
        for one in questions:
            answers.append(await self._decided(request, caller, one, asked=True))
            if answers[-1]["decision"] is ends:
                break
        return answers

    async def _require(self, caller: Caller, question: _Question) -> None:
        if question.subject != caller.principal_id:
            await self._access.require(caller, DECIDE, question.scope)

    async def _decided(self, request: HttpRequest, caller: Caller, question: _Question, *, asked: bool = False) -> JsonObject:
        if not asked:
            await self._require(caller, question)
        found = await self._store.get(PRINCIPALS, question.subject)
        subject = found.value if found is not None and found.value.tenant_id == caller.tenant_id else None
        if subject is None or not subject.enabled:
            words = "names no principal of the tenant" if subject is None else "is disabled"
            failure = Failure(FailureKind.PRINCIPAL_NOT_FOUND, f"the subject '{question.subject}' {words}")
            return self._refused(request, failure, _evidence(caller, question, subject), "subject")
        ids = await self._access.principal_ids(subject.id)
        decision = await self._access.check(
            ids, question.action, question.scope, data=question.data, attributes=question.attributes
        )
        if decision.allowed:
            return {"decision": True}
        failure = Failure(
            FailureKind.FORBIDDEN,
            f"'{subject.caller_name}' may not perform '{question.action}' over '{question.scope}'",
            action=question.action,
            scope=str(question.scope),
            reason=decision.reason.value,
            because=decision.because or "",
        )
        evidence = replace(_evidence(caller, question, subject, decision), groups=tuple(sorted(ids - {subject.id})))
        return self._refused(request, failure, evidence, decision.reason.value)

    def _refused(self, request: HttpRequest, failure: Failure, evidence: Evidence, reason: str) -> JsonObject:
        """An answer of "no", with the id that it is kept under; in a row each has its own."""
        call = replace(request.call, request_id=self._entropy.guid())
        self._refusals.note(failure.with_evidence(evidence), call, surface=RefusalSurface.DECISION.value, status=200)
        return {"decision": False, "context": {"id": call.request_id, "reason": reason}}


def _evidence(caller: Caller, question: _Question, subject: Principal | None, decision: Decision | None = None) -> Evidence:
    """The refusal is the subject's: it may hear of it, too. The asker was proved, and vouches for it."""
    return Evidence(
        proved=True,
        tenant_id=caller.tenant_id,
        principal_id=subject.id if subject else None,
        client_id=subject.client_id if subject else "",
        caller_name=subject.caller_name if subject else question.subject,
        action=question.action,
        scope=str(question.scope),
        data=question.data,
        attributes=question.attributes,
        reason=decision.reason.value if decision else None,
        because=decision.because if decision else None,
        considered=decision.considered if decision else (),
    )


def _question(body: Fields) -> _Question:
    subject, action, resource = body.inner("subject"), body.inner("action"), body.inner("resource")
    subject.required_text("type", limit=_MAX_ID)
    resource.required_text("type", limit=_MAX_ID)
    properties = resource.inner("properties")
    return _Question(
        subject=subject.required_text("id", limit=_MAX_ID).lower(),
        action=action.required_text("name", limit=300),
        scope=_scope(resource),
        data=action.inner("properties").flag("isDataAction") or False,
        attributes=Attributes(resource=_attributes(properties), request=_attributes(body.inner("context"))),
    )


def _scope(resource: Fields) -> ResourceId:
    try:
        return ResourceId.parse(resource.required_text("id"))
    except Failure as failure:
        raise resource.refuse("id", "is no scope, such as '/subscriptions/{id}/resourceGroups/{name}'") from failure


def _attributes(stated: Fields) -> Mapping[str, tuple[AttributeValue, ...]]:
    """Members whose names are attributes', as far as conditions know such values; whatever else is there is for others."""
    found: dict[str, tuple[AttributeValue, ...]] = {}
    for name, value in stated.values.items():
        values = value if isinstance(value, list) else [value]
        known = tuple(one for one in values if isinstance(one, str | int | bool))
        if ":" in name and len(known) == len(values):
            found[name.lower()] = known
    return found


def _ending(body: Fields) -> bool | None:
    options = body.inner("options")
    named = options.text("evaluations_semantic") or "execute_all"
    if named not in _SEMANTICS:
        raise options.refuse("evaluations_semantic", f"must be one of: {', '.join(_SEMANTICS)}")
    return _SEMANTICS[named]


def _configuration(base: str) -> JsonObject:
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}{_ONE}",
        "access_evaluations_endpoint": f"{base}{_MANY}",
    }


def _answer(request: HttpRequest, body: JsonObject) -> HttpResponse:
    return HttpResponse(status=200, body=msgspec.json.encode(body), headers=_echo(request))


def _echo(request: HttpRequest) -> tuple[tuple[str, str], ...]:
    """The asker's own id for its request, if it sent one that a header can hold."""
    sent = request.header(_ECHOED.lower())
    return ((_ECHOED, sent),) if sent and len(sent) <= _MAX_ID and sent.isascii() and sent.isprintable() else ()
