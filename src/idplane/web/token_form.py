"""Reading a token request from its form, once, strictly and within bounds (RFC 6749 section 3.2).

Unknown fields are ignored (JS sends its telemetry in the body), and so is a query string (JS appends one); a field given twice is
refused. An empty value counts as absent.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from idplane.model.failure import Failure, FailureKind
from idplane.sts.device_codes import DeviceRequest
from idplane.sts.requests import Endpoint, TokenRequest
from idplane.web.http import HttpRequest

__all__ = ["device_request", "inspected", "token_request"]

_FORM: Final = "application/x-www-form-urlencoded"
_MAX_BODY: Final = 64 * 1024
_MAX_FIELDS: Final = 64


def token_request(tenant: str, request: HttpRequest, endpoint: Endpoint) -> TokenRequest:
    """The request in a POST to a token endpoint.

    Raises `Failure`: UNSUPPORTED_MEDIA_TYPE, BODY_TOO_LARGE, MALFORMED_BODY, INVALID_PARAMETER (repeated or contradictory
    parameters). Which parameters a grant needs is the token service's matter.
    """
    form = _form(request)
    client_id, client_secret = _client(form, request)
    if endpoint is Endpoint.V2 and "resource" in form:
        raise Failure(
            FailureKind.INVALID_PARAMETER,
            "the parameter 'resource' belongs to the v1 endpoint, here it is 'scope'",
            parameter="resource",
        )
    return TokenRequest(
        tenant=tenant,
        authority=request.origin.authority,
        endpoint=endpoint,
        grant_type=form.get("grant_type"),
        client_id=client_id,
        client_secret=client_secret,
        client_assertion=form.get("client_assertion"),
        client_assertion_type=form.get("client_assertion_type"),
        audience=form.get(endpoint.value),
        claims=form.get("claims"),
        device_code=form.get("device_code"),
        refresh_token=form.get("refresh_token"),
        client_certificate=request.call.client_certificate,
        client_info=form.get("client_info") == "1",
    )


def inspected(tenant: str, request: HttpRequest) -> tuple[str, str | None, TokenRequest | None]:
    """The token in a POST to the introspection endpoint (RFC 7662 section 2.1), what its sender takes it for, and who that is.

    The last is None for one that shows a bearer token. Raises `Failure` as `token_request` does, and MISSING_PARAMETER.
    """
    form = _form(request)
    token = form.get("token")
    if token is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request holds no token", parameter="token")
    by_bearer = (request.header("authorization") or "").partition(" ")[0].lower() == "bearer"
    if by_bearer and not form.keys().isdisjoint(("client_id", "client_secret", "client_assertion")):
        raise Failure(FailureKind.INVALID_PARAMETER, "the request holds more than one client credential")
    return token, form.get("token_type_hint"), None if by_bearer else token_request(tenant, request, Endpoint.V2)


def device_request(tenant: str, request: HttpRequest) -> DeviceRequest:
    """The request in a POST to the device authorization endpoint (RFC 8628 section 3.1); raises `Failure` as `token_request` does."""
    form = _form(request)
    return DeviceRequest(tenant=tenant, client_id=form.get("client_id"), scope=form.get("scope"))


def _form(request: HttpRequest) -> dict[str, str]:
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise Failure(FailureKind.UNSUPPORTED_MEDIA_TYPE, f"the request body is not of the content type {_FORM}")
    if len(request.body) > _MAX_BODY:
        raise Failure(FailureKind.BODY_TOO_LARGE, f"the request body is larger than {_MAX_BODY} bytes")
    try:
        pairs = parse_qsl(
            request.body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError as error:
        raise Failure(FailureKind.MALFORMED_BODY, "the request body is not a form") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Failure(FailureKind.INVALID_PARAMETER, "the request body holds a parameter more than once")
    return {name: value for name, value in form.items() if value}


def _client(form: dict[str, str], request: HttpRequest) -> tuple[str | None, str | None]:
    """Client id and secret, from the body or by HTTP Basic (RFC 6749 section 2.3.1), never from both."""
    in_body = form.get("client_id"), form.get("client_secret")
    if "authorization" not in request.headers:
        return in_body
    client_id, secret = _basic(request.header("authorization") or "")
    if in_body[0] not in (None, client_id):
        raise Failure(FailureKind.INVALID_PARAMETER, "the Authorization header and the body name different clients")
    if in_body[1] is not None or "client_assertion" in form:
        raise Failure(FailureKind.INVALID_PARAMETER, "the request holds more than one client credential")
    return client_id, secret


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    refused = Failure(FailureKind.INVALID_PARAMETER, "the Authorization header is not HTTP Basic with a client id and secret")
    if scheme.lower() != "basic":
        raise refused
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
        client_id, secret = unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except (binascii.Error, ValueError) as error:
        raise refused from error
    if not (client_id and colon and secret):
        raise refused
    return client_id, secret
