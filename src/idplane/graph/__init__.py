"""Microsoft Graph, as far as it is served: entity sets of the directory and the sign-in log, declared one by one (control-plane.md section 8).

An entity set is a declaration (`declare.EntitySet`) plus small functions that read rows and plan changes. What every one of them
shares is here once: the OData options (`filters`, `query`), pages (`listing`), paths (`routes`), who may do what
(`permissions`), and the order of steps with its durable record (`service`).

    web.graph → service: token → route → permission → rows or plan → commit with its activity event → document

Not here: the wire (`web.graph`, `web.graph_errors`), and what principals, applications and credentials are (`directory`, `model`).
"""
