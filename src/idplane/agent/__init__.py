"""The host agent: serves token endpoints to the workloads of a machine, and holds the credentials behind them.

Owns the HTTP that workloads speak to it (`protocol`), the dialects (one module each, with its table of errors; `opening` makes
what each needs), which identity an asker means (`identities`), the cache of tokens (`tokens`), the certificates of identities with
their keys (`credentials`), what the server is asked and told (`plane`), and eviction by changes (`follow`). `host.HostAgent` puts
them together. It does not decide who may have which identity (the server does, `directory.hosts`) and makes no tokens (`sts`).

One request: `protocol` frames it → a dialect checks it, cheap refusals first → the listener it came in by says which resource is
asking → `source` finds the identity and answers from the cache, or asks the server once per key however many wait → the dialect
puts the answer into its own words. Runs on machines that have no server code, so it imports none.
"""
