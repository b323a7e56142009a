"""Frozen values that every layer speaks: ids, identities, principals, roles, tokens, events, failure kinds.

Owns parsing and equality rules. Does no I/O, reads no clock, imports nothing of ours and nothing outside the standard
library. A field of a stored value may be added with a default; it is never renamed, reordered in meaning or removed.
"""
