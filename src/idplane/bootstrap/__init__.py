"""Composition: settings → World(clock, entropy, store, key custody) → surfaces, agent and long-running tasks; straight-line.

Owns the environment, the system clock and the operating system's entropy. Decides nothing about identities: `seed` makes the first
tenant, subscription and owner; `plane` wires what the layers below offer; `up` is the process that `idplane up` runs.
"""
