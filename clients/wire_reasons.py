"""Where the wire and a description differ on purpose, each with its reason; everything else that a validator finds is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["NEVER_DEEP", "NOT_EXERCISED", "NOT_REFUSED", "excused"]

NOT_EXERCISED: Mapping[str, str] = {}
"""Operations without an answer that succeeds, and why."""

_PUBLIC = "whoever is signed in may ask, and there is nothing in it that could be wrong"
NOT_REFUSED: Mapping[str, str] = {
    "2015-04-01 EventCategories_List": _PUBLIC,
    "2015-04-01 Operations_List": _PUBLIC,
    "2018-11-30 Operations_List": _PUBLIC,
    "2021-01-01 Subscriptions_List": _PUBLIC,
    "2021-01-01 Tenants_List": _PUBLIC,
    "2021-04-01 Deployments_CalculateTemplateHash": "any JSON object has a hash",
    "2021-04-01 Operations_List": _PUBLIC,
    "2021-04-01 Providers_ListAtTenantScope": _PUBLIC,
    "2022-04-01 ProviderOperationsMetadata_List": _PUBLIC,
    "2024-11-30 Operations_List": _PUBLIC,
    "2025-05-31-preview Operations_List": _PUBLIC,
}
"""Operations that refuse nobody but strangers, and why."""

_RUNNING = "needs a deployment that has not ended yet"
NEVER_DEEP: Mapping[str, str] = {
    "2021-04-01 Deployments_Cancel": _RUNNING,
    "2021-04-01 Deployments_CancelAtManagementGroupScope": _RUNNING,
    "2021-04-01 Deployments_CancelAtScope": _RUNNING,
    "2021-04-01 Deployments_CancelAtSubscriptionScope": _RUNNING,
    "2021-04-01 Deployments_CancelAtTenantScope": _RUNNING,
}
"""Operations that made-up requests never get an answer from, and why."""

_ACTIVITY_LOG = ("ActivityLogs_List", "TenantActivityLogs_List", "EventCategories_List")


def excused(finding: Mapping[str, Any]) -> str | None:
    """Why a finding of the validator is no fault, if it is none."""
    operation, code = finding["operation"], finding["code"]
    if operation in _ACTIVITY_LOG and finding["where"] == "$.error":
        return "what Resource Manager itself refuses, ahead of the provider, is in its own envelope"
    if "CheckExistence" in operation and code in ("INVALID_CONTENT_TYPE", "INVALID_RESPONSE_BODY"):
        return "HTTP has no body in answers to HEAD, refusals included"
    return None
