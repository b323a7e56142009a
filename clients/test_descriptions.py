"""schemathesis on the same descriptions: whatever a description allows to be asked, no answer breaches it and none is a server's error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from clients.descriptions import SPECIFICATIONS
from clients.seeds import Seeds, sow
from clients.wire_reasons import NEVER_DEEP, NOT_EXERCISED
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("descriptions")
_EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 3}
"""For each operation, of what is allowed and of what is not."""
_MORE_EXAMPLES = 40
_CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
_METHODS = ("get", "head", "put", "patch", "post", "delete")
_FILES = sorted(file for file in SPECIFICATIONS.rglob("*.json") if '"operationId"' in file.read_text())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks a plane with something in it, and notes what is wrong with the answers."""

    up: Up
    session: requests.Session
    seeds: Seeds
    breaches: list[str] = field(default_factory=list)
    served: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    def ask(self, case: Any, name: str, chosen: int) -> None:
        case.path_parameters = _placed(name, case.operation.path, dict(case.path_parameters or {}), self.seeds.places, chosen)
        if chosen % 4:
            case.query = _asked(dict(case.query), name, self.seeds)
            case.body = _sensible(case.body, name, self.seeds, alone=chosen % 2 == 0)
        answer = case.call(
            base_url=self.up.info["arm"],
            session=self.session,
            headers={"authorization": f"Bearer {self.seeds.token}"},
            verify=self.up.info["ca_file"],
        )
        if answer.status_code < 300:
            self.served.add(name)
        elif chosen % 4:
            self.refused[name] = answer.text
        try:
            case.validate_response(answer, checks=_CHECKS)
        except BaseExceptionGroup as group:
            for one in group.exceptions:
                words = " ".join(str(one).strip().splitlines()[:5])
                self.breaches.append(
                    f"{case.method} {case.formatted_path} {case.query} {case.body}: {words}: {answer.text[:500]}"
                )


@pytest.fixture
def asker(unlimited: Up) -> Iterator[Asker]:
    with requests.Session() as session:
        yield Asker(up=unlimited, session=session, seeds=sow(unlimited))


@pytest.mark.parametrize("file", _FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_no_answer_breaches_the_description(asker: Asker, file: Path) -> None:
    schema = schemathesis.openapi.from_path(file)
    version = schema.raw_schema["info"]["version"]
    declared = sorted((one.ok() for one in schema.get_all_operations()), key=_order)
    for operation in declared:
        for mode, examples in _EXAMPLES.items():
            _ask(asker, operation, mode, version, examples)
        if operation.definition.raw["operationId"] not in asker.served:
            # What is drawn differs between releases of the tools; a few may all be refused.
            _ask(asker, operation, GenerationMode.POSITIVE, version, _MORE_EXAMPLES)
    assert not asker.breaches, "\n\n".join(asker.breaches[:20])
    shallow = {one.definition.raw["operationId"] for one in declared} - asker.served
    unexplained = sorted(name for name in shallow if f"{version} {name}" not in {*NEVER_DEEP, *NOT_EXERCISED})
    assert not unexplained, "\n".join(f"{name}: {asker.refused.get(name)}" for name in unexplained)


def _order(operation: Any) -> tuple[int, int]:
    """What takes away comes last, and first from what lies deepest."""
    return _METHODS.index(operation.method.lower()), -operation.path.count("/")


def _ask(asker: Asker, operation: Any, mode: GenerationMode, version: str, examples: int) -> None:
    name = operation.definition.raw["operationId"]

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, query={"api-version": version}), chosen=st.integers(0, 2**32 - 1))
    def ask(case: Any, chosen: int) -> None:
        asker.ask(case, name, chosen if mode is GenerationMode.POSITIVE else chosen - chosen % 4)

    try:
        ask()
    except Unsatisfiable:
        # Without parameters and a body there is nothing that could be wrong.
        assert mode is GenerationMode.NEGATIVE


def _placed(
    operation: str, template: str, made_up: dict[str, Any], places: Mapping[str, tuple[str, ...]], chosen: int
) -> dict[str, Any]:
    """Mostly what exists; some names stay as they were made up, but not those that make a path Resource Manager's."""
    family, _, action = operation.partition("_")
    end = action[action.index("At") :] if "At" in action else ""
    parameters = {}
    for at, (name, value) in enumerate(sorted(made_up.items())):
        whole = template.startswith(f"/{{{name}}}")
        spelled = f"/{name}" if whole else name
        choices = places.get(f"{family} {spelled}") or places.get(f"{spelled}{end}") or places.get(spelled)
        kept = not whole and name != "subscriptionId" and (chosen >> (3 * at + 2)) & 15 == 0
        parameters[name] = value if choices is None or kept else choices[(chosen >> (2 * at + 2)) % len(choices)]
    return parameters


def _asked(query: dict[str, Any], name: str, seeds: Seeds) -> dict[str, Any]:
    """Without a made-up filter, which would be refused, and with what is needed."""
    query.pop("$filter", None)
    return next(({**query, **needed} for start, needed in seeds.queries.items() if name.startswith(start)), query)


def _sensible(body: Any, name: str, seeds: Seeds, *, alone: bool) -> Any:
    """The members that an operation needs in a form that it takes, alone or among those that were made up."""
    needed = next((members for start, members in seeds.bodies.items() if name.startswith(start)), None)
    if needed is None:
        return body
    return needed if alone or not isinstance(body, dict) else {**body, **needed}
