"""The directory's content: service principals, applications, their credentials, and the audiences that tokens can be for.

Owns how a principal is named and made (`identities`, `clients`), what goes with it when it is removed, and which resource
application a resource string means (`audiences`). Builders are pure and return values; the caller commits them together with
whatever made them necessary, such as the host resource's own change. Does not own: who may do so (`arm`, `rbac`), token issuance
(`sts`), key material (`keys`).
"""
