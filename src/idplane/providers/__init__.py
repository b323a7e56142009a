"""The declared ARM resource types: what each namespace stores, accepts, refuses and shows.

Owns every type-specific rule, in the words of `arm.declare`. Does not own what types share (`arm`), who may do what (`rbac`), how
service principals are made (`directory`, reached through `Context.identities`), or any HTTP.

One module for a namespace: `resources` (tenants, subscriptions, groups), `managed_identity`, `compute` with `scale_sets`, `web`,
`authorization`, `keyvault`, `insights`; `containers` has three. `hosts` is the declaration that all identity-bearing types share, with
`identity_block` for what the member means; types without rules of their own are rows of `further_hosts`.
`catalogue.PROVIDERS` is all of them.
"""

from idplane.providers.catalogue import PROVIDERS

__all__ = ["PROVIDERS"]
