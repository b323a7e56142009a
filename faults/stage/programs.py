"""Programs on machines: started, killed, asked to end, and measured; each may have a wall clock of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.stage.clocks import WallClock
from faults.stage.network import Place

__all__ = ["Program", "Sample", "StageError", "eventually", "sample"]

_ROOT: Final = Path(__file__).parents[2]
_END_SECONDS: Final = 40.0
_LOOK_SECONDS: Final = 0.05


class StageError(Exception):
    """The stage did not do what the suite needs of it; says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process holds at one moment."""

    descriptors: int
    resident: int
    """Bytes."""
    threads: int
    cpu: float
    """Seconds of a processor that it has used since it was started."""


def sample(pid: int) -> Sample | None:
    """What process `pid` holds; None if there is none."""
    folder = Path("/proc") / str(pid)
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return Sample(
            descriptors=descriptors,
            resident=int(status["VmRSS"].split()[0]) * 1024,
            threads=int(status["Threads"]),
            cpu=sum(map(int, times)) / os.sysconf("SC_CLK_TCK"),
        )
    except (OSError, KeyError):
        return None


@dataclass(kw_only=True)
class Program:
    """One program on one machine, which can be started any number of times. Its output is kept, one start after the other."""

    name: str
    place: Place
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: WallClock | None = None
    nice: int = 0
    """How far it stands back for others, as `nice` has it."""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. It is told apart from earlier ones by its process id only."""
        self._start(talking=False)

    def start_talking(self) -> subprocess.Popen[bytes]:
        """Start it with its standard input and output in our hands; only what it says to standard error is kept."""
        return self._start(talking=True)

    def _start(self, *, talking: bool) -> subprocess.Popen[bytes]:
        clock = self.clock.environment if self.clock else {}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.place.entering, "nice", f"-n{self.nice}", *self.command],
                stdin=subprocess.PIPE if talking else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talking else log,
                stderr=log,
                env={**_plain(), **clock, **self.environment},
                start_new_session=True,
            )
        return self.process

    @property
    def pid(self) -> int:
        """Its process id; raises `StageError` if it was never started."""
        if self.process is None:
            raise StageError(f"{self.name} was not started")
        return self.process.pid

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, and wait until it has; its exit code. Raises `StageError` if it does not."""
        return self.end(signal.SIGTERM)

    def end(self, number: signal.Signals) -> int:
        """Send a signal that ends it, and wait until it has; its exit code. Raises `StageError` if it does not."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise StageError(f"{self.name} did not end within {_END_SECONDS:.0f} s of {number.name}") from error

    def output(self) -> str:
        """All that its starts have written."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def _plain() -> dict[str, str]:
    """The variables of this process without any that steer clients of Azure; loads are found wherever a program begins."""
    steering = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_", "REQUESTS_", "SSL_", "CURL_")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    # Whoever enters a mount namespace begins at its root, not in the folder that this process was started in.
    given = [plain["PYTHONPATH"]] if plain.get("PYTHONPATH") else []
    return {**plain, "PYTHONPATH": os.pathsep.join([*given, str(_ROOT)])}


def eventually(what: str, holds: Callable[[], bool], *, seconds: float, alive: Program | None = None) -> float:
    """Wait until `holds`; the seconds that it took. Raises `StageError` that names `what`, with the end of the output of `alive`."""
    start = time.monotonic()
    while not holds():
        if alive is not None and not alive.is_running():
            raise StageError(f"{what}: {alive.name} has ended:\n{alive.output()[-2000:]}")
        if time.monotonic() - start > seconds:
            said = f":\n{alive.output()[-2000:]}" if alive else ""
            raise StageError(f"{what}: not within {seconds:.0f} s{said}")
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - start
