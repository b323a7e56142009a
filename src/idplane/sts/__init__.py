"""The token service: who gets which access token, and whether a token that comes back still holds.

    TokenRequest -> tenant -> client authentication -> entitlement -> audience -> claims -> permit -> signature -> sign-in record -> answer

`service` runs these phases for every grant; a grant supplies only its own part (`grants`). `assertions`, `claims` and `scopes` are
pure. Every attempt whose tenant is known is in the sign-in log, refusals with their code (`refusals`), and what the agents of hosts
refused by themselves (`reported`); a token leaves only after
its record is durable, in a commit that also requires that nothing it was decided upon has changed meanwhile.

Users sign in through public clients, which prove nothing: `device_codes` gives out the codes, `user_grants` redeems what was approved
and refreshes it, `user_claims`, `user_scopes` and `user_replies` are pure, and `upkeep` deletes what has expired.

`access` is the other direction: it turns a bearer token into a `Caller`, asking each time whether principal and host binding still
exist. Does not own: keys (`keys`), what a resource string means (`directory`), HTTP (`web.authority`), what a caller may do (`rbac`).
"""

from idplane.sts.access import TokenAuthenticator
from idplane.sts.device_codes import DeviceCodes
from idplane.sts.reported import RefusalLog
from idplane.sts.requests import IssuedToken, TokenRequest
from idplane.sts.service import TokenService
from idplane.sts.upkeep import SignInUpkeep

__all__ = ["DeviceCodes", "IssuedToken", "RefusalLog", "SignInUpkeep", "TokenAuthenticator", "TokenRequest", "TokenService"]
