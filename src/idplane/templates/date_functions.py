"""Date functions of the template language, with the .NET format strings that templates use, and `utcNow` for parameter defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from idplane.templates.builtin import Arguments, Builtin, table

__all__ = ["DATE_FUNCTIONS", "formatted_date"]

_STANDARD = {
    "d": "MM/dd/yyyy",
    "D": "dddd, dd MMMM yyyy",
    "t": "HH:mm",
    "T": "HH:mm:ss",
    "f": "dddd, dd MMMM yyyy HH:mm",
    "F": "dddd, dd MMMM yyyy HH:mm:ss",
    "g": "MM/dd/yyyy HH:mm",
    "G": "MM/dd/yyyy HH:mm:ss",
    "m": "MMMM dd",
    "M": "MMMM dd",
    "o": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "O": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "s": "yyyy-MM-ddTHH:mm:ss",
    "u": "yyyy-MM-dd HH:mm:ss'Z'",
    "U": "dddd, dd MMMM yyyy HH:mm:ss",
    "y": "yyyy MMMM",
    "Y": "yyyy MMMM",
}
_PIECE = re.compile(r"'([^']*)'|\\(.)|(y+|M+|d+|H+|h+|m+|s+|f+|F+|t+|K|z+)|(.)", re.DOTALL)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DURATION = re.compile(
    r"(-)?P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,7})D)?"
    r"(?:T(?:(\d{1,8})H)?(?:(\d{1,9})M)?(?:(\d{1,10})(?:\.(\d{1,6}))?S)?)?"
)
_DEFAULT = "yyyyMMddTHHmmssZ"
_LONGEST = 100


def formatted_date(at: datetime, pattern: str | None) -> str:
    """An instant in a standard or custom .NET format; without one as `utcNow` writes it."""
    pattern = pattern or _DEFAULT
    pattern = _STANDARD.get(pattern, pattern) if len(pattern) == 1 else pattern
    return _PIECE.sub(lambda piece: _piece(piece, at.astimezone(UTC)), pattern)


def _piece(match: re.Match[str], at: datetime) -> str:
    quoted, escaped, field, other = match.groups()
    if field is None:
        return quoted if quoted is not None else escaped or other or ""
    letter, count = field[0], len(field)
    numbers = {"H": at.hour, "h": at.hour % 12 or 12, "m": at.minute, "s": at.second}
    if letter in numbers:
        return f"{numbers[letter]:0{min(count, 2)}d}"
    if letter in "fF":
        return f"{at.microsecond:06d}0"[:count]
    if letter == "t":
        return ("AM" if at.hour < 12 else "PM")[:count]  # noqa: PLR2004 - noon
    if letter in "Kz":
        return "Z" if letter == "K" else ("+00:00" if count > 2 else "+00")  # noqa: PLR2004 - the format's own rule
    return _day(letter, count, at)


def _day(letter: str, count: int, at: datetime) -> str:
    if letter == "y":
        return f"{at.year % 100:02d}" if count <= 2 else f"{at.year:0{count}d}"  # noqa: PLR2004 - the format's own rule
    names, number = (_MONTHS[at.month - 1], at.month) if letter == "M" else (_DAYS[at.weekday()], at.day)
    if count > 2:  # noqa: PLR2004 - three letters for the short name, four for the long one
        return names[:3] if count == 3 else names  # noqa: PLR2004 - as above
    return f"{number:0{count}d}"


def _instant(it: Arguments, at: int) -> datetime:
    text = it.text(at).strip()
    compact = re.fullmatch(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z", text)
    if compact is not None:
        text = "{}-{}-{}T{}:{}:{}+00:00".format(*compact.groups())
    try:
        found = datetime.fromisoformat(text[:_LONGEST])
    except ValueError as error:
        raise it.refuse(f"'{text[:_LONGEST]}' is not a date and time.") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _add(it: Arguments) -> str:
    base, match = _instant(it, 0), _DURATION.fullmatch(it.text(1))
    if match is None or not any(match.groups()[1:]):
        raise it.refuse(f"'{it.text(1)[:_LONGEST]}' is not an ISO 8601 duration.")
    sign = -1 if match[1] else 1
    years, months, weeks, days, hours, minutes, seconds = (int(one or 0) for one in match.groups()[1:8])
    micros = int((match[9] or "").ljust(6, "0") or 0)
    try:
        moved = _months_later(base, sign * (years * 12 + months))
        span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds, microseconds=micros)
        return formatted_date(moved + sign * span, it.text(2, "u"))
    except (OverflowError, ValueError) as error:
        raise it.refuse("the result is no date.") from error


def _months_later(base: datetime, months: int) -> datetime:
    if not months:
        return base
    year, month = divmod(base.year * 12 + base.month - 1 + months, 12)
    for day in (base.day, 30, 29, 28):
        try:
            return base.replace(year=year, month=month + 1, day=min(day, base.day))
        except ValueError:
            continue
    raise ValueError("no such date")


def _from_epoch(it: Arguments) -> str:
    try:
        return formatted_date(datetime.fromtimestamp(it.integer(0), UTC), "yyyy-MM-ddTHH:mm:ssZ")
    except (OverflowError, ValueError, OSError) as error:
        raise it.refuse("the number is no date.") from error


DATE_FUNCTIONS: Mapping[str, Builtin] = table(
    ("dateTimeAdd", 2, 3, _add),
    ("dateTimeFromEpoch", 1, 1, _from_epoch),
    ("dateTimeToEpoch", 1, 1, lambda it: int(_instant(it, 0).timestamp())),
)
