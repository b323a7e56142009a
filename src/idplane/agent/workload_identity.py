"""Workload identity: a token in a file, which the code shows to the authority itself (managed-identity-endpoints.md section 6.1).

There is no endpoint. A file holds a token of the host's own issuer, readable by its owner only; it is replaced at four fifths of the
token's life, as kubelet does it, by a rename, so that no reader ever finds half of one, and is gone when its run is. Who may use it is
the authority's to decide at each exchange: the token proves which workload asks, and a federated credential says as what.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.world import Clock

__all__ = ["TOKEN_FILE", "ProjectedToken", "Projection", "TokenFile", "TokenFiles", "TrustingClient", "client_for"]

TOKEN_FILE: Final = "azure-identity-token"
_KEPT: Final = 0.8
_BEAT_SECONDS: Final = 60.0
"""The longest that a file goes without a look at the clock."""
_RETRY: Final = timedelta(seconds=60)
_log = logging.getLogger("idplane.agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Whose token is wanted."""

    host: ResourceId
    account: str | None = None
    """`namespace/name` of a service account, on clusters; None for the default one."""
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustingClient:
    """A client that a token proves, by a federated credential of its own."""

    client_id: str
    name: str
    managed: bool
    """A user-assigned identity, not an application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedToken:
    """A token with what it says."""

    token: str = field(repr=False)
    issuer: str
    subject: str
    tenant_id: str
    issued_at: datetime
    expires_at: datetime
    trusted_by: tuple[TrustingClient, ...] = ()

    @property
    def replace_at(self) -> datetime:
        """When a successor is due."""
        return self.issued_at + (self.expires_at - self.issued_at) * _KEPT


class Issuing(Protocol):
    """How tokens are had; `agent.plane.Plane` is one."""

    def __call__(self, projection: Projection, /) -> Awaitable[ProjectedToken]:
        """A new token; raises `Failure`."""
        ...


def client_for(host: ResourceId, token: ProjectedToken) -> str:
    """The client id of the one identity that trusts a workload, or the one application where no identity does.

    Raises `Failure` IDENTITY_NOT_FOUND and IDENTITY_AMBIGUOUS, in words for the person at the terminal.
    """
    managed = [one for one in token.trusted_by if one.managed]
    found = managed or list(token.trusted_by)
    if len(found) > 1:
        names = ", ".join(f"{one.name} ({one.client_id})" for one in found[:10])
        raise Failure(
            FailureKind.IDENTITY_AMBIGUOUS, f"several identities trust this workload; choose with --identity: {names}"
        )
    if not found:
        raise Failure(
            FailureKind.IDENTITY_NOT_FOUND,
            f"no identity trusts this workload yet. This makes one do so: idplane federate --as {host} IDENTITY"
            f"{_account_option(token.subject)} (issuer {token.issuer}, subject {token.subject})",
        )
    return found[0].client_id


def _account_option(subject: str) -> str:
    kind, _, account = subject.partition("system:serviceaccount:")
    return "" if kind else f" --service-account {account.replace(':', '/')}"


class TokenFile:
    """One workload's file, until `close`. The folder's descriptor stays its caller's."""

    def __init__(self, projection: Projection, folder: int, *, issue: Issuing, clock: Clock) -> None:
        self._projection = projection
        self._folder = folder
        self._issue = issue
        self._clock = clock
        self._due: datetime | None = None
        self._turning = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> ProjectedToken:
        """Write the first token; raises `Failure` when there is none, or UNAVAILABLE when it can't be written."""
        token = await self._replaced()
        self._task = asyncio.get_running_loop().create_task(self._keep())
        return token

    async def turn(self) -> datetime:
        """Replace the token if that is due; when the next time is."""
        async with self._turning:
            now = self._clock.now()
            if self._due is None or now >= self._due:
                try:
                    await self._replaced()
                except Failure as failure:
                    # As kubelet has it: what is there stays, and the authority decides what it is worth.
                    _log.warning(
                        "the token of %s can't be replaced and will be tried again: %s", self._projection.host, failure
                    )
                    self._due = now + _RETRY
            assert self._due is not None  # set by either way
            return self._due

    def withdraw(self) -> None:
        """Take the token away; the next turn tries to get another."""
        self._due = None
        self._remove()

    async def close(self) -> None:
        """Stop, and leave no file behind."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._remove()

    def _remove(self) -> None:
        for name in (TOKEN_FILE, _NEW):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder)

    async def _keep(self) -> None:
        while True:
            due = await self.turn()
            await self._clock.sleep(min(max((due - self._clock.now()).total_seconds(), 0.0), _BEAT_SECONDS))

    async def _replaced(self) -> ProjectedToken:
        token = await self._issue(self._projection)
        try:
            _write(self._folder, token.token)
        except OSError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"the token can't be written: {error.strerror}") from error
        self._due = token.replace_at
        return token


class TokenFiles:
    """Every file that an agent keeps."""

    def __init__(self, *, issue: Issuing, clock: Clock) -> None:
        self._issue = issue
        self._clock = clock
        self._files: set[TokenFile] = set()

    async def open(self, projection: Projection, folder: int) -> tuple[ProjectedToken, Callable[[], Awaitable[None]]]:
        """A file in an open folder, kept up to date; its first token, and what ends it. Raises as `TokenFile.open` does."""
        file = TokenFile(projection, folder, issue=self._issue, clock=self._clock)
        token = await file.open()
        self._files.add(file)

        async def close() -> None:
            self._files.discard(file)
            await file.close()

        return token, close

    def withdraw(self) -> None:
        """Take every token away, until another one can be had."""
        for file in self._files:
            file.withdraw()

    async def turn(self) -> datetime | None:
        """Replace what is due everywhere, for whoever moves the clock by hand; when the next is, if there is any."""
        return min([await file.turn() for file in tuple(self._files)], default=None)

    async def close(self) -> None:
        """End every file."""
        files, self._files = self._files, set()
        for file in files:
            await file.close()


_NEW: Final = f".{TOKEN_FILE}.new"


def _write(folder: int, token: str) -> None:
    """Never through a link that waits under either name."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_NEW, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(_NEW, flags, 0o600, dir_fd=folder), "w", encoding="ascii") as file:
        file.write(token)
    os.rename(_NEW, TOKEN_FILE, src_dir_fd=folder, dst_dir_fd=folder)
