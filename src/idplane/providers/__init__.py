"""The declared ARM resource types: what each namespace stores, accepts, refuses and shows.

Owns every type-specific rule, in the words of `arm.declare`. Does not own what types share (`arm`), who may do what (`rbac`), how
service principals are made (`directory`, reached through `Context.identities`), or any HTTP.

One module for a namespace: `resources` (tenants, subscriptions, groups), `managed_identity`, `compute`, `authorization`, `keyvault`,
`insights`. `hosts` is the declaration that all identity-bearing types share, with `identity_block` for what the member means.
`catalogue.PROVIDERS` is all of them.
"""

from idplane.providers.catalogue import PROVIDERS

__all__ = ["PROVIDERS"]
