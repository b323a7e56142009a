"""A refusal as JSON: what was asked, by whom, and what decided. Names are as in the activity log, where that has the same thing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from idplane.arm.envelope import timestamp
from idplane.model.calls import Workload
from idplane.model.refusals import Refusal
from idplane.model.values import JsonObject

__all__ = ["refusal_document"]

_REQUEST: Final = "request"


def refusal_document(one: Refusal, *, to_reader: bool) -> JsonObject:
    """All of it for readers of refusals. The refused caller itself is told neither what conditions found in what exists, nor what came near."""
    attributes = one.attributes if to_reader else {name: it for name, it in one.attributes.items() if name == _REQUEST}
    return {
        "refusalId": one.id,
        "refusedAt": timestamp(one.at),
        "surface": one.surface,
        "kind": one.kind,
        "detail": one.detail,
        "facts": dict(one.facts) if to_reader else {},
        "status": one.status or None,
        "method": one.method or None,
        "path": one.url or None,
        "dialect": one.dialect,
        "resource": one.resource,
        "count": one.count,
        "correlationId": one.correlation_id,
        "clientAddress": one.client_address,
        "userAgent": one.user_agent or None,
        "caller": {
            "proved": one.proved,
            "tenantId": one.tenant_id,
            "principalId": one.principal_id,
            "clientId": one.client_id or None,
            "name": one.caller_name or None,
            "tokenId": one.token_id or None,
            "groups": [*one.groups],
            "host": one.host,
            "process": None if one.workload is None else _process(one.workload),
        },
        "action": one.action,
        "scope": one.scope,
        "isDataAction": one.data,
        "attributes": attributes,
        "reason": one.reason,
        "because": one.because,
        "considered": [*one.considered],
        "signInId": one.sign_in_id,
    }


def _process(workload: Workload) -> JsonObject:
    return {name: value for name, value in asdict(workload).items() if value is not None}
