"""The token answer of machines (MIE section 1.3), which IMDS, Arc and Cloud Shell share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from idplane.agent.replies import Reply, reply
from idplane.agent.tokens import Token

__all__ = ["machine_token"]

_EXT_EXPIRES_IN = "86399"
_NOTHING: Mapping[str, str] = MappingProxyType({})


def machine_token(token: Token, now: datetime, *, server: str = "", echo: Mapping[str, str] = _NOTHING) -> Reply:
    """Members in the order recorded, every time a string, `expires_in` before `expires_on`; then what is echoed of the request."""
    body = {
        "access_token": token.access_token,
        "client_id": token.client_id,
        "expires_in": str(max(0, token.expires_on - int(now.timestamp()))),
        "expires_on": str(token.expires_on),
        "ext_expires_in": _EXT_EXPIRES_IN,
        "not_before": str(token.not_before),
        "resource": token.resource,
        "token_type": "Bearer",
        **echo,
    }
    return reply(200, msgspec.json.encode(body), now=now, server=server)
