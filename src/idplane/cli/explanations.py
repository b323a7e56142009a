"""Explanations for people at a terminal: one answer first, then who, what, what was considered, and what helps.

Everything in one is somebody's words, so it is shown as text, never as markup, and nothing in it acts on the terminal. Commands stand on lines of
their own, unbroken, to be copied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from idplane.cli.tables import printable, say_table
from idplane.model.values import JsonObject

__all__ = ["sentence", "show_answer", "show_list", "show_refusal"]

_PIPED: Final = 100
"""Columns of sentences where nothing is a terminal."""
_MARKS: Final = {"refuses": ("✗", "bold red"), "allows": ("✓", "bold green"), "misses": ("≈", "yellow"), "passes": ("·", "dim")}
_VERDICTS: Final = {"refuses": "refuses it", "allows": "allows it", "misses": "nearly", "passes": "says nothing of it"}
_INDENT: Final = 2
_SCOPE: Final = re.compile(
    r"'(?P<id>/subscriptions/(?P<subscription>[0-9a-f-]{36})(?:/resourcegroups/(?P<group>[^/']+))?(?:/providers/[^/']+/(?P<path>[^']+))?)'",
    re.IGNORECASE,
)


def show_refusal(properties: JsonObject) -> None:
    """One refusal, and why."""
    explanation = _object(properties.get("explanation"))
    when = str(properties.get("refusedAt") or "").partition(".")[0].replace("T", " ")
    count = properties.get("count")
    head = Text().append("Refused", "bold red")
    head.append(f"  {_words(properties.get('status'))} {_words(properties.get('kind'))}".rstrip(), "bold")
    head.append(f"  by {_SURFACES.get(str(properties.get('surface')), _words(properties.get('surface')))}")
    head.append(f"  {when} UTC", "dim")
    if isinstance(count, int) and count > 1:
        head.append(f"  {count} times", "dim")
    _Page().show(head, explanation)


def show_answer(explanation: JsonObject) -> None:
    """The answer to a question that was asked beforehand."""
    allowed = bool(explanation.get("allowed"))
    _Page().show(
        _text("It would be allowed" if allowed else "It would be refused", "bold green" if allowed else "bold red"), explanation
    )


def show_list(found: Sequence[JsonObject]) -> None:
    """Refusals, newest first."""
    if not found:
        Console(highlight=False).print("nothing was refused")
        return
    say_table(("WHEN", "BY", "REFUSED", "WHO", "WHAT", "ID"), [_row(one) for one in found])


def _row(properties: JsonObject) -> tuple[str, ...]:
    caller = _object(properties.get("caller"))
    who = caller.get("name") or caller.get("clientId") or caller.get("host") or properties.get("clientAddress") or "-"
    what = properties.get("action") or properties.get("resource") or properties.get("path") or "-"
    return (
        str(properties.get("refusedAt") or "").partition(".")[0].replace("T", " "),
        _words(properties.get("surface")),
        _words(properties.get("kind")).lower().replace("_", " "),
        str(who).rpartition("/")[2],
        str(what),
        _words(properties.get("refusalId")),
    )


_SURFACES: Final = {
    "endpoint": "the token endpoint of the host",
    "token": "the token service",
    "management": "Resource Manager",
    "graph": "Microsoft Graph",
    "vault": "the vault",
    "agent": "the agents' API",
    "log": "the log",
    "events": "the security events",
    "decision": "the decision API",
    "portal": "the portal",
}


class _Page:
    """What is printed, from top to bottom."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._console = console if console.is_terminal else Console(highlight=False, width=_PIPED)
        self._asked: set[str] = set()
        """What the request named, which needs no repeating."""

    def show(self, head: Text, explanation: JsonObject) -> None:
        self._line(head)
        self._blank()
        self._line(sentence(explanation.get("summary")), _INDENT)
        if explanation.get("now"):
            self._line(_text(explanation.get("now"), "green"), _INDENT)
        self._facts("Who", explanation.get("who"))
        self._facts("What", explanation.get("what"))
        self._asked = {_words(one.get("value")).lower() for one in _objects(explanation.get("what"))}
        decided = _object(explanation.get("decided"))
        self._steps("Decided by", [decided])
        self._steps("Considered", [one for one in _objects(explanation.get("considered")) if one != decided])
        nearest = explanation.get("nearest")
        if isinstance(nearest, dict) and nearest != decided:
            self._steps("Nearest", [nearest])
        self._fixes(_objects(explanation.get("fixes")), together=bool(explanation.get("together")))
        hidden = explanation.get("hidden")
        if isinstance(hidden, int) and hidden:
            self._blank()
            self._line(
                _text(f"{hidden} more {'rule was' if hidden == 1 else 'rules were'} considered that you may not see.", "dim")
            )

    def _facts(self, title: str, facts: object) -> None:
        rows = [(_words(one.get("label")), _text(one.get("value"))) for one in _objects(facts)]
        if not rows:
            return
        self._title(title)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in rows:
            table.add_row(label, value)
        self._indented(table, _INDENT)

    def _steps(self, title: str, steps: Sequence[JsonObject]) -> None:
        if not steps:
            return
        self._title(title)
        for one in steps:
            mark, style = _MARKS.get(_words(one.get("verdict")), ("·", "dim"))
            line = Text().append(mark, style)
            line.append(f" {_words(one.get('name'))}", "bold")
            line.append(f"  {_VERDICTS.get(_words(one.get('verdict')), '')}", "dim")
            self._line(line, _INDENT)
            self._line(sentence(one.get("why")), 2 * _INDENT)
            scope = _words(one.get("scope"))
            if scope and scope.lower() not in self._asked:
                self._copied(f"at {scope}", 2 * _INDENT, "dim")
            for clause in _objects(one.get("clauses")):
                self._clause(clause)

    def _clause(self, clause: JsonObject) -> None:
        holds = clause.get("holds")
        mark, style = ("✓", "green") if holds else ("?", "yellow") if holds is None else ("✗", "red")
        line = Text().append(mark, style)
        line.append(f" {_words(clause.get('text'))}")
        line.append(f"   left {_words(clause.get('left'))}, right {_words(clause.get('right'))}", "dim")
        self._line(line, 3 * _INDENT)

    def _fixes(self, fixes: Sequence[JsonObject], *, together: bool) -> None:
        if not fixes:
            return
        self._title(
            "What helps" if len(fixes) == 1 else "What helps, all of it" if together else "What helps, any one of these"
        )
        for number, one in enumerate(fixes, 1):
            if number > 1:
                self._blank()
            row = Table.grid(padding=(0, 1, 0, 0))
            row.add_row(_text(f"{number}."), sentence(one.get("text")))
            self._indented(row, _INDENT)
            if one.get("command"):
                self._copied(_words(one.get("command")), _INDENT + 5, "cyan")
            who = _who_may(_object(one.get("whoMay")))
            if who:
                self._line(_text(who, "dim"), _INDENT + 3)

    def _title(self, words: str) -> None:
        self._blank()
        self._line(_text(words, "bold underline" if self._console.is_terminal else "bold"))

    def _line(self, text: Text, indent: int = 0) -> None:
        self._indented(text, indent)

    def _copied(self, words: str, indent: int, style: str) -> None:
        """Unbroken, whatever the width: it is there to be copied."""
        self._console.print(Text(f"{' ' * indent}{words}", style), soft_wrap=True)

    def _indented(self, thing: Text | Table, indent: int) -> None:
        with self._console.capture() as captured:
            self._console.print(Padding(thing, (0, 0, 0, indent), expand=False))
        for line in captured.get().splitlines():
            self._console.file.write(f"{line.rstrip()}\n")

    def _blank(self) -> None:
        self._console.file.write("\n")


