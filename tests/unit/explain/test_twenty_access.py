"""Refusals for want of a right, each by a real request: explained by its id, mended exactly as told, and then no refusal any more."""

from __future__ import annotations

import json

from tests.unit.explain.explain_world import GRAPH, VAULT, ExplainWorld, Reply

from idplane.explain.documents import explanation_document
from idplane.explain.model import StepKind, Verdict
from idplane.testing.local import Application

_EVERYONE = "00000000-0000-0000-0000-000000000000"
_DENIES = "2024-07-01-preview"


def _secret(world: ExplainWorld, app: Application, vault: str = "one", name: str = "db") -> Reply:
    return world.send("GET", f"/secrets/{name}?api-version=7.4", token=world.token(app, VAULT), vault=vault)


def _tag(world: ExplainWorld, app: Application, scope: str, method: str = "PATCH") -> Reply:
    return world.send(method, f"{scope}?api-version=2024-11-01", {"tags": {"a": "b"}}, token=world.token(app))


def test_no_role_at_all(world: ExplainWorld) -> None:
    world.plane.vault("one", db="hello")
    app = world.plane.application("stock")
    refused = _secret(world, app)
    assert refused.status == 403
    told = world.mend(refused.id)
    assert told.decided.kind is StepKind.ABSENCE
    assert told.summary.startswith("stock may not do the data action 'Microsoft.KeyVault/vaults/secrets/getSecret/action'")
    assert told.fixes[0].text.startswith("Assign the role 'Key Vault Secrets User' to stock")
    assert (told.nearest, told.now) == (None, None)
    assert _secret(world, app).body["value"] == "hello"


def test_the_role_stands_at_another_vault(world: ExplainWorld) -> None:
    world.plane.vault("one", db="hello")
    app = world.plane.application("stock")
    elsewhere = world.plane.grant(app, "Key Vault Secrets Officer", world.plane.vault("two"))
    refused = _secret(world, app)
    told = world.mend(refused.id)
    assert told.nearest is not None
    assert (told.nearest.name, told.nearest.verdict) == ("Key Vault Secrets Officer", Verdict.MISSES)
    assert "another resource of the same group" in told.nearest.why
    assert told.nearest.link is not None
    assert told.nearest.link.ref.lower() == elsewhere.lower()
    assert _secret(world, app).ok


def test_an_owner_needs_a_data_role(world: ExplainWorld) -> None:
    vault = world.plane.vault("one", db="hello")
    app = world.plane.application("stock")
    world.plane.grant(app, "Owner", vault)
    told = world.mend(_secret(world, app).id)
    assert told.considered[0].name == "Owner"
    assert told.considered[0].why == "holds control actions only, and this is a data action"
    assert _secret(world, app).ok


def test_a_role_that_takes_the_action_back(world: ExplainWorld) -> None:
    group = world.plane.resource_group()
    app = world.plane.application("deployer")
    world.plane.grant(app, "Contributor", group)
    path = f"{group}/providers/Microsoft.Authorization/locks/keep?api-version=2020-05-01"
    body = {"properties": {"level": "CanNotDelete"}}
    refused = world.send("PUT", path, body, token=world.token(app))
    assert refused.status == 403
    told = world.mend(refused.id)
    assert told.nearest is not None
    assert told.nearest.why == "lists it ('*' in actions) and takes it back ('Microsoft.Authorization/*/Write' in notActions)"
    assert "Locks Contributor" in told.fixes[0].text
    assert world.send("PUT", path, body, token=world.token(app)).ok


def test_a_group_has_the_role(world: ExplainWorld) -> None:
    vault = world.plane.vault("one", db="hello")
    app = world.plane.application("stock")
    team = world.plane.people.group("team")
    properties = {
        "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6",
        "principalId": team,
        "principalType": "Group",
    }
    name = "aaaaaaaa-0000-4000-8000-000000000001"
    world.plane.call("PUT", f"{vault}/providers/Microsoft.Authorization/roleAssignments/{name}", {"properties": properties})
    told = world.mend(_secret(world, app).id)
    assert told.nearest is not None
    assert "is assigned to the group 'team', which stock is not in" in told.nearest.why
    assert told.fixes[0].text == "Make stock a member of the group 'team'"
    assert _secret(world, app).ok


def test_a_deny_assignment_for_one(world: ExplainWorld) -> None:
    group = world.plane.resource_group()
    app = world.plane.application("deployer")
    world.plane.grant(app, "Contributor", group)
    _deny(world, group, {"principals": [{"id": app.principal_id, "type": "ServicePrincipal"}]})
    refused = _tag(world, app, group)
    assert refused.status == 403
    told = world.mend(refused.id)
    assert (told.decided.kind, told.decided.name) == (StepKind.DENY_ASSIGNMENT, "frozen")
    assert told.nearest is not None
    assert told.nearest.name == "Contributor"
    assert told.fixes[0].text == "Delete the deny assignment 'frozen'"
    assert _tag(world, app, group).ok


def test_a_deny_assignment_for_everyone(world: ExplainWorld) -> None:
    """It stays for the others, and the role that was missing as well is part of the remedy."""
    group = world.plane.resource_group()
    app = world.plane.application("deployer")
    spared = [{"id": world.owner.principal_id, "type": "ServicePrincipal"}]
    _deny(world, group, {"principals": [{"id": _EVERYONE, "type": "SystemDefined"}], "excludePrincipals": spared})
    told = world.mend(_tag(world, app, group).id)
    assert told.together
    assert [one.text.partition(" ")[0] for one in told.fixes] == ["Exclude", "Assign"]
    assert _tag(world, app, group).ok


