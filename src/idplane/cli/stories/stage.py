"""What the audience sees: the same beats of the story as colour on a terminal or as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import Protocol

from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from idplane.cli.explanations import sentence
from idplane.cli.output import say_json

__all__ = ["JsonStage", "Stage", "TerminalStage"]

_WIDTH = 100
_INDENT = 5
_WIDEST_CELL = 26


class Stage(Protocol):
    """The beats of a story."""

    def curtain(self, where: str, *, namespaces: bool) -> None:
        """It begins; `where` is the plane's address, `namespaces` whether its machines have networks of their own."""
        ...

    def scene(self, title: str) -> None:
        """A new part begins."""
        ...

    def good(self, what: str, detail: str = "") -> None:
        """Something worked."""
        ...

    def bad(self, what: str, detail: str = "") -> None:
        """Something was refused, as it should be."""
        ...

    def change(self, what: str, detail: str = "") -> None:
        """The owner changed something."""
        ...

    def answer(self, command: str, said: str, remedy: str) -> None:
        """A command, what it says, and what it advises."""
        ...

    def code(self, source: str) -> None:
        """Lines of a program."""
        ...

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Facts in columns."""
        ...

    def end(self, seconds: float) -> None:
        """The story is over."""
        ...

    def epilogue(self, data: str, *, keep: bool) -> None:
        """What to try next."""
        ...


class TerminalStage:
    """For people."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=False)
        self._console.width = min(self._console.width, _WIDTH)
        self._scenes = 0

    def curtain(self, where: str, *, namespaces: bool) -> None:
        """A title."""
        self._console.print()
        title = ("idplane", "bold cyan"), ("  managed identities for anything you run", "bold")
        self._console.print(Text.assemble("  ", *title))
        self._console.print(Text(f"  a plane of your own at {where}; nothing leaves this machine", "dim"))
        if not namespaces:
            self._console.print(
                Text("  this system forbids user namespaces, so programs are redirected by variables", "yellow")
            )

    def scene(self, title: str) -> None:
        """A numbered heading."""
        self._scenes += 1
        self._console.print()
        self._console.print(Text.assemble((f" {self._scenes} ", "bold black on cyan"), "  ", (title, "bold")))

    def good(self, what: str, detail: str = "") -> None:
        """A green tick."""
        self._line("✓", "green", what, detail)

    def bad(self, what: str, detail: str = "") -> None:
        """A red cross."""
        self._line("✗", "red", what, detail)

    def change(self, what: str, detail: str = "") -> None:
        """A yellow arrow."""
        self._line("→", "yellow", what, detail)

    def answer(self, command: str, said: str, remedy: str) -> None:
        """As it would stand in a terminal."""
        asked = Text.assemble(("$ ", "dim"), (command, "bold"))
        for line in (asked, sentence(said), Text.assemble(("what helps  ", "dim"), sentence(remedy))):
            self._console.print(Padding(line, (0, 2, 0, _INDENT + 2)))

    def code(self, source: str) -> None:
        """Highlighted Python."""
        syntax = Syntax(source, "python", theme="ansi_dark", background_color="default", word_wrap=True)
        self._console.print(Padding(syntax, (1, 2, 1, _INDENT + 2)))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A plain table."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(column, no_wrap=True)
        for row in rows:
            style = "red" if row[-1] != "success" else None
            table.add_row(*(shorten(cell, _WIDEST_CELL, placeholder=" …") for cell in row), style=style)
        self._console.print(Padding(table, (0, 0, 0, _INDENT + 2)))

    def end(self, seconds: float) -> None:
        """A line under it."""
        self._console.print()
        self._console.rule(style="dim")
        self._console.print()
        self._console.print(
            Text.assemble(("  No program was ever handed a secret", "bold green"), (f"   {seconds:.1f} s", "dim"))
        )

    def epilogue(self, data: str, *, keep: bool) -> None:
        """Commands worth typing."""
        self._console.print()
        option = f"--data {data} " if keep else ""
        machine = "front-end-1 -- bash" if keep else "MY-VM -- python app.py"
        suggestions = (
            *(() if keep else (("idplane up", "a plane of your own"),)),
            (f"idplane run {option}--as {machine}", "be a machine"),
            (f"idplane log signins {option}--follow", "every token, as it is issued"),
            *(() if keep else (("idplane demo --keep", "this plane, to look around in"),)),
        )
        grid = Table.grid(padding=(0, 3, 0, 0))
        for line, why in suggestions:
            grid.add_row(Text.assemble(("  $ ", "dim"), (line, "bold")), Text(why, "dim"))
        self._console.print(Text("  Try next", "dim"))
        self._console.print(grid)
        if keep:
            self._console.print(Text("\nThe plane keeps running until Ctrl-C.", "dim"))
        self._console.print()

    def _line(self, mark: str, colour: str, what: str, detail: str) -> None:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=_INDENT, justify="right")
        grid.add_column()
        text = Text(what)
        if detail:
            apart = "\n" if _INDENT + len(what) + len(detail) + 4 > self._console.width else "   "
            text.append(f"{apart}{detail}", "dim")
        grid.add_row(Text(mark, f"bold {colour}"), text)
        self._console.print(grid)


class JsonStage:
    """For scripts."""

    def curtain(self, where: str, *, namespaces: bool) -> None:
        """One line."""
        say_json({"plane": where, "namespaces": namespaces})

    def scene(self, title: str) -> None:
        """One line."""
        say_json({"scene": title})

    def good(self, what: str, detail: str = "") -> None:
        """One line."""
        say_json({"good": what, "detail": detail})

    def bad(self, what: str, detail: str = "") -> None:
        """One line."""
        say_json({"refused": what, "detail": detail})

    def change(self, what: str, detail: str = "") -> None:
        """One line."""
        say_json({"change": what, "detail": detail})

    def answer(self, command: str, said: str, remedy: str) -> None:
        """One line."""
        say_json({"command": command, "said": said, "remedy": remedy})

    def code(self, source: str) -> None:
        """One line."""
        say_json({"code": source})

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """One line."""
        say_json({"table": [dict(zip(columns, row, strict=True)) for row in rows]})

    def end(self, seconds: float) -> None:
        """One line."""
        say_json({"seconds": round(seconds, 3)})

    def epilogue(self, data: str, *, keep: bool) -> None:
        """One line."""
        say_json({"done": True, "data": data if keep else None})
