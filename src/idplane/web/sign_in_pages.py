"""What the authority tells people and programs about users' sign-ins outside of the token endpoint. Pure.

The page does not sign anybody in: it can approve nothing, it only says who can and how.
"""

from __future__ import annotations

from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.sts.device_codes import StartedDeviceCode
from idplane.web.http import HttpResponse, Origin

__all__ = ["approval_page", "device_answer", "user_realm"]

_MAX_USER: Final = 256
_PAGE: Final = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Approve a sign-in</title></head>
<body>
<h1>Approve a sign-in</h1>
<p>A program showed you a code. To let it sign in, run this where the plane's data folder is, with the code in place of CODE:</p>
<pre>idplane approve CODE</pre>
<p>It tells which program asks and for what, and signs it in as the tenant's administrator, or as another user with <code>--as USER</code>.
To refuse, add <code>--deny</code>.</p>
<p>Approve only what you started yourself. This page takes no code and no password.</p>
</body>
</html>
"""
_PAGE_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("Referrer-Policy", "no-referrer"),
)


def approval_page() -> HttpResponse:
    """The page that the answer to a device code request names."""
    return HttpResponse(status=200, body=_PAGE, headers=_PAGE_HEADERS, media_type="text/html; charset=utf-8")


def device_answer(started: StartedDeviceCode, origin: Origin) -> JsonObject:
    """The device authorization response (RFC 8628 section 3.2), with Entra's `message`."""
    page = f"{origin.authority}/common/oauth2/deviceauth"
    return {
        "user_code": started.user_code,
        "device_code": started.device_code,
        "verification_uri": page,
        "expires_in": started.expires_in,
        "interval": started.interval,
        "message": f"To sign in, let the operator of this plane run: idplane approve {started.user_code} (see {page})",
    }


def user_realm(user: str, api_version: str | None, origin: Origin) -> JsonObject:
    """How a user signs in: never through another provider. Raises `Failure` MISSING_PARAMETER, INVALID_PARAMETER."""
    if api_version is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request names no api-version", parameter="api-version")
    if api_version not in {"1.0", "2.0", "2.1"} or not 0 < len(user) <= _MAX_USER:
        raise Failure(FailureKind.INVALID_PARAMETER, "the api-version or the user's name is not valid", parameter="api-version")
    return {
        "ver": api_version,
        "account_type": "Managed",
        "domain_name": user.rpartition("@")[2],
        "cloud_instance_name": origin.authority.removeprefix("https://"),
        "cloud_audience_urn": "urn:federation:MicrosoftOnline",
    }
