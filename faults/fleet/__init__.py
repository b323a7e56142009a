"""A fleet: hundreds of agents, each with the real agent's code, a certificate of its own and ten identities, over one server and PostgreSQL.

Owns the simulator, what it measures, and the bounds that hold on any machine. Figures that depend on the machine are printed and not judged.
"""
