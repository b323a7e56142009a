"""Tags as people write them: a line for each, `name=value`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from idplane.model.failure import Failure, FailureKind

__all__ = ["tag_lines", "tags_of"]


def tags_of(text: str) -> dict[str, str]:
    """The tags in lines; raises `Failure(INVALID_PARAMETER)` for a line without a name, or a name that is there twice."""
    tags: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not name or name in tags:
            words = f"'{line.strip()[:100]}' is no tag: write each one on a line of its own, as name=value"
            raise Failure(FailureKind.INVALID_PARAMETER, words, parameter="tags")
        tags[name] = value
    return tags


def tag_lines(tags: Mapping[str, str]) -> str:
    """Tags as `tags_of` reads them."""
    return "\n".join(f"{name}={value}" for name, value in sorted(tags.items()))
