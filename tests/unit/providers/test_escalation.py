"""Attempts to come to more rights than one has: each is refused with Azure's code, and each is in the activity log."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.deploying import DEPLOY, asked, deploy, template
from tests.unit.providers.deploying import at as deployment
from tests.unit.providers.granting import GRANT, ROLE, delegate, deny, denying, grant, granting, guid, refused, role_url, url
from tests.unit.providers.surface_plane import COMPUTE, FOREIGN, GROUP, ROLES, SUB, OpenPlane, Plane, Reply, uai, vm

ADMIN = "Role Based Access Control Administrator"
OTHER = f"{SUB}/resourceGroups/Other"
SITE, SITES = f"{GROUP}/providers/Microsoft.Web/sites/shop", "2024-04-01"
FIC = "2025-01-31-preview"


async def _opened(open_plane: OpenPlane) -> Plane:
    """A contributor of one group, who meets an identity that holds more than he does."""
    plane = await open_plane()
    await plane.put(OTHER, {"location": "westeurope"})
    await plane.person("climber", ("Virtual Machine Contributor", GROUP))
    await plane.person("builder", ("Contributor", GROUP))
    body = await plane.identity("powerful")
    assert (await grant(plane, body["properties"]["principalId"], "Owner", SUB, 0xF0)).status == 201
    return plane


def _wearing(identity: str = uai("powerful")) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}


# Assigning an identity without assign/action ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling", [uai("powerful"), uai("powerful").upper().replace("/SUBSCRIPTIONS", "/subscriptions"), uai("powerful") + "/"]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_an_identity_is_not_put_on_a_machine(open_plane: OpenPlane, method: str, spelling: str) -> None:
    plane = await _opened(open_plane)
    await plane.machine("mine", by="climber")
    reply = await plane.call(
        method, vm("mine"), {"location": "westeurope", "identity": _wearing(spelling)}, by="climber", version=COMPUTE
    )
    await refused(plane, reply, 403, "LinkedAuthorizationFailed")
    assert "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" in reply.message


@pytest.mark.parametrize(
    ("kind", "version", "further"),
    [
        ("Microsoft.Compute/virtualMachineScaleSets/fleet", COMPUTE, {"sku": {"name": "s", "capacity": 1}}),
        ("Microsoft.ContainerInstance/containerGroups/job", "2023-05-01", {"properties": {}}),
        ("Microsoft.Web/sites/shop2", SITES, {"properties": {}}),
        ("Microsoft.Logic/workflows/flow", "2019-05-01", {"properties": {}}),
        ("Microsoft.App/containerApps/api", "2024-03-01", {"properties": {}}),
    ],
)
async def test_nor_on_any_other_host(open_plane: OpenPlane, kind: str, version: str, further: dict[str, Any]) -> None:
    plane = await _opened(open_plane)
    role = {
        "roleName": "builder",
        "permissions": [{"actions": ["*"], "notActions": ["*/assign/action"]}],
        "assignableScopes": [SUB],
    }
    await plane.put(role_url(SUB, 1), {"properties": role}, version=ROLE)
    await plane.person("maker")
    assert (await grant(plane, "maker", guid(1), GROUP, 1)).status == 201
    body = {"location": "westeurope", "identity": _wearing(), **further}
    reply = await plane.call("PUT", f"{GROUP}/providers/{kind}", body, by="maker", version=version)
    await refused(plane, reply, 403, "LinkedAuthorizationFailed")
    assert (await plane.call("GET", f"{GROUP}/providers/{kind}", version=version)).status == 404


async def test_nor_on_a_slot(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.put(SITE, {"location": "westeurope", "properties": {}}, version=SITES)
    role = {"roleName": "sites", "permissions": [{"actions": ["Microsoft.Web/*"]}], "assignableScopes": [SUB]}
    await plane.put(role_url(SUB, 1), {"properties": role}, version=ROLE)
    await plane.person("maker")
    assert (await grant(plane, "maker", guid(1), GROUP, 1)).status == 201
    body = {"location": "westeurope", "properties": {}, "identity": _wearing()}
    for path in (SITE, f"{SITE}/slots/staging"):
        await refused(plane, await plane.call("PUT", path, body, by="maker", version=SITES), 403, "LinkedAuthorizationFailed")


@pytest.mark.parametrize(
    "identity",
    [uai("none"), f"/subscriptions/{FOREIGN}/resourceGroups/x/providers/Microsoft.ManagedIdentity/userAssignedIdentities/y"],
)
async def test_an_identity_that_is_not_there_or_anothers_looks_the_same(open_plane: OpenPlane, identity: str) -> None:
    plane = await _opened(open_plane)
    body = {"location": "westeurope", "identity": _wearing(identity)}
    reply = await plane.call("PUT", vm("mine"), body, by="climber", version=COMPUTE)
    await refused(plane, reply, 403, "LinkedAuthorizationFailed")


async def test_nor_by_a_template(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    role = {
        "roleName": "d",
        "permissions": [{"actions": ["Microsoft.Resources/*", "Microsoft.Compute/*"]}],
        "assignableScopes": [SUB],
    }
    await plane.put(role_url(SUB, 1), {"properties": role}, version=ROLE)
    await plane.person("deployer")
    assert (await grant(plane, "deployer", guid(1), GROUP, 1)).status == 201
    machine = {
        "type": "Microsoft.Compute/virtualMachines",
        "apiVersion": COMPUTE,
        "name": "mine",
        "location": "westeurope",
        "identity": _wearing(),
    }
    for part in (machine, _nested(machine)):
        properties = await deploy(plane, template(part), name=f"d{part['name']}", by="deployer")
        assert properties["provisioningState"] == "Failed"
        assert "LinkedAuthorizationFailed" in str(properties["error"])
    failed = [one for one in await plane.events() if one.sub_status == "LinkedAuthorizationFailed"]
    assert len(failed) == 2
    assert (await plane.call("GET", vm("mine"), version=COMPUTE)).status == 404


# Federated credentials ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["climber", "reader", "nobody", "operator"])
async def test_nobody_federates_with_an_identity_that_is_not_his(open_plane: OpenPlane, by: str) -> None:
    plane = await _opened(open_plane)
    await plane.person("operator", ("Managed Identity Operator", SUB))
    body = {"properties": {"issuer": "https://mine.example", "subject": "me", "audiences": ["api://AzureADTokenExchange"]}}
    for path in (uai("powerful"), uai("POWERFUL").lower().replace("resourcegroups", "resourceGroups")):
        reply = await plane.call("PUT", f"{path}/federatedIdentityCredentials/mine", body, by=by, version=FIC)
        await refused(plane, reply, 403, "AuthorizationFailed")


# Role assignments ---------------------------------------------------------------------------------------------------


async def _refuses(plane: Plane, reply: Reply) -> None:
    await refused(plane, reply, 403, "AuthorizationFailed")


@pytest.mark.parametrize("scope", ["", SUB, OTHER, f"{SUB}/resourcegroups/other/", f"{GROUP}s"])
async def test_granting_at_a_higher_or_another_scope(open_plane: OpenPlane, scope: str) -> None:
    plane = await _opened(open_plane)
    await plane.person("local", ("User Access Administrator", GROUP))
    assert (await grant(plane, "local", "Owner", GROUP, 1, by="local")).status == 201, "at his own scope, as in Azure"
    await _refuses(plane, await grant(plane, "local", "Reader", scope, 2, by="local"))
    # The body does not choose the scope, whatever it says.
    body = granting(plane.people["local"], "Reader", scope=scope or "/")
    made = await plane.call("PUT", url(GROUP, 3), body, by="local", version=GRANT)
    assert made.body["properties"]["scope"] == GROUP


@pytest.mark.parametrize("by", ["climber", "builder", "reader", "nobody"])
async def test_who_may_not_assign_roles_assigns_none(open_plane: OpenPlane, by: str) -> None:
    plane = await _opened(open_plane)
    for scope in (SUB, GROUP, vm("x"), uai("powerful")):
        await _refuses(plane, await grant(plane, by, "Reader", scope, 1, by=by))
    path = f"{SUB}/providers/Microsoft.Authorization/roleAssignments/{guid(0xF0)}"
    await _refuses(plane, await plane.call("DELETE", path, by=by, version=GRANT))


async def test_a_deny_assignment_stands_against_every_role(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.person("climbing", ("Owner", SUB), ("User Access Administrator", GROUP))
    body = denying("Microsoft.Authorization/roleAssignments/write", whom=plane.people["climbing"])
    assert (await deny(plane, body, SUB)).status == 201
    for scope in (SUB, GROUP, uai("powerful")):
        reply = await grant(plane, "climbing", "Owner", scope, 1, by="climbing")
        await refused(plane, reply, 403, "DenyAssignmentAuthorizationFailed")


@pytest.mark.parametrize(
    "condition",
    [
        "' OR 1=1 --",
        "!(ActionMatches{'x'}) OR '",
        "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] StringLike '*'); drop table",
        "true",
        "!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'}\u00a0)",
        "!(ActionMatches\uff5b'x'\uff5d)",
        "\ufeff!(ActionMatches{'x'})",
        "(" * 4000,
        "!" * 4000 + "Exists @Request[a/b:c]",
    ],
)
async def test_a_tricky_condition_is_no_condition(open_plane: OpenPlane, condition: str) -> None:
    plane = await _opened(open_plane)
    reply = await grant(plane, "nobody", ADMIN, GROUP, 1, condition=condition)
    await refused(plane, reply, 400, "RoleAssignmentConditionInvalid")
    await _refuses(plane, await grant(plane, "nobody", "Owner", GROUP, 2, by="nobody"))


async def test_a_condition_is_not_talked_around_by_the_body(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.person("delegate", (ADMIN, SUB), condition=delegate("Reader"))
    owner, reader = (granting(plane.people["delegate"], role)["properties"]["roleDefinitionId"] for role in ("Owner", "Reader"))
    for role_id in (
        owner.upper().replace("/SUBSCRIPTIONS", "/subscriptions"),
        f"{reader}{owner}",
        f"{owner}#{reader}",
        f"{owner}?x={reader}",
    ):
        body = {"properties": {"roleDefinitionId": role_id, "principalId": plane.people["delegate"]}}
        reply = await plane.call("PUT", url(GROUP, 1), body, by="delegate", version=GRANT)
        # The id at the end counts, for the decision and for the assignment.
        if role_id.endswith(ROLES["Reader"]):
            assert reply.status == 201
            assert reply.body["properties"]["roleDefinitionId"].endswith(f"/{ROLES['Reader']}")
            assert (await plane.call("DELETE", url(GROUP, 1), version=GRANT)).status == 200
        else:
            await _refuses(plane, reply)
    raw = f'{{"properties":{{"principalId":"{plane.people["nobody"]}","roleDefinitionId":"{owner}","roleDefinitionId":"{reader}"}}}}'
    reply = await plane.call("PUT", url(GROUP, 2), raw=raw.encode(), by="delegate", version=GRANT)
    assert reply.body["properties"]["roleDefinitionId"].endswith(ROLES["Reader"]), "the last of two counts, and for both"
    for member in ("PrincipalId", "principalid"):
        body = {"properties": {"roleDefinitionId": reader, member: plane.people["nobody"]}}
        assert (await plane.call("PUT", url(GROUP, 3), body, by="delegate", version=GRANT)).status == 403


# Role definitions ---------------------------------------------------------------------------------------------------


def _role(*scopes: str, actions: tuple[str, ...] = ("*",)) -> dict[str, Any]:
    return {"properties": {"roleName": "wide", "permissions": [{"actions": list(actions)}], "assignableScopes": list(scopes)}}


@pytest.mark.parametrize(
    "scopes",
    [
        (SUB,),
        (OTHER,),
        (GROUP, SUB),
        (GROUP, OTHER),
        (GROUP, f"{SUB}/"),
        (GROUP, f"{GROUP}s"),
        (f"{SUB}/resourcegroups/OTHER",),
        (SUB.upper().replace("/SUBSCRIPTIONS", "/subscriptions"),),
        (GROUP, f"/subscriptions/{FOREIGN}"),
    ],
)
async def test_a_role_wider_than_ones_scope(open_plane: OpenPlane, scopes: tuple[str, ...]) -> None:
    plane = await _opened(open_plane)
    await plane.put(f"{GROUP}s", {"location": "westeurope"})
    await plane.person("local", ("User Access Administrator", GROUP))
    await _refuses(plane, await plane.call("PUT", role_url(GROUP, 1), _role(*scopes), by="local", version=ROLE))
    assert (await plane.call("PUT", role_url(GROUP, 1), _role(GROUP), by="local", version=ROLE)).status == 201
    await _refuses(plane, await plane.call("PUT", role_url(GROUP, 1), _role(*scopes), by="local", version=ROLE))
    shown = await plane.get(role_url(GROUP, 1), version=ROLE)
    assert shown["properties"]["assignableScopes"] == [GROUP]


async def test_a_role_of_others_is_not_widened_from_where_it_is_seen(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.person("local", ("User Access Administrator", GROUP))
    await plane.put(role_url(SUB, 1), _role(SUB, actions=("*/read",)), version=ROLE)
    assert (await grant(plane, "local", guid(1), SUB, 1)).status == 201
    for scopes in ((GROUP,), (SUB,), (GROUP, SUB)):
        await _refuses(plane, await plane.call("PUT", role_url(GROUP, 1), _role(*scopes), by="local", version=ROLE))
    await _refuses(plane, await plane.call("DELETE", role_url(GROUP, 1), by="local", version=ROLE))
    await refused(
        plane,
        await plane.call(
            "PUT", f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}", _role(SUB), version=ROLE
        ),
        400,
        "InvalidRoleDefinition",
    )


@pytest.mark.parametrize(
    "scope", [f"{SUB}/../x", f"{GROUP}/../Other", f"{GROUP}/..", "//", f"{SUB}/resourceGroups/%2e%2e", "", "x"]
)
async def test_scopes_that_are_none(open_plane: OpenPlane, scope: str) -> None:
    plane = await _opened(open_plane)
    reply = await plane.call("PUT", role_url(SUB, 1), _role(scope), version=ROLE)
    assert reply.status == 400
    assert (await plane.events())[-1].sub_status == reply.code


# Templates ----------------------------------------------------------------------------------------------------------


def _nested(*inner: dict[str, Any], **further: object) -> dict[str, Any]:
    return {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": DEPLOY,
        "name": "inner",
        **further,
        "properties": {"mode": "Incremental", "template": template(*inner), "expressionEvaluationOptions": {"scope": "inner"}},
    }


def _assignment(principal: str, **further: object) -> dict[str, Any]:
    return {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": GRANT,
        "name": guid(1),
        **further,
        **granting(principal, "Owner"),
    }


def _machine(**further: object) -> dict[str, Any]:
    return {
        "type": "Microsoft.Compute/virtualMachines",
        "apiVersion": COMPUTE,
        "name": "there",
        "location": "westeurope",
        "properties": {},
        **further,
    }


@pytest.mark.parametrize(
    ("part", "action"),
    [
        ("role", "Microsoft.Authorization/roleAssignments/write"),
        ("role at a resource", "Microsoft.Authorization/roleAssignments/write"),
        ("another group", "Microsoft.Resources/deployments/write"),
        ("another subscription", "Microsoft.Resources/deployments/write"),
        ("a definition", "Microsoft.Authorization/roleDefinitions/write"),
        ("a refusal", "Microsoft.Authorization/denyAssignments/write"),
    ],
)
async def test_a_template_has_the_rights_of_its_caller(open_plane: OpenPlane, part: str, action: str) -> None:
    plane = await _opened(open_plane)
    me = plane.people["builder"]
    parts = {
        "role": _assignment(me),
        "role at a resource": _assignment(me, scope=uai("powerful")),
        "another group": _nested(_machine(), resourceGroup="Other"),
        "another subscription": _nested(_machine(), resourceGroup="x", subscriptionId=FOREIGN),
        "a definition": {
            "type": "Microsoft.Authorization/roleDefinitions",
            "apiVersion": GRANT,
            "name": guid(2),
            **_role(GROUP),
        },
        "a refusal": {
            "type": "Microsoft.Authorization/denyAssignments",
            "apiVersion": "2024-07-01-preview",
            "name": guid(3),
            **denying("*/write", whom=plane.people["owner"]),
        },
    }
    document = template(_machine(name="first"), parts[part])
    reply = await plane.call("PUT", deployment("main"), asked(document), by="builder", version=DEPLOY)
    await refused(plane, reply, 403, "InvalidTemplateDeployment")
    assert action in reply.message
    assert (await plane.call("GET", vm("first"), version=COMPUTE)).status == 404, "nothing of it is deployed"


async def test_nor_inside_a_nested_template(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    document = template(_nested(_assignment(plane.people["builder"])))
    properties = await deploy(plane, document, by="builder")
    assert properties["provisioningState"] == "Failed"
    failed = [one for one in await plane.events() if one.status.value == "Failed"]
    assert failed
    assert all(one.caller_id == plane.people["builder"] for one in failed)
    assert (await plane.call("GET", url(GROUP, 1), version=GRANT)).status == 404


async def test_nor_at_the_subscription_or_the_tenant(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    body = {**asked(template(_assignment(plane.people["builder"]))), "location": "westeurope"}
    for scope in ("", SUB, OTHER):
        sent = body if scope != OTHER else asked(template())
        reply = await plane.call("PUT", deployment("main", scope), sent, by="builder", version=DEPLOY)
        await refused(plane, reply, 403, "AuthorizationFailed")


# Ids ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"{SUB}/resourceGroups/Stock/../Other",
        f"{SUB}/resourceGroups/Stock/%2e%2e/Other",
        f"{SUB}/resourceGroups/Stock%2f..%2fOther",
        f"{SUB}/resourceGroups/Other%20",
        f"{SUB}/resourceGroups/Other%00",
        f"{SUB}/resourceGroups/./Other",
        f"{SUB}\\resourceGroups\\Other",
        f"{SUB};x/resourceGroups/Other",
        f"{SUB}/resourceGroups/Other/",
        f"{SUB}//resourceGroups//Other",
        f"{SUB}/resourcegroups/OTHER",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET", "PATCH"])
async def test_no_spelling_leads_out_of_ones_scope(open_plane: OpenPlane, method: str, path: str) -> None:
    plane = await _opened(open_plane)
    reply = await plane.call(method, path, {"location": "westeurope", "tags": {"taken": "over"}}, by="builder")
    assert reply.status in (400, 403, 404), reply.body
    assert "taken" not in ((await plane.get(OTHER)).get("tags") or {})
    assert all(one.status.value == "Failed" for one in await plane.events() if one.caller_id == plane.people["builder"])


async def test_another_tenants_ids_in_the_path(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    for scope in (
        f"/subscriptions/{FOREIGN}",
        f"/subscriptions/{FOREIGN.upper()}",
        f"/subscriptions/{FOREIGN}/resourceGroups/x",
    ):
        for path, version in ((url(scope, 1), GRANT), (role_url(scope, 1), ROLE), (deployment("d", scope), DEPLOY)):
            reply = await plane.call("PUT", path, granting(plane.people["owner"]), version=version)
            assert (reply.status, reply.code) == (401, "InvalidAuthenticationTokenTenant")
    # The other way around: their owner of everything is nobody here.
    for scope in (SUB, GROUP, uai("powerful")):
        reply = await grant(plane, "stranger", "Owner", scope, 1, by="stranger")
        assert (reply.status, reply.code) == (401, "InvalidAuthenticationTokenTenant")
    assert (await grant(plane, "stranger", "Reader", "", 1, by="stranger")).status == 201, "at the top of his own tenant"
    assert (await plane.call("GET", url("", 1), version=GRANT)).status == 404


async def test_another_tenants_ids_in_the_body(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    theirs = plane.people["stranger"]
    for spelling in (theirs, theirs.upper()):
        await refused(plane, await grant(plane, spelling, "Reader", GROUP, 1), 400, "PrincipalNotFound")
    their_role = {
        "properties": {"roleName": "t", "permissions": [{"actions": ["*"]}], "assignableScopes": [f"/subscriptions/{FOREIGN}"]}
    }
    made = await plane.call("PUT", role_url(f"/subscriptions/{FOREIGN}", 5), their_role, by="stranger", version=ROLE)
    assert made.status == 201, made.body
    await refused(plane, await grant(plane, "nobody", guid(5), GROUP, 1), 404, "RoleDefinitionDoesNotExist")
    await refused(plane, await plane.call("PUT", role_url(SUB, 5), _role(SUB), version=ROLE), 409, "Conflict")
    assert (await plane.call("GET", role_url(SUB, 5), version=ROLE)).status == 404
    their_grant = granting(theirs, "Reader")
    made = await plane.call("PUT", url(f"/subscriptions/{FOREIGN}", 9), their_grant, by="stranger", version=GRANT)
    assert made.status == 201, made.body
    reply = await grant(plane, "nobody", "Reader", GROUP, 9)
    assert reply.status in (400, 409), "their name is taken, and what it stands for is not told"
    assert theirs not in str(reply.body)


# Moves --------------------------------------------------------------------------------------------------------------


async def _move(plane: Plane, by: str, *resources: str, target: str = OTHER) -> Reply:
    body = {"resources": list(resources), "targetResourceGroup": target}
    return await plane.call("POST", f"{GROUP}/moveResources", body, by=by, version="2021-04-01")


async def test_a_resource_is_not_moved_to_where_one_may_grant_it(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.machine("prize", {"type": "SystemAssigned"})
    for name, condition in (("unlimited", None), ("limited", delegate("Contributor"))):
        await plane.person(name, (ADMIN, OTHER), condition=condition)
        for number, scope in enumerate((GROUP, OTHER)):
            assert (await grant(plane, name, "Contributor", scope, 0x10 * len(name) + number)).status == 201
        await refused(plane, await _move(plane, name, vm("prize")), 403, "LinkedAuthorizationFailed")
    assert (await plane.call("GET", vm("prize"), version=COMPUTE)).status == 200


async def test_one_condition_over_both_ends_is_no_gain(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.machine("own")
    await plane.person("limited", (ADMIN, SUB), condition=delegate("Contributor"))
    assert (await grant(plane, "limited", "Contributor", SUB, 0x10)).status == 201
    assert (await _move(plane, "limited", vm("own"))).status == 202


async def test_a_deny_assignment_of_the_api_follows_its_resource(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    await plane.machine("kept")
    assert (await deny(plane, denying("*/delete", whom=plane.people["contributor"]), vm("kept"))).status == 201
    assert (await plane.call("DELETE", vm("kept"), by="contributor", version=COMPUTE)).status == 403
    assert (await _move(plane, "owner", vm("kept"))).status == 202
    moved = vm("kept").replace("Stock", "Other")
    reply = await plane.call("DELETE", moved, by="contributor", version=COMPUTE)
    await refused(plane, reply, 403, "DenyAssignmentAuthorizationFailed")
    await plane.machine("kept")
    assert (await plane.call("DELETE", vm("kept"), by="contributor", version=COMPUTE)).status in (200, 202, 204)
