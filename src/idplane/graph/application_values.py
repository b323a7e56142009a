"""What the members of an application's body mean, and the rules that they keep. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from idplane.directory.audiences import AUDIENCE_URIS, audience_key
from idplane.model.directory import Application, AppRole, AssertionUse
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields

__all__ = [
    "AUDIENCES",
    "SETTABLE",
    "SETTINGS",
    "app_roles",
    "assertion_use",
    "check_audience",
    "display_name",
    "identifier_uris",
    "token_version",
]

SETTINGS: Final[Mapping[str, object]] = {
    "addIns": [],
    "api": {
        "acceptMappedClaims": None,
        "knownClientApplications": [],
        "oauth2PermissionScopes": [],
        "preAuthorizedApplications": [],
        "requestedAccessTokenVersion": None,
    },
    "authenticationBehaviors": {"clientAssertionUse": None},
    "defaultRedirectUri": None,
    "description": None,
    "groupMembershipClaims": None,
    "info": {},
    "isDeviceOnlyAuthSupported": False,
    "notes": None,
    "optionalClaims": {},
    "parentalControlSettings": {},
    "publicClient": {"redirectUris": []},
    "requestSignatureVerification": {},
    "requiredResourceAccess": [],
    "samlMetadataUrl": None,
    "serviceManagementReference": None,
    "servicePrincipalLockConfiguration": {},
    "signInAudience": "AzureADMyOrg",
    "spa": {"redirectUris": []},
    "tags": [],
    "tokenEncryptionKeyId": None,
    "uniqueName": None,
    "web": {
        "homePageUrl": None,
        "implicitGrantSettings": {"enableAccessTokenIssuance": False, "enableIdTokenIssuance": False},
        "logoutUrl": None,
        "redirectUris": [],
    },
}
"""Kept for their clients, with what they are when nobody has set them."""
AUDIENCES: Final = ("AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount")
SETTABLE: Final = frozenset(
    {"displayName", "identifierUris", "appRoles", "isFallbackPublicClient", "keyCredentials", "passwordCredentials", *SETTINGS}
)
"""What a body may say."""
_BEHAVIORS: Final = frozenset(
    {"blockAzureADGraphAccess", "clientAssertionUse", "removeUnverifiedEmailClaim", "requireClientServicePrincipal"}
)
"""All but `clientAssertionUse`, which is ours, are Entra's."""
_MAX_NAME: Final = 256
_MAX_URIS: Final = 50
_MAX_URI: Final = 255
_MAX_ROLES: Final = 1200
_VALUE: Final = re.compile(r"[\x21-\x7e]{1,120}")
_MEMBER_TYPES: Final = frozenset({"User", "Application"})
_TAKEN: Final = frozenset(audience_key(uri) for uris in AUDIENCE_URIS.values() for uri in uris)
_VERSION_2: Final = 2


def check_audience(body: JsonObject) -> None:
    """Raises `Failure(INVALID_PARAMETER)` for a `signInAudience` that there is not."""
    audience = body.get("signInAudience")
    if audience is not None and audience not in AUDIENCES:
        raise Fields(body).refuse("signInAudience", f"must be one of {', '.join(AUDIENCES)}")


def display_name(body: JsonObject, old: Application | None) -> str:
    """The name, which every application has."""
    fields = Fields(body)
    if "displayName" not in body and old is not None:
        return old.display_name
    return fields.required_text("displayName", limit=_MAX_NAME)


def token_version(settings: JsonObject) -> int:
    """The version of access tokens for it, by `api.requestedAccessTokenVersion`: 1 unless it says 2."""
    api = settings.get("api")
    version = Fields(api if isinstance(api, Mapping) else {}, "api").integer("requestedAccessTokenVersion")
    if version not in (None, 1, _VERSION_2):
        raise Fields({}, "api").refuse("requestedAccessTokenVersion", "must be 1, 2 or null")
    return version or 1


def assertion_use(settings: JsonObject) -> AssertionUse:
    """How often the application's client assertions count. A misspelled member is refused: somebody would think himself safe."""
    given = settings.get("authenticationBehaviors")
    fields = Fields(given if isinstance(given, Mapping) else {}, "authenticationBehaviors")
    for name in given if isinstance(given, Mapping) else ():
        if name not in _BEHAVIORS:
            raise fields.refuse(name[:100], "is no authentication behavior")
    wanted = fields.text("clientAssertionUse") or AssertionUse.ANY.value
    if wanted not in {one.value for one in AssertionUse}:
        raise fields.refuse("clientAssertionUse", f"must be one of {', '.join(one.value for one in AssertionUse)}")
    return AssertionUse(wanted)


def identifier_uris(body: JsonObject, old: Application | None) -> tuple[str, ...]:
    """The URIs that name it as a resource. Those of Azure's own resources are taken."""
    if "identifierUris" not in body:
        return old.identifier_uris if old is not None else ()
    fields = Fields(body)
    found = fields.texts("identifierUris", limit=_MAX_URIS, length=_MAX_URI)
    if len({audience_key(one) for one in found}) != len(found):
        raise fields.refuse("identifierUris", "holds the same value twice")
    for one in found:
        if not _is_uri(one):
            raise fields.refuse("identifierUris", f"holds '{one[:100]}', which is not an absolute URI such as api://orders")
        if audience_key(one) in _TAKEN:
            raise taken_uri()
    return found


def taken_uri() -> Failure:
    """Another application has the URI."""
    words = "Another object with the same value for property identifierUris already exists"
    return Failure(FailureKind.CONFLICT, words, code="Request_MultipleObjectsWithSameKeyValue")


def _is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    printable = text.isascii() and text.isprintable() and " " not in text
    return printable and bool(parts.scheme) and bool(parts.netloc or parts.path.strip("/")) and "#" not in text


def app_roles(body: JsonObject, old: Sequence[AppRole]) -> tuple[AppRole, ...]:
    """The roles that it offers. One that is enabled can neither be deleted nor become another: it is disabled first."""
    if "appRoles" not in body:
        return tuple(old)
    given = Fields(body).inners("appRoles", limit=_MAX_ROLES)
    found = tuple(_role(one) for one in given)
    ids, values = [one.id for one in found], [one.value for one in found if one.value]
    if len(set(ids)) != len(ids) or len(set(values)) != len(values):
        raise Fields(body).refuse("appRoles", "holds the same id or value twice")
    by_id = {one.id: one for one in found}
    for one in old:
        kept = by_id.get(one.id)
        if one.enabled and (kept is None or (kept.value, set(kept.member_types)) != (one.value, set(one.member_types))):
            words = "Permission (scope or role) cannot be deleted or updated unless disabled first"
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="CannotDeleteOrUpdateEnabledEntitlement")
    return found


def _role(given: Fields) -> AppRole:
    identifier = given.required_text("id").lower()
    if not is_guid(identifier):
        raise given.refuse("id", "must be a GUID")
    value = given.text("value") or ""
    if value and _VALUE.fullmatch(value) is None:
        raise given.refuse("value", "must have 1 to 120 printable characters and no space")
    types = given.texts("allowedMemberTypes", limit=2)
    if not types or not {*types} <= _MEMBER_TYPES:
        raise given.refuse("allowedMemberTypes", "must hold User, Application or both")
    enabled = given.flag("isEnabled")
    return AppRole(
        id=identifier,
        value=value,
        display_name=given.required_text("displayName", limit=_MAX_NAME),
        description=given.text("description", limit=1024) or "",
        enabled=enabled is not False,
        member_types=types,
    )
