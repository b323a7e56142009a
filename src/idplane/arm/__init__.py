"""The resource-provider kernel: what every ARM resource type shares, so that no type can skip it.

Owns the request path grammar, the api-version registry, authentication and authorization order, envelopes, ETags, paging,
PUT/PATCH/DELETE semantics, compare-and-swap and the activity event. Does not know any resource type: those are declared in
`idplane.providers` with the words of `arm.declare`. Does not speak HTTP: `idplane.web.management` does.

Flow: `ManagementRequest` -> `kernel` (authenticate, `paths`, `registry`, authorize) -> `stored` or `owned` (the two storage
shapes) -> a declared function -> one `Batch` with the activity event -> `ManagementResponse`.
"""
