"""The only doors for time, randomness, storage and keys: `Clock`, `Entropy`, `Store`, `KeyCustody`; and `Telemetry`, what a process tells about itself.

Everything else receives them as arguments; the lint bans the standard library's own doors elsewhere. `collections` declares what
is stored; the adapters in `idplane.store` implement how.
"""
