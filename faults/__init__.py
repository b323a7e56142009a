"""The fault suite: a whole installation in network namespaces on one machine, under load, while everything that can break breaks.

Flow: `room` (namespaces of our own, gone with us) → `stage` (network, database, balancer, servers, agents) → `loads` (programs that ask, and say
what they got) → `recorder` → `catalogue` (the faults) with `allowances` (what each may do to whom) → `judge` → `table`; then `afterwards` and
`scan`. How it is run, and what each fault allows: README.md.

`stage` is a library: it decides nothing about faults, and anything else that needs many hosts on one machine can stand on it.
"""
