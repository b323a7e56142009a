"""What a principal may do: checkAccess, permissions, and lists of what is assigned to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.providers.granting import GRANT, deny, denying, grant, guid, refused
from tests.unit.providers.surface_plane import AWAY, FOREIGN, GROUP, HOME, SUB, OpenPlane, Plane, Reply, vm

from idplane.model.directory import PrincipalType

CHECK = "2018-09-01-preview"
READ, WRITE = "Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/write"


def question(*actions: str, whom: str | None = None, data: bool = False) -> dict[str, Any]:
    subject = {} if whom is None else {"Subject": {"Attributes": {"ObjectId": whom}}}
    return {**subject, "Actions": [{"Id": one, "IsDataAction": data} for one in actions]}


async def ask(plane: Plane, scope: str, body: object, by: str = "owner") -> Reply:
    return await plane.call("POST", f"{scope}/providers/Microsoft.Authorization/checkAccess", body, by=by, version=CHECK)


async def decisions(plane: Plane, scope: str, body: object, by: str = "owner") -> list[str]:
    reply = await ask(plane, scope, body, by)
    assert reply.status == 200, reply.body
    return [one["accessDecision"] for one in reply.body]


@pytest.mark.parametrize("scope", ["", SUB, GROUP, vm("none"), f"{SUB}/resourceGroups/none"])
async def test_everybody_may_ask_about_himself_and_hears_nothing_of_what_exists(open_plane: OpenPlane, scope: str) -> None:
    plane = await open_plane()
    body = question(READ, WRITE)
    assert await decisions(plane, scope, body, "nobody") == ["NotAllowed", "NotAllowed"]
    expected = ["NotAllowed", "NotAllowed"] if scope == "" else ["Allowed", "NotAllowed"]
    assert await decisions(plane, scope, body, "reader") == expected
    assert await decisions(plane, scope, question(READ, whom=plane.people["reader"].upper()), "reader") == expected[:1]


async def test_what_an_answer_says(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert (await deny(plane, denying(WRITE, but=(plane.people["reader"],)), GROUP)).status == 201
    body = {"subject": {"attributes": {"objectId": plane.people["owner"]}}, "actions": [{"id": READ}, {"id": WRITE}]}
    allowed, denied = (await ask(plane, GROUP, body)).body
    assert (allowed["actionId"], allowed["isDataAction"], allowed["accessDecision"]) == (READ, False, "Allowed")
    assert allowed["roleAssignment"]["principalId"] == plane.people["owner"]
    assert (allowed["denyAssignment"], denied["roleAssignment"]) == (None, None)
    assert denied["accessDecision"] == "Denied"
    assert denied["denyAssignment"] == {"id": guid(0xD1), "name": "no", "scope": GROUP}
    assert denied["timeToLiveInMs"] <= 1000
    assert await decisions(plane, GROUP, question("Microsoft.KeyVault/vaults/secrets/getSecret/action", data=True)) == [
        "NotAllowed"
    ]


async def test_about_others_only_who_may_read_assignments(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.person("team", ("Contributor", SUB), kind=PrincipalType.GROUP)
    await plane.person("outer", kind=PrincipalType.GROUP)
    await plane.person("worker")
    body = question(WRITE, whom=plane.people["worker"])
    assert await decisions(plane, GROUP, body, "reader") == ["NotAllowed"]
    await plane.joins("worker", "outer")
    await plane.joins("outer", "team")
    assert await decisions(plane, GROUP, body, "reader") == ["Allowed"]
    assert await decisions(plane, GROUP, body, "worker") == ["Allowed"]
    await refused(plane, await ask(plane, GROUP, body, "nobody"), 403, "AuthorizationFailed")
    claimed = question(WRITE, whom=plane.people["nobody"])
    claimed["Subject"]["Attributes"]["Groups"] = [plane.people["team"]]
    assert await decisions(plane, GROUP, claimed, "reader") == ["NotAllowed"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "InvalidParameter"),
        ({"Actions": []}, "InvalidParameter"),
        ({"Actions": [{}]}, "InvalidParameter"),
        ({"Actions": [{"Id": "x", "IsDataAction": "no"}]}, "InvalidParameter"),
        ({"Actions": [{"Id": "x"}] * 501}, "InvalidParameter"),
        ({"Actions": [{"Id": "x"}], "Subject": {"Attributes": {"ObjectId": guid(5)}}}, "PrincipalNotFound"),
        ({"Actions": [{"Id": "x"}], "Subject": {"Attributes": {"ObjectId": "me"}}}, "PrincipalNotFound"),
        ({"Actions": [{"Id": "x"}], "Subject": "me"}, "InvalidParameter"),
    ],
)
async def test_questions_that_are_refused(open_plane: OpenPlane, body: object, code: str) -> None:
    plane = await open_plane()
    reply = await ask(plane, GROUP, body)
    assert (reply.status, reply.code) == (400, code)


async def test_another_tenants_principals_and_scopes(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await ask(plane, "", question(READ, whom=plane.people["stranger"]))
    assert (reply.status, reply.code) == (400, "PrincipalNotFound")
    reply = await ask(plane, f"/subscriptions/{FOREIGN}", question(READ))
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationTokenTenant")


async def test_a_condition_that_hangs_on_the_request_is_not_met(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    role = "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
    await plane.person(
        "delegate", ("Owner", SUB), condition=f"!(ActionMatches{{'Microsoft.Authorization/*/write'}}) OR Exists {role}"
    )
    answers = await decisions(plane, GROUP, question(WRITE, "Microsoft.Authorization/roleAssignments/write"), "delegate")
    assert answers == ["Allowed", "NotAllowed"]


# permissions


@pytest.mark.parametrize("scope", ["", SUB, GROUP, vm("x")])
async def test_permissions_say_under_which_condition_they_are_held(open_plane: OpenPlane, scope: str) -> None:
    plane = await open_plane()
    await plane.machine("x")
    await plane.person("both", ("Reader", "/"))
    condition = "!(ActionMatches{'*/delete'})"
    assert (await grant(plane, "both", "Contributor", scope, 1, condition=condition)).status == 201
    path = f"{scope}/providers/Microsoft.Authorization/permissions"
    older = (await plane.get(path, by="both", version="2022-04-01"))["value"]
    assert [one["actions"] for one in older] == [["*/read"]]
    newer = (await plane.get(path, by="both", version="2022-05-01-preview"))["value"]
    held = {one["actions"][0]: (one["condition"], one["conditionVersion"]) for one in newer}
    assert held == {"*": (condition, "2.0"), "*/read": (None, None)}


# Lists


async def test_what_is_assigned_through_groups(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for name in ("outer", "inner", "other"):
        await plane.person(name, kind=PrincipalType.GROUP)
    await plane.person("worker", kind=PrincipalType.USER)
    await plane.joins("worker", "inner")
    await plane.joins("inner", "outer")
    await plane.machine("x")
    for number, (who, scope) in enumerate(
        (("worker", ""), ("inner", SUB), ("outer", GROUP), ("other", GROUP), ("worker", vm("x")))
    ):
        assert (await grant(plane, who, "Reader", scope, number)).status == 201

    async def listed(scope: str, text: str) -> list[str]:
        names: list[str] = []
        link = f"{scope}/providers/Microsoft.Authorization/roleAssignments?$top=1&$filter={text}"
        while link:
            body = await plane.get(link, version=GRANT)
            names += [one["name"][-1] for one in body["value"]]
            link = body.get("nextLink", "")
        return names

    worker = plane.people["worker"]
    assert sorted(await listed(GROUP, f"assignedTo('{worker}')")) == ["0", "1", "2", "4"]
    assert sorted(await listed(GROUP, f"atScope() and assignedTo('{worker}')")) == ["0", "1", "2"]
    assert sorted(await listed(SUB, f"atScope() and assignedTo('{worker}')")) == ["0", "1"]
    assert sorted(await listed(GROUP, f"principalId eq '{worker}'")) == ["0", "4"]
    assert await listed(GROUP, f"atScope() and assignedTo('{plane.people['outer']}')") == ["2"]


async def test_the_tenant_of_a_list_is_the_callers(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    path = f"{SUB}/providers/Microsoft.Authorization/roleAssignments?tenantId="
    assert (await plane.call("GET", path + HOME.upper(), version=GRANT)).status == 200
    reply = await plane.call("GET", path + AWAY, version=GRANT)
    assert (reply.status, reply.code) == (400, "InvalidParameter")
