"""The decision API (AuthZEN 1.0): what is answered is what would be enforced, and every "no" can be explained."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.web.refusals_world import UNKNOWN, Edge, ask, identity

from idplane.testing.local import LocalPlane

READ = "Microsoft.Resources/subscriptions/resourceGroups/read"
GET = "Microsoft.KeyVault/vaults/secrets/getSecret/action"


@pytest.fixture
def edge(idplane: LocalPlane) -> Edge:
    return Edge(idplane)


def question(subject: str, scope: str, action: str = READ, **more: Any) -> dict[str, Any]:
    return {
        "subject": {"type": "principal", "id": subject},
        "action": {"name": action},
        "resource": {"type": "scope", "id": scope},
        **more,
    }


def decided(edge: Edge, body: object, *, token: str | None = None, path: str = "evaluation") -> Any:
    answer = edge.send("POST", f"/access/v1/{path}", token=token or edge.operator(), body=body)
    assert answer.status == 200, answer.body
    return answer.body


def test_yes_is_no_more_than_that_and_no_can_be_explained(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("vm")
    group = edge.plane.resource_group()
    asked = question(identity(machine).principal_id.upper(), group)
    refused = decided(edge, asked)
    assert refused["decision"] is False
    assert refused["context"]["reason"] == "no-assignment"
    known = edge.properties(refused["context"]["id"])
    assert (known["surface"], known["kind"], known["action"], known["scope"]) == ("decision", "FORBIDDEN", READ, group)
    assert known["caller"]["principalId"] == identity(machine).principal_id
    assert known["explanation"]["summary"]
    assert edge.properties(refused["context"]["id"], edge.workload(machine))["surface"] == "decision"
    edge.plane.grant(identity(machine), "Reader", group)
    assert decided(edge, asked) == {"decision": True}


def test_data_actions_are_told_apart(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("vm")
    vault = edge.plane.vault("prices")
    edge.plane.grant(identity(machine), "Key Vault Secrets User", vault)
    asked = question(identity(machine).principal_id, f"{vault}/secrets/db", GET)
    assert decided(edge, asked)["decision"] is False
    asked["action"]["properties"] = {"isDataAction": True}
    assert decided(edge, asked) == {"decision": True}


def test_about_others_it_takes_a_right(edge: Edge) -> None:
    one, other = edge.plane.virtual_machine("one"), edge.plane.virtual_machine("other")
    group, token = edge.plane.resource_group(), edge.workload(one)
    assert decided(edge, question(identity(one).principal_id, group), token=token)["decision"] is False
    for path, body in (
        ("evaluation", question(identity(other).principal_id, group)),
        ("evaluation", question(UNKNOWN, group)),
        ("evaluations", {"evaluations": [question(identity(it).principal_id, group) for it in (one, other)]}),
    ):
        refused = edge.send("POST", f"/access/v1/{path}", token=token, body=body)
        assert (refused.status, refused.body["error"]["code"]) == (403, "FORBIDDEN")
        assert refused.body["error"]["requestId"] == refused.id
        assert edge.properties(refused.id)["action"] == "Idplane.Authorization/decisions/action"


def test_a_subject_that_is_not_there_may_nothing(edge: Edge) -> None:
    refused = decided(edge, question(UNKNOWN, "/"))
    assert (refused["decision"], refused["context"]["reason"]) == (False, "subject")
    assert edge.properties(refused["context"]["id"])["kind"] == "PRINCIPAL_NOT_FOUND"


def test_many_at_once(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("vm")
    here, there = edge.plane.resource_group(), edge.plane.resource_group("Other")
    edge.plane.grant(identity(machine), "Reader", here)
    defaults = question(identity(machine).principal_id, here)
    asked = {**defaults, "evaluations": [{"resource": {"type": "scope", "id": it}} for it in (here, there, here)]}
    answers = decided(edge, asked, path="evaluations")["evaluations"]
    assert [it["decision"] for it in answers] == [True, False, True]
    assert edge.properties(answers[1]["context"]["id"])["scope"] == there
    for semantic, expected in (("deny_on_first_deny", [True, False]), ("permit_on_first_permit", [True])):
        answers = decided(edge, {**asked, "options": {"evaluations_semantic": semantic}}, path="evaluations")["evaluations"]
        assert [it["decision"] for it in answers] == expected
    assert decided(edge, defaults, path="evaluations") == {"decision": True}


def test_conditions_see_what_was_told(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("vm")
    group = edge.plane.resource_group()
    role = f"/subscriptions/{edge.plane.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    condition = (
        "@Resource[Contoso.Shop/orders:region] StringEquals 'eu' AND @Request[Contoso.Shop/orders:limit] NumericLessThan 10"
    )
    body = {
        "roleDefinitionId": role,
        "principalId": identity(machine).principal_id,
        "condition": condition,
        "conditionVersion": "2.0",
    }
    made = edge.arm(
        "PUT",
        f"{group}/providers/Microsoft.Authorization/roleAssignments/{UNKNOWN}",
        edge.operator(),
        {"properties": body},
        version="2022-04-01",
    )
    assert made.status == 201, made.body
    asked = question(identity(machine).principal_id, group)
    asked["resource"]["properties"] = {"Contoso.Shop/orders:region": "eu", "color": {"any": "thing"}}
    assert decided(edge, asked)["context"]["reason"] == "condition"
    asked["context"] = {"contoso.shop/ORDERS:limit": 9, "time": "now"}
    assert decided(edge, asked) == {"decision": True}
    asked["context"] = {"contoso.shop/ORDERS:limit": [9.5]}
    assert decided(edge, asked)["decision"] is False


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "object"),
        ({}, "subject.type"),
        ({"subject": "x"}, "subject"),
        (question("", "/"), "subject.id"),
        (question(UNKNOWN, "nonsense"), "resource.id"),
        (question(UNKNOWN, "/", ""), "action.name"),
        (question(UNKNOWN, "/", "x" * 301), "action.name"),
        (question(UNKNOWN, "/", context=7), "context"),
        ({**question(UNKNOWN, "/"), "action": {"name": READ, "properties": {"isDataAction": "yes"}}}, "isDataAction"),
    ],
)
def test_what_makes_no_sense(edge: Edge, body: object, said: str) -> None:
    refused = edge.send("POST", "/access/v1/evaluation", token=edge.operator(), body=body)
    assert refused.status == 400
    assert said in refused.body["error"]["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"evaluations": {}},
        {"evaluations": [7]},
        {"evaluations": [{"subject": {"type": "x"}}]},
        {"evaluations": [{}] * 501},
        {"evaluations": [{}], "options": {"evaluations_semantic": "all"}},
    ],
)
def test_rows_that_make_no_sense(edge: Edge, more: dict[str, Any]) -> None:
    body = {**question(UNKNOWN, "/"), **more}
    assert edge.send("POST", "/access/v1/evaluations", token=edge.operator(), body=body).status == 400


def test_nobody_is_told_anything_without_a_token(edge: Edge) -> None:
    body = question(UNKNOWN, "/")
    for token in (None, "nonsense", edge.operator("https://vault.azure.net")):
        refused = edge.send("POST", "/access/v1/evaluation", token=token, body=body)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Bearer ")
    assert edge.send("GET", "/access/v1/evaluation").headers["allow"] == "POST"
    assert edge.send("POST", "/access/v1/search", token=edge.operator(), body={}).status == 404


def test_the_configuration_is_public(edge: Edge) -> None:
    answer = edge.send("GET", "/.well-known/authzen-configuration")
    assert (answer.status, answer.body) == (
        200,
        {
            "policy_decision_point": edge.plane.url,
            "access_evaluation_endpoint": f"{edge.plane.url}/access/v1/evaluation",
            "access_evaluations_endpoint": f"{edge.plane.url}/access/v1/evaluations",
        },
    )


@pytest.mark.parametrize(("sent", "echoed"), [("bfe9eb29-ab87", "bfe9eb29-ab87"), ("x" * 201, None), (None, None)])
def test_the_askers_own_id_comes_back(edge: Edge, sent: str | None, echoed: str | None) -> None:
    headers = {"x-request-id": sent} if sent else {}
    for url in ("/.well-known/authzen-configuration", "/access/v1/evaluation"):
        answer = ask(f"{edge.plane.url}{url}", headers=headers, ca=str(edge.plane.ca_file))
        assert answer.headers.get("x-request-id") == echoed
