"""Service principals as Graph shows them, as far as their own records tell (control-plane.md section 8). Pure."""

from __future__ import annotations

from typing import Final

from idplane.directory.first_party import FIRST_PARTY, OWNER_TENANT
from idplane.graph.declare import Context
from idplane.graph.times import shown_time
from idplane.model.directory import Principal, PrincipalType
from idplane.model.values import JsonObject

__all__ = ["SETTINGS", "service_principal_document"]

SETTINGS: Final[JsonObject] = {
    "description": None,
    "homepage": None,
    "info": {},
    "loginUrl": None,
    "logoutUrl": None,
    "notes": None,
    "notificationEmailAddresses": [],
    "preferredSingleSignOnMode": None,
    "replyUrls": [],
    "tags": [],
    "tokenEncryptionKeyId": None,
}
"""Kept for their clients, with what they are when nobody has set them."""


def service_principal_document(_: Context, one: Principal) -> JsonObject:
    """The members that the principal's record tells."""
    managed = one.type is PrincipalType.MANAGED_IDENTITY
    owner = OWNER_TENANT if one.client_id in FIRST_PARTY else one.tenant_id
    return {
        "id": one.id,
        "deletedDateTime": None,
        "accountEnabled": one.enabled,
        "addIns": [],
        "alternativeNames": list(one.alternative_names),
        "appDescription": None,
        "appDisplayName": None if managed else one.display_name,
        "appId": one.client_id,
        "applicationTemplateId": None,
        "appOwnerOrganizationId": None if managed else owner,
        "appRoleAssignmentRequired": False,
        "appRoles": [],
        "createdDateTime": shown_time(one.created_at),
        "disabledByMicrosoftStatus": None,
        "displayName": one.display_name,
        "keyCredentials": [],
        "oauth2PermissionScopes": [],
        "passwordCredentials": [],
        "resourceSpecificApplicationPermissions": [],
        "servicePrincipalNames": list(one.names or (one.client_id,)),
        "servicePrincipalType": one.type.value,
        "signInAudience": None if managed else "AzureADMyOrg",
        "verifiedPublisher": {"displayName": None, "verifiedPublisherId": None, "addedDateTime": None},
        **SETTINGS,
        **one.settings,
    }
