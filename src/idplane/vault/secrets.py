"""What callers hand in and get back, and the limits that Key Vault sets (Azure Key Vault, "About secrets")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from idplane.model.failure import Failure, FailureKind
from idplane.model.vault import SecretVersion

__all__ = ["PAGE_LIMIT", "Secret", "SecretChanges", "SecretDraft", "SecretPage", "check_changes", "check_draft", "check_name"]

PAGE_LIMIT = 25
"""The most items that one page of a list holds."""
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VALUE_BYTES = 25 * 1024
_CONTENT_TYPE_LENGTH = 255
_TAGS = 15
_TAG_LENGTH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDraft:
    """A new version as asked for."""

    value: str = field(repr=False)
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretChanges:
    """What to change of a version; None leaves a property as it is. Values never change."""

    content_type: str | None = None
    tags: Mapping[str, str] | None = None
    """All tags, replacing the old ones."""
    enabled: bool | None = None
    not_before: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A version with its value, opened."""

    version: SecretVersion
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPage:
    """Some versions in the list's order, and the position after which the next page starts; None at the end."""

    items: tuple[SecretVersion, ...]
    after: str | None


def check_name(name: str) -> str:
    """The name; raises `Failure(INVALID_NAME)` unless it is 1 to 127 letters, digits and hyphens."""
    if _NAME.fullmatch(name) is None:
        raise Failure(FailureKind.INVALID_NAME, "a secret's name is 1 to 127 letters, digits and hyphens", name=name[:127])
    return name


def check_draft(draft: SecretDraft) -> None:
    """Raise `Failure(INVALID_PARAMETER)` for what a vault does not hold."""
    if len(_utf8(draft.value, "value")) > _VALUE_BYTES:
        raise _invalid("value", f"is longer than {_VALUE_BYTES} bytes")
    _check_metadata(draft.content_type, draft.tags)


def check_changes(changes: SecretChanges) -> None:
    """Raise `Failure(INVALID_PARAMETER)` for what a vault does not hold."""
    _check_metadata(changes.content_type, changes.tags or {})


def _check_metadata(content_type: str | None, tags: Mapping[str, str]) -> None:
    if content_type is not None and len(content_type) > _CONTENT_TYPE_LENGTH:
        raise _invalid("contentType", f"is longer than {_CONTENT_TYPE_LENGTH} characters")
    if len(tags) > _TAGS:
        raise _invalid("tags", f"are more than {_TAGS}")
    if any(len(name) > _TAG_LENGTH or len(value) > _TAG_LENGTH for name, value in tags.items()):
        raise _invalid("tags", f"have a name or value longer than {_TAG_LENGTH} characters")
    for text in (content_type or "", *tags, *tags.values()):
        _utf8(text, "contentType or tags")


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(name, "is not valid Unicode") from error


def _invalid(name: str, why: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, f"{name} {why}", parameter=name)
