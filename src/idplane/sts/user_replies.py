"""What goes with a user's access token so that MSAL can keep it (control-plane.md section 3). Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from idplane.jose import b64url
from idplane.sts.claims import TokenFacts
from idplane.sts.user_scopes import UserScope

__all__ = ["client_info", "granted_scope"]


def client_info(facts: TokenFacts) -> str:
    """Whose tokens these are, by which a client files them."""
    ids = {"uid": facts.principal.id, "utid": facts.tenant.id}
    return b64url(json.dumps(ids, separators=(",", ":")).encode())


def granted_scope(scope: UserScope, names: Sequence[str]) -> str:
    """The scopes that the token is good for. What was asked is among them, or MSAL would not find the token again."""
    asked = (*names, *scope.names)
    about = (one for one in scope.about if one != "offline_access")
    return " ".join(dict.fromkeys((*(f"{scope.resource}/{one}" for one in asked), *about)))
