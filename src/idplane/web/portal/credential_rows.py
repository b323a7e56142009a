"""Credentials in words: public parts only, and where each stands in its life. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from idplane.model.directory import Credential, CredentialKind
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId

__all__ = ["CredentialRow", "credential_rows"]

_LABELS: Final = {
    CredentialKind.SECRET: "Client secret",
    CredentialKind.CERTIFICATE: "Certificate",
    CredentialKind.IDENTITY_CERTIFICATE: "Identity certificate",
    CredentialKind.WORKLOAD_CERTIFICATE: "Workload certificate",
    CredentialKind.FEDERATED: "Federated credential",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRow:
    """A credential at one moment."""

    credential: Credential
    now: datetime
    superseded: bool
    """Whether the same agent holds a newer one for the same host."""

    @property
    def label(self) -> str:
        """What kind it is."""
        return _LABELS[self.credential.kind]

    @property
    def renewed_at(self) -> datetime | None:
        """When the host's agent fetches its successor: at half its life. None for what nobody renews."""
        one = self.credential
        renewing = one.kind is CredentialKind.IDENTITY_CERTIFICATE and not self.superseded
        return one.not_before + (one.not_after - one.not_before) / 2 if renewing else None

    @property
    def state(self) -> tuple[str, str]:
        """A word, and the kind of badge for it."""
        one, due = self.credential, self.renewed_at
        if one.not_after <= self.now:
            return "Expired", "bad" if not self.superseded else ""
        if one.not_before > self.now:
            return "Not valid yet", "warn"
        if self.superseded:
            return "Replaced", ""
        return ("Renewal due", "warn") if due is not None and due <= self.now else ("Current", "good")

    @property
    def host(self) -> ResourceId | None:
        """The host that holds its key."""
        try:
            return ResourceId.parse(self.credential.host) if self.credential.host else None
        except Failure:
            return None

    @property
    def thumbprint(self) -> str:
        """SHA-256 of a certificate, or the first characters of a secret."""
        one = self.credential
        return (one.thumbprint or "").upper() or (f"{one.hint}…" if one.hint else "")


def credential_rows(credentials: Iterable[Credential], now: datetime) -> list[CredentialRow]:
    """The newest first, those of one host together."""
    ordered = sorted(credentials, key=lambda it: it.not_before, reverse=True)
    newest: dict[tuple[str | None, str | None], str] = {}
    for one in ordered:
        if one.kind is CredentialKind.IDENTITY_CERTIFICATE:
            newest.setdefault((one.host, one.agent_id), one.id)
    rows = [
        CredentialRow(
            credential=one,
            now=now,
            superseded=one.kind is CredentialKind.IDENTITY_CERTIFICATE and newest[one.host, one.agent_id] != one.id,
        )
        for one in ordered
    ]
    return sorted(rows, key=lambda it: it.credential.host or "")
