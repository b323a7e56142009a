"""What an agent keeps on disk: who it is, and nothing else. No token, no identity's key, no join token.

One folder, private to the agent's user and used by one process at a time; one file in it, written whole under another name, made durable
and renamed. So key and certificate always belong together, and whoever is killed at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from idplane.agent.remote import ClientCertificate
from idplane.agent.trust import NO_TRUST, Trust
from idplane.agent.upstream import AgentIdentity
from idplane.model.failure import os_reason
from idplane.ports.folder_lock import lock_folder

__all__ = ["AgentState", "StateDamaged", "StateFolder", "StateProblem"]

_FILE: Final = "agent.json"
_NEW: Final = ".agent.json.new"
_FORM: Final = 1
_LARGEST: Final = 1024 * 1024


class StateProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why a state folder cannot be used; its text is one sentence."""


class StateDamaged(StateProblem):
    """What is in the folder is no state of an agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """Who an enrolled agent is."""

    agent_id: str
    tenant_id: str
    hosts: tuple[str, ...]
    """Resource ids that it acts for."""
    method: str
    """How it joined."""
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    """P-256, born on this host."""
    certificate: bytes = field(repr=False)
    """DER."""
    chain: bytes = field(repr=False)
    """PEM: what is above the certificate."""
    authority: bytes = field(repr=False)
    """PEM: the CA behind the servers' certificates, as it was when it was last read."""
    not_before: datetime
    not_after: datetime
    trust: Trust = NO_TRUST
    """What the servers have said of their authorities."""

    @property
    def identity(self) -> AgentIdentity:
        """For proofs."""
        return AgentIdentity(agent_id=self.agent_id, private_key=self.private_key, certificate=self.certificate)

    @property
    def client_certificate(self) -> ClientCertificate:
        """For connections."""
        leaf = x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)
        return ClientCertificate(key_pem=_key_pem(self.private_key), chain_pem=leaf + self.chain)

    def renewed(
        self,
        key: ec.EllipticCurvePrivateKey,
        *,
        certificate: bytes,
        chain: bytes,
        until: tuple[datetime, datetime],
        hosts: tuple[str, ...],
    ) -> AgentState:
        """The same agent under a successor."""
        return replace(
            self,
            private_key=key,
            certificate=certificate,
            chain=chain,
            not_before=until[0],
            not_after=until[1],
            hosts=hosts or self.hosts,
        )


class _Trust(msgspec.Struct):
    version: str
    anchors: str
    tainted: tuple[str, ...] = ()


class _Document(msgspec.Struct, rename="camel"):
    form: int
    agent_id: str
    tenant_id: str
    hosts: tuple[str, ...]
    method: str
    private_key: str
    certificate: str
    chain: str
    authority: str
    not_before: datetime
    not_after: datetime
    trust: _Trust | None = None


class StateFolder:
    """An open state folder, locked until `close` or the end of the process, however that comes."""

    def __init__(self, path: Path, descriptor: int, lock: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> StateFolder:
        """Create the folder if needed and take its lock; raises `StateProblem`."""
        path = path.expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StateProblem(f"the state folder {path} cannot be used: {os_reason(error)}") from error
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise StateProblem(f"others may look into the state folder {path}: make it private with chmod 700")
            return cls(path, descriptor, lock_folder(path, what="state folder", problem=StateProblem))
        except BaseException:
            os.close(descriptor)
            raise

    def load(self) -> AgentState | None:
        """The state; None for an agent that has not joined. Raises `StateDamaged`, and `StateProblem` for what can't be read."""
        with contextlib.suppress(OSError):
            os.unlink(_NEW, dir_fd=self._descriptor)
        try:
            return load_state(self.path, self._descriptor)
        except OSError as error:
            raise StateProblem(f"{self.path / _FILE} cannot be read: {os_reason(error)}") from error

    def save(self, state: AgentState) -> None:
        """Replace the state, durably; raises `StateProblem`, and the old one is still there then."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(_NEW, flags, 0o600, dir_fd=self._descriptor)
            try:
                _write_all(descriptor, _encoded(state))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(_NEW, _FILE, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            os.fsync(self._descriptor)
        except OSError as error:
            raise StateProblem(f"{self.path / _FILE} cannot be written: {os_reason(error)}") from error

    def close(self) -> None:
        """Let the next process in."""
        if self._lock is not None:
            os.close(self._lock)
            os.close(self._descriptor)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def load_state(path: Path, folder: int | None = None) -> AgentState | None:
    """What `StateFolder.load` finds, without its lock; raises `StateDamaged` and `OSError`."""
    try:
        descriptor = os.open(
            _FILE if folder is not None else path / _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
        )
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_LARGEST)
    return _decoded(content, path)


def _encoded(state: AgentState) -> bytes:
    return msgspec.json.encode(
        _Document(
            form=_FORM,
            agent_id=state.agent_id,
            tenant_id=state.tenant_id,
            hosts=state.hosts,
            method=state.method,
            private_key=_key_pem(state.private_key).decode(),
            certificate=base64.b64encode(state.certificate).decode(),
            chain=state.chain.decode(),
            authority=state.authority.decode(),
            not_before=state.not_before,
            not_after=state.not_after,
            trust=_Trust(state.trust.version, state.trust.anchors.decode(), state.trust.tainted),
        )
    )


def _decoded(content: bytes, path: Path) -> AgentState:
    try:
        document = msgspec.json.decode(content, type=_Document)
        key = load_pem_private_key(document.private_key.encode(), None)
        certificate = base64.b64decode(document.certificate, validate=True)
        public = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, TypeError, UnicodeDecodeError, UnsupportedAlgorithm) as error:
        raise _damaged(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != public or document.form != _FORM:
        raise _damaged(path)
    return AgentState(
        agent_id=document.agent_id,
        tenant_id=document.tenant_id,
        hosts=document.hosts,
        method=document.method,
        private_key=key,
        certificate=certificate,
        chain=document.chain.encode(),
        authority=document.authority.encode(),
        not_before=_aware(document.not_before),
        not_after=_aware(document.not_after),
        trust=_trust(document.trust),
    )


def _trust(kept: _Trust | None) -> Trust:
    if kept is None:  # written by a program that knew of none
        return NO_TRUST
    return Trust(version=kept.version, anchors=kept.anchors.encode(), tainted=kept.tainted)


def _damaged(path: Path) -> StateDamaged:
    return StateDamaged(f"{path / _FILE} is damaged: remove it and join again with --join")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
