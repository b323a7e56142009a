"""Tags: names and values that hang on resources, groups and subscriptions, with Azure's bounds and its codes for what breaks them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from idplane.arm.bodies import member_object
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["MOST_TAGS", "merged", "read_tags", "require_few", "without"]

MOST_TAGS = 50
_NAME_LIMIT = 512
_VALUE_LIMIT = 256
_RESERVED = re.compile(r"[<>%&\\?/\x00-\x1f\x7f-\x9f]")


def read_tags(body: JsonObject, name: str = "tags") -> Mapping[str, str] | None:
    """The tags that a body states; none for null, and None when it says nothing of them. Raises `Failure(INVALID_PARAMETER)`."""
    stated = member_object(body, name)
    if stated is None:
        return {} if name in body else None
    tags: dict[str, str] = {}
    folded: set[str] = set()
    for tag, value in stated.items():
        _require_name(tag)
        if not isinstance(value, str):
            raise _refused(f"The value of tag '{tag[:100]}' must be a string.", "InvalidParameter")
        _require_value(value)
        if tag.lower() in folded:
            raise _refused(f"The tag '{tag[:100]}' is given twice: tag names ignore case.", "InvalidParameter")
        folded.add(tag.lower())
        tags[tag] = value
    require_few(tags)
    return tags


def require_few(tags: Mapping[str, str]) -> None:
    """Refuse more tags than one thing may bear; raises `Failure(INVALID_PARAMETER)`."""
    if len(tags) > MOST_TAGS:
        words = f"Too many tags: {len(tags)} are requested. The maximum number of tags allowed on a resource is {MOST_TAGS}."
        raise _refused(words, "TooManyTags")


def merged(old: Mapping[str, str], new: Mapping[str, str]) -> Mapping[str, str]:
    """The old tags with the new ones added; a name that is there already keeps its casing."""
    names = {name.lower(): name for name in old}
    return {**old, **{names.get(name.lower(), name): value for name, value in new.items()}}


def without(old: Mapping[str, str], gone: Mapping[str, str]) -> Mapping[str, str]:
    """The old tags without the named ones; a tag that is named with a value goes only if it has that value."""
    named = {name.lower(): value for name, value in gone.items()}
    return {name: value for name, value in old.items() if named.get(name.lower()) not in ("", value)}


def _require_name(name: str) -> None:
    if not name or len(name) > _NAME_LIMIT:
        words = (
            f"Tag name too large. Following tag name '{name[:100]}' exceeded the maximum length. Maximum allowed length for tag "
            f"name - '{_NAME_LIMIT}' characters."
        )
        raise _refused(words if name else "A tag's name cannot be empty.", "InvalidTagNameLength")
    # Tags that tools hide name the resources that they link.
    if _RESERVED.search(name.replace("/", "") if name.lower().startswith("hidden-") else name):
        words = f"The tag names '{name[:100]}' have reserved characters '<,>,%,&,\\,?,/' or control characters."
        raise _refused(words, "InvalidTagNameCharacters")


def _require_value(value: str) -> None:
    if len(value) > _VALUE_LIMIT:
        words = (
            f"Tag value too large. Following tag value '{value[:_VALUE_LIMIT]}' exceeded the maximum length. Maximum allowed length "
            f"for tag value - '{_VALUE_LIMIT}' characters."
        )
        raise _refused(words, "InvalidTagValueLength")


def _refused(words: str, code: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, words, code=code, parameter="tags")
