"""One activity event from the facts of one attempt. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus

from idplane.model.calls import Call, Caller
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.ids import ResourceId
from idplane.model.redaction import without_secrets
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
    "upn",
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
    details: Mapping[str, str],
    goes_on: bool = False,
) -> ActivityEvent:
    """The event of one attempt: it succeeded when there is no failure code (an error code of the dialect, such as `ScopeLocked`).

    `operation_id` is the request's own id, so that everything one request did can be found by it. `details` are further properties:
    what of the bodies may be shown (`arm.logged` decides). `goes_on` tells that the work outlives its request.
    """
    word = _status_word(http_status)
    success = EventStatus.ACCEPTED if goes_on else EventStatus.SUCCEEDED
    return ActivityEvent(
        id=event_id,
        at=at,
        started_at=call.received_at,
        tenant_id=caller.tenant_id,
        subscription_id=resource_id.subscription,
        resource_id=str(resource_id),
        operation=operation,
        status=success if failure_code is None else EventStatus.FAILED,
        sub_status=failure_code or word,
        http_status=http_status,
        caller=caller.sign_in_name or caller.principal_id,
        caller_name=caller.display_name,
        caller_id=caller.principal_id,
        correlation_id=call.correlation_id,
        operation_id=call.request_id,
        client_address=call.client_address,
        method=call.method,
        because=decision.because if decision else None,
        claims=shown_claims(caller),
        properties={"statusCode": word, "serviceRequestId": call.request_id, "uri": without_secrets(call.url), **details},
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
