"""One-line verbs about users, groups and their sign-ins; each is an ordinary request of the plane's owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from idplane.testing.values import Answer

__all__ = ["People"]

_API_VERSION = "2026-11-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The people of a plane: `plane.people.user("ada")`."""

    domain: str
    ask: Callable[[str, str, Any], Answer]
    """Sends a request to Graph: method, path below the version, body."""
    manage: Callable[..., Answer]
    """Sends a request to Resource Manager."""

    @property
    def administrator(self) -> str:
        """The name of the user whom a plane has from its start."""
        return f"admin@{self.domain}"

    def user(self, name: str) -> str:
        """A user `name@<the tenant's domain>`; its object id."""
        body = {
            "accountEnabled": True,
            "displayName": name.capitalize(),
            "mailNickname": name,
            "userPrincipalName": f"{name}@{self.domain}",
        }
        return str(self.ask("POST", "/users", body).body["id"])

    def group(self, name: str, members: Sequence[str] = ()) -> str:
        """A security group with these principals; its object id."""
        body = {"displayName": name, "mailNickname": name, "mailEnabled": False, "securityEnabled": True}
        made = str(self.ask("POST", "/groups", body).body["id"])
        for member in members:
            self.join(made, member)
        return made

    def join(self, group: str, member: str) -> None:
        """Make a principal a member of a group."""
        reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{member}"}
        self.ask("POST", f"/groups/{group}/members/$ref", reference)

    def leave(self, group: str, member: str) -> None:
        """End a membership."""
        self.ask("DELETE", f"/groups/{group}/members/{member}/$ref", None)

    def approve(self, code: str, user: str | None = None) -> Any:
        """Approve a sign-in as `idplane approve CODE [--as USER]` does; what was asked for."""
        body = {} if user is None else {"user": user}
        return self.decide(code, "approve", body)

    def deny(self, code: str) -> Any:
        """Refuse a sign-in; what was asked for."""
        return self.decide(code, "deny", {})

    def decide(self, code: str, word: str, body: Any) -> Any:
        """Send one of the actions on a code."""
        path = f"/providers/Idplane.Directory/deviceCodes/{code}/{word}"
        return self.manage("POST", path, body, api_version=_API_VERSION).body["properties"]
