"""Resource Manager's words for failures: one total table from kind to status, code and message (control-plane.md sections 4, 7).

Messages are templates over the failure's facts; `{detail}` is its caller-safe detail. A fact that a failure does not carry shows as
an empty word rather than breaking the answer. Kinds that never reach this dialect fall back on their category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.roles import Reason
from idplane.web.challenges import bearer_error

__all__ = ["ArmError", "challenge", "describe", "envelope", "error_of", "explain", "unwrapped"]

K = FailureKind


@dataclass(frozen=True, slots=True)
class ArmError:
    """A status, a code and a message as the wire has them."""

    status: int
    code: str
    message: str
    target: str | None = None


_CATEGORIES: Mapping[Category, tuple[str, str]] = MappingProxyType(
    {
        Category.BAD_REQUEST: ("BadRequest", "{detail}"),
        Category.UNAUTHENTICATED: ("InvalidAuthenticationToken", "The access token is invalid."),
        Category.FORBIDDEN: ("Forbidden", "{detail}"),
        Category.NOT_FOUND: ("NotFound", "{detail}"),
        Category.METHOD: ("MethodNotAllowed", "{detail}"),
        Category.CONFLICT: ("Conflict", "{detail}"),
        Category.PRECONDITION: ("PreconditionFailed", "{detail}"),
        Category.TOO_LARGE: ("RequestContentTooLarge", "{detail}"),
        Category.MEDIA_TYPE: ("UnsupportedMediaType", "{detail}"),
        Category.THROTTLED: ("TooManyRequests", "{detail}"),
        Category.INTERNAL: ("InternalServerError", "Encountered an internal server error. The tracking id is '{request_id}'."),
        Category.UNAVAILABLE: ("ServiceUnavailable", "{detail}"),
    }
)

_KINDS: Mapping[FailureKind, tuple[str, str]] = MappingProxyType(
    {
        # Shape
        K.MALFORMED_BODY: (
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: '{detail}'.",
        ),
        K.INVALID_PARAMETER: ("InvalidParameter", "{detail}"),
        K.INVALID_RESOURCE_ID: ("InvalidResourceId", "The resource id '{id}' is not valid."),
        K.INVALID_FILTER: ("InvalidFilterInQueryString", "Invalid $filter '{filter}' specified in the query string. {detail}"),
        K.MISSING_PARAMETER: ("MissingParameter", "{detail}"),
        K.FOREIGN_HOST: ("InvalidHostName", "{detail}"),
        K.METHOD_NOT_ALLOWED: ("MethodNotAllowed", "The HTTP method '{method}' is not supported for this resource."),
        K.UNSUPPORTED_MEDIA_TYPE: (
            "UnsupportedMediaType",
            "The content media type '{media_type}' is not supported. Only 'application/json' is supported.",
        ),
        K.BODY_TOO_LARGE: ("RequestContentTooLarge", "The request content size exceeds the maximum size of 4 MB."),
        K.URI_TOO_LONG: ("RequestUriTooLong", "The request URI is too long."),
        K.PATH_NOT_FOUND: ("NotFound", "The requested path was not found."),
        K.STORAGE_FULL: ("ServiceUnavailable", "The server has no storage left and cannot accept changes."),
        K.UNAVAILABLE: ("ServiceUnavailable", "The server cannot reach its storage at the moment. Please try again."),
        # Authentication
        K.TOKEN_MISSING: ("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."),
        K.TOKEN_INVALID: ("InvalidAuthenticationToken", "The access token is invalid."),
        K.TOKEN_EXPIRED: ("ExpiredAuthenticationToken", "The access token has expired."),
        K.TOKEN_AUDIENCE: (
            "InvalidAuthenticationTokenAudience",
            "The access token has been obtained for wrong audience or resource. It should be for Azure Resource Manager.",
        ),
        K.TOKEN_REVOKED: ("InvalidAuthenticationToken", "The access token has been revoked. Please obtain a new one."),
        K.TOKEN_BINDING: (
            "InvalidAuthenticationToken",
            "The access token is bound to a certificate that this connection does not show.",
        ),
        K.TOKEN_TENANT: (
            "InvalidAuthenticationTokenTenant",
            "The access token is from the wrong issuer. It must match the tenant associated with this subscription.",
        ),
        # Authorization
        K.FORBIDDEN: (
            "AuthorizationFailed",
            (
                "The client '{name}' with object id '{oid}' does not have authorization to perform action '{action}' over scope "
                "'{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
            ),
        ),
        K.LINKED_FORBIDDEN: (
            "LinkedAuthorizationFailed",
            (
                "The client '{name}' with object id '{oid}' has permission to perform action '{action}' on scope '{scope}'; however, "
                "it does not have permission to perform action '{linked_action}' on the linked scope(s) '{linked_scope}' or the "
                "linked scope(s) are invalid."
            ),
        ),
        # Resource Manager
        K.MISSING_API_VERSION: (
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ),
        K.INVALID_API_VERSION: (
            "InvalidApiVersionParameter",
            "The api-version '{version}' is invalid. The supported versions are '{supported}'.",
        ),
        K.API_VERSION_NOT_REGISTERED: (
            "NoRegisteredProviderFound",
            (
                "No registered resource provider found for API version '{version}' for type '{type}' in namespace '{namespace}'. The "
                "supported api-versions are '{supported}'."
            ),
        ),
        K.UNKNOWN_NAMESPACE: ("InvalidResourceNamespace", "The resource namespace '{namespace}' is invalid."),
        K.UNKNOWN_TYPE: (
            "InvalidResourceType",
            "The resource type '{type}' could not be found in the namespace '{namespace}'.",
        ),
        K.MANAGEMENT_GROUP_NOT_FOUND: ("NotFound", "The management group '{name}' could not be found."),
        K.SUBSCRIPTION_NOT_FOUND: ("SubscriptionNotFound", "The subscription '{subscription}' could not be found."),
        K.GROUP_NOT_FOUND: ("ResourceGroupNotFound", "Resource group '{group}' could not be found."),
        K.PARENT_NOT_FOUND: (
            "ParentResourceNotFound",
            (
                "Failed to perform the operation on resource '{name}': its parent resource '{parent}' of type '{parent_type}' could "
                "not be found."
            ),
        ),
        K.RESOURCE_NOT_FOUND: (
            "ResourceNotFound",
            "The Resource '{type}/{name}' under resource group '{group}' was not found.",
        ),
        K.REFUSAL_NOT_FOUND: ("RefusalNotFound", "{detail}"),
        K.LOCATION_REQUIRED: ("LocationRequired", "The location property is required for this definition."),
        K.LOCATION_CHANGED: (
            "InvalidResourceLocation",
            (
                "The resource '{name}' already exists in location '{old}' in resource group '{group}'. A resource with the same name "
                "cannot be created in location '{new}'. Please select a new resource name."
            ),
        ),
        K.INVALID_NAME: ("InvalidResourceName", "The name '{name}' is not valid for the type '{type}': it must have {rule}."),
        K.INVALID_IDENTITY: ("InvalidParameter", "{detail}"),
        K.IDENTITY_NOT_ENABLED: ("ResourceNotFound", "{detail}"),
        K.CONFLICT: ("Conflict", "{detail}"),
        K.PRECONDITION_FAILED: ("PreconditionFailed", "The precondition of the '{header}' header is not met: {detail}."),
        K.LOCKED: (
            "ScopeLocked",
            (
                "The scope '{scope}' cannot perform {operation} operation because following scope(s) are locked: '{locks}'. Please "
                "remove the lock and try again."
            ),
        ),
        K.SUBSCRIPTION_DISABLED: (
            "ReadOnlyDisabledSubscription",
            (
                "The subscription '{subscription}' is disabled and therefore marked as read only. You cannot perform any write "
                "actions on this subscription until it is re-enabled."
            ),
        ),
        K.LIMIT_EXCEEDED: ("LimitExceeded", "{detail}"),
        K.NOT_REGISTERED: (
            "MissingSubscriptionRegistration",
            (
                "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to "
                "register subscriptions."
            ),
        ),
        K.TEMPLATE_INVALID: ("InvalidTemplate", "{detail}"),
        K.TEMPLATE_FORBIDDEN: ("InvalidTemplateDeployment", "{detail}"),
        K.DEPLOYMENT_NOT_FOUND: ("DeploymentNotFound", "Deployment '{name}' could not be found."),
        # Microsoft.Authorization
        K.ROLE_ASSIGNMENT_EXISTS: ("RoleAssignmentExists", "The role assignment already exists."),
        K.ROLE_ASSIGNMENT_UPDATE: (
            "RoleAssignmentUpdateNotPermitted",
            "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
        ),
        K.ROLE_DEFINITION_NOT_FOUND: ("RoleDefinitionDoesNotExist", "{detail}"),
        K.ROLE_DEFINITION_INVALID: ("InvalidRoleDefinition", "{detail}"),
        K.ROLE_DEFINITION_IN_USE: ("RoleDefinitionHasAssignments", "{detail}"),
        K.ROLE_NAME_EXISTS: ("RoleDefinitionWithSameNameExists", "{detail}"),
        K.PRINCIPAL_NOT_FOUND: ("PrincipalNotFound", "{detail}"),
        K.PRINCIPAL_TYPE: ("UnmatchedPrincipalType", "{detail}"),
        # Vault resources
        K.VAULT_NOT_FOUND: ("VaultNotFound", "{detail}"),
    }
)


_FORBIDDEN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        Reason.CONDITION: (
            "AuthorizationFailed",
            (
                "The client '{name}' with object id '{oid}' does not have authorization or an ABAC condition not fulfilled to perform "
                "action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your "
                "credentials."
            ),
        ),
        Reason.DENY_ASSIGNMENT: (
            "DenyAssignmentAuthorizationFailed",
            (
                "The client '{name}' with object id '{oid}' has permission to perform action '{action}' on scope '{scope}'; however, "
                "the access is denied because of the deny assignment with name '{deny_name}' and Id '{because}' at scope "
                "'{deny_scope}'."
            ),
        ),
    }
)
"""Refusals that Azure tells apart by what decided them."""


class _Facts(dict[str, str]):
    """Absent facts are empty words."""

    def __missing__(self, key: str) -> str:
        return ""


def error_of(failure: Failure, *, request_id: str = "") -> ArmError:
    """A failure in Resource Manager's words. Never raises.

    A failure may name its own `code` among its facts where Azure has several for one kind (`InvalidRoleDefinitionId`).
    """
    category = failure.kind.category
    code, template = _KINDS.get(failure.kind, _CATEGORIES[category])
    if failure.kind is K.FORBIDDEN:
        code, template = _FORBIDDEN.get(failure.data.get("reason", ""), (code, template))
    facts = _Facts(failure.data)
    facts["detail"] = _sentence(failure.detail)
    facts["request_id"] = request_id
    if failure.kind is K.MALFORMED_BODY:
        facts["detail"] = failure.detail
    message = template.format_map(facts) or "The request cannot be served."
    own_code = failure.data.get("code") if category is not Category.INTERNAL else None
    return ArmError(category.value, own_code or code, message, failure.data.get("target"))


def describe(failure: Failure) -> tuple[int, str]:
    """A failure's HTTP status and error code, for the activity log."""
    error = error_of(failure)
    return error.status, error.code


