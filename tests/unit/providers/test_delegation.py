"""One who may assign roles under a condition assigns what it allows and nothing else, directly and in a template."""

from __future__ import annotations

import pytest
from tests.unit.providers.deploying import asked, deploy, template
from tests.unit.providers.deploying import at as deployment
from tests.unit.providers.granting import GRANT, delegate, grant, granting, guid, refused, url
from tests.unit.providers.surface_plane import GROUP, MSI, ROLES, SUB, OpenPlane, Plane, uai

from idplane.model.directory import PrincipalType

ADMIN = "Role Based Access Control Administrator"


async def _opened(open_plane: OpenPlane, condition: str | None = None) -> Plane:
    plane = await open_plane()
    await plane.person("delegate", (ADMIN, SUB), condition=condition or delegate("Reader", "Virtual Machine Contributor"))
    await plane.person("worker")
    await plane.person("person", kind=PrincipalType.USER)
    await plane.person("team", kind=PrincipalType.GROUP)
    return plane


async def test_what_the_condition_allows(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    assert (await grant(plane, "worker", "Reader", GROUP, 1, by="delegate")).status == 201
    assert (await grant(plane, "worker", "Reader", GROUP, 1, by="delegate", description="again")).status == 200
    assert (await plane.call("DELETE", url(GROUP, 1), by="delegate", version=GRANT)).status == 200


@pytest.mark.parametrize("role", ["Owner", "Contributor", ADMIN, "User Access Administrator"])
async def test_other_roles(open_plane: OpenPlane, role: str) -> None:
    plane = await _opened(open_plane)
    reply = await grant(plane, "worker", role, GROUP, 1, by="delegate")
    await refused(plane, reply, 403, "AuthorizationFailed")
    assert "an ABAC condition not fulfilled to perform action 'Microsoft.Authorization/roleAssignments/write'" in reply.message


@pytest.mark.parametrize("sent", [None, "ServicePrincipal", "User", "Group"])
@pytest.mark.parametrize("whom", ["person", "team"])
async def test_other_kinds_of_principals_whatever_they_are_called(open_plane: OpenPlane, whom: str, sent: str | None) -> None:
    plane = await _opened(open_plane)
    reply = await grant(plane, whom, "Reader", GROUP, 1, by="delegate", **({"principalType": sent} if sent else {}))
    await refused(plane, reply, 403, "AuthorizationFailed")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"properties": []},
        {"properties": {"roleDefinitionId": 7}},
        granting(guid(0x99)),
        granting("x"),
        {"properties": {"roleDefinitionId": ROLES["Reader"], "principalId": guid(1)}},
    ],
)
async def test_a_body_that_says_too_little_is_no_way_in(open_plane: OpenPlane, body: object) -> None:
    plane = await _opened(open_plane)
    await refused(plane, await plane.call("PUT", url(GROUP, 1), body, by="delegate", version=GRANT), 403, "AuthorizationFailed")
    await refused(
        plane, await plane.call("PUT", url(GROUP, 1), raw=b"{", by="delegate", version=GRANT), 403, "AuthorizationFailed"
    )


