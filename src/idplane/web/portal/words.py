"""How the portal says things: times, ids, and what a failure means to a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["Explained", "browser", "explained", "instant", "relative", "resource_name", "short"]

_UNITS: Final = ((31_536_000, "year"), (2_592_000, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
"""Lengths in seconds. What is none of them yet is just now."""
_ALMOST: Final = 0.01
"""What lacks so little of the next whole number counts as it: `in 8 hours` is still true a second later."""
_SHORT: Final = 8
_LONGEST_AGENT: Final = 60
# In this order: most browsers say that they are Chrome and Safari, too.
_BROWSERS: Final = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)

_TITLES: Final = {
    Category.BAD_REQUEST: "That doesn't work",
    Category.UNAUTHENTICATED: "Sign in again",
    Category.FORBIDDEN: "You may not do this",
    Category.NOT_FOUND: "Not found",
    Category.METHOD: "That doesn't work",
    Category.CONFLICT: "Something is in the way",
    Category.PRECONDITION: "It has changed meanwhile",
    Category.TOO_LARGE: "Too much at once",
    Category.MEDIA_TYPE: "That doesn't work",
    Category.THROTTLED: "Too many requests",
    Category.INTERNAL: "Something went wrong",
    Category.UNAVAILABLE: "Not available at the moment",
}
_KINDS: Final = {
    FailureKind.PATH_NOT_FOUND: ("Not found", "There is no page at this address."),
    FailureKind.INTERNAL: (
        "Something went wrong",
        "This is a mistake of the plane's, not yours. Its log knows more under the id below.",
    ),
    FailureKind.PORTAL_LINK: ("This link does not sign you in", ""),
    FailureKind.PORTAL_FORM: ("This form is not valid any more", ""),
    FailureKind.PORTAL_SIGN_IN: ("You could not be signed in", ""),
    FailureKind.USER_DISABLED: ("You could not be signed in", ""),
}


@dataclass(frozen=True, slots=True)
class Explained:
    """A failure in a person's words."""

    title: str
    text: str


def explained(failure: Failure) -> Explained:
    """What to tell of a failure. Details are safe to show by their contract."""
    title, text = _KINDS.get(failure.kind, ("", ""))
    return Explained(
        title or _TITLES[failure.kind.category], text or _sentence(failure.detail) or "There is nothing more to say."
    )


def instant(value: object) -> datetime | None:
    """A time, or the text of one as the APIs write it; None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def relative(at: datetime, now: datetime) -> str:
    """`3 minutes ago`, `in 2 days`, `just now`."""
    seconds = (now - at).total_seconds()
    for length, word in _UNITS:
        count = int(abs(seconds) / length + _ALMOST)
        if count:
            told = f"{count} {word}{'' if count == 1 else 's'}"
            return f"{told} ago" if seconds >= 0 else f"in {told}"
    return "just now" if seconds >= 0 else "in a moment"


def browser(user_agent: str) -> str:
    """`Firefox on Windows`, for people who look for their own; what is not known as it is, shortened."""
    name = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if name:
        return f"{name} on {system}" if system else name
    return user_agent[:_LONGEST_AGENT] or "Unknown"


def short(text: str) -> str:
    """The first part of an id, for tables that show the rest elsewhere."""
    return text[:_SHORT]


def resource_name(identifier: str) -> str:
    """The last part of a resource id."""
    return identifier.rstrip("/").rpartition("/")[2] or "/"


def _sentence(text: str) -> str:
    said = text.strip()
    return f"{said[:1].upper()}{said[1:]}{'' if said.endswith(('.', '!', '?')) else '.'}" if said else ""
