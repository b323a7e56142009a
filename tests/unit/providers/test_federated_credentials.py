"""Federated credentials of user-assigned identities, as Resource Manager keeps them (control-plane.md sections 5.2 and 7.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from tests.unit.providers.surface_plane import MSI, OpenPlane, Plane, Reply, uai

from idplane.model.profile import AZURE, OPEN
from idplane.ports.collections import FEDERATED_CREDENTIALS

_VERSION = "2024-11-30"
_PREVIEW = "2025-01-31-preview"
_GOOD = {"issuer": "https://issuer.example", "subject": "me", "audiences": ["api://AzureADTokenExchange"]}


def fic(name: str, identity: str = "one") -> str:
    return f"{uai(identity)}/federatedIdentityCredentials/{name}"


async def put(plane: Plane, name: str, *, version: str = _VERSION, by: str = "owner", **changes: Any) -> Reply:
    properties = {key: value for key, value in {**_GOOD, **changes}.items() if value is not None}
    return await plane.call("PUT", fic(name), {"properties": properties}, version=version, by=by)


async def test_a_credential_s_life(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    made = await put(plane, "Stock")
    assert made.status == 201
    assert made.body == {
        "id": fic("Stock"),
        "name": "Stock",
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "properties": _GOOD,
    }
    again = await put(plane, "stock", subject="you")
    assert (again.status, again.body["name"], again.body["properties"]["subject"]) == (200, "Stock", "you")
    assert (await plane.get(fic("STOCK"), version=_VERSION)) == again.body
    assert (await plane.call("PATCH", fic("stock"), {}, version=_VERSION)).status == 405
    assert (await plane.call("DELETE", fic("stock"), version=_VERSION)).status == 200
    assert (await plane.call("DELETE", fic("stock"), version=_VERSION)).status == 204
    gone = await plane.call("GET", fic("stock"), version=_VERSION)
    assert (gone.status, gone.code) == (404, "ResourceNotFound")


async def test_lists_go_in_pages(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    for number in range(5):
        await put(plane, f"fic-{number}", subject=str(number))
    url = f"{uai('one')}/federatedIdentityCredentials?$top=2"
    names = []
    while url:
        page = await plane.get(url, version=_VERSION)
        assert len(page["value"]) <= 2
        names += [one["name"] for one in page["value"]]
        url = page.get("nextLink")
    assert names == [f"fic-{number}" for number in range(5)]
    bad = await plane.call("GET", f"{uai('one')}/federatedIdentityCredentials?$top=0", version=_VERSION)
    assert bad.status == 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audiences": []}, "Federated identity credentials must have exactly one audience."),
        ({"audiences": None}, "Federated identity credentials must have exactly one audience."),
        ({"audiences": ["a", "b"]}, "Federated identity credentials must have exactly one audience."),
        ({"audiences": "a"}, ""),
        ({"audiences": ["x" * 601]}, ""),
        ({"issuer": None}, ""),
        ({"issuer": "issuer.example"}, ""),
        ({"issuer": "ftp://issuer.example"}, ""),
        ({"issuer": "https://issuer.example?x"}, ""),
        ({"issuer": "https://user@issuer.example"}, ""),
        ({"issuer": "https://issuer.example/" + "x" * 600}, ""),
        ({"subject": None}, ""),
        ({"subject": " "}, ""),
        ({"subject": "x" * 601}, ""),
        ({"subject": 5}, ""),
    ],
)
async def test_what_is_refused(open_plane: OpenPlane, changes: dict[str, Any], message: str) -> None:
    plane = await open_plane()
    await plane.identity("one")
    refused = await put(plane, "stock", **changes)
    assert refused.status == 400
    assert message in refused.message
    assert await plane.store.all(FEDERATED_CREDENTIALS) == ()


async def test_words_of_azure(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    empty = await plane.call("PUT", fic("stock"), {"properties": {}}, version=_VERSION)
    assert empty.message.endswith("HTTP body has empty properties.")
    for name in ("ab", "-stock", "st.ock", "x" * 121):
        named = await put(plane, name)
        assert (named.status, named.message) == (400, f"Federated Identity Credential name '{name}' is invalid.")
    await put(plane, "first")
    twice = await put(plane, "second")
    assert (twice.status, twice.message) == (
        400,
        "Issuer and subject combination already exists for this Managed Identity.",
    )
    assert (await put(plane, "second", subject="ME")).status == 201
    assert (await put(plane, "second")).status == 400
    nowhere = await plane.call("PUT", fic("stock", "none"), {"properties": _GOOD}, version=_VERSION)
    assert (nowhere.status, nowhere.code) == (404, "ParentResourceNotFound")


async def test_expressions_belong_to_the_previews(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    expression = {"value": "claims['sub'] matches 'repo:*'", "languageVersion": 1}
    made = await put(plane, "stock", version=_PREVIEW, subject=None, claimsMatchingExpression=expression)
    assert made.status == 201
    assert made.body["properties"]["claimsMatchingExpression"] == expression
    assert "subject" not in made.body["properties"]
    cases: list[tuple[str, Any, Any]] = [
        (_PREVIEW, "me", expression),
        (_PREVIEW, None, None),
        (_PREVIEW, None, {"value": "claims['sub']", "languageVersion": 1}),
        (_PREVIEW, None, {**expression, "languageVersion": 2}),
        (_PREVIEW, None, {"languageVersion": 1}),
        (_VERSION, None, expression),
        ("2026-05-31", None, expression),
    ]
    for version, subject, given in cases:
        refused = await put(plane, "other", version=version, subject=subject, claimsMatchingExpression=given)
        assert refused.status == 400, (version, subject, given)


async def test_who_may(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    await plane.person("federator", ("Managed Identity Contributor", uai("one")))
    assert (await put(plane, "stock", by="reader")).status == 403
    assert (await put(plane, "stock", by="federator")).status == 201
    assert (await plane.call("GET", fic("stock"), by="reader", version=_VERSION)).status == 200
    assert (await plane.call("GET", fic("stock"), by="nobody", version=_VERSION)).status == 403
    assert (await plane.call("DELETE", fic("stock"), by="reader", version=_VERSION)).status == 403


async def test_they_go_with_the_identity_and_do_not_come_back(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("one")
    await put(plane, "stock")
    assert (await plane.call("DELETE", uai("one"), version=MSI)).status == 200
    assert await plane.store.all(FEDERATED_CREDENTIALS) == ()
    await plane.identity("one")
    assert (await plane.call("GET", fic("stock"), version=_VERSION)).status == 404


@pytest.mark.parametrize(("profile", "most"), [(AZURE, 20), (replace(AZURE, federated_credentials_per_principal=3), 3)])
async def test_the_limit_holds_among_writers_at_once(open_plane: OpenPlane, profile: Any, most: int) -> None:
    plane = await open_plane(profile=profile)
    await plane.identity("one")
    for number in range(most - 1):
        assert (await put(plane, f"fic-{number}", subject=str(number))).status == 201
    answers: list[int] = []

    async def write(number: int) -> None:
        answers.append((await put(plane, f"new-{number}", subject=f"new-{number}")).status)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(write, number)
    assert answers.count(201) == 1
    assert set(answers) <= {201, 400, 409}
    assert len(await plane.store.all(FEDERATED_CREDENTIALS)) == most
    assert (await put(plane, "fic-0", subject="changed")).status == 200


async def test_profile_open_has_no_limit(open_plane: OpenPlane) -> None:
    plane = await open_plane(profile=OPEN)
    await plane.identity("one")
    for number in range(25):
        assert (await put(plane, f"fic-{number}", subject=str(number))).status == 201
