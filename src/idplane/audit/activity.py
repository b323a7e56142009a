"""One activity event from the facts of one attempt. Pure."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from idplane.model.calls import Call, Caller
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.ids import ResourceId
from idplane.model.roles import Decision
from idplane.model.values import JsonObject

__all__ = ["activity_event", "shown_claims"]

_SHOWN_CLAIMS = (
    "aud",
    "iss",
    "iat",
    "nbf",
    "exp",
    "appid",
    "azp",
    "appidacr",
    "azpacr",
    "idtyp",
    "oid",
    "sub",
    "tid",
    "uti",
    "ver",
    "xms_mirid",
    "xms_az_rid",
)
"""Claims that say who and when. A list of what is shown, so that a claim added to tokens later is not logged by accident."""


def activity_event(  # noqa: PLR0913 - an event has this many sides
    *,
    event_id: str,
    at: datetime,
    call: Call,
    caller: Caller,
    resource_id: ResourceId,
    operation: str,
    decision: Decision | None,
    http_status: int,
    failure_code: str | None,
) -> ActivityEvent:
    """The event of one attempt: it succeeded when there is no failure code (an error code of the dialect, such as `ScopeLocked`).

    `operation_id` is the request's own id, so that everything one request did can be found by it.
    """
    word = _status_word(http_status)
    return ActivityEvent(
        id=event_id,
        at=at,
        tenant_id=caller.tenant_id,
        subscription_id=resource_id.subscription,
        resource_id=str(resource_id),
        operation=operation,
        status=EventStatus.SUCCEEDED if failure_code is None else EventStatus.FAILED,
        sub_status=failure_code or word,
        http_status=http_status,
        caller=caller.display_name or caller.client_id,
        caller_id=caller.principal_id,
        correlation_id=call.correlation_id,
        operation_id=call.request_id,
        client_address=call.client_address,
        method=call.method,
        because=decision.because if decision else None,
        claims=shown_claims(caller),
        properties={"statusCode": word, "serviceRequestId": call.request_id, "uri": call.url},
    )


def shown_claims(caller: Caller) -> JsonObject:
    """The part of a token's claims that logs may hold: who the caller was and which token it used, never the token."""
    return {name: str(caller.claims[name]) for name in _SHOWN_CLAIMS if name in caller.claims}


def _status_word(status: int) -> str:
    """`Created`, `NoContent`: how the log spells HTTP statuses."""
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return str(status)
