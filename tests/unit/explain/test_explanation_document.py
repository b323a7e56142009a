"""The form of explanations as JSON: what the API answers with, and `idplane explain --json` prints, member by member."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from idplane.explain.documents import explanation_document
from idplane.explain.model import (
    Clause,
    Explanation,
    Fact,
    Fix,
    FixRequest,
    Link,
    LinkKind,
    Step,
    StepKind,
    Verdict,
    WhoMay,
)

_GOLDEN = Path(__file__).parent / "explanation.json"
_SCOPE = "/subscriptions/b0000000-0000-4000-8000-000000000001/resourceGroups/stock"


def _explanation() -> Explanation:
    who = Fact(label="object id", value="p1", link=Link(kind=LinkKind.PRINCIPAL, ref="p1"))
    decided = Step(
        kind=StepKind.ROLE_ASSIGNMENT,
        verdict=Verdict.MISSES,
        name="Reader",
        why="holds the action, under a condition that is not met",
        id="a1",
        scope=_SCOPE,
        clauses=(Clause(text="Exists @Resource[A.B/things:tag]", holds=None, left="absent", right=""),),
        link=Link(kind=LinkKind.ASSIGNMENT, ref=f"{_SCOPE}/providers/Microsoft.Authorization/roleAssignments/a1"),
    )
    fix = Fix(
        text="Enable the secret 'db'",
        command="idplane az keyvault secret set-attributes --vault-name one --name db --enabled true",
        request=FixRequest(
            api="vault",
            method="PATCH",
            path="/secrets/db/?api-version=7.4",
            body={"attributes": {"enabled": True}},
            vault="one",
        ),
        who_may=WhoMay(action="A.B/things/write", scope=_SCOPE, you=False, roles=("Owner",), principals=(who,), more=2),
    )
    return Explanation(
        refusal_id="0f3999f8-7495-4e6c-b352-0d3664b8f239",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        allowed=False,
        summary="stock may not do it.",
        who=(who,),
        what=(Fact(label="action", value="A.B/things/read"),),
        decided=decided,
        considered=(decided,),
        nearest=decided,
        fixes=(fix, Fix(text="Or ask for something else")),
        together=True,
        now="It would be allowed now.",
        hidden=1,
    )


def test_the_form_is_settled() -> None:
    """Programs read it: a member that changes or goes breaks them."""
    assert explanation_document(_explanation()) == json.loads(_GOLDEN.read_text())


def test_what_has_nothing_to_say_is_there_all_the_same() -> None:
    decided = Step(kind=StepKind.ABSENCE, verdict=Verdict.REFUSES, name="nothing", why="there is nothing")
    told = explanation_document(
        Explanation(refusal_id=None, at=None, allowed=False, summary="No.", who=(), what=(), decided=decided)
    )
    assert set(told) == set(json.loads(_GOLDEN.read_text()))
    assert (told["refusalId"], told["fixes"], told["nearest"], told["now"], told["hidden"]) == (None, [], None, None, 0)
