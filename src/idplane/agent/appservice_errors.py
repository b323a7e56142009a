"""What failures are called by App Service's token endpoint, 2019-08-01 and later (MIE section 2). Total over the failure kinds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from idplane.agent.refusals import explicable
from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import headers_of, status_of
from idplane.model.failure import Failure, FailureKind

__all__ = ["render", "worded"]

_NO_IDENTITY = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
_TEXTS = {
    FailureKind.IDENTITY_NOT_FOUND: _NO_IDENTITY,
    FailureKind.RESOURCE_NOT_FOUND: _NO_IDENTITY,
    FailureKind.NOT_ENTITLED: _NO_IDENTITY,
    FailureKind.AGENT_UNKNOWN: "The identity service cannot be reached.",
    FailureKind.INTERNAL: "An unexpected error occured while fetching the AAD Token.",  # the wire's own spelling
}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as App Service says it; clients show `message` (MIE section 8.3)."""
    return worded(failure, request_id, now, texts=_TEXTS, members=("statusCode", "message", "correlationId"))


def worded(
    failure: Failure, request_id: str, now: datetime, *, texts: Mapping[FailureKind, str], members: tuple[str, str, str]
) -> Reply:
    """A failure in App Service's form, which others share: three `members` (status, text, id), and fixed `texts`, INTERNAL's among them."""
    status = status_of(failure.kind)
    text = texts.get(failure.kind) or failure.detail or texts[FailureKind.INTERNAL]
    body = dict(zip(members, (status, explicable(text, failure, request_id), request_id), strict=True))
    headers = (*headers_of(failure, status), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode(body), now=now, headers=headers)
