"""The one internal failure type: a closed kind, a caller-safe detail, and the cause for the log.

Domain code raises `Failure`; each wire dialect (Resource Manager, OAuth, vault, IMDS, ...) has one table that turns the kind
into its own status, code and words. A kind belongs to one `Category`, which is what a dialect falls back on for kinds that it
never meets, so every table is total.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idplane.model.refusals import Evidence

__all__ = ["Category", "Failure", "FailureKind", "os_reason"]


class Category(enum.Enum):
    """What a failure amounts to on any wire."""

    BAD_REQUEST = 400
    UNAUTHENTICATED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404
    METHOD = 405
    CONFLICT = 409
    PRECONDITION = 412
    TOO_LARGE = 413
    MEDIA_TYPE = 415
    THROTTLED = 429
    INTERNAL = 500
    UNAVAILABLE = 503


class FailureKind(enum.Enum):
    """Every way in which a request can fail; the value is (name, category)."""

    # Shape of any request
    MALFORMED_BODY = "malformed_body", Category.BAD_REQUEST
    INVALID_PARAMETER = "invalid_parameter", Category.BAD_REQUEST
    INVALID_RESOURCE_ID = "invalid_resource_id", Category.BAD_REQUEST
    INVALID_FILTER = "invalid_filter", Category.BAD_REQUEST
    MISSING_PARAMETER = "missing_parameter", Category.BAD_REQUEST
    FOREIGN_HOST = "foreign_host", Category.BAD_REQUEST
    METHOD_NOT_ALLOWED = "method_not_allowed", Category.METHOD
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", Category.MEDIA_TYPE
    BODY_TOO_LARGE = "body_too_large", Category.TOO_LARGE
    URI_TOO_LONG = "uri_too_long", Category.TOO_LARGE
    HEAD_TOO_LARGE = "head_too_large", Category.TOO_LARGE
    PATH_NOT_FOUND = "path_not_found", Category.NOT_FOUND
    THROTTLED = "throttled", Category.THROTTLED
    INTERNAL = "internal", Category.INTERNAL
    UNAVAILABLE = "unavailable", Category.UNAVAILABLE
    STORAGE_FULL = "storage_full", Category.UNAVAILABLE

    # Who asks, and whether it may
    TOKEN_MISSING = "token_missing", Category.UNAUTHENTICATED
    TOKEN_INVALID = "token_invalid", Category.UNAUTHENTICATED
    TOKEN_EXPIRED = "token_expired", Category.UNAUTHENTICATED
    TOKEN_AUDIENCE = "token_audience", Category.UNAUTHENTICATED
    TOKEN_REVOKED = "token_revoked", Category.UNAUTHENTICATED
    TOKEN_BINDING = "token_binding", Category.UNAUTHENTICATED
    TOKEN_TENANT = "token_tenant", Category.UNAUTHENTICATED
    FORBIDDEN = "forbidden", Category.FORBIDDEN
    LINKED_FORBIDDEN = "linked_forbidden", Category.FORBIDDEN

    # The portal
    PORTAL_SESSION = "portal_session", Category.UNAUTHENTICATED
    PORTAL_LINK = "portal_link", Category.FORBIDDEN
    PORTAL_FORM = "portal_form", Category.FORBIDDEN
    PORTAL_SIGN_IN = "portal_sign_in", Category.FORBIDDEN

    # Security events
    STREAM_NOT_FOUND = "stream_not_found", Category.NOT_FOUND
    STREAM_EXISTS = "stream_exists", Category.CONFLICT

    # Resource Manager
    MISSING_API_VERSION = "missing_api_version", Category.BAD_REQUEST
    INVALID_API_VERSION = "invalid_api_version", Category.BAD_REQUEST
    API_VERSION_NOT_REGISTERED = "api_version_not_registered", Category.BAD_REQUEST
    UNKNOWN_NAMESPACE = "unknown_namespace", Category.NOT_FOUND
    UNKNOWN_TYPE = "unknown_type", Category.NOT_FOUND
    MANAGEMENT_GROUP_NOT_FOUND = "management_group_not_found", Category.NOT_FOUND
    SUBSCRIPTION_NOT_FOUND = "subscription_not_found", Category.NOT_FOUND
    GROUP_NOT_FOUND = "group_not_found", Category.NOT_FOUND
    PARENT_NOT_FOUND = "parent_not_found", Category.NOT_FOUND
    RESOURCE_NOT_FOUND = "resource_not_found", Category.NOT_FOUND
    ARTIFACT_NOT_FOUND = "artifact_not_found", Category.NOT_FOUND
    LOCATION_REQUIRED = "location_required", Category.BAD_REQUEST
    LOCATION_CHANGED = "location_changed", Category.CONFLICT
    INVALID_NAME = "invalid_name", Category.BAD_REQUEST
    INVALID_IDENTITY = "invalid_identity", Category.BAD_REQUEST
    IDENTITY_NOT_ENABLED = "identity_not_enabled", Category.NOT_FOUND
    CONFLICT = "conflict", Category.CONFLICT
    PRECONDITION_FAILED = "precondition_failed", Category.PRECONDITION
    LOCKED = "locked", Category.CONFLICT
    SUBSCRIPTION_DISABLED = "subscription_disabled", Category.CONFLICT
    LIMIT_EXCEEDED = "limit_exceeded", Category.BAD_REQUEST
    NOT_REGISTERED = "not_registered", Category.CONFLICT
    TEMPLATE_INVALID = "template_invalid", Category.BAD_REQUEST
    TEMPLATE_FORBIDDEN = "template_forbidden", Category.FORBIDDEN
    DEPLOYMENT_NOT_FOUND = "deployment_not_found", Category.NOT_FOUND
    REFUSAL_NOT_FOUND = "refusal_not_found", Category.NOT_FOUND

    # Microsoft.Authorization
    ROLE_ASSIGNMENT_EXISTS = "role_assignment_exists", Category.CONFLICT
    ROLE_ASSIGNMENT_UPDATE = "role_assignment_update", Category.BAD_REQUEST
    ROLE_DEFINITION_NOT_FOUND = "role_definition_not_found", Category.NOT_FOUND
    ROLE_DEFINITION_INVALID = "role_definition_invalid", Category.BAD_REQUEST
    ROLE_DEFINITION_IN_USE = "role_definition_in_use", Category.BAD_REQUEST
    ROLE_NAME_EXISTS = "role_name_exists", Category.CONFLICT
    PRINCIPAL_NOT_FOUND = "principal_not_found", Category.BAD_REQUEST
    PRINCIPAL_TYPE = "principal_type", Category.BAD_REQUEST
    LAST_ADMINISTRATOR = "last_administrator", Category.PRECONDITION

    # Token service (RFC 6749 section 5.2, with Entra's codes in the table of that dialect)
    TENANT_NOT_FOUND = "tenant_not_found", Category.BAD_REQUEST
    GRANT_UNSUPPORTED = "grant_unsupported", Category.BAD_REQUEST
    SCOPE_INVALID = "scope_invalid", Category.BAD_REQUEST
    AUDIENCE_UNKNOWN = "audience_unknown", Category.BAD_REQUEST
    CLIENT_UNKNOWN = "client_unknown", Category.BAD_REQUEST
    CLIENT_DISABLED = "client_disabled", Category.UNAUTHENTICATED
    CLIENT_CREDENTIAL_MISSING = "client_credential_missing", Category.UNAUTHENTICATED
    CLIENT_SECRET_INVALID = "client_secret_invalid", Category.UNAUTHENTICATED
    CLIENT_SECRET_EXPIRED = "client_secret_expired", Category.UNAUTHENTICATED
    ASSERTION_INVALID = "assertion_invalid", Category.UNAUTHENTICATED
    ASSERTION_REPLAYED = "assertion_replayed", Category.UNAUTHENTICATED
    BINDING_REQUIRED = "binding_required", Category.BAD_REQUEST
    ASSERTION_TIME = "assertion_time", Category.UNAUTHENTICATED
    ASSERTION_AUDIENCE = "assertion_audience", Category.UNAUTHENTICATED
    FEDERATION_NONE = "federation_none", Category.UNAUTHENTICATED
    FEDERATION_ISSUER = "federation_issuer", Category.UNAUTHENTICATED
    FEDERATION_AUDIENCE = "federation_audience", Category.UNAUTHENTICATED
    FEDERATION_SUBJECT = "federation_subject", Category.UNAUTHENTICATED
    FEDERATION_SUBJECT_CASE = "federation_subject_case", Category.UNAUTHENTICATED
    FEDERATION_AUDIENCE_ID = "federation_audience_id", Category.UNAUTHENTICATED
    FEDERATION_OWN_TOKEN = "federation_own_token", Category.UNAUTHENTICATED
    FEDERATION_SIGNATURE = "federation_signature", Category.UNAUTHENTICATED
    ISSUER_UNREACHABLE = "issuer_unreachable", Category.BAD_REQUEST
    NOT_ENTITLED = "not_entitled", Category.BAD_REQUEST
    IDENTITY_STOPPED = "identity_stopped", Category.BAD_REQUEST
    INSTANCE_UNKNOWN = "instance_unknown", Category.BAD_REQUEST
    CLIENT_IS_PUBLIC = "client_is_public", Category.UNAUTHENTICATED
    PASSWORD_GRANT = "password_grant", Category.BAD_REQUEST
    USER_SCOPE_INVALID = "user_scope_invalid", Category.BAD_REQUEST
    USER_DISABLED = "user_disabled", Category.BAD_REQUEST
    USER_TENANT = "user_tenant", Category.BAD_REQUEST
    DEVICE_CODE_PENDING = "device_code_pending", Category.BAD_REQUEST
    DEVICE_CODE_SLOW_DOWN = "device_code_slow_down", Category.BAD_REQUEST
    DEVICE_CODE_UNKNOWN = "device_code_unknown", Category.BAD_REQUEST
    DEVICE_CODE_DECLINED = "device_code_declined", Category.BAD_REQUEST
    DEVICE_CODE_EXPIRED = "device_code_expired", Category.BAD_REQUEST
    REFRESH_TOKEN_INVALID = "refresh_token_invalid", Category.BAD_REQUEST
    REFRESH_TOKEN_EXPIRED = "refresh_token_expired", Category.BAD_REQUEST
    REFRESH_TOKEN_REUSED = "refresh_token_reused", Category.BAD_REQUEST

    # Token endpoints on the host (IMDS and its kin)
    METADATA_HEADER_MISSING = "metadata_header_missing", Category.BAD_REQUEST
    FORWARDED = "forwarded", Category.BAD_REQUEST
    RESOURCE_PARAMETER_MISSING = "resource_parameter_missing", Category.BAD_REQUEST
    SELECTOR_REPEATED = "selector_repeated", Category.BAD_REQUEST
    IDENTITY_NOT_FOUND = "identity_not_found", Category.BAD_REQUEST
    IDENTITY_AMBIGUOUS = "identity_ambiguous", Category.BAD_REQUEST
    ENDPOINT_SECRET = "endpoint_secret", Category.UNAUTHENTICATED
    CALLER_UNPROVEN = "caller_unproven", Category.FORBIDDEN
    CALLER_NOT_BOUND = "caller_not_bound", Category.FORBIDDEN

    # Credential authority
    AGENT_UNKNOWN = "agent_unknown", Category.UNAUTHENTICATED
    HOST_NOT_BOUND = "host_not_bound", Category.FORBIDDEN
    CSR_INVALID = "csr_invalid", Category.BAD_REQUEST
    AGENT_BANNED = "agent_banned", Category.FORBIDDEN
    AGENT_LOCKED = "agent_locked", Category.FORBIDDEN
    ENROLLMENT_REFUSED = "enrollment_refused", Category.FORBIDDEN

    # Vault
    SECRET_NOT_FOUND = "secret_not_found", Category.NOT_FOUND
    SECRET_DISABLED = "secret_disabled", Category.FORBIDDEN
    SECRET_DELETED = "secret_deleted", Category.CONFLICT
    VAULT_NOT_FOUND = "vault_not_found", Category.NOT_FOUND

    @property
    def category(self) -> Category:
        """What this kind amounts to on a wire that has no words of its own for it."""
        category: Category = self.value[1]
        return category


class Failure(Exception):  # noqa: N818 - the word that the whole code base uses; "error" is what a wire makes of it
    """A request that cannot be served.

    `detail` is safe to show to the caller: it never holds a secret, a token, another tenant's data or a stack trace.
    `data` holds the facts a dialect puts into its own words (names, ids, actions), equally safe. The cause, if any, is chained
    (`raise Failure(...) from error`) and goes to the log only.
    """

    def __init__(self, kind: FailureKind, detail: str = "", /, **data: str) -> None:
        super().__init__(f"{kind.name}: {detail}")
        self.kind = kind
        self.detail = detail
        self.data: Mapping[str, str] = MappingProxyType(data)
        self.on_record = False
        """Whether its record is seen to: written, counted, or decided against. Who sees to it says so, so that nobody does it twice."""
        self.evidence: Evidence | None = None
        """What was known where it was raised, for the record of the refusal. In no text that is shown."""

    def with_evidence(self, evidence: Evidence, /) -> Failure:
        """The same failure. What stands nearest to the cause knows best: evidence that is there stays."""
        if self.evidence is None:
            self.evidence = evidence
        return self


def os_reason(error: OSError) -> str:
    """What the system says went wrong, for the end of a sentence that a person reads."""
    return (error.strerror or type(error).__name__).lower()
