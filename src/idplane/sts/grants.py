"""Grant types. A grant supplies only its own part; the phases around it are the service's and cannot be skipped.

A grant type is a row of `GRANTS`: it reads the request's own parameters and tells what is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from idplane.model.failure import Failure, FailureKind
from idplane.sts.requests import DEVICE_CODE_GRANT, REFRESH_GRANT, TokenRequest
from idplane.sts.scopes import requested_resource

__all__ = ["GRANTS", "USER_GRANTS", "ClientCredentials", "Grant", "grant_named"]

USER_GRANTS: Final = frozenset({DEVICE_CODE_GRANT, REFRESH_GRANT})
"""Grant types that speak for a user; their own part is in `user_grants`."""
_PASSWORD: Final = "password"


class Grant(Protocol):
    """One grant type's own part."""

    def resource(self, request: TokenRequest, /) -> str:
        """What the token shall be for, by this grant's rules for `scope` and `resource`."""
        ...


class ClientCredentials:
    """RFC 6749 section 4.4: the client acts for itself, and the audience comes from `resource` or from `{resource}/.default`."""

    def resource(self, request: TokenRequest, /) -> str:
        """As `scopes.requested_resource`, with its failures."""
        return requested_resource(request)


GRANTS: Final[Mapping[str, Grant]] = {"client_credentials": ClientCredentials()}
"""Every grant type by which a client acts for itself; discovery lists these names, and `USER_GRANTS`."""


def grant_named(name: str | None, grants: Mapping[str, Grant]) -> Grant:
    """The grant; raises `Failure` MISSING_PARAMETER, PASSWORD_GRANT or GRANT_UNSUPPORTED."""
    if name is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request names no grant type", parameter="grant_type")
    if name == _PASSWORD:
        raise Failure(FailureKind.PASSWORD_GRANT, "users have no passwords")
    grant = grants.get(name)
    if grant is None:
        shown = name[:100]
        raise Failure(FailureKind.GRANT_UNSUPPORTED, f"the grant type '{shown}' is not supported", grant_type=shown)
    return grant