def _who_may(who: JsonObject) -> str:
    """Such as: You can do it. So can: Ada Lovelace, 2 more. Roles that may: Owner."""
    if not who:
        return ""
    names = [_words(one.get("value")) for one in _objects(who.get("principals"))]
    more = who.get("more")
    if isinstance(more, int) and more:
        names.append(f"{more} more")
    words = "You can do it." if who.get("you") else "You can't do it yourself."
    if names:
        words += f" {'So can' if who.get('you') else 'These can'}: {', '.join(names)}."
    roles = who.get("roles")
    if isinstance(roles, list) and roles:
        words += f" Roles that may: {', '.join(map(_words, roles))}."
    return words


def sentence(value: object) -> Text:
    """A text with resource ids as people say them: the whole ones stand among the facts."""
    return Text(_SCOPE.sub(_said, _words(value)))


def _said(found: re.Match[str]) -> str:
    group, path = found["group"], found["path"]
    if group is None:
        return f"the subscription {found['subscription']}" if path is None else f"'{path}'"
    return f"the resource group '{group}'" if path is None else f"'{path}' in the resource group '{group}'"


def _text(value: object, style: str = "") -> Text:
    return Text(_words(value), style)


def _words(value: object) -> str:
    return "" if value is None else printable(str(value))


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
