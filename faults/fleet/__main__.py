"""`python -m faults.fleet`: figures on standard output, and a bad exit where something does not hold that holds on any machine."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from faults.fleet.addresses import Loop
from faults.fleet.phases import Fleet
from faults.fleet.plant import Operator, Plant
from faults.stage.programs import StageError


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="faults.fleet", description="Many agents of one server: idle, then all at once.")
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--idle", type=float, default=25.0, help="seconds to be idle for")
    parser.add_argument(
        "--each", type=int, default=2, help="of its identities, how many each machine asks for in the storm of tokens"
    )
    parser.add_argument("--identities", type=int, default=10, help="of each machine, one of them its own")
    options = parser.parse_args(arguments)
    logging.getLogger("idplane").setLevel(logging.CRITICAL)  # each agent says by itself that its server is away
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(prefix="idplane-fleet-") as folder:
        Path(folder).chmod(0o755)
        try:
            with asyncio.Runner(loop_factory=Loop) as runner:
                wrong = runner.run(_run(Path(folder), options))
        except StageError as error:
            print(f"the stage is broken: {error}")
            return 2
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    print("\n".join(f"WRONG  {one}" for one in wrong) or "nothing that the design does not allow")
    return 1 if wrong else 0


async def _run(folder: Path, options: argparse.Namespace) -> list[str]:
    with Plant.open(folder) as plant:
        fleet = Fleet(plant=plant, operator=Operator(plant), shared=options.identities - 1)
        try:
            began = time.monotonic()
            await fleet.begin()
            await fleet.create(options.agents)
            await fleet.idle(options.idle)
            for line in fleet.lines[-6:]:
                print(f"{line.what}{line.said}")
            await fleet.revoke_each()
            await fleet.warm()
            await fleet.revoke_all()
            await fleet.tokens(options.each)
            await fleet.unassign_all()
            await fleet.restart()
            print(f"{time.monotonic() - began:.0f} s in all")
        finally:
            await fleet.close()
    return fleet.wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
