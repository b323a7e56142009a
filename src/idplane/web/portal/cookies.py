"""The portal's cookies. Their names begin with `__Host-`: only this very host can have set them, over TLS, for all paths (RFC 6265bis)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import quote, unquote

from idplane.web.http import HttpRequest

__all__ = ["SAID", "SESSION", "SIGNING_IN", "THEME", "cookie", "forget_cookie", "set_cookie"]

SESSION: Final = "__Host-idplane-session"
SAID: Final = "__Host-idplane-said"
"""What the next page is to say of what was just done."""
THEME: Final = "__Host-idplane-theme"
SIGNING_IN: Final = "__Host-idplane-signing-in"
"""A sign-in that has gone to another issuer and is not back yet."""
_LONGEST: Final = 4096


def cookie(request: HttpRequest, name: str) -> str | None:
    """The value that the browser holds, if it holds one."""
    found = {
        unquote(value, errors="replace")
        for header in request.headers.get("cookie", ())
        for key, _, value in (one.strip().partition("=") for one in header.split(";"))
        if key == name and len(value) <= _LONGEST
    }
    return found.pop() if len(found) == 1 else None


def set_cookie(name: str, value: str, *, lifetime: timedelta | None = None) -> tuple[str, str]:
    """A header. Without a lifetime the browser forgets the value when it is closed. No script can read it."""
    age = f"; Max-Age={int(lifetime.total_seconds())}" if lifetime is not None else ""
    return "Set-Cookie", f"{name}={quote(value, safe='')}; Path=/; Secure; HttpOnly; SameSite=Lax{age}"


def forget_cookie(name: str) -> tuple[str, str]:
    """A header."""
    return set_cookie(name, "", lifetime=timedelta())
