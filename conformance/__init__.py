"""The conformance suite: real SDKs of several languages against a live plane. How it works, and how to add an SDK: README.md.

Flow: `catalogue` (what to run, what to expect) → `estate` (a plane with hosts) → `running` (one program on one host) → `evidence` (each answer
becomes an outcome) → `results` (kept, compared) → `page` (docs/compatibility.md). Owns no SDK's knowledge: that is in the languages' folders.
"""
