"""Whatever is refused is explained by the id that its caller was shown, to those who may know."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.web.refusals_world import ARM, GRAPH, REFUSALS, UNKNOWN, VAULT, VERSION, Edge, identity

from idplane.ports.collections import REFUSALS as REFUSALS_KEPT
from idplane.ports.store import ABSENT, Batch, Put
from idplane.testing.local import LocalPlane

FOREIGN = "00000000-0000-4000-8000-00000000beef"


@pytest.fixture
def edge(idplane: LocalPlane) -> Edge:
    return Edge(idplane)


def test_resource_manager(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    group = edge.plane.resource_group()
    refused = edge.arm("GET", group, edge.workload(machine))
    assert (refused.status, refused.body["error"]["code"]) == (403, "AuthorizationFailed")
    known = edge.properties(refused.id)
    assert known["caller"]["principalId"] == identity(machine).principal_id
    assert known["caller"]["host"] == machine.id.lower()
    assert known["caller"]["proved"] is True
    assert (known["surface"], known["kind"], known["status"]) == ("management", "FORBIDDEN", 403)
    assert (known["action"], known["scope"]) == ("Microsoft.Resources/subscriptions/resourceGroups/read", group)
    assert (known["reason"], known["isDataAction"]) == ("no-assignment", False)
    assert known["explanation"]["refusalId"] == refused.id
    assert known["explanation"]["allowed"] is False
    assert known["caller"]["process"]["pid"] == os.getpid()  # which got the token
    assert known["explanation"]["summary"]


def test_a_vault(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    vault = edge.plane.vault("prices", db="hunter2")
    refused = edge.send(
        "GET", "/secrets/db?api-version=7.4", token=edge.workload(machine, VAULT), host=edge.plane.vault_url("prices")
    )
    assert refused.status == 403
    known = edge.properties(refused.id)
    assert (known["surface"], known["kind"], known["isDataAction"]) == ("vault", "FORBIDDEN", True)
    assert known["action"] == "Microsoft.KeyVault/vaults/secrets/getSecret/action"
    assert known["scope"].lower() == f"{vault}/secrets/db".lower()


@pytest.mark.wide
def test_graph(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    refused = edge.send("GET", "/v1.0/users", token=edge.workload(machine, GRAPH))
    assert refused.status == 403
    assert refused.body["error"]["innerError"]["request-id"] == refused.id
    known = edge.properties(refused.id)
    assert (known["surface"], known["caller"]["principalId"]) == ("graph", identity(machine).principal_id)


def test_the_token_service(edge: Edge) -> None:
    application = edge.plane.application("orders")
    refused = edge.application(application.client_id, "not-the-secret")
    assert refused.status == 401
    assert f"Trace ID: {refused.id}" in refused.body["error_description"]
    known = edge.properties(refused.id)
    assert (known["surface"], known["kind"]) == ("token", "CLIENT_SECRET_INVALID")
    assert known["caller"]["principalId"] == application.principal_id
    assert known["caller"]["proved"] is False
    assert known["signInId"] == refused.id
    assert known["resource"] == f"{ARM}/.default"


@pytest.mark.wide
def test_the_agents_api(edge: Edge) -> None:
    refused = edge.send("GET", "/agent/v1/host?id=x", token="nothing")
    assert refused.status == 401
    assert refused.body["error"]["requestId"] == refused.id
    assert edge.properties(refused.id)["surface"] == "agent"


@pytest.mark.wide
def test_a_token_that_does_not_count_any_more(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    token = edge.workload(machine)
    edge.plane.delete(machine.id)
    refused = edge.arm("GET", edge.plane.resource_group(), token)
    assert refused.status == 401
    known = edge.properties(refused.id)
    assert (known["kind"], known["caller"]["principalId"]) == ("TOKEN_REVOKED", identity(machine).principal_id)


def test_a_hosts_endpoint(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    query = f"api-version=2019-08-01&resource={ARM}&client_id={UNKNOWN}"
    refused = edge.endpoint(machine, query)
    assert refused.status == 400
    assert refused.body["message"].endswith(f"(refusal id {refused.id})")
    known = edge.properties(refused.id)
    assert (known["surface"], known["kind"], known["dialect"]) == ("endpoint", "IDENTITY_NOT_FOUND", "app-service")
    assert known["facts"] == {"selector": "client_id", "selected": UNKNOWN}
    assert (known["scope"], known["resource"]) == (machine.id, ARM)


def test_what_the_token_service_refuses_an_endpoint(edge: Edge) -> None:
    """The endpoint repeats the server's words and id; nothing is kept twice."""
    machine = edge.plane.virtual_machine("stock-vm")
    refused = edge.endpoint(machine, "api-version=2019-08-01&resource=api://nowhere")
    assert refused.status == 400
    assert f"Trace ID: {refused.id}" in refused.body["message"]
    known = edge.properties(refused.id)
    assert (known["surface"], known["kind"], known["resource"]) == ("token", "AUDIENCE_UNKNOWN", "api://nowhere")
    assert known["caller"]["principalId"] == identity(machine).principal_id
    assert known["caller"]["process"] is not None


