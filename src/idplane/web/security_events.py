"""The wire of security events (OpenID Shared Signals Framework 1.0, RFC 8936).

    GET  /.well-known/ssf-configuration[/{tenant}]   and /{tenant}/.well-known/ssf-configuration
    GET POST PATCH PUT DELETE  /{tenant}/ssf/streams[?stream_id=...]
    GET POST  /{tenant}/ssf/status      POST /{tenant}/ssf/subjects:add, subjects:remove, verify
    POST /{tenant}/ssf/poll/{stream}

Callers show a bearer token for Resource Manager or for the authority's own address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Protocol

import msgspec

from idplane.model.calls import Caller
from idplane.model.directory import Principal
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.security_events import Delivery, EventStream, EventType
from idplane.model.values import JsonObject
from idplane.ports.store import Store
from idplane.sts.event_streams import EventStreams, StreamWish
from idplane.sts.tenants import tenant_named
from idplane.web.challenges import bearer_error
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.introspection import own_audiences

__all__ = ["SecurityEventSurface", "is_about_events", "is_poll"]

_WELL_KNOWN: Final = ".well-known/ssf-configuration"
_NO_STORE: Final = (("Cache-Control", "no-store"),)
_MAX_BODY: Final = 64 * 1024


def is_about_events(path: str) -> bool:
    """Whether a path belongs here."""
    parts = path.lower().strip("/").split("/")
    return "/".join(parts[:2]) == _WELL_KNOWN or "/".join(parts[1:3]) == _WELL_KNOWN or parts[1:2] == ["ssf"]


def is_poll(path: str) -> bool:
    """Whether a request to this path may wait for something to happen."""
    return path.lower().strip("/").split("/")[1:3] == ["ssf", "poll"]


class _Tokens(Protocol):
    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        """The bearer of a token."""
        ...


class SecurityEventSurface:
    """Speaks the framework's dialect for one `EventStreams`; `home_tenant` is meant where a path names none."""

    def __init__(self, *, streams: EventStreams, tokens: _Tokens, store: Store, home_tenant: str) -> None:
        self._streams = streams
        self._tokens = tokens
        self._store = store
        self._home = home_tenant

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; raises `Failure`."""
        parts = request.path.strip("/").split("/")
        if _WELL_KNOWN in request.path.lower():
            named = [part for part in parts if part.lower() not in _WELL_KNOWN.split("/")]
            tenant = await tenant_named(self._store, named[0] if named else self._home)
            _require_method(request, "GET")
            return _json(_configuration(request.origin, tenant.id))
        tenant = await tenant_named(self._store, parts[0])
        owner = await self._owner(request, tenant.id)
        match [part.lower() for part in parts[2:]]:
            case ["streams"]:
                return await self._stream(request, owner, _issuer(request.origin, tenant.id))
            case ["status"]:
                return await self._status(request, owner)
            case ["subjects:add" | "subjects:remove" | "verify" as word]:
                _require_method(request, "POST")
                return await self._word(word, request, owner)
            case ["poll", stream_id]:
                _require_method(request, "POST")
                return await self._poll(request, owner, stream_id)
            case _:
                raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such endpoint")

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure, as RFC 8935 section 2.4 words them."""
        status = failure.kind.category.value
        headers: tuple[tuple[str, str], ...] = _NO_STORE
        if status == Category.UNAUTHENTICATED.value:
            error = bearer_error(failure, request.call.received_at) or 'error="invalid_token"'
            headers += (("WWW-Authenticate", f'Bearer realm="{request.origin.authority}", {error}'),)
        if status == Category.METHOD.value:
            headers += (("Allow", failure.data.get("allowed", "POST")),)
        if failure.kind.category in (Category.THROTTLED, Category.UNAVAILABLE):
            headers += (("Retry-After", failure.data.get("retry_after", "1")),)
        word = {401: "authentication_failed", 403: "access_denied"}.get(status, "invalid_request")
        detail = "an internal error occurred" if status == Category.INTERNAL.value else failure.detail
        return HttpResponse(status=status, body=msgspec.json.encode({"err": word, "description": detail}), headers=headers)

    async def _owner(self, request: HttpRequest, tenant_id: str) -> Principal:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Failure(FailureKind.TOKEN_MISSING, "there is no access token")
        caller = await self._tokens.authenticate(token.strip(), own_audiences(request.origin), request.call.client_certificate)
        if caller.tenant_id != tenant_id:
            raise Failure(FailureKind.TOKEN_TENANT, "the token is of another tenant")
        return await self._streams.owner_of(caller.principal_id)

    async def _stream(self, request: HttpRequest, owner: Principal, issuer: str) -> HttpResponse:
        named = request.parameter("stream_id")
        match request.method:
            case "POST":
                made = await self._streams.create(owner, _wish(_body(request), issuer))
                return _json(_shown(made), status=201)
            case "GET" if named is None:
                return _json([_shown(one) for one in await self._streams.all(owner)])
            case "GET":
                return _json(_shown(await self._streams.get(owner, named or "")))
            case "PATCH" | "PUT":
                body = _body(request)
                wish = _wish(body, issuer)
                changed = await self._streams.change(owner, _text(body, "stream_id"), wish, whole=request.method == "PUT")
                return _json(_shown(changed))
            case "DELETE":
                await self._streams.delete(owner, named or "")
                return HttpResponse(status=204, headers=_NO_STORE)
            case _:
                raise _method("GET, POST, PATCH, PUT, DELETE", request)

    async def _status(self, request: HttpRequest, owner: Principal) -> HttpResponse:
        match request.method:
            case "GET":
                return _json(_status(await self._streams.get(owner, request.parameter("stream_id") or "")))
            case "POST":
                body = _body(request)
                reason = body.get("reason")
                changed = await self._streams.set_status(
                    owner, _text(body, "stream_id"), _text(body, "status"), reason if isinstance(reason, str) else None
                )
                return _json(_status(changed))
            case _:
                raise _method("GET, POST", request)

    async def _word(self, word: str, request: HttpRequest, owner: Principal) -> HttpResponse:
        body = _body(request)
        stream_id = _text(body, "stream_id")
        if word == "verify":
            state = body.get("state")
            await self._streams.verify(owner, stream_id, state if isinstance(state, str) else None)
            return HttpResponse(status=204, headers=_NO_STORE)
        edit: Callable[[Principal, str, str], Awaitable[None]] = (
            self._streams.add_subject if word == "subjects:add" else self._streams.remove_subject
        )
        await edit(owner, stream_id, _subject(body.get("subject")))
        return HttpResponse(status=200 if word == "subjects:add" else 204, headers=_NO_STORE)

    async def _poll(self, request: HttpRequest, owner: Principal, stream_id: str) -> HttpResponse:
        body = _body(request)
        most, acknowledged, at_once = body.get("maxEvents", 100), body.get("ack", []), body.get("returnImmediately", False)
        errors = body.get("setErrs", {})
        sound = isinstance(most, int) and most >= 0 and isinstance(acknowledged, list) and isinstance(errors, dict)
        if not sound:
            raise Failure(FailureKind.INVALID_PARAMETER, "the poll is malformed", parameter="maxEvents")
        # What a receiver could not use is not sent again, either (RFC 8936 section 2.6).
        done = {one for one in (*acknowledged, *errors) if isinstance(one, str)}
        polled = await self._streams.poll(owner, stream_id, acknowledged=done, most=most, wait=at_once is not True)
        return _json({"sets": dict(polled.events), "moreAvailable": polled.more})


