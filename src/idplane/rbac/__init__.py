"""Who may do what where: Azure RBAC, decided by pure functions over role and deny assignments (control-plane.md section 9).

Owns the action patterns, the built-in roles, the decision itself and `AccessControl`, which gives the decision what the store
holds. Does not own how role definitions and assignments are created, listed or validated (`providers`), which principals exist
(`directory`), nor the words of a refusal (each surface's error table).

The flow of one check: the target's id and the scopes above it, the caller's assignments (indexed by scope, cached per principal
until the change feed names that principal) and the deny assignments of those scopes go into `decide_indexed`, which answers with
a `Decision` and what decided it.

Modules: `patterns` (what an action pattern matches), `rules` (compiled permission blocks), `builtin` (roles shipped as data),
`conditions` (ABAC: `condition_syntax` reads one, `condition_nodes` and `condition_operators` are what it means),
`decision` (the pure decision), `cache` (values kept until the feed says otherwise), `places` (tenants and management groups above a scope),
`access` (`AccessControl`), `groups` (which groups a principal is in, through others too).
"""

from idplane.rbac.access import AccessControl, Trace
from idplane.rbac.builtin import BUILT_IN_ROLES
from idplane.rbac.decision import EVERYONE, Judgement, Reach, decide
from idplane.rbac.groups import Groups, groups_above

__all__ = ["BUILT_IN_ROLES", "EVERYONE", "AccessControl", "Groups", "Judgement", "Reach", "Trace", "decide", "groups_above"]
