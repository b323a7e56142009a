"""Notes of what servers say of themselves while they are not ready: the first thing that one wants to know when clients were refused."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.stage.servers import HEALTH_PORT, Server

__all__ = ["Readiness"]

_EVERY: Final = 0.5
_PATIENCE: Final = 5.0


@dataclass(kw_only=True)
class Readiness:
    """Looks twice a second, from `start` to `stop`; each change is a line in a file."""

    servers: Sequence[Server]
    file: Path
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        self._threads += [threading.Thread(target=self._watch, args=(server,), daemon=True) for server in self.servers]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, server: Server) -> None:
        before = ""
        while not self._ended.wait(_EVERY):
            said = _said(f"http://{server.place.address}:{HEALTH_PORT}/readyz")
            if said != before:
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(f"{time.strftime('%H:%M:%S')} {server.name}: {said}\n")
            before = said


def _said(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE):
            return "ready"
    except urllib.error.HTTPError as refusal:
        with refusal:
            return f"not ready: {' '.join(refusal.read().decode(errors='replace').split())[:500]}"
    except OSError as error:
        return f"no answer: {type(error).__name__}"
