"""The cache of tokens: what is kept, how long it serves, and when it is worth fetching anew. No I/O."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["CachedToken", "Token", "TokenCache", "TokenKey"]

_CAPACITY = 4096
_LONG_LIVED = 2 * 3600
_REFRESH_LEAD = 600
_SPENT_LEAD = 300
_RETRY_SECONDS = 30


class TokenKey(NamedTuple):
    """What makes two requests ask for the same token. A tuple, since one is made for every request."""

    host: str
    """Resource id key of the host; instances of a scale set share theirs."""
    principal_id: str
    resource: str
    """As asked, byte for byte: the answer echoes it."""
    capabilities: str
    """The client's declared capabilities (`xms_cc`), joined with commas."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Token:
    """An access token with what answers tell about it. Instants are seconds since the epoch."""

    access_token: str = field(repr=False)
    client_id: str
    resource: str
    not_before: int
    expires_on: int

    @property
    def sha256(self) -> str:
        """Lower-case hex SHA-256 of the token: how a client names a token that was refused (MIE section 1.9)."""
        return hashlib.sha256(self.access_token.encode()).hexdigest()


@dataclass(slots=True, kw_only=True, eq=False)
class CachedToken:
    """A token with its two marks in time."""

    token: Token
    refresh_at: float
    """From here on the next use fetches a successor in the background."""
    spent_at: float
    """From here on a use waits for the successor: clients treat less than five minutes as expired (MIE section 1.3)."""

    def serves(self, now: float) -> bool:
        """Whether a use need not wait. A token of the future is none to hand out: the clock was set back, and nobody would accept it."""
        return self.token.not_before <= now < self.spent_at

    def postpone(self, now: float) -> None:
        """A refresh begins: no further one before a while has passed, even if this one fails."""
        self.refresh_at = now + _RETRY_SECONDS


class TokenCache:
    """A bounded set of tokens, the longest unused going first. Indexed by host and by principal, which is how they are evicted."""

    def __init__(self, *, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[TokenKey, CachedToken] = OrderedDict()
        self._index: defaultdict[str, set[TokenKey]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: TokenKey) -> CachedToken | None:
        """The entry, however old."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: TokenKey, token: Token, now: float) -> None:
        """Keep a token that was obtained at `now`, unless it is dead already."""
        lifetime = token.expires_on - now
        if lifetime <= 0:
            self.discard(key)
            return
        ahead = lifetime / 2 if lifetime > _LONG_LIVED else min(lifetime / 2, _REFRESH_LEAD)
        self._entries[key] = CachedToken(
            token=token,
            refresh_at=token.expires_on - ahead,
            spent_at=token.expires_on - min(lifetime / 4, _SPENT_LEAD),
        )
        self._entries.move_to_end(key)
        self._index[key.host].add(key)
        self._index[key.principal_id].add(key)
        if len(self._entries) > self._capacity:
            self.discard(next(iter(self._entries)))

    def discard(self, key: TokenKey) -> None:
        """Forget one token."""
        if self._entries.pop(key, None) is None:
            return
        for name in (key.host, key.principal_id):
            keys = self._index[name]
            keys.discard(key)
            if not keys:
                del self._index[name]

    def evict(self, name: str) -> None:
        """Forget every token of a host (resource id key) or of a principal (object id)."""
        for key in tuple(self._index.get(name, ())):
            self.discard(key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._index.clear()
