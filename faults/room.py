"""A room of our own: mount, network and process namespaces that end with us, so that nothing on the machine outlives a run.

As root the namespaces are made directly; as anybody else, or as a root who may not, inside of a user namespace.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["enter", "furnish", "is_inside", "memory_folder"]

_INSIDE: Final = "IDPLANE_FAULTS_ROOM"
_UNSHARE: Final = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
_SWITCH: Final = "passwd: files\ngroup: files\nhosts: files\n"
_AS_ROOT_WITHIN: Final = ("--user", "--map-root-user")


def is_inside() -> bool:
    """Whether this process is in a room already."""
    return os.environ.get(_INSIDE) == "1"


def enter(module: str, arguments: Sequence[str], *, rootless: bool = False) -> int:
    """Run `python -m module arguments` in a new room; its exit code. Raises `SystemExit` where this system makes no namespaces.

    `rootless` goes through a user namespace even as root.
    """
    kinds = (_AS_ROOT_WITHIN,) if rootless else ((), _AS_ROOT_WITHIN)
    options = next((kind for kind in kinds if _works(kind)), None)
    if options is None:
        raise SystemExit("this system makes no namespaces for us: run as root, or allow user namespaces")
    command = [*_UNSHARE, *options, sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env={**os.environ, _INSIDE: "1"}, check=False).returncode


def _works(options: Sequence[str]) -> bool:
    tried = [*_UNSHARE, *options, "sh", "-c", "mount -t tmpfs none /run && ip link add br0 type bridge"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def memory_folder(path: str) -> Path:
    """A new folder in memory: no load of the machine's disk by others makes anybody in the room wait."""
    Path(path).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=0755", "stage", path], check=True)
    return Path(path)


def furnish(hosts: str) -> None:
    """Private `/run`, where namespaces get their names, and a copy of `/etc` with these lines in `hosts`; seen by us and our children only.

    The whole folder, since a single mounted file would be gone as soon as anybody outside of the room replaces the one below. Names
    are looked up nowhere else.
    """
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "room", "/run"], check=True)
    # Without root some of it cannot be read, and nobody here needs that.
    subprocess.run(["cp", "-a", "/etc", "/run/etc"], check=False, stderr=subprocess.DEVNULL)
    own = Path("/run/etc")
    for name, text in {"hosts": f"127.0.0.1 localhost\n{hosts}", "resolv.conf": "", "nsswitch.conf": _SWITCH}.items():
        (own / name).unlink(missing_ok=True)
        (own / name).write_text(text, encoding="ascii")
    subprocess.run(["mount", "--bind", str(own), "/etc"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