# Who may know --------------------------------------------------------------------------------------------------------


def refused_read(edge: Edge, token: str) -> str:
    refused = edge.arm("GET", edge.plane.resource_group(), token)
    assert refused.status == 403
    return refused.id


def assert_unknown(edge: Edge, refusal_id: str, token: str) -> None:
    """The answer for what is not there: the same words but for the id."""
    answer, nothing = edge.explained(refusal_id, token), edge.explained(UNKNOWN, token)
    assert (answer.status, nothing.status) == (404, 404)
    assert answer.body["error"]["code"] == "RefusalNotFound"
    assert str(answer.body).replace(refusal_id, UNKNOWN) == str(nothing.body)


def test_the_refused_may_see_their_own_and_nobody_elses(edge: Edge) -> None:
    one, other = edge.plane.virtual_machine("one"), edge.plane.virtual_machine("other")
    token = edge.workload(one)
    refusal_id = refused_read(edge, token)
    assert edge.properties(refusal_id, token)["refusalId"] == refusal_id
    assert_unknown(edge, refusal_id, edge.workload(other))


@pytest.mark.wide
def test_readers_see_what_was_asked_for_where_they_read(edge: Edge) -> None:
    asking, reading, elsewhere = (edge.plane.virtual_machine(name) for name in ("asking", "reading", "elsewhere"))
    group = edge.plane.resource_group()
    edge.plane.grant(identity(reading), "Reader", group)
    edge.plane.grant(identity(elsewhere), "Reader", edge.plane.resource_group("Other"))
    refusal_id = refused_read(edge, edge.workload(asking))
    assert edge.properties(refusal_id, edge.workload(reading))["caller"]["principalId"] == identity(asking).principal_id
    assert_unknown(edge, refusal_id, edge.workload(elsewhere))


@pytest.mark.wide
def test_what_has_no_scope_takes_the_right_at_the_root(edge: Edge) -> None:
    reading = edge.plane.virtual_machine("reading")
    edge.plane.grant(identity(reading), "Reader", f"/subscriptions/{edge.plane.subscription_id}")
    refused = edge.application(edge.plane.application("orders").client_id, "wrong")
    assert_unknown(edge, refused.id, edge.workload(reading))
    assert edge.properties(refused.id)["kind"] == "CLIENT_SECRET_INVALID"


def test_nobody_hears_anything_without_a_token(edge: Edge) -> None:
    assert edge.arm("GET", f"{REFUSALS}/{UNKNOWN}", None, version=VERSION).status == 401


@pytest.mark.wide
@pytest.mark.parametrize("refusal_id", ["x", "0", "%00", "a" * 200, UNKNOWN.replace("-", "")])
def test_what_is_no_id(edge: Edge, refusal_id: str) -> None:
    assert edge.explained(refusal_id).status in {400, 404}


