"""Machines and what runs on them: network namespaces on a bridge, programs with clocks of their own, and the parts of an installation.

Owns nothing about faults or load. Everything here is used from within a `faults.room`.
"""