def _deny(world: ExplainWorld, scope: str, who: dict[str, object]) -> None:
    properties = {
        "denyAssignmentName": "frozen",
        "permissions": [{"actions": ["Microsoft.Resources/subscriptions/resourceGroups/write"]}],
        **who,
    }
    path = f"{scope}/providers/Microsoft.Authorization/denyAssignments/dddddddd-0000-4000-8000-000000000001"
    world.plane.call("PUT", path, {"properties": properties}, api_version=_DENIES)


def test_a_condition_that_is_not_met(world: ExplainWorld) -> None:
    """Only readers may be made; an owner was asked for."""
    vault = world.plane.vault("one", db="hello")
    app, other = world.plane.application("delegate"), world.plane.application("friend")
    reader, contributor = "acdd72a7-3385-48ef-bd42-f606fba81ae7", "b24988ac-6180-42a0-ab88-20f7382dd24c"
    condition = (
        "(!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR "
        f"(@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{reader}}})"
    )
    administrator = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
    properties = {
        "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{administrator}",
        "principalId": app.principal_id,
        "principalType": "ServicePrincipal",
        "condition": condition,
        "conditionVersion": "2.0",
    }
    name = "aaaaaaaa-0000-4000-8000-000000000002"
    world.plane.call("PUT", f"{vault}/providers/Microsoft.Authorization/roleAssignments/{name}", {"properties": properties})

    def give() -> Reply:
        path = f"{vault}/providers/Microsoft.Authorization/roleAssignments/bbbbbbbb-0000-4000-8000-000000000001"
        wanted = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{contributor}",
            "principalId": other.principal_id,
            "principalType": "ServicePrincipal",
        }
        return world.send("PUT", f"{path}?api-version=2022-04-01", {"properties": wanted}, token=world.token(app))

    refused = give()
    assert refused.status == 403
    told = world.explain(refused.id)
    failed = [one for one in told.decided.clauses if one.holds is False]
    assert [(one.left, one.right) for one in failed][-1] == (f"'{contributor}'", f"'{reader}'")
    assert failed[-1].text.startswith("@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAny")
    assert f"'{contributor}' against '{reader}'" in told.decided.why
    world.apply(told.fixes)
    assert give().ok
    assert "since then the role" in (world.explain(refused.id).now or "")


def test_what_a_condition_found_in_the_target_is_for_those_who_may_read_it(world: ExplainWorld) -> None:
    """Whoever may delete readers only learns of an assignment that it is none, and not what it is."""
    group = world.plane.resource_group()
    app, other = world.plane.application("delegate"), world.plane.application("friend")
    given = world.plane.grant(other, "Contributor", group)
    reader, contributor = "acdd72a7-3385-48ef-bd42-f606fba81ae7", "b24988ac-6180-42a0-ab88-20f7382dd24c"
    role = {
        "roleName": "Remover",
        "permissions": [{"actions": ["Microsoft.Authorization/roleAssignments/delete"]}],
        "assignableScopes": [group],
    }
    name = "aaaaaaaa-0000-4000-8000-000000000003"
    path = f"{group}/providers/Microsoft.Authorization"
    world.plane.call("PUT", f"{path}/roleDefinitions/{name}", {"properties": role})
    properties = {
        "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{name}",
        "principalId": app.principal_id,
        "principalType": "ServicePrincipal",
        "condition": (
            f"@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{reader}}}"
        ),
        "conditionVersion": "2.0",
    }
    world.plane.call("PUT", f"{path}/roleAssignments/{name}", {"properties": properties})
    refused = world.send("DELETE", f"{given}?api-version=2022-04-01", token=world.token(app))
    assert refused.status == 403
    assert world.explain(refused.id).decided.clauses[0].left == f"'{contributor}'"
    own = world.explain(refused.id, world.caller(app.principal_id))
    assert [(one.left, one.right, one.holds) for one in own.decided.clauses] == [("not shown", "not shown", False)]
    assert contributor not in json.dumps(explanation_document(own))


def test_an_identity_that_may_not_be_assigned(world: ExplainWorld) -> None:
    machine = world.plane.virtual_machine("stock-vm", system=False)
    identity = world.plane.user_assigned_identity("batch", group="identities")
    app = world.plane.application("deployer")
    world.plane.grant(app, "Virtual Machine Contributor", world.plane.resource_group())

    def assign() -> Reply:
        body = {"identity": {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}}
        return world.send("PATCH", f"{machine.id}?api-version=2024-11-01", body, token=world.token(app))

    refused = assign()
    assert refused.status == 403
    told = world.mend(refused.id)
    assert "takes a right of its own" in told.summary
    assert "Managed Identity Operator" in told.fixes[0].text
    assert assign().ok


def test_graph_asks_for_its_own_roles(world: ExplainWorld) -> None:
    app = world.plane.application("reader")
    refused = world.send("GET", "/v1.0/users", token=world.token(app, GRAPH))
    assert refused.status == 403
    told = world.mend(refused.id)
    assert told.fixes[0].text == "Give reader the application role 'User.Read.All' of Microsoft Graph, and get a new token"
    assert world.send("GET", "/v1.0/users", token=world.token(app, GRAPH)).ok


def test_a_question_has_the_same_answer(world: ExplainWorld) -> None:
    vault = world.plane.vault("one", db="hello")
    app = world.plane.application("stock")
    action = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
    before = world.ask(app.principal_id, action, f"{vault}/secrets/db", data=True)
    assert not before.allowed
    world.apply(before.fixes)
    after = world.ask(app.principal_id, action, f"{vault}/secrets/db", data=True)
    assert after.allowed
    assert (after.decided.name, after.decided.verdict, after.fixes) == ("Key Vault Secrets User", Verdict.ALLOWS, ())
    assert _secret(world, app).ok
