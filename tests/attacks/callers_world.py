"""A host with bindings, the real plane behind it, and processes that ask its endpoint."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from idplane.model.dialects import Dialect
from idplane.model.events import SignIn
from idplane.testing.local import LocalPlane, ManagedIdentity, VirtualMachine

PYTHON = str(Path(sys.executable).resolve())
PUPPET = str(Path(__file__).with_name("puppet.py"))
_NUMBERS = itertools.count()
"""A machine of its own for each test: refusals that are alike are told together."""
SOMEBODY = 54321
SOMEBODY_ELSE = 54322
REFUSED = "No binding of this host admits the process that asks"
NOT_ALL = "Several processes hold this connection, and no binding of this host admits all of them"


class Puppet:
    """A process that does as it is told."""

    def __init__(self, *prefix: str, program: str = PYTHON, uid: int | None = None) -> None:
        self.process = subprocess.Popen(
            [*prefix, program, "-I", "-S", "-u", PUPPET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.heard() == "ready"
        if uid is not None:
            self.do(f"become({uid})")

    @property
    def pid(self) -> int:
        return int(self.do("os.getpid()"))

    def tell(self, code: str) -> None:
        """Have it do something without waiting for the end of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()

    def heard(self) -> Any:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer
        return answer["value"]

    def do(self, code: str) -> Any:
        """The value of an expression there; a statement has a `!` before it and no value."""
        self.tell(code)
        return self.heard()

    def connect(self, port: int, **options: Any) -> None:
        given = "".join(f", {name}={value!r}" for name, value in options.items())
        self.do(f"!c = Connection({port}{given})")

    def ask(self, port: int) -> list[Any]:
        """One request on a connection of its own."""
        self.connect(port)
        answer: list[Any] = self.do("c.ask()")
        self.do("!c.socket.close()")
        return answer

    def execute(self, program: str, port: int, *, hold: str = "c.socket.fileno()") -> None:
        """Become another program, which goes on with the connection."""
        descriptor = self.do(hold)
        self.tell(f"execute({program!r}, {descriptor})")
        assert self.heard() == "ready"
        self.do(f"!c = Connection({port}, {descriptor})")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@dataclass
class BoundHost:
    """A machine with a system-assigned identity and one that is assigned by users, at whose IMDS only some may ask."""

    plane: LocalPlane
    machine: VirtualMachine
    shared: ManagedIdentity
    port: int
    stack: ExitStack
    folder: Path
    reported: int = 0
    listener: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def open(cls, plane: LocalPlane, folder: Path) -> Iterator[BoundHost]:
        shared = plane.user_assigned_identity("shared")
        machine = plane.virtual_machine(f"bound-{next(_NUMBERS)}", identities=[shared])
        variables = plane.environment(machine, dialect=Dialect.IMDS)
        port = urlsplit(variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"]).port
        assert port is not None
        with ExitStack() as stack:
            yield cls(plane, machine, shared, port, stack, folder)

    def bind(self, name: str = "only", identities: list[str] | None = None, **processes: Any) -> None:
        body = {"properties": {"processes": processes} | ({"identities": identities} if identities else {})}
        answer = self.plane.call(
            "PUT", f"{self.machine.id}/providers/Idplane.Workloads/bindings/{name}", body, api_version="2026-11-01"
        )
        assert answer.status in {200, 201}, answer

    def unbind(self, name: str = "only") -> None:
        self.plane.call("DELETE", f"{self.machine.id}/providers/Idplane.Workloads/bindings/{name}", api_version="2026-11-01")

    def puppet(self, *prefix: str, program: str = PYTHON, uid: int | None = None) -> Puppet:
        one = Puppet(*prefix, program=program, uid=uid)
        self.stack.callback(one.end)
        return one

    def copy_of_python(self, name: str = "other") -> str:
        """Another program with the same content."""
        path = self.folder / name
        shutil.copyfile(PYTHON, path)
        path.chmod(0o755)
        # It finds its library by where it lies.
        (self.folder / "pyvenv.cfg").write_text(f"home = {Path(PYTHON).parent}\n")
        return str(path)

    def refusals(self) -> list[SignIn]:
        """What has been reported since the last look."""
        self.plane.run(self._told())
        found = [one for one in self.plane.sign_ins() if one.endpoint is not None and one.host == self.machine.id]
        new, self.reported = found[self.reported :], len(found)
        return new

    def refused_once(self, reason: str) -> SignIn:
        """The one refusal since the last look."""
        (one,) = self.refusals()
        assert one.endpoint is not None
        assert (one.endpoint.reason, one.endpoint.dialect, one.endpoint.count) == (reason, "imds", 1)
        assert one.error_code != 0
        assert one.host == self.machine.id
        return one

    def issued(self) -> list[SignIn]:
        return [one for one in self.plane.sign_ins() if one.error_code == 0 and one.system_assigned]

    async def _told(self) -> None:
        refusals = self.plane._plane.agent._refusals
        while refusals._telling is not None and not refusals._telling.done():
            await refusals._telling


def by_path(path: str = PYTHON) -> dict[str, Any]:
    return {"executable": {"path": path}}


def is_root() -> bool:
    return os.geteuid() == 0