async def test_what_others_gave_stays(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    assert (await grant(plane, "worker", "Contributor", GROUP, 1)).status == 201
    await refused(plane, await plane.call("DELETE", url(GROUP, 1), by="delegate", version=GRANT), 403, "AuthorizationFailed")
    # Not by pretending that it is one that may go, nor where nothing is.
    reply = await plane.call("PUT", url(GROUP, 1), granting(plane.people["worker"]), by="delegate", version=GRANT)
    await refused(plane, reply, 400, "RoleAssignmentUpdateNotPermitted")
    await refused(plane, await plane.call("DELETE", url(SUB, 1), by="delegate", version=GRANT), 403, "AuthorizationFailed")
    assert (await plane.call("GET", url(GROUP, 1), version=GRANT)).status == 200


async def test_a_delegate_cannot_lift_his_own_condition(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane, "!(ActionMatches{'none/of/these'})")
    assert (await grant(plane, "worker", ADMIN, SUB, 1, condition=delegate("Reader"))).status == 201
    for condition in (None, "!(ActionMatches{'none/of/these'})"):
        body = granting(plane.people["worker"], ADMIN, condition=condition)
        await refused(plane, await plane.call("PUT", url(SUB, 1), body, by="worker", version=GRANT), 403, "AuthorizationFailed")
    reply = await grant(plane, "worker", ADMIN, GROUP, 2, by="worker")
    await refused(plane, reply, 403, "AuthorizationFailed")


async def test_a_new_condition_counts_at_once(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane)
    assert (await grant(plane, "worker", ADMIN, SUB, 1, condition=delegate("Reader"))).status == 201
    assert (await grant(plane, "nobody", "Reader", GROUP, 2, by="worker")).status == 201
    changed = granting(plane.people["worker"], ADMIN, condition=delegate("Contributor"), conditionVersion="2.0")
    body = await plane.put(url(SUB, 1), changed, version=GRANT)
    assert body["properties"]["conditionVersion"] == "2.0"
    assert body["properties"]["condition"] == delegate("Contributor")
    assert (await grant(plane, "nobody", "Contributor", GROUP, 3, by="worker")).status == 201
    await refused(plane, await grant(plane, "owner", "Reader", GROUP, 4, by="worker"), 403, "AuthorizationFailed")
    empty = granting(plane.people["worker"], ADMIN, condition="", conditionVersion="")
    lifted = await plane.put(url(SUB, 1), empty, version=GRANT)
    assert lifted["properties"]["condition"] is None
    assert (await grant(plane, "owner", "Reader", GROUP, 4, by="worker")).status == 201


async def test_a_condition_on_the_time(open_plane: OpenPlane) -> None:
    plane = await _opened(open_plane, "@Environment[UtcNow] DateTimeLessThan '2026-01-01T13:00:00Z'")
    assert (await grant(plane, "worker", "Reader", GROUP, 1, by="delegate")).status == 201
    plane.clock.advance(3600)
    await refused(plane, await grant(plane, "worker", "Reader", SUB, 2, by="delegate"), 403, "AuthorizationFailed")


# Templates


def _role(principal: object, role: str) -> dict[str, object]:
    return {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": guid(7),
        "properties": {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role]}",
            "principalId": principal,
            "principalType": "ServicePrincipal",
        },
    }


async def _deployer(open_plane: OpenPlane) -> Plane:
    plane = await open_plane()
    await plane.person("delegate", (ADMIN, SUB), condition=delegate("Reader"))
    assert (await grant(plane, "delegate", "Contributor", SUB, 1)).status == 201
    return plane


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_role_for_a_known_principal_is_judged_ahead(open_plane: OpenPlane, allowed: bool) -> None:  # noqa: FBT001 - a case
    plane = await _deployer(open_plane)
    document = template(_role(plane.people["nobody"], "Reader" if allowed else "Owner"))
    reply = await plane.call("PUT", deployment("main"), asked(document), by="delegate", version="2025-04-01")
    if allowed:
        assert reply.status == 201
        await plane.manager.close()
        return
    await refused(plane, reply, 403, "InvalidTemplateDeployment")
    assert "Microsoft.Authorization/roleAssignments/write" in reply.message


@pytest.mark.parametrize(("role", "state"), [("Reader", "Succeeded"), ("Owner", "Failed")])
async def test_a_role_for_an_identity_of_the_template_is_judged_when_it_is_known(
    open_plane: OpenPlane, role: str, state: str
) -> None:
    plane = await _deployer(open_plane)
    identity = {
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
        "apiVersion": MSI,
        "name": "made",
        "location": "westeurope",
    }
    reference = "[reference(resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'made')).principalId]"
    properties = await deploy(plane, template(identity, _role(reference, role)), by="delegate")
    assert properties["provisioningState"] == state
    if state == "Failed":
        assert "AuthorizationFailed" in str(properties["error"])
        failed = [one for one in await plane.events() if one.sub_status == "AuthorizationFailed"]
        assert [one.operation for one in failed] == ["Microsoft.Authorization/roleAssignments/write"]
    assert (await plane.call("GET", uai("made"), version=MSI)).status == 200
