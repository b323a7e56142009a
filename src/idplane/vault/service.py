"""`SecretVault`: what callers may do with secrets, each operation behind its data action on the secret's own scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from idplane.model.calls import Caller
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.roles import Decision
from idplane.model.vault import SecretVersion
from idplane.ports.collections import SECRETS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, RefusedBecause, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody
from idplane.vault.secrets import (
    PAGE_LIMIT,
    Secret,
    SecretChanges,
    SecretDraft,
    SecretPage,
    check_changes,
    check_draft,
    check_name,
)
from idplane.vault.shelf import Shelf
from idplane.vault.vaults import Vault

__all__ = ["Access", "SecretVault"]

T = TypeVar("T")

# Azure's data actions of secrets (resource provider operations of Microsoft.KeyVault).
_SECRETS = "Microsoft.KeyVault/vaults/secrets"
_GET = f"{_SECRETS}/getSecret/action"
_SET = f"{_SECRETS}/setSecret/action"
_READ_METADATA = f"{_SECRETS}/readMetadata/action"
_UPDATE = f"{_SECRETS}/update/action"
_DELETE = f"{_SECRETS}/delete"
_RECOVER = f"{_SECRETS}/recover/action"
_PURGE = f"{_SECRETS}/purge/action"

# Each round somebody gets through, so this many writers of one secret at once all succeed.
_ATTEMPTS = 10
_PURGE_PAGE = 100


class Access(Protocol):
    """Who may do what: `rbac.AccessControl`, as far as it is needed here."""

    async def require(self, caller: Caller, action: str, scope: ResourceId, *, data: bool = False) -> Decision:
        """Raise `Failure(FORBIDDEN)` unless allowed."""
        ...


class SecretVault:
    """The secrets of all vaults.

    Every operation raises `Failure(INVALID_NAME)` for a name that no secret can have and `Failure(FORBIDDEN)` when the caller lacks
    the data action, before it says whether the secret exists. Operations that write raise `Failure(CONFLICT)` when others kept changing
    the same secret, and `Failure(VAULT_NOT_FOUND)` when the vault goes away under them.

    A disabled version cannot be read. `nbf` and `exp` are information for whoever uses the secret: as in Key Vault, reading a
    secret outside that window works ("About secrets": get works for not-yet-valid and expired secrets).
    """

    def __init__(
        self, *, store: Store, custody: KeyCustody, access: Access, clock: Clock, entropy: Entropy, profile: Profile
    ) -> None:
        self._store = store
        self._custody = custody
        self._access = access
        self._clock = clock
        self._entropy = entropy
        self._profile = profile

    async def set(self, caller: Caller, vault: Vault, name: str, draft: Callable[[], SecretDraft]) -> Secret:
        """Add a version and make it the current one.

        The draft is asked for once the caller may set the secret, so that strangers learn nothing from how bodies are read. Raises
        `Failure(INVALID_PARAMETER)` for a draft over the limits, `Failure(SECRET_DELETED)` while a deleted secret holds the name.
        """
        await self._require(caller, _SET, vault, name)
        wanted = draft()
        check_draft(wanted)
        return await self._retrying(lambda: self._set(vault, name, wanted))

    async def get(self, caller: Caller, vault: Vault, name: str, version: str | None = None) -> Secret:
        """A version's value, the current one's for None; raises `Failure(SECRET_NOT_FOUND)`, `Failure(SECRET_DISABLED)`."""
        await self._require(caller, _GET, vault, name)
        found = (await self._shelf(vault).version(name, version)).value
        if not found.enabled:
            raise Failure(
                FailureKind.SECRET_DISABLED,
                "a disabled secret cannot be read",
                operation="get",
                name=name,
                version=found.version,
            )
        return Secret(version=found, value=self._custody.unseal(found.sealed, context=found.key).decode())

    async def list(self, caller: Caller, vault: Vault, *, after: str | None = None, limit: int = PAGE_LIMIT) -> SecretPage:
        """The current versions of the vault's secrets, disabled ones included, deleted ones not."""
        await self._require(caller, _READ_METADATA, vault)
        return await self._shelf(vault).secrets(_position(after), limit)

    async def list_versions(
        self, caller: Caller, vault: Vault, name: str, *, after: str | None = None, limit: int = PAGE_LIMIT
    ) -> SecretPage:
        """All versions of a secret; an unknown or deleted secret has none, as in Key Vault."""
        await self._require(caller, _READ_METADATA, vault, name)
        shelf = self._shelf(vault)
        current = await shelf.current(name)
        if current is None or current.value.deleted_at is not None:
            return SecretPage(items=(), after=None)
        return await shelf.versions(name, _position(after), limit)

    async def update(
        self, caller: Caller, vault: Vault, name: str, version: str | None, changes: Callable[[], SecretChanges]
    ) -> SecretVersion:
        """Change a version's attributes, the current one's for None; raises `Failure(SECRET_NOT_FOUND)`, `Failure(INVALID_PARAMETER)`."""
        await self._require(caller, _UPDATE, vault, name)
        wanted = changes()
        check_changes(wanted)
        return await self._retrying(lambda: self._update(vault, name, version, wanted))

    async def delete(self, caller: Caller, vault: Vault, name: str) -> SecretVersion:
        """Delete a secret with all its versions so that it can be recovered; raises `Failure(SECRET_NOT_FOUND)`."""
        await self._require(caller, _DELETE, vault, name)

        async def attempt() -> SecretVersion:
            now = self._clock.now()
            current = await self._shelf(vault).live(name)
            return await self._replace(current, replace(current.value, deleted_at=now, purge_at=now + self.retention(vault)))

        return await self._retrying(attempt)

    async def get_deleted(self, caller: Caller, vault: Vault, name: str) -> SecretVersion:
        """A deleted secret without its value; raises `Failure(SECRET_NOT_FOUND)`."""
        await self._require(caller, _READ_METADATA, vault, name)
        return (await self._shelf(vault).deleted(name)).value

    async def list_deleted(
        self, caller: Caller, vault: Vault, *, after: str | None = None, limit: int = PAGE_LIMIT
    ) -> SecretPage:
        """The vault's deleted secrets that can still be recovered."""
        await self._require(caller, _READ_METADATA, vault)
        return await self._shelf(vault).deleted_secrets(_position(after), limit)

    async def recover(self, caller: Caller, vault: Vault, name: str) -> SecretVersion:
        """Bring a deleted secret back with all its versions; raises `Failure(SECRET_NOT_FOUND)` if none is deleted."""
        await self._require(caller, _RECOVER, vault, name)

        async def attempt() -> SecretVersion:
            current = await self._shelf(vault).deleted(name)
            return await self._replace(current, replace(current.value, deleted_at=None, purge_at=None))

        return await self._retrying(attempt)

    async def purge(self, caller: Caller, vault: Vault, name: str) -> None:
        """Remove a deleted secret for good; raises `Failure(SECRET_NOT_FOUND)`, `Failure(LOCKED)` under purge protection."""
        await self._require(caller, _PURGE, vault, name)

        async def attempt() -> None:
            shelf = self._shelf(vault)
            current = await shelf.deleted(name)
            if vault.purge_protection:
                raise Failure(FailureKind.LOCKED, "purge protection is enabled for this vault", operation="purge")
            await self._store.commit(await shelf.removal(current))

        await self._retrying(attempt)

    async def purge_due(self, now: datetime) -> datetime | None:
        """Remove the deleted secrets whose time is over; when the next one is due, None if none is waiting."""
        due: datetime | None = None
        after: str | None = None
        while True:
            page = await self._store.page(SECRETS, where={"deleted": 1}, after=after, limit=_PURGE_PAGE)
            for item in page.items:
                later = await self._purge_if_due(item, now)
                due = min((one for one in (due, later) if one is not None), default=None)
            if page.after is None:
                return due
            after = page.after

    def retention(self, vault: Vault) -> timedelta:
        """How long a secret deleted now can be recovered."""
        return self._profile.secret_retention if vault.retention_days is None else timedelta(days=vault.retention_days)

    async def _set(self, vault: Vault, name: str, draft: SecretDraft) -> Secret:
        current = await self._shelf(vault).current(name)
        if current is not None and current.value.deleted_at is not None:
            raise Failure(FailureKind.SECRET_DELETED, f"the secret '{name}' is deleted but recoverable", name=name)
        now = self._clock.now()
        blank = SecretVersion(
            vault=vault.id.key,
            # Names compare without case; the first spelling stays, so that a secret has one id.
            name=name if current is None else current.value.name,
            version=self._entropy.bytes(16).hex(),
            sealed=b"",
            created_at=now,
            updated_at=now,
            sequence=1 if current is None else current.value.sequence + 1,
            content_type=draft.content_type,
            tags=dict(draft.tags),
            enabled=draft.enabled,
            not_before=draft.not_before,
            expires=draft.expires,
        )
        made = replace(blank, sealed=self._custody.seal(draft.value.encode(), context=blank.key))
        put = Put(collection=SECRETS, value=made, expect=ABSENT)
        if current is None:
            await self._store.commit(Batch.of(put))
        else:
            # Writing the predecessor again, unchanged, makes whoever took it for the current version lose the race: a deletion that
            # marked it now would leave this version behind.
            again = Put(collection=SECRETS, value=current.value, expect=current.version)
            await self._store.commit(Batch.of(again, put))
        return Secret(version=made, value=draft.value)

    async def _update(self, vault: Vault, name: str, version: str | None, changes: SecretChanges) -> SecretVersion:
        found = await self._shelf(vault).version(name, version)
        old = found.value
        return await self._replace(
            found,
            replace(
                old,
                updated_at=self._clock.now(),
                content_type=old.content_type if changes.content_type is None else changes.content_type,
                tags=old.tags if changes.tags is None else dict(changes.tags),
                enabled=old.enabled if changes.enabled is None else changes.enabled,
                not_before=old.not_before if changes.not_before is None else changes.not_before,
                expires=old.expires if changes.expires is None else changes.expires,
            ),
        )

    async def _replace(self, old: Versioned[SecretVersion], new: SecretVersion) -> SecretVersion:
        await self._store.commit(Batch.of(Put(collection=SECRETS, value=new, expect=old.version)))
        return new

    async def _purge_if_due(self, item: Versioned[SecretVersion], now: datetime) -> datetime | None:
        """Purge when due; the instant at which it will be due otherwise."""
        purge_at = item.value.purge_at
        if purge_at is None or purge_at > now:
            return purge_at
        shelf = Shelf(store=self._store, vault_key=item.value.vault)
        try:
            await self._store.commit(await shelf.removal(item))
        except CommitRefused:
            return now  # recovered or purged by somebody else this moment; the next look will tell
        return None

    async def _retrying(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                return await attempt()
            except CommitRefused as refused:
                if refused.because is RefusedBecause.REFERENCE:
                    raise Failure(FailureKind.VAULT_NOT_FOUND, "the vault was deleted meanwhile") from refused
        raise Failure(FailureKind.CONFLICT, "others kept changing the secret at the same time")

    async def _require(self, caller: Caller, action: str, vault: Vault, name: str | None = None) -> None:
        scope = vault.id if name is None else vault.id.child("secrets", check_name(name))
        await self._access.require(caller, action, scope, data=True)

    def _shelf(self, vault: Vault) -> Shelf:
        return Shelf(store=self._store, vault_key=vault.id.key)


def _position(after: str | None) -> str | None:
    """A place in a list, from the outside; names and versions have the same alphabet."""
    if after is None:
        return None
    try:
        return check_name(after)
    except Failure as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "the skip token is not one of ours", parameter="$skiptoken") from error
