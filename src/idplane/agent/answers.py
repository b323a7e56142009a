"""What servers' refusals mean to an agent: their status, their words and their numbers as kinds of failure."""

from __future__ import annotations

import msgspec

from idplane.agent.upstream import RETRY_AFTER, UpstreamResponse
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid

__all__ = ["ANSWER", "FROM_SERVER", "REFUSAL_ID", "THROTTLED", "refusal", "token_refusal"]

ANSWER = "answer"
"""`Failure.data` key under which the token service's own error answer (a JSON object) travels to the dialects that repeat it."""
FROM_SERVER = "server"
"""`Failure.data` key of a THROTTLED that the server decided on, not this agent."""
REFUSAL_ID = "refusal_id"
"""`Failure.data` key of the id under which the server keeps what it refused."""
THROTTLED = 429
_SERVER_ERROR = 500
_REPEATED_MEMBERS = (
    "error",
    "error_description",
    "error_codes",
    "timestamp",
    "trace_id",
    "correlation_id",
    "error_uri",
    "suberror",
    "claims",
)
_TOKEN_FAILURES = {
    "invalid_resource": FailureKind.AUDIENCE_UNKNOWN,
    "invalid_scope": FailureKind.SCOPE_INVALID,
    "invalid_client": FailureKind.ASSERTION_INVALID,
    "unauthorized_client": FailureKind.CLIENT_UNKNOWN,
}
# Entra's numbers for an identity that is gone, or gone from this host: no credential and no retry will change that.
_GONE_NUMBERS = (50105, 700016)
_KINDS = {kind.name: kind for kind in FailureKind}


class _ErrorDetail(msgspec.Struct, rename="camel"):
    code: str
    message: str = ""
    request_id: str = ""


class _Error(msgspec.Struct):
    error: _ErrorDetail


def refusal(response: UpstreamResponse) -> Failure:
    """What the agent API refused, in the kind that it named."""
    if response.status < _SERVER_ERROR:
        try:
            error = msgspec.json.decode(response.body, type=_Error).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Failure(FailureKind.UNAVAILABLE, f"the server answered with status {response.status}")
        kind = _KINDS.get(error.code, FailureKind.UNAVAILABLE)
        return Failure(kind, error.message, **{FROM_SERVER: "yes"}, **_named(response), **_kept_as(error.request_id))
    return Failure(FailureKind.UNAVAILABLE, f"the server answered with status {response.status}")


def token_refusal(response: UpstreamResponse) -> Failure:
    """What the token service refused."""
    try:
        answer = msgspec.json.decode(response.body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = {}
    kept = _kept_as(answer.get("trace_id"))
    if response.status == THROTTLED:
        facts = {FROM_SERVER: "yes", **_named(response), **kept}
        return Failure(FailureKind.THROTTLED, "the token service asks for fewer requests", **facts)
    error = answer.get("error")
    if response.status >= _SERVER_ERROR or not isinstance(error, str):
        return Failure(FailureKind.UNAVAILABLE, f"the token service answered with status {response.status}")
    numbers = answer.get("error_codes")
    if isinstance(numbers, list) and any(number in numbers for number in _GONE_NUMBERS):
        return Failure(FailureKind.NOT_ENTITLED, "the identity is not there, or not assigned to the host", **kept)
    repeated = {name: answer[name] for name in _REPEATED_MEMBERS if name in answer}
    kind = _TOKEN_FAILURES.get(error, FailureKind.INVALID_PARAMETER)
    words = str(answer.get("error_description", error))
    return Failure(kind, words, **{ANSWER: msgspec.json.encode(repeated).decode()}, **kept)


def _named(response: UpstreamResponse) -> dict[str, str]:
    return {} if response.retry_after is None else {RETRY_AFTER: f"{response.retry_after:.0f}"}


def _kept_as(refusal_id: object) -> dict[str, str]:
    return {REFUSAL_ID: refusal_id} if isinstance(refusal_id, str) and is_guid(refusal_id) else {}
