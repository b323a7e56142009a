"""What a user's client asks for: one resource, names of permissions at it, and what it wants to be told about the user. Pure.

Permissions of applications are not consented to here: what a user may do is for roles to decide. So `scp` tells no more than that the
token acts for the user. An application of the tenant's own sees `user_impersonation` alone, never a name of the caller's choosing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from idplane.model.directory import ResourceApplication
from idplane.model.failure import Failure, FailureKind
from idplane.sts.scopes import GRAPH_RESOURCE

__all__ = ["UserScope", "granted_names", "user_scope"]

_DEFAULT: Final = ".default"
_IMPERSONATION: Final = "user_impersonation"
_GRAPH: Final = "00000003-0000-0000-c000-000000000000"
_GRAPH_DEFAULT: Final = "Directory.AccessAsUser.All"
_ABOUT_THE_USER: Final = ("openid", "profile", "email", "offline_access")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MOST: Final = 40
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class UserScope:
    """A scope parameter, read."""

    resource: str
    """As written, with the final slash that `//.default` leaves."""
    names: tuple[str, ...]
    """Permissions asked for by name, or `.default`; empty when only the user was asked about."""
    about: tuple[str, ...]
    """OpenID Connect's own scopes."""

    @property
    def offline(self) -> bool:
        """Whether a refresh token is wanted."""
        return "offline_access" in self.about

    @property
    def identity(self) -> bool:
        """Whether an id token is wanted."""
        return "openid" in self.about


def user_scope(text: str | None) -> UserScope:
    """Read a scope parameter; raises `Failure(MISSING_PARAMETER)`, `Failure(USER_SCOPE_INVALID)`."""
    if text is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request names no scope", parameter="scope")
    words = tuple(dict.fromkeys(text.split()))
    if not words or len(words) > _MOST or len(text) > _LONGEST:
        raise _invalid(text, "it names nothing, or too much")
    wanted = [_split(one, text) for one in words if one.lower() not in _ABOUT_THE_USER]
    resources = list(dict.fromkeys(resource for resource, _ in wanted))
    if len(resources) > 1:
        raise _invalid(text, "a token is for one resource")
    return UserScope(
        resource=resources[0] if resources else GRAPH_RESOURCE,
        names=tuple(name for _, name in wanted),
        about=tuple(one.lower() for one in words if one.lower() in _ABOUT_THE_USER),
    )


def granted_names(scope: UserScope, audience: ResourceApplication) -> tuple[str, ...]:
    """The names for `scp`; raises `Failure(USER_SCOPE_INVALID)` for one that the resource does not know."""
    graph = audience.client_id == _GRAPH
    named = [one for one in scope.names if one.lower() != _DEFAULT]
    for one in named:
        if audience.roles_resource != _GRAPH and one != _IMPERSONATION:
            raise _invalid(one, f"the resource '{audience.display_name}' knows {_DEFAULT} and {_IMPERSONATION} only")
    if len(named) == len(scope.names) and named:
        return tuple(named)
    return tuple(dict.fromkeys((_GRAPH_DEFAULT if graph else _IMPERSONATION, *named)))


def _split(one: str, text: str) -> tuple[str, str]:
    """`{resource}/{name}`, where exactly one slash goes; a bare name is Graph's."""
    resource, slash, name = one.rpartition("/")
    if (slash and not resource) or _NAME.fullmatch(name) is None:
        raise _invalid(text, f"'{one[:100]}' is not a resource followed by / and a permission")
    return resource if slash else GRAPH_RESOURCE, name


def _invalid(text: str, why: str) -> Failure:
    shown = text[:200]
    return Failure(FailureKind.USER_SCOPE_INVALID, f"the scope '{shown}' is not valid: {why}", scope=shown, why=why)