def test_another_tenants_refusals_are_not_there(edge: Edge) -> None:
    """Not for the owner of this one, whatever they name: what is another tenant's is nobody's here."""
    machine = edge.plane.virtual_machine("stock-vm")
    refusal_id = refused_read(edge, edge.workload(machine))
    edge.properties(refusal_id)
    (row,) = edge.plane.run(edge.plane.store.all(REFUSALS_KEPT, where={"refusal_id": refusal_id}))
    foreign = replace(row.value, id=FOREIGN, tenant_id=UNKNOWN)
    edge.plane.run(edge.plane.store.commit(Batch.of(Put(collection=REFUSALS_KEPT, value=foreign, expect=ABSENT))))
    for token in (edge.operator(), edge.workload(machine)):
        assert_unknown(edge, FOREIGN, token)
        assert FOREIGN not in {one["refusalId"] for one in listed(edge, token)}
        assert FOREIGN not in {one["refusalId"] for one in listed(edge, token, edge.plane.resource_group())}


def test_the_refused_hear_nothing_of_what_exists(edge: Edge) -> None:
    """What they asked for that is there is told as what is not, and nobody else's name is said."""
    machine, other = edge.plane.virtual_machine("stock-vm"), edge.plane.virtual_machine("other-vm")
    there = edge.plane.resource_group("Secret-Project")
    edge.plane.grant(identity(other), "Owner", there)
    token = edge.workload(machine)
    told = []
    for group in (there, there.replace("Secret-Project", "Nothing-At-All")):
        for path in (group, f"{group}/providers/Microsoft.KeyVault/vaults/prices"):
            refused = edge.arm("GET", path, token, version="2024-11-01" if path == group else "2023-07-01")
            assert refused.status == 403, refused.body
            explanation = edge.properties(refused.id, token)["explanation"]
            del explanation["at"], explanation["refusalId"]
            # The name that a role assignment would get is made of its scope.
            told.append(re.sub(r"roleAssignments/[0-9a-f-]{36}", "", json.dumps(explanation).replace(group, "GROUP")))
    assert told[:2] == told[2:]
    for text in told:
        assert "other-vm" not in text
        assert identity(other).principal_id not in text
        assert "operator" not in text


# Lists ---------------------------------------------------------------------------------------------------------------


def listed(edge: Edge, token: str, scope: str = "", **query: str) -> list[Any]:
    found: list[Any] = []
    more = "".join(f"&{name.replace('_', '$')}={value}" for name, value in query.items())
    url = f"{scope}{REFUSALS}?api-version={VERSION}{more.replace(' ', '%20')}"
    while url:
        answer = edge.send("GET", url, token=token)
        assert answer.status == 200, answer.body
        found += answer.body["value"]
        url = str(answer.body.get("nextLink", "")).removeprefix(edge.plane.url)
    return [one["properties"] for one in found]


