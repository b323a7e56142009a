"""The table of what faults are allowed to do, for people: made from `allowances`, kept in README.md. Pure."""

from __future__ import annotations

from collections import defaultdict

from faults.allowances import RULES, SETTLE, FaultName

__all__ = ["allowances_table", "replaced"]

_START = "<!-- faults allowances -->\n"
_END = "<!-- end -->\n"


def allowances_table() -> str:
    """A row for each fault: who may fail how, within how many seconds, and why."""
    lines = ["| Fault | Who may fail, and how | All are well again within |", "|---|---|---|"]
    lines += [f"| {fault} | {_allowed(fault)} | {SETTLE[fault]:.0f} s |" for fault in FaultName]
    return "\n".join(lines) + "\n"


def _allowed(fault: FaultName) -> str:
    by_why: defaultdict[tuple[str, str, float], list[str]] = defaultdict(list)
    for rule in RULES[fault]:
        results = " or ".join(sorted(rule.results))
        by_why[rule.why, results, rule.within].append(f"{rule.kind}{_whose(rule.clients)}")
    parts = [f"{', '.join(kinds)}: {results} within {within:.0f} s ({why})" for (why, results, within), kinds in by_why.items()]
    return "; ".join(parts) or "nobody"


def _whose(clients: str) -> str:
    if clients.startswith("sdk/secret-client"):
        return " that reads a secret"
    return " on that host" if clients and clients != "sdk/" else ""


def replaced(page: str) -> str:
    """A page with the table of today."""
    before, _, rest = page.partition(_START)
    _, _, after = rest.partition(_END)
    return before + _START + allowances_table() + _END + after
