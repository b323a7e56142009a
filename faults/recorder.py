"""Starts the loads and keeps what they say: outcomes in a file, tokens and secrets in memory only, writes in a ledger."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from faults.ledger import Ledger
from faults.loads.speaking import Said, Told
from faults.outcomes import Outcome, Result, append_lines
from faults.stage.network import Place
from faults.stage.programs import Program

__all__ = ["Load", "Recorder"]

_END_SECONDS = 40.0
_NICE = 5
"""Loads leave what there is of the machine to what they ask."""


@dataclass(kw_only=True)
class Load:
    """A running load."""

    program: Program
    reader: threading.Thread

    def stop(self) -> None:
        """Let it finish what it is at; one that does not is killed."""
        process = self.program.process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.reader.join(_END_SECONDS)


@dataclass(kw_only=True)
class Recorder:
    """Everything that is known of what clients got."""

    folder: Path
    outcomes: list[Outcome] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set, repr=False)
    secrets: set[str] = field(default_factory=set, repr=False)
    ledger: Ledger = field(default_factory=Ledger)
    loads: list[Load] = field(default_factory=list)
    token_listener: Callable[[str], None] = field(default=lambda _: None)
    """Called with each new token, on some thread."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, module: str, place: Place, wanted: Mapping[str, Any], **options: Any) -> Load:
        """Start `python -m faults.loads.{module}` on a machine, with its order."""
        command = [sys.executable, "-m", f"faults.loads.{module}"]
        program = Program(name=name, place=place, command=command, log=self.folder / f"{name}.log", nice=_NICE, **options)
        process = program.start_talking()
        assert process.stdin is not None
        process.stdin.write(json.dumps(wanted).encode() + b"\n")
        process.stdin.flush()
        reader = threading.Thread(target=self._listen, args=(process,), daemon=True)
        reader.start()
        load = Load(program=program, reader=reader)
        self.loads.append(load)
        return load

    def note(self, outcome: Outcome) -> None:
        """Keep an outcome of this process' own."""
        with self._lock:
            self.outcomes.append(outcome)

    def successful(self, since: float) -> set[str]:
        """Clients that had a success that began after `since`."""
        with self._lock:
            return {one.client for one in self.outcomes if one.at >= since and one.result is Result.OK}

    def stop(self) -> None:
        """End all loads, and write the outcomes down."""
        for load in self.loads:
            if (process := load.program.process) is not None and process.stdin is not None:
                process.stdin.close()
        for load in self.loads:
            load.stop()
        append_lines(self.folder / "outcomes.jsonl", self.outcomes)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        decoder = msgspec.json.Decoder(Said)
        with process.stdout as stream:
            for line in stream:
                self._hear(decoder.decode(line))

    def _hear(self, said: Said) -> None:
        if said.told is Told.OUTCOME and said.outcome is not None:
            self.note(said.outcome)
        elif said.told is Told.TOKEN:
            with self._lock:
                new = said.value not in self.tokens
                self.tokens.add(said.value)
            if new:
                self.token_listener(said.value)
        elif said.told is Told.SECRET:
            with self._lock:
                self.secrets.add(said.value)
        elif said.done is not None:
            with self._lock:
                self.ledger.add(said.value, said.done, deletes=said.deletes)
