"""Wall clocks that can jump, one for each machine or process, by libfaketime. Clocks that only count on (CLOCK_MONOTONIC) are left alone, as on a machine whose date is set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

__all__ = ["WallClock", "library"]

_PLACES: Final = "/usr/lib"
_NAME: Final = "faketime/libfaketimeMT.so.1"


def library() -> Path | None:
    """The library that Debian's package `faketime` installs, None without it."""
    found = sorted(Path(_PLACES).glob(f"*/{_NAME}"))
    return found[0] if found else None


@dataclass(kw_only=True)
class WallClock:
    """A clock that is right until it is set. Programs that have its `environment` look at the file once a second, and so do their children."""

    file: Path

    @cached_property
    def environment(self) -> dict[str, str]:
        """What a program must be started with; a new clock is right. Raises `FileNotFoundError` without the library."""
        found = library()
        if found is None:
            raise FileNotFoundError("libfaketime (Debian's package faketime) is not installed")
        if not self.file.exists():
            self.jump(0)
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be so many seconds ahead of the truth from now on (behind, if negative)."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        new.replace(self.file)
