"""The key custody that settings name: `[custody]`, and `[[custody.also]]` for keys that still open what they sealed earlier.

No member is a secret: passphrases and PINs are in files of their own, in a systemd credential, or typed in.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from idplane.bootstrap.settings import environment
from idplane.bootstrap.settings_file import Table
from idplane.keys.sealing import unsealed_private_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Store
from idplane.ports.world import Entropy, KeyCustody
from idplane.store.custody import Custodies, FileCustody, read_private
from idplane.store.custody_passphrase import passphrase_custody
from idplane.store.datafolder import DataFolderProblem

__all__ = ["KEY_FILE", "CustodySection", "KeySection", "custody_for", "open_custody"]

KEY_FILE = "custody.key"
"""The key file's name in the data folder, where none is named."""


class KeySection(Table, frozen=True, kw_only=True):
    """One key-encryption key. Which members it needs follows from `kind`."""

    kind: Literal["file", "passphrase", "pkcs11"] = "file"
    file: str | None = None
    """The key file, or the file with the passphrase."""
    credential: str | None = None
    """The passphrase or PIN is the systemd credential of this name (`LoadCredential=`, `LoadCredentialEncrypted=`)."""
    ask: bool = False
    """The passphrase is typed in at the start."""
    module: str | None = None
    """The PKCS#11 module, a shared library."""
    token: str | None = None
    label: str | None = None
    """Of the AES key in the token."""
    pin_file: str | None = None


class CustodySection(KeySection, frozen=True, kw_only=True):
    """`[custody]`: the key that seals, the same for every server; and in `also` those that may be needed to open what was sealed before."""

    also: tuple[KeySection, ...] = ()


async def custody_for(
    section: CustodySection, store: Store, entropy: Entropy, *, path: Callable[[str], Path], default: Path
) -> KeyCustody:
    """The custody of these settings, which opens what the database holds; makes a key file only for a database that holds nothing.

    `path` makes the settings' paths absolute; `default` is the key file where none is named. Raises `DataFolderProblem` for what a
    person can mend, a key that does not belong to the database included, and `Failure(UNAVAILABLE)` for a token that is away.
    """
    sealed = (await store.page(SIGNING_KEYS, where={"purpose": KeyPurpose.TOKEN.value}, limit=1)).items
    like = sealed[0].value.sealed if sealed else None
    custody = open_custody(section, entropy, path=path, default=default, like=like)
    good = next((row.value for row in sealed if not row.value.tainted), None)
    if good is not None:
        try:
            unsealed_private_key(good, custody)
        except Failure as failure:
            if failure.kind is FailureKind.UNAVAILABLE:
                raise
            raise DataFolderProblem(
                "the key of [custody] does not belong to this database: every server needs the one that it was sealed with, if only in"
                " [[custody.also]]"
            ) from failure
    return custody


def open_custody(
    section: CustodySection,
    entropy: Entropy,
    *,
    path: Callable[[str], Path],
    default: Path,
    like: bytes | None,
    create: bool = True,
) -> KeyCustody:
    """The custody of these settings; `like` is something that it is to open, if there is anything. Whether it does is for the caller to try.

    A key file is made only when there is nothing to open, and with `create`. Raises as `custody_for` does.
    """
    opening = _Opening(entropy=entropy, path=path, default=default, like=like, create=create)
    first, *further = (opening.key(one) for one in (section, *section.also))
    return Custodies(first, further) if further else first


class _Opening:
    """Opens keys; `like` is something that is sealed in the database."""

    def __init__(
        self, *, entropy: Entropy, path: Callable[[str], Path], default: Path, like: bytes | None, create: bool
    ) -> None:
        self._entropy = entropy
        self._path = path
        self._default = default
        self._like = like
        self._create = create

    def key(self, section: KeySection) -> KeyCustody:
        """One key's custody."""
        match section.kind:
            case "file":
                return self._file(section)
            case "passphrase":
                return passphrase_custody(self._passphrase(section), entropy=self._entropy, like=self._like)
            case "pkcs11":
                return self._token(section)

    def _file(self, section: KeySection) -> KeyCustody:
        file = self._default if section.file is None else self._path(section.file)
        if not self._create and not file.exists():
            raise DataFolderProblem(
                f"the key file {file} is missing: no backup holds it, so put the installation's own there first"
            )
        if self._like is not None and not file.exists():
            raise DataFolderProblem(
                f"the key file {file} is missing, and the database holds keys that were sealed with it: "
                "copy it from another server, or restore it from a backup"
            )
        return FileCustody.open(file, entropy=self._entropy, create=self._create)

    def _token(self, section: KeySection) -> KeyCustody:
        # An extra: only who has a token needs the library for it.
        try:
            import pkcs11  # noqa: PLC0415, F401 - tells whether it is there

            from idplane.store.custody_pkcs11 import TokenCustody, TokenPlace  # noqa: PLC0415 - as above
        except ImportError as error:
            raise DataFolderProblem("custody in a token needs the library for it: pip install 'idplane[pkcs11]'") from error
        pin = _credential(section.credential) if section.credential else self._path(_needed(section, "pin_file"))
        module, token, label = (_needed(section, name) for name in ("module", "token", "label"))
        place = TokenPlace(module=self._path(module), token=token, key=label, pin_file=pin)
        return TokenCustody(place, entropy=self._entropy, like=self._like)

    def _passphrase(self, section: KeySection) -> bytes:
        given = [section.file is not None, section.credential is not None, section.ask]
        if given.count(True) != 1:
            raise DataFolderProblem("custody by passphrase needs one of file, credential and ask = true")
        if section.file is not None:
            return read_private(self._path(section.file), "passphrase file")
        if section.credential is not None:
            return read_private(_credential(section.credential), "credential")
        if not sys.stdin.isatty():
            raise DataFolderProblem(
                "the passphrase is to be typed in, and there is no terminal: name a file or a credential instead"
            )
        return getpass.getpass("Passphrase of the key custody: ").encode()


def _credential(name: str) -> Path:
    """systemd.exec(5): credentials are files in a folder that only the service can read."""
    folder = environment().get("CREDENTIALS_DIRECTORY")
    if not folder or "/" in name or name.startswith("."):
        raise DataFolderProblem(f"systemd has passed no credential '{name}': start the service with LoadCredential={name}:FILE")
    return Path(folder) / name


def _needed(section: KeySection, name: str) -> str:
    value = getattr(section, name)
    if not isinstance(value, str) or not value:
        raise DataFolderProblem(f"custody of kind '{section.kind}' needs {name} = \"...\"")
    return value
