"""A listener's certificate in files of somebody else's authority, read again whenever they have changed: whoever renews it puts new files there."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.settings_file import SettingsProblem, public_file
from idplane.keys import TlsIdentity
from idplane.model.failure import Failure

__all__ = ["CertificateFiles"]

_log = logging.getLogger("idplane.server")


@dataclass(frozen=True, slots=True)
class _Read:
    """Files that belong together."""

    identity: TlsIdentity = field(repr=False)
    authority: bytes


class CertificateFiles:
    """What `[tls]` names. A pair that does not hold together, as while it is being replaced, changes nothing and is told once."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._problem: str | None = None
        self._read = self._files()

    @classmethod
    def of(cls, settings: ServerSettings) -> CertificateFiles | None:
        """None for settings that name no files. Raises `SettingsProblem`, and `Failure(INVALID_PARAMETER)` for what is no pair."""
        return None if settings.tables.tls.certificate is None else cls(settings)

    def identity(self) -> TlsIdentity:
        """The newest pair that held together."""
        try:
            self._read = self._files()
        except (SettingsProblem, Failure) as problem:
            words = problem.detail if isinstance(problem, Failure) else str(problem)
            if words != self._problem:
                _log.warning("the listener's certificate stays as it is: %s", words)
            self._problem = words
        else:
            self._problem = None
        return self._read.identity

    def authority(self) -> bytes:
        """What clients need to trust for it, PEM."""
        self.identity()
        return self._read.authority

    def _files(self) -> _Read:
        tls = self._settings.tables.tls
        assert tls.certificate is not None  # the settings were checked: all three, or none
        assert tls.key is not None
        assert tls.authority is not None
        chain = public_file(self._settings.file, "tls.certificate", self._path(tls.certificate))
        identity = TlsIdentity.of_files(chain, self._settings.secret("tls.key", tls.key))
        return _Read(identity, public_file(self._settings.file, "tls.authority", self._path(tls.authority)))

    def _path(self, text: str) -> Path:
        return self._settings.path(text)
