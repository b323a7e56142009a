"""What was written, as far as clients know, and what must therefore be there in the end. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from faults.loads.speaking import Done

__all__ = ["Ledger"]


@dataclass(kw_only=True)
class Ledger:
    """The history of every path, in the order in which its only writer knew of it."""

    _known: dict[str, frozenset[bool]] = field(default_factory=dict)
    """By path: whether it may be there, may be gone, or both."""
    _repeated: set[str] = field(default_factory=set)
    """Paths whose creation was sent more than once."""
    acknowledged: int = 0
    """Writes whose success was told to a client."""

    def add(self, path: str, done: Done, *, deletes: bool) -> None:
        """A write, with what is known of it. A path that was never written is gone."""
        before = self._known.get(path, frozenset({False}))
        wanted = frozenset({not deletes})
        match done:
            case Done.ACKNOWLEDGED | Done.REPEATED:
                self.acknowledged += 1
                # A copy of its creation may still be under way somewhere, and come after the deletion.
                self._known[path] = wanted | {True} if path in self._repeated else wanted
                if done is Done.REPEATED and not deletes:
                    self._repeated.add(path)
            case Done.REFUSED:
                self._known[path] = before
            case Done.UNKNOWN:
                self._known[path] = before | wanted

    @property
    def paths(self) -> tuple[str, ...]:
        """All that were written."""
        return tuple(self._known)

    def differences(self, there: Collection[str]) -> list[str]:
        """A sentence for each path that is not as it must be; `there` are the lower-case paths that exist."""
        found = []
        for path, possible in self._known.items():
            exists = path.lower() in there
            if exists not in possible:
                found.append(f"{path}: {'its deletion' if exists else 'its creation'} was acknowledged, and is lost")
        return found

    def unexpected(self, there: Collection[str], *, below: str, but: Collection[str] = ()) -> list[str]:
        """A sentence for each path below `below` that nobody wrote, other than those in `but`."""
        known = {path.lower() for path in self._known} | {path.lower() for path in but}
        return [f"{path}: nobody made it" for path in sorted(there) if path.startswith(below.lower()) and path not in known]