def explain(failure: Failure) -> Mapping[str, object]:
    """The error object alone, for operations whose end is told later."""
    error = error_of(failure)
    return {"code": error.code, "message": error.message, **({} if error.target is None else {"target": error.target})}


def unwrapped(error: ArmError) -> Mapping[str, object]:
    """The error as those few providers tell it that know no envelope."""
    return {"code": error.code, "message": error.message}


def envelope(error: ArmError) -> Mapping[str, object]:
    """The error envelope of control-plane.md section 4."""
    body: dict[str, object] = {"code": error.code, "message": error.message}
    if error.target is not None:
        body["target"] = error.target
    return {"error": body}


def challenge(failure: Failure, *, authority: str, tenant_id: str, now: datetime) -> str:
    """The `WWW-Authenticate` value of a 401. It names the home tenant whatever was asked for, so it reveals nothing.

    A revoked token gets the claims challenge that makes clients ask for a new one instead of sending the old one again, if they follow
    any (control-plane.md section 3).
    """
    base = f'Bearer authorization_uri="{authority}/{tenant_id}"'
    error = bearer_error(failure, now)
    if error is not None:
        return f"{base}, {error}"
    words = error_of(failure).message.replace("'", "").rstrip(".")
    return f'{base}, error="invalid_token", error_description="{words}"'


def _sentence(detail: str) -> str:
    """Internal details are lower case without a full stop; on the wire they are sentences. What is one already stays."""
    return detail[:1].upper() + detail[1:] + ("" if not detail or detail.endswith(".") else ".")