def _configuration(origin: Origin, tenant_id: str) -> JsonObject:
    base = _issuer(origin, tenant_id)
    return {
        "spec_version": "1_0",
        "issuer": base,
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "delivery_methods_supported": [one.value for one in Delivery],
        "configuration_endpoint": f"{base}/ssf/streams",
        "status_endpoint": f"{base}/ssf/status",
        "add_subject_endpoint": f"{base}/ssf/subjects:add",
        "remove_subject_endpoint": f"{base}/ssf/subjects:remove",
        "verification_endpoint": f"{base}/ssf/verify",
        "critical_subject_members": [],
        "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
        "default_subjects": "ALL",
    }


def _issuer(origin: Origin, tenant_id: str) -> str:
    return f"{origin.authority}/{tenant_id}"


def _shown(stream: EventStream) -> JsonObject:
    push = stream.delivery is Delivery.PUSH
    address = stream.endpoint if push else f"{stream.issuer}/ssf/poll/{stream.id}"
    return {
        "stream_id": stream.id,
        "iss": stream.issuer,
        "aud": [stream.audience],
        "events_supported": [one.value for one in EventType if one is not EventType.VERIFICATION],
        "events_requested": [one.value for one in stream.requested],
        "events_delivered": [one.value for one in stream.requested],
        "delivery": {"method": stream.delivery.value, "endpoint_url": address},
        "min_verification_interval": 0,
        **({} if stream.description is None else {"description": stream.description}),
        "idplane_subjects": "all" if stream.everyone else "recent",
    }


