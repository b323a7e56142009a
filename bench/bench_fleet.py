"""A thousand agents of one server over PostgreSQL, with ten thousand identities: idle, then storms of revocations and tokens, then a restart.

Design section 12: idle, they cost less than 20 % of a core, and the database no query each. The simulator is `faults.fleet`: the real
agent's code over mutual TLS, all of it in one process that shares the machine's cores with server and database, so what the server can do by
itself is told by its CPU time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measure import print_environment


def main() -> None:
    print_environment()
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-u", "-m", "faults.fleet", "--agents", "1000", "--idle", "60", "--each", "1"]
    subprocess.run(command, check=True, cwd=root)


if __name__ == "__main__":
    main()
