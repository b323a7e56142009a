"""What every bearer challenge of a revoked token says: the claims that make a client drop the token and ask for another one.

Clients that know continuous access evaluation decode `claims`, pass them on to where they get tokens, and repeat their request once
(control-plane.md section 3, managed-identity-endpoints.md section 1.9). Others read the 401 alone.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime

from idplane.model.failure import Failure, FailureKind

__all__ = ["bearer_error", "new_token_wanted"]


def new_token_wanted(now: datetime) -> str:
    """Challenge parameters that ask for a token issued at `now` or later."""
    claims = {"access_token": {"nbf": {"essential": True, "value": str(int(now.timestamp()))}}}
    encoded = base64.b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode()
    return f'error="insufficient_claims", claims="{encoded}"'


def bearer_error(failure: Failure, now: datetime) -> str | None:
    """What a target's challenge says of a token that no longer counts; None for a failure of another kind.

    Only a client that follows claims challenges is sent one: another would take it for a refusal that it knows nothing of.
    """
    match failure.kind:
        case FailureKind.TOKEN_REVOKED | FailureKind.TOKEN_INVALID if "follows" in failure.data:
            return new_token_wanted(now)
        case FailureKind.TOKEN_REVOKED:
            return 'error="invalid_token", error_description="The access token has been revoked"'
        case FailureKind.TOKEN_BINDING:
            return 'error="invalid_token", error_description="The access token is bound to another certificate"'
        case _:
            return None
