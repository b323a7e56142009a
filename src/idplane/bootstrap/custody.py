"""The key custody that settings name: `[custody]`, and `[[custody.also]]` for keys that still open what they sealed earlier.

No member is a secret: passphrases and PINs are in files of their own, in a systemd credential, or typed in.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Literal

import msgspec

from idplane.bootstrap.settings import environment
from idplane.keys.sealing import check_intact
from idplane.model.failure import Failure
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Store
from idplane.ports.world import Entropy, KeyCustody
from idplane.store.custody import Custodies, FileCustody, read_private
from idplane.store.custody_passphrase import passphrase_custody
from idplane.store.datafolder import DataFolderProblem

__all__ = ["CustodySettings", "custody_for", "open_key"]


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"key_label": "key"}):
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
    key_label: str | None = None
    pin_file: str | None = None


class CustodySettings(KeySettings, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"key_label": "key"}):
    """The section `[custody]`: the key that seals, and in `also` those that may be needed to open what was sealed before."""

    also: tuple[KeySettings, ...] = ()


async def custody_for(settings: CustodySettings, store: Store, entropy: Entropy) -> KeyCustody:
    """The custody of these settings, which opens what the database holds; makes a key file that is missing if nothing is sealed yet.

    Raises `DataFolderProblem` for what a person can mend, a key that does not belong to the database included, and
    `Failure(UNAVAILABLE)` for a token that is away.
    """
    sealed = (await store.page(SIGNING_KEYS, limit=1)).items
    like = sealed[0].value.sealed if sealed else None
    first, *further = (open_key(one, entropy, like=like) for one in (settings, *settings.also))
    custody = Custodies(first, further) if further else first
    if sealed:
        try:
            check_intact(sealed[0].value, custody)
        except Failure as failure:
            raise DataFolderProblem(
                "the key of [custody] does not belong to the database: name the one that it was sealed with, if only in [[custody.also]]"
            ) from failure
    return custody


def open_key(settings: KeySettings, entropy: Entropy, *, like: bytes | None) -> KeyCustody:
    """One key's custody; `like` is something that is sealed in the database. Raises as `custody_for` does."""
    if settings.kind == "file":
        return FileCustody.open(Path(_needed(settings, "file")), entropy=entropy, create=like is None)
    if settings.kind == "passphrase":
        return passphrase_custody(_passphrase(settings), entropy=entropy, like=like)
    # An extra: only who has a token needs the library for it.
    try:
        from idplane.store.custody_pkcs11 import TokenCustody, TokenPlace  # noqa: PLC0415 - late, see above
    except ImportError as error:
        raise DataFolderProblem("custody in a token needs the library for it: pip install 'idplane[pkcs11]'") from error
    pin = _credential(settings.credential) if settings.credential else Path(_needed(settings, "pin_file"))
    place = TokenPlace(
        module=Path(_needed(settings, "module")),
        token=_needed(settings, "token"),
        key=_needed(settings, "key_label"),
        pin_file=pin,
    )
    return TokenCustody(place, entropy=entropy, like=like)


def _passphrase(settings: KeySettings) -> bytes:
    given = [settings.file is not None, settings.credential is not None, settings.ask]
    if given.count(True) != 1:
        raise DataFolderProblem("custody by passphrase needs one of file, credential and ask = true")
    if settings.file is not None:
        return read_private(Path(settings.file), "passphrase file")
    if settings.credential is not None:
        return read_private(_credential(settings.credential), "credential")
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


def _needed(settings: KeySettings, name: str) -> str:
    value = getattr(settings, name)
    if not isinstance(value, str) or not value:
        raise DataFolderProblem(f"custody of kind '{settings.kind}' needs {name.removesuffix('_label')} = \"...\"")
    return value
