"""The template engine: Azure Resource Manager's template language, pure and synchronous.

Owns the expression language, the functions that it can call, parameters and their rules, copy loops, conditions, the graph of what
depends on what, and the comparison behind what-if. Does not know any resource type, authorizes nobody, and reads and writes nothing:
what can only be known while a deployment runs (`reference`, `list*`) is asked for by raising `Unresolved` with the lookups that are
missing, and given on the next attempt.

Flow: `lenient` (bytes → object) → `document` (object → `Template`) → `parameters` (values → bound ones) → `planning` (→ `Plan`: the
resources in the order that their dependencies allow, ids and conditions settled) → `planning.body` for each resource when its turn comes.
Everything that a template can get wrong is a `TemplateProblem`; work is bounded by `limits`.
"""