def test_a_list_has_the_newest_first(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    token = edge.workload(machine)
    ids = [refused_read(edge, token) for _ in range(7)]
    mine = {"_filter": f"principalId eq '{identity(machine).principal_id}'"}
    assert [one["refusalId"] for one in listed(edge, edge.operator(), **mine)] == ids[::-1]
    assert [one["refusalId"] for one in listed(edge, edge.operator(), _top="2", **mine)] == ids[::-1]
    assert [one["refusalId"] for one in listed(edge, token)] == ids[::-1]
    assert all("explanation" not in one for one in listed(edge, token))


@pytest.mark.wide
def test_a_list_shows_strangers_their_own_alone(edge: Edge) -> None:
    one, other = edge.plane.virtual_machine("one"), edge.plane.virtual_machine("other")
    refused_read(edge, edge.workload(one))
    assert listed(edge, edge.workload(other)) == []
    named = f"principalId eq '{identity(one).principal_id}'"
    assert listed(edge, edge.workload(other), _filter=named) == []


@pytest.mark.wide
def test_a_list_of_a_scope(edge: Edge) -> None:
    machine, reading = edge.plane.virtual_machine("stock-vm"), edge.plane.virtual_machine("reading")
    group = edge.plane.resource_group()
    edge.plane.grant(identity(reading), "Reader", group)
    here = refused_read(edge, edge.workload(machine))
    edge.arm("GET", edge.plane.resource_group("Other"), edge.workload(machine))
    edge.application(edge.plane.application("orders").client_id, "wrong")
    assert [one["refusalId"] for one in listed(edge, edge.workload(reading), group)] == [here]
    assert len(listed(edge, edge.operator())) >= 3


@pytest.mark.parametrize("text", ["kind ne 'FORBIDDEN'", "color eq 'red'", "kind eq 'a' and kind eq 'b'", "atScope()", "("])
def test_filters_that_are_not_known(edge: Edge, text: str) -> None:
    url = f"{REFUSALS}?api-version={VERSION}&$filter={text.replace(' ', '%20')}"
    assert edge.send("GET", url, token=edge.operator()).status == 400


# Beforehand ----------------------------------------------------------------------------------------------------------

_READ = "Microsoft.Resources/subscriptions/resourceGroups/read"


def beforehand(edge: Edge, token: str, scope: str, **body: Any) -> Any:
    return edge.arm("POST", f"{scope}/providers/Idplane.Diagnostics/explain", token, body, version=VERSION)


def test_asking_beforehand(edge: Edge) -> None:
    machine = edge.plane.virtual_machine("stock-vm")
    group = edge.plane.resource_group()
    asked = {"resourceId": machine.id, "action": _READ}
    assert beforehand(edge, edge.operator(), group, **asked).body["allowed"] is False
    edge.plane.grant(identity(machine), "Reader", group)
    for whom in (asked, {"principalId": identity(machine).principal_id, "action": _READ}):
        assert beforehand(edge, edge.operator(), group, **whom).body["allowed"] is True
    assert beforehand(edge, edge.workload(machine), group, action=_READ).body["allowed"] is True


@pytest.mark.wide
def test_asking_about_others_takes_the_right_to_read_assignments(edge: Edge) -> None:
    one, other = edge.plane.virtual_machine("one"), edge.plane.virtual_machine("other")
    group = edge.plane.resource_group()
    refused = beforehand(edge, edge.workload(one), group, principalId=identity(other).principal_id, action=_READ)
    assert (refused.status, refused.body["error"]["code"]) == (403, "AuthorizationFailed")
    refused = beforehand(edge, edge.workload(one), group, resourceId=other.id, action=_READ)
    assert refused.status == 403


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({}, "action"),
        ({"action": 7}, "action"),
        ({"action": _READ, "isDataAction": "yes"}, "isDataAction"),
        ({"action": _READ, "principalId": UNKNOWN}, "principalId"),
        ({"action": _READ, "principalId": "a", "resourceId": "/subscriptions/a"}, "resourceId"),
        ({"action": _READ, "color": "red"}, "color"),
        ({"action": _READ, "attributes": {"environment": {}}}, "attributes.environment"),
        ({"action": _READ, "attributes": {"resource": {"a": {}}}}, "attributes.resource.a"),
        ({"action": _READ, "attributes": {"resource": {"a": [1.5]}}}, "attributes.resource.a"),
        ({"action": _READ, "attributes": {"request": {str(at): 1 for at in range(51)}}}, "attributes.request"),
    ],
)
def test_questions_that_make_no_sense(edge: Edge, body: dict[str, Any], target: str) -> None:
    refused = beforehand(edge, edge.operator(), edge.plane.resource_group(), **body)
    assert (refused.status, refused.body["error"]["target"]) == (400, target)


def test_a_resource_with_several_identities_or_none(edge: Edge) -> None:
    first, second = edge.plane.user_assigned_identity("first"), edge.plane.user_assigned_identity("second")
    both = edge.plane.virtual_machine("both", system=False, identities=[first, second])
    none = edge.plane.virtual_machine("none", system=False)
    one = edge.plane.virtual_machine("one", system=False, identities=[first])
    group, operator = edge.plane.resource_group(), edge.operator()
    for resource in (both.id, none.id, f"{none.id}x"):
        assert beforehand(edge, operator, group, resourceId=resource, action=_READ).body["error"]["target"] == "resourceId"
    for resource in (one.id, first.id):
        assert beforehand(edge, operator, group, resourceId=resource, action=_READ).status == 200
