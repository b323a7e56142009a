"""The decision corpus in tests/decisions: each case says what was asked, what is assigned, and what must come out and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from idplane.model.attributes import Attributes
from idplane.model.ids import ResourceId
from idplane.model.roles import AccessCall, Decision, DenyAssignment, Permission, Reason, RoleAssignment, RoleDefinition
from idplane.rbac.builtin import BUILT_IN_ROLES
from idplane.rbac.decision import decide

_CORPUS = Path(__file__).parents[2] / "decisions"
_THEN = datetime(2026, 1, 1, tzinfo=UTC)
_BY_NAME = {role.name: role for role in BUILT_IN_ROLES.values()}


def _cases() -> Iterator[Any]:
    for path in sorted(_CORPUS.glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            yield pytest.param(case, id=f"{path.stem}: {case['name']}")


def _permission(block: Mapping[str, list[str]]) -> Permission:
    assert set(block) <= {"actions", "notActions", "dataActions", "notDataActions"}
    return Permission(
        actions=tuple(block.get("actions", ())),
        not_actions=tuple(block.get("notActions", ())),
        data_actions=tuple(block.get("dataActions", ())),
        not_data_actions=tuple(block.get("notDataActions", ())),
    )


def _assignment(case: Mapping[str, Any]) -> RoleAssignment:
    role = _BY_NAME.get(case["role"])
    return RoleAssignment(
        id=case["id"],
        tenant_id=case.get("tenant", "tenant-a"),
        scope=case["scope"],
        role_id=role.id if role else case["role"],
        principal_id=case["principal"],
        principal_type="ServicePrincipal",
        created_at=_THEN,
        changed_at=_THEN,
        condition=case.get("condition"),
    )


def _deny(case: Mapping[str, Any]) -> DenyAssignment:
    return DenyAssignment(
        id=case["id"],
        tenant_id="tenant-a",
        name=case["id"],
        scope=case["scope"],
        permissions=tuple(_permission(block) for block in case["permissions"]),
        principals=tuple(case["principals"]),
        exclude_principals=tuple(case.get("exclude", ())),
        do_not_apply_to_child_scopes=case.get("doNotApplyToChildScopes", False),
    )


def _call(case: Mapping[str, Any]) -> AccessCall:
    return AccessCall(
        principal_ids=frozenset(case["principals"]),
        action=case["action"],
        data=case.get("data", False),
        scopes=tuple(scope.key for scope in ResourceId.parse(case["scope"]).lineage()),
        tenant_id=case.get("tenant"),
        attributes=Attributes(
            **{
                source: {name: tuple(values) for name, values in named.items()}
                for source, named in case.get("attributes", {}).items()
            }
        ),
        at=datetime.fromisoformat(case["at"]) if "at" in case else None,
    )


def _role(name: str, blocks: list[Mapping[str, list[str]]]) -> RoleDefinition:
    return RoleDefinition(
        id=name,
        tenant_id="tenant-a",
        name=name,
        description="",
        built_in=False,
        permissions=tuple(_permission(block) for block in blocks),
        assignable_scopes=("/",),
    )


@pytest.mark.parametrize("case", list(_cases()))
def test_the_decision_is_the_expected_one(case: Mapping[str, Any]) -> None:
    roles = {name: _role(name, blocks) for name, blocks in case.get("roles", {}).items()}
    decision = decide(
        _call(case["call"]),
        [_assignment(one) for one in case["assignments"]],
        [_deny(one) for one in case.get("denies", ())],
        lambda role_id: roles.get(role_id) or BUILT_IN_ROLES.get(role_id),
    )
    expected = case["decision"]
    assert decision == Decision(
        allowed=expected["allowed"],
        reason=Reason(expected["reason"]),
        because=expected.get("because"),
        considered=tuple(expected.get("considered", ())),
    )


def test_the_corpus_holds_more_refusals_than_grants() -> None:
    outcomes = [case.values[0]["decision"]["allowed"] for case in _cases()]
    assert len(outcomes) > 100
    assert outcomes.count(False) > outcomes.count(True)


def test_every_role_that_the_corpus_names_exists_or_is_meant_not_to() -> None:
    for parameter in _cases():
        case = parameter.values[0]
        named = {one["role"] for one in case["assignments"]}
        assert named <= set(_BY_NAME) | set(case.get("roles", {})) | {"Gone"}, case["name"]
