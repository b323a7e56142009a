"""What the benchmarks share: a running plane, load from another process, and the CPU time of a process.

Every script prints its environment first, measures the limit beside the thing itself in interleaved rounds of one run, and prints
medians and ratios. Nothing here asserts a figure: figures are read by people, on a machine that they know.
"""

from __future__ import annotations

import atexit
import base64
import functools
import http.client
import json
import os
import platform
import shutil
import sqlite3
import ssl
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import cryptography
from cryptography import x509
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

IDPLANE = str(Path(sys.executable).with_name("idplane"))
_LOAD = str(Path(__file__).with_name("load.py"))
_FOLDER = tempfile.mkdtemp(prefix="idplane-bench-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
# An installed program has its bytecode compiled already; a checkout may not, or may be told not to keep it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # noqa: TID251 - for the processes under measurement, as above
os.environ["PYTHONPYCACHEPREFIX"] = _FOLDER  # noqa: TID251 - as above


def print_environment() -> None:
    """What the figures below depend on."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS"))
    build = "optimized (PGO)" if "--enable-optimizations" in arguments else "not optimized (no PGO)"
    print(
        f"Python {platform.python_version()}, {build}; cryptography {cryptography.__version__}, {backend.openssl_version_text()}"
    )
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start; {platform.platform()}\n")


@contextmanager
def running_plane(*options: str) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """`idplane up` with more options on a new data folder: the folder, its status document and its process id.

    Profile open: azure answers as often as Azure's limits say, and no oftener.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        process = subprocess.Popen(
            [IDPLANE, "up", "--data", str(data), "--port", "0", "--profile", "open", "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield data, json.loads(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait()


def idplane(data: Path, command: str, *arguments: str) -> Any:
    """The JSON that a command prints."""
    done = subprocess.run([IDPLANE, command, "--data", str(data), *arguments, "--json"], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return json.loads(done.stdout)


def cpu_seconds(pid: int) -> float:
    """User and system time that all threads of a process have used, from the scheduler's statistics (nanoseconds)."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


@dataclass(frozen=True, kw_only=True)
class Listening:
    """A listener of a process under measurement, and how it is asked."""

    pid: int
    address: tuple[str, int]
    tls: bool = False
    ca_file: str | None = None
    """None does not verify the certificate."""
    challenged: bool = False
    """Whether it asks for a file first, as Arc's does: one token is then two exchanges."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """What `count` requests took."""

    latencies: Sequence[float]
    """Sorted, in milliseconds."""
    rate: float
    """Requests a second."""
    cpu: float
    """Microseconds of the serving process' CPU time for each request."""


class Load:
    """A load generator in a process of its own (`load.py`), so that its work is not the measured process' work.

    With `inside`, a data folder and a resource, it is started by `idplane run`: it lives in that resource's network namespace and
    finds the metadata endpoint at 169.254.169.254, as production code does. A bare handler lives beside it. `options` are more of
    that command's.
    """

    def __init__(self, *, inside: tuple[Path, str] | None = None, options: Sequence[str] = ()) -> None:
        command = [sys.executable, _LOAD, str(_certificate())]
        if inside is not None:
            command = [IDPLANE, "run", "--data", str(inside[0]), "--as", inside[1], *options, "--", *command]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        said = self._answer()
        plain, tls = said["ports"]
        self.pid: int = said["own_pid"]
        self.bare = Listening(pid=said["pid"], address=("127.0.0.1", plain))
        self.bare_tls = Listening(pid=said["pid"], address=("127.0.0.1", tls), tls=True)
        self.variables: dict[str, str] = said["variables"]
        """Those that lead code to tokens where it lives."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        self._process.wait()

    def send(
        self, to: Listening, requests: Sequence[bytes], count: int, *, connections: int | None = None, anew: bool = False
    ) -> Served:
        """`count` requests over kept-alive connections with one outstanding on each.

        Every connection sends its share of `requests`, over and over; there are as many as requests unless `connections` says so.
        `anew` makes a connection for each request instead.
        """
        order = {
            "address": to.address,
            "tls": to.tls,
            "ca_file": to.ca_file,
            "challenged": to.challenged,
            "requests": [base64.b64encode(one).decode() for one in requests],
            "connections": connections or len(requests),
            "count": count,
            "anew": anew,
        }
        assert self._process.stdin is not None
        before = cpu_seconds(to.pid)
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        cpu = (cpu_seconds(to.pid) - before) / count * 1e6
        return Served(latencies=answer["latencies"], rate=count / answer["seconds"], cpu=cpu)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("the load generator gave up")
        return json.loads(answer)


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@functools.cache
def _certificate() -> Path:
    """A file with a P-256 key and its certificate, as the plane's own listeners have, for the bare handler."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36500)).sign(
        key, SHA256()
    )
    path = Path(_FOLDER) / "bare.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def logged(data: Path) -> int:
    """Records in the sign-in log."""
    with sqlite3.connect(f"file:{data / 'idplane.sqlite'}?mode=ro", uri=True) as connection:
        (count,) = connection.execute("select count(*) from sign_ins").fetchone()
    return int(count)


def raw_rsa() -> tuple[float, float]:
    """Microseconds of CPU for one RSA-2048 signature over a token's worth of bytes, and for verifying it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public, message, how, digest = key.public_key(), b"x" * 1100, padding.PKCS1v15(), SHA256()
    signature = key.sign(message, how, digest)
    sign = per_call(lambda: key.sign(message, how, digest), 1000)
    return sign, per_call(lambda: public.verify(signature, message, how, digest), 2000)


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def percentile(values: Sequence[float], fraction: float) -> float:
    """The value below which a fraction of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def per_call(work: Callable[[], object], count: int) -> float:
    """Microseconds of this process' CPU time for each of `count` calls."""
    start = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - start) / count * 1e6


def head(method: str, path: str, host: str, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """One HTTP request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Management:
    """The operator's calls to Resource Manager over a kept-alive connection."""

    def __init__(self, data: Path, info: dict[str, Any]) -> None:
        self.group = f"/subscriptions/{info['subscription_id']}/resourceGroups/bench"
        token = idplane(data, "token", "--operator", "--resource", "https://management.azure.com")["access_token"]
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._connection = http.client.HTTPSConnection(
            urlsplit(info["arm"]).netloc, context=ssl.create_default_context(cafile=info["ca_file"])
        )
        self.call("PUT", f"{self.group}?api-version=2024-11-01", {"location": "westeurope"})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; exits with the answer when it is refused."""
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(content.decode())
        return json.loads(content) if content else None

    def machine(self, name: str) -> str:
        """A virtual machine with a system-assigned identity; its id."""
        identifier = f"{self.group}/providers/Microsoft.Compute/virtualMachines/{name}"
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        self.call("PUT", f"{identifier}?api-version=2024-11-01", body)
        return identifier
