"""Values of the Key Vault target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["SecretVersion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One version of a secret. The value is sealed by the key custody; the database alone reveals nothing."""

    vault: str
    """Resource id key of the vault."""
    name: str
    version: str
    """32 lower-case hex digits."""
    sealed: bytes
    created_at: datetime
    updated_at: datetime
    sequence: int
    """Rises with each version of one secret; the highest is the current one."""
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: datetime | None = None
    expires: datetime | None = None
    deleted_at: datetime | None = None
    purge_at: datetime | None = None

    @property
    def key(self) -> str:
        """Unique, and sorts by name within a vault: names compare without case."""
        return secret_key(self.vault, self.name, self.version)


def secret_key(vault_key: str, name: str, version: str) -> str:
    """The key of a `SecretVersion`."""
    return f"{vault_key}|{name.lower()}|{version}"
