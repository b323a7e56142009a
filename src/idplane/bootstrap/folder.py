"""What can be wrong with an installation's files, told to the person at the terminal: one sentence, with the file and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from idplane.keys.sealing import unsealed_private_key
from idplane.model.failure import Failure, os_reason
from idplane.model.keys import KeyPurpose
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Store
from idplane.ports.world import Entropy
from idplane.store.custody import FileCustody
from idplane.store.datafolder import DataFolder, DataFolderProblem

__all__ = ["open_custody", "usable"]


@contextmanager
def usable(folder: DataFolder) -> Iterator[None]:
    """Turn what the files of a folder make go wrong inside into `DataFolderProblem`."""
    try:
        yield
    except Failure as failure:
        raise DataFolderProblem(f"{folder.database}: {failure.detail or failure.kind.name.lower()}") from failure
    except OSError as error:
        named = error.filename2 or error.filename or folder.path
        raise DataFolderProblem(f"{named} cannot be read or written: {os_reason(error)}") from error


async def open_custody(folder: DataFolder, store: Store, entropy: Entropy, *, complete: bool) -> FileCustody:
    """The custody whose key the database was sealed with; a new one for a new database.

    `complete` says that there was a start that got as far as serving: a database without a key of its own cannot be new then.

    Raises `DataFolderProblem` when key and database do not belong together. Neither is touched then: whoever has a backup of the right
    one can put it back.
    """
    key_file, database = folder.key_file, folder.database
    # Of the log's own key the log itself takes care.
    sealed = (await store.page(SIGNING_KEYS, where={"purpose": KeyPurpose.TOKEN.value}, limit=1)).items
    if sealed and not key_file.exists():
        raise DataFolderProblem(
            f"the key file {key_file} is missing, and the database cannot be read without it: restore it from a backup"
        )
    if complete and key_file.exists() and not sealed and await store.position() == 0:
        raise DataFolderProblem(
            f"the database {database} is empty, but there is a key file of an earlier one: restore the database from a backup, "
            f"or remove {key_file} to start anew"
        )
    custody = FileCustody.open(key_file, entropy=entropy)
    if sealed:
        try:
            unsealed_private_key(sealed[0].value, custody)
        except Failure as failure:
            raise DataFolderProblem(
                f"the key file {key_file} does not belong to the database {database}: restore the two that were in use together"
            ) from failure
    return custody
