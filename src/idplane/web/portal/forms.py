"""Forms that come in: that they are ours, and what they hold.

Two things must hold for a POST, either of which would do by itself: the browser says that a page of this very origin sent it (`Origin`,
and `Sec-Fetch-Site` where it is sent), and the form holds a value that only a page of this session can know.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import parse_qsl

from idplane.jose import b64url
from idplane.model.failure import Failure, FailureKind
from idplane.web.http import HttpRequest

__all__ = ["CSRF_FIELD", "csrf_token", "fields_of", "require_own_form", "require_own_origin"]

CSRF_FIELD: Final = "csrf"
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 1000
_AGAIN: Final = "go back, load the page again, and send it once more"


def csrf_token(secret: str) -> str:
    """What the forms of a session hold: nothing that leads back to the session's secret."""
    return b64url(hmac.new(secret.encode(), b"idplane portal form", hashlib.sha256).digest())


def fields_of(request: HttpRequest) -> tuple[tuple[str, str], ...]:
    """The fields of a form; raises `Failure(UNSUPPORTED_MEDIA_TYPE | MALFORMED_BODY)`."""
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise Failure(FailureKind.UNSUPPORTED_MEDIA_TYPE, f"a form must be sent as {_FORM}", media_type=media_type[:100])
    try:
        text = request.body.decode("ascii")
        return tuple(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise Failure(FailureKind.MALFORMED_BODY, "the form can't be read") from error


def require_own_origin(request: HttpRequest) -> None:
    """Raises `Failure(PORTAL_FORM)` unless a page of the origin that the request was sent to has sent it."""
    site = request.header("sec-fetch-site")
    if request.header("origin") != request.origin.portal.removesuffix("/portal") or site not in (None, "same-origin"):
        raise Failure(FailureKind.PORTAL_FORM, f"another page than this portal's sent the form: {_AGAIN}")


def require_own_form(fields: tuple[tuple[str, str], ...], token: str) -> None:
    """Raises `Failure(PORTAL_FORM)` unless the form holds the session's value, once."""
    shown = [value for name, value in fields if name == CSRF_FIELD]
    if len(shown) != 1 or not hmac.compare_digest(shown[0].encode(), token.encode()):
        raise Failure(FailureKind.PORTAL_FORM, f"the form was made for another sign-in than this one: {_AGAIN}")
