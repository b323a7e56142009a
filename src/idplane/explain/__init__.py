"""Why something was refused, and whether something would be: the one place that the API, the command line and the portal ask.

Owns the analysis: what was asked, every rule that was considered, which rule or absence decided, the nearest miss, and the change that
would help. Does not own the records of refusals (`ports.collections.REFUSALS`), which the edge writes as it refuses, nor any decision:
those are asked of `rbac`, `sts` and their like again, so that an explanation can't differ from what is enforced.
"""
