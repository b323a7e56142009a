"""Explanations at a terminal: everything in them is somebody's words, and commands can be copied."""

from __future__ import annotations

from typing import Any

import pytest

from idplane.cli.explanations import show_answer, show_list, show_refusal

GROUP = "/subscriptions/44e5ba61-13a5-4598-8817-69adfedf5723/resourceGroups/stock"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/prices"
COMMAND = (
    f"idplane az role assignment create --assignee-object-id 4989f866-416c-4e73-8543-a8552203a77c --role Reader --scope {VAULT}"
)


def step(**changes: Any) -> dict[str, Any]:
    return {"kind": "absence", "verdict": "refuses", "name": "no role", "why": "there is none", "clauses": [], **changes}


def explanation(**changes: Any) -> dict[str, Any]:
    members = {
        "allowed": False,
        "summary": f"stock-vm may not read '{VAULT}/secrets/db' in '{GROUP}'.",
        "who": [{"label": "caller", "value": "stock-vm"}],
        "what": [{"label": "scope", "value": VAULT}],
        "decided": step(),
        "considered": [step()],
        "nearest": None,
        "fixes": [],
        "hidden": 0,
    }
    return {**members, **changes}


def refusal(**changes: Any) -> dict[str, Any]:
    members = {
        "refusalId": "r",
        "refusedAt": "2026-11-21T15:59:01.1234560Z",
        "surface": "vault",
        "kind": "FORBIDDEN",
        "status": 403,
    }
    return {**members, "explanation": explanation(**changes)}


def test_a_refusal_says_first_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    show_refusal(refusal())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Refused  403 FORBIDDEN  by the vault  2026-11-21 15:59:01 UTC"
    assert lines[2].startswith("  stock-vm may not read 'vaults/prices/secrets/db' in the resource group 'stock' in the ")
    assert "Considered" not in lines  # there was nothing but what decided


def test_commands_stand_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    who = {"you": False, "roles": ["Owner"], "principals": [{"value": "Ada"}], "more": 2}
    show_refusal(refusal(fixes=[{"text": "Give it a role", "command": COMMAND, "whoMay": who}, {"text": "Or don't"}]))
    said = capsys.readouterr().out
    assert COMMAND in [line.strip() for line in said.splitlines()]
    assert "What helps, any one of these" in said
    assert "You can't do it yourself. These can: Ada, 2 more. Roles that may: Owner." in " ".join(said.split())


def test_conditions_show_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    clauses = [
        {"text": "@Resource[a] StringEquals 'x'", "holds": False, "left": "'y'", "right": "'x'"},
        {"text": "b", "holds": None, "left": "absent", "right": "1"},
        {"text": "c", "holds": True, "left": "1", "right": "1"},
    ]
    show_refusal(refusal(nearest=step(verdict="misses", name="Reader", scope=GROUP, clauses=clauses), hidden=1))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "✗ @Resource[a] StringEquals 'x'   left 'y', right 'x'" in lines
    assert "? b   left absent, right 1" in lines
    assert f"at {GROUP}" in lines
    assert "1 more rule was considered that you may not see." in lines


def test_answers_beforehand(capsys: pytest.CaptureFixture[str]) -> None:
    show_answer(explanation(allowed=True, decided=step(verdict="allows"), now="A role was given since."))
    said = capsys.readouterr().out
    assert said.startswith("It would be allowed\n")
    assert "A role was given since." in said


@pytest.mark.parametrize("hostile", ["[red]x[/red]", "\x1b]0;title\x07", "\x1b[2J", "a\rb", "\u202ex"])
def test_nothing_that_others_wrote_acts_on_the_terminal(capsys: pytest.CaptureFixture[str], hostile: str) -> None:
    facts = [{"label": hostile, "value": hostile}]
    hard = step(
        name=hostile, why=hostile, scope=hostile, clauses=[{"text": hostile, "holds": False, "left": hostile, "right": hostile}]
    )
    fixes = [{"text": hostile, "command": hostile, "whoMay": {"you": True, "roles": [hostile], "principals": facts}}]
    show_refusal(
        refusal(summary=hostile, who=facts, what=facts, nearest=hard, fixes=fixes) | {"kind": hostile, "surface": hostile}
    )
    show_list([{"surface": hostile, "kind": hostile, "caller": {"name": hostile}, "action": hostile, "refusalId": hostile}])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\r" not in said
    assert "\u202e" not in said
    assert hostile.startswith("[") is ("[red]x[/red]" in said)


def test_lists_have_ids(capsys: pytest.CaptureFixture[str]) -> None:
    show_list([])
    assert capsys.readouterr().out == "nothing was refused\n"
    show_list([{**refusal(), "caller": {"host": f"{GROUP}/x"}, "resource": "https://vault.azure.net"}, {"refusalId": "s"}])
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split() == ["WHEN", "BY", "REFUSED", "WHO", "WHAT", "ID"]
    assert first.split() == ["2026-11-21", "15:59:01", "vault", "forbidden", "x", "https://vault.azure.net", "r"]
    assert second.split()[-1] == "s"


@pytest.mark.parametrize(
    "nonsense", [{}, {"who": 7, "fixes": "x", "considered": [1], "decided": None, "nearest": "x", "hidden": "x"}]
)
def test_what_another_version_answers_is_no_crash(nonsense: dict[str, Any]) -> None:
    show_answer(nonsense)
    show_refusal({"explanation": nonsense, "status": [], "refusedAt": 3, "count": "x"})