def _status(stream: EventStream) -> JsonObject:
    reason = {} if stream.reason is None else {"reason": stream.reason}
    return {"stream_id": stream.id, "status": stream.status.value, **reason}


def _wish(body: Mapping[str, Any], issuer: str) -> StreamWish:
    delivery = body.get("delivery")
    if delivery is not None and not isinstance(delivery, dict):
        raise _malformed("delivery")
    told: Mapping[str, Any] = delivery or {}
    method = told.get("method")
    if delivery is not None and method not in {one.value for one in Delivery}:
        raise _malformed("delivery.method")
    requested = body.get("events_requested")
    if requested is not None and not (isinstance(requested, list) and all(isinstance(one, str) for one in requested)):
        raise _malformed("events_requested")
    subjects = body.get("idplane_subjects")
    if subjects not in (None, "all", "recent"):
        raise _malformed("idplane_subjects")
    return StreamWish(
        issuer=issuer,
        delivery=Delivery(method) if method else None,
        endpoint=_optional(told, "endpoint_url"),
        authorization=_optional(told, "authorization_header"),
        requested=None if requested is None else tuple(requested),
        description=_optional(body, "description"),
        audience=_optional(body, "idplane_audience"),
        everyone=None if subjects is None else subjects == "all",
    )


def _subject(value: object) -> str:
    """The object id in a subject identifier (RFC 9493) of the forms that events have."""
    if isinstance(value, dict):
        named = value.get({"iss_sub": "sub", "opaque": "id"}.get(str(value.get("format")), ""))
        if isinstance(named, str) and is_guid(named):
            return named.lower()
    raise _malformed("subject")


def _body(request: HttpRequest) -> Mapping[str, Any]:
    if len(request.body) > _MAX_BODY:
        raise Failure(FailureKind.BODY_TOO_LARGE, f"the body is larger than {_MAX_BODY} bytes")
    try:
        return msgspec.json.decode(request.body or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(FailureKind.MALFORMED_BODY, "the body is not a JSON object") from error


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise _malformed(name)
    return value


def _optional(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)


def _malformed(name: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, f"the member '{name}' is missing or not of its kind", parameter=name)


def _require_method(request: HttpRequest, allowed: str) -> None:
    if request.method != allowed:
        raise _method(allowed, request)


def _method(allowed: str, request: HttpRequest) -> Failure:
    return Failure(
        FailureKind.METHOD_NOT_ALLOWED, "the endpoint takes other methods", allowed=allowed, method=request.method[:20]
    )


def _json(document: object, *, status: int = 200) -> HttpResponse:
    return HttpResponse(status=status, body=msgspec.json.encode(document), headers=_NO_STORE)
