"""Listeners' certificates that follow the authorities: a new leaf in time, and new authorities of clients, without a restart.

What a listener shows and whom it lets in are one `ssl` context, replaced as a whole when anything in it has changed: connections that are
open stay, new ones meet the new context, and no session goes on from one to the other. What clients have proved under an authority that
is tainted since counts for nothing at their next request; that is checked there, not here (`directory.hosts`, `sts.service`).
"""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from idplane.keys import CredentialAuthority, TlsAuthority, TlsIdentity
from idplane.ports.world import Clock
from idplane.web.serving import Listener, tls_context

__all__ = ["ListenerCertificates", "context_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """One listener, and what it shows now."""

    listener: Listener
    identity: Callable[[], TlsIdentity] = field(repr=False)
    watched: Callable[[], object] = field(repr=False)
    """What `identity` rests on beside the authorities: another value asks for another certificate."""
    basis: tuple[object, ...] = field(repr=False)
    renew_at: datetime


class ListenerCertificates:
    """Serves with certificates of the installation, and keeps them good. `turn` is a duty of each server."""

    def __init__(self, *, tls: TlsAuthority, credentials: CredentialAuthority, clock: Clock) -> None:
        self._tls = tls
        self._credentials = credentials
        self._clock = clock
        self._served: tuple[_Served, ...] = ()
        self._published: bytes | None = None
        self.publish: Callable[[bytes], None] | None = None
        """Told of the authorities that clients need whenever they have changed: whoever writes `ca.pem` sets this."""
        self.authority: Callable[[], bytes] | None = None
        """What clients need, PEM, where listeners show certificates of somebody else's authority."""

    async def listen(
        self,
        listener: Listener,
        sock: socket.socket,
        *,
        identity: Callable[[], TlsIdentity] | None = None,
        watched: Callable[[], object] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """Serve on a bound socket with a certificate for `names`, or with what `identity` gives, asked again when it is old.

        And when what `watched` gives, at any turn, is something else than before.
        """
        await self._refresh()
        make = identity or (lambda: self._tls.issue(names))
        served, context = self._made(listener, make, watched or _nothing)
        await listener.listen(sock, context)
        self._served = (*(one for one in self._served if not one.listener.closed), served)

    async def turn(self) -> datetime | None:
        """Renew what is old or rests on what has changed; when the next one grows old."""
        await self._refresh()
        self._tell()  # ahead of what rests on it
        for served in self._served:
            if served.listener.closed or (served.basis == self._basis(served.watched) and self._clock.now() < served.renew_at):
                continue
            anew, context = self._made(served.listener, served.identity, served.watched)
            await served.listener.change(context)
            self._served = tuple(anew if one is served else one for one in self._served)
        self._served = tuple(one for one in self._served if not one.listener.closed)
        return min((one.renew_at for one in self._served), default=None)

    async def _refresh(self) -> None:
        await self._tls.refresh()
        await self._credentials.refresh()

    def _basis(self, watched: Callable[[], object]) -> tuple[object, ...]:
        return self._tls.issuer.pem, self._credentials.trust_pem, watched()

    def _made(
        self, listener: Listener, identity: Callable[[], TlsIdentity], watched: Callable[[], object]
    ) -> tuple[_Served, ssl.SSLContext]:
        shown, now = identity(), self._clock.now()
        context = context_for(shown, client_authority=self._credentials.trust_pem)
        renew_at = now + (shown.not_after - now) * 2 / 3
        basis = self._basis(watched)
        return _Served(listener=listener, identity=identity, watched=watched, basis=basis, renew_at=renew_at), context

    def _tell(self) -> None:
        pem = self._tls.ca_pem if self.authority is None else self.authority()
        if self.publish is not None and pem != self._published:
            self.publish(pem)
            self._published = pem


def _nothing() -> object:
    return None


def context_for(identity: TlsIdentity, *, client_authority: bytes | None = None) -> ssl.SSLContext:
    """A server context with this certificate, for `web.serving.tls_context`. The key passes through a private file that exists for a moment: `ssl` reads only files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "listener.pem"
        path.touch(mode=0o600)
        path.write_bytes(identity.key_pem + identity.certificate_chain_pem)
        return tls_context(str(path), client_authority=client_authority)
