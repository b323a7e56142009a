"""ETags and the conditional headers (RFC 9110 section 13).

A resource's ETag changes with each version and never comes back after a deletion. Clients send it back with or without quotes
and the weak mark, and Azure takes all of these, so the mark is ignored in comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass

from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import Resource
from idplane.ports.collections import microseconds
from idplane.ports.store import Versioned

__all__ = ["Preconditions", "resource_etag"]


def resource_etag(found: Versioned[Resource]) -> str:
    """The opaque part of the ETag: when the resource was made, and its version since."""
    return f"{microseconds(found.value.created_at):x}-{found.version:x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """`If-Match` and `If-None-Match` as sent."""

    if_match: str | None = None
    if_none_match: str | None = None

    @property
    def pins_version(self) -> bool:
        """Whether the client decided on one state, so that a lost race is its to resolve."""
        return self.if_match is not None and self.if_match.strip() != "*"

    def check(self, etag: str | None) -> None:
        """Compare with the present ETag, None for what does not exist; raises `Failure(PRECONDITION_FAILED)`."""
        if self.if_match is not None and (etag is None or not _names(self.if_match, etag)):
            raise Failure(
                FailureKind.PRECONDITION_FAILED, "the resource is not in the state that If-Match asks for", header="If-Match"
            )
        if self.if_none_match is not None and etag is not None and _names(self.if_none_match, etag):
            raise Failure(
                FailureKind.PRECONDITION_FAILED, "the resource exists, which If-None-Match excludes", header="If-None-Match"
            )


def _names(header: str, etag: str) -> bool:
    return any(one in ("*", etag) for one in map(_opaque, header.split(",")))


def _opaque(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"')
