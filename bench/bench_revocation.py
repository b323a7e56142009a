"""How soon an identity gives its first token through an agent, and how soon after its end it gives none: a thousand times, among 100 agents.

Real connections: management over TLS, the agents' changes over mutual TLS, PostgreSQL with `fsync`. Design section 12: p99 at most 100 ms,
and at most one second.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measure import print_environment


def main() -> None:
    print_environment()
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-u", "-m", "faults.fleet", "--agents", "100", "--identities", "2", "--rounds", "1000"]
    subprocess.run(command, check=True, cwd=root)


if __name__ == "__main__":
    main()
