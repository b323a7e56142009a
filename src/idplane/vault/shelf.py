"""How secrets lie in the store: versions counted without gaps, the newest one standing for the secret.

A secret's versions are numbered 1, 2, 3, ... and only ever vanish together, so the current one is the last number taken: it is
found in logarithmically many look-ups however many versions there are. The current version alone carries the marks of deletion,
and whoever adds a version writes its predecessor again, so that two who both changed "the current version" cannot both succeed.
"""

from __future__ import annotations

from dataclasses import dataclass

from idplane.model.failure import Failure, FailureKind
from idplane.model.vault import SecretVersion, secret_key
from idplane.ports.collections import SECRETS
from idplane.ports.store import ANY, Batch, Delete, Reads, Versioned
from idplane.vault.secrets import SecretPage

__all__ = ["Shelf"]

# Sorts after every version of a secret and before every other secret: versions are hexadecimal digits.
_LAST = "~"
_WALK_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One vault's secrets: reads, and the batch that removes one. Short-lived; holds nothing but where to look."""

    store: Reads
    vault_key: str

    async def current(self, name: str) -> Versioned[SecretVersion] | None:
        """The current version, deleted or not; None if there never was such a secret or it is purged."""
        last = await self._numbered(name, 1)
        if last is None:
            return None
        step = 1
        while (further := await self._numbered(name, last.value.sequence + step)) is not None:
            last, step = further, step * 2
        missing = last.value.sequence + step
        while missing - last.value.sequence > 1:
            middle = (missing + last.value.sequence) // 2
            between = await self._numbered(name, middle)
            if between is None:
                missing = middle
            else:
                last = between
        return last

    async def live(self, name: str) -> Versioned[SecretVersion]:
        """The current version of a secret that is not deleted; raises `Failure(SECRET_NOT_FOUND)`."""
        current = await self.current(name)
        if current is None or current.value.deleted_at is not None:
            raise not_found(name)
        return current

    async def deleted(self, name: str) -> Versioned[SecretVersion]:
        """The current version of a deleted secret; raises `Failure(SECRET_NOT_FOUND, deleted="true")`."""
        current = await self.current(name)
        if current is None or current.value.deleted_at is None:
            raise Failure(FailureKind.SECRET_NOT_FOUND, f"there is no deleted secret '{name}'", name=name, deleted="true")
        return current

    async def version(self, name: str, version: str | None) -> Versioned[SecretVersion]:
        """One version of a secret that is not deleted, the current one for None; raises `Failure(SECRET_NOT_FOUND)`."""
        current = await self.live(name)
        if version is None or version.lower() == current.value.version:
            return current
        found = await self.store.get(SECRETS, secret_key(self.vault_key, name, version.lower()))
        if found is None:
            raise not_found(f"{name}/{version}")
        return found

    async def secrets(self, after: str | None, limit: int) -> SecretPage:
        """Current versions of the secrets that are not deleted, from behind the secret named `after`.

        A page can be short, or empty, and still have a next one: old versions of deleted secrets are walked over, and the walk is
        bounded.
        """
        items: list[SecretVersion] = []
        for _ in range(_WALK_LIMIT):
            page = await self.store.page(SECRETS, where=self._where(deleted=0), after=self._behind(after), limit=1)
            if not page.items:
                return SecretPage(items=tuple(items), after=None)
            if len(items) == limit:
                break
            after = page.items[0].value.name
            current = await self.current(after)
            if current is not None and current.value.deleted_at is None:
                items.append(current.value)
        return SecretPage(items=tuple(items), after=after)

    async def deleted_secrets(self, after: str | None, limit: int) -> SecretPage:
        """Current versions of the deleted secrets, from behind the one named `after`."""
        page = await self.store.page(SECRETS, where=self._where(deleted=1), after=self._behind(after), limit=limit)
        items = tuple(one.value for one in page.items)
        return SecretPage(items=items, after=items[-1].name if page.after is not None else None)

    async def versions(self, name: str, after: str | None, limit: int) -> SecretPage:
        """All versions of a secret in order of their ids, as Key Vault lists them, from behind the one called `after`."""
        start = None if after is None else secret_key(self.vault_key, name, after)
        where = {"vault_key": self.vault_key, "name": name.lower()}
        page = await self.store.page(SECRETS, where=where, after=start, limit=limit)
        items = tuple(one.value for one in page.items)
        return SecretPage(items=items, after=items[-1].version if page.after is not None else None)

    async def removal(self, current: Versioned[SecretVersion]) -> Batch:
        """What removes every version of a secret, provided that `current` is still its current version, unchanged."""
        where = {"vault_key": self.vault_key, "name": current.value.name.lower()}
        stored = await self.store.all(SECRETS, where=where)
        return Batch.of(
            Delete(collection=SECRETS, key=current.value.key, expect=current.version),
            *(
                Delete(collection=SECRETS, key=one.value.key, expect=ANY)
                for one in stored
                if one.value.key != current.value.key
            ),
        )

    async def _numbered(self, name: str, sequence: int) -> Versioned[SecretVersion] | None:
        where: dict[str, str | int | None] = {"vault_key": self.vault_key, "name": name.lower(), "sequence": sequence}
        page = await self.store.page(SECRETS, where=where, limit=1)
        return page.items[0] if page.items else None

    def _where(self, *, deleted: int) -> dict[str, str | int | None]:
        return {"vault_key": self.vault_key, "deleted": deleted}

    def _behind(self, name: str | None) -> str | None:
        return None if name is None else secret_key(self.vault_key, name, _LAST)


def not_found(what: str) -> Failure:
    """The failure for a secret, or a version of one, that does not exist or is deleted."""
    return Failure(FailureKind.SECRET_NOT_FOUND, f"there is no secret '{what}'", name=what)
