"""The own-storage shape: what a provider's functions return becomes answers, and cannot skip the kernel's checks."""

import re
from collections.abc import Mapping

import pytest
from tests.unit.providers.surface_plane import GROUP, OpenPlane, Plane

from idplane.arm.declare import (
    ANY_SCOPE,
    Action,
    Deleted,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    NameRule,
    Outcome,
    Own,
    OwnWrite,
    Provider,
    ResourceType,
    StoredItem,
    Visibility,
)
from idplane.model.directory import Setting
from idplane.ports.collections import SETTINGS
from idplane.ports.store import ABSENT, ANY, Batch, Delete, Put, Require
from idplane.providers.catalogue import composed

_VERSION = "2024-01-01"


def _body(setting: Setting) -> Mapping[str, object]:
    return {"name": setting.name, "value": setting.value}


async def _get(lookup: Lookup) -> Item | None:
    found = await lookup.context.store.get(SETTINGS, lookup.id.name.lower())
    return Item(body=_body(found.value), etag=f"v{found.version}") if found else None


async def _put(write: OwnWrite) -> StoredItem:
    setting = Setting(name=write.id.name.lower(), value=str(write.body.get("value")))
    expect = ABSENT if write.old is None else int((write.old.etag or "v0")[1:])
    return StoredItem(
        body=_body(setting), created=write.old is None, batch=Batch.of(Put(collection=SETTINGS, value=setting, expect=expect))
    )


async def _delete(lookup: Lookup) -> Deleted | None:
    item = await _get(lookup)
    batch = Batch.of(Delete(collection=SETTINGS, key=lookup.id.name.lower(), expect=ANY))
    return None if item is None else Deleted(batch=batch, body=item.body)


async def _list(listing: Listing) -> Listed:
    page = await listing.context.store.page(SETTINGS, after=listing.after, limit=listing.top)
    return Listed(items=tuple(_body(one.value) for one in page.items), after=page.after, extra={"totalCount": 9})


async def _lose(write: OwnWrite) -> StoredItem:
    """A writer that another always beats."""
    return StoredItem(body={}, created=True, batch=Batch.of(Require(collection=SETTINGS, key="never", expect=5)))


async def _echo(invocation: Invocation) -> Outcome:
    return Outcome(status=202, body={"body": dict(invocation.body)}, headers=(("Location", "https://x"),))


_TOYS = Provider(
    namespace="Acme.Toys",
    types=(
        ResourceType(
            name="Acme.Toys/notes",
            api_versions=(_VERSION,),
            placements=ANY_SCOPE,
            naming=NameRule(re.compile(r"[a-z]+"), "lower-case letters only"),
            own=Own(get=_get, put=_put, patch=_put, delete=_delete, list=_list),
            updated_status=201,
            actions={"echo": Action(run=_echo, visibility=Visibility.OPEN)},
        ),
        ResourceType(name="Acme.Toys/losers", api_versions=(_VERSION,), own=Own(get=_get, put=_lose)),
        ResourceType(name="Acme.Toys/strict", api_versions=(_VERSION,), own=Own(get=_get, delete=_delete), delete_missing=404),
    ),
)
_NOTE = f"{GROUP}/providers/Acme.Toys/notes/hello"


async def _plane(open_plane: OpenPlane) -> Plane:
    return await open_plane(providers=composed(_TOYS))


async def test_statuses_are_the_declared_ones(open_plane: OpenPlane) -> None:
    plane = await _plane(open_plane)
    assert (await plane.call("GET", _NOTE, version=_VERSION)).code == "ResourceNotFound"
    assert (await plane.call("PATCH", _NOTE, {"value": "x"}, version=_VERSION)).code == "ResourceNotFound"
    assert (await plane.call("PUT", _NOTE, {"value": "1"}, version=_VERSION)).status == 201
    assert (await plane.call("PUT", _NOTE, {"value": "2"}, version=_VERSION)).status == 201
    got = await plane.call("GET", _NOTE, version=_VERSION)
    assert (got.status, got.body, got.headers["etag"]) == (200, {"name": "hello", "value": "2"}, '"v2"')
    assert (await plane.call("HEAD", _NOTE, version=_VERSION)).status == 204
    deleted = await plane.call("DELETE", _NOTE, version=_VERSION)
    assert (deleted.status, deleted.body) == (200, {"name": "hello", "value": "2"})
    assert (await plane.call("DELETE", _NOTE, version=_VERSION)).status == 204
    strict = await plane.call("DELETE", f"{GROUP}/providers/Acme.Toys/strict/none", version=_VERSION)
    assert (strict.status, strict.code) == (404, "ResourceNotFound")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_preconditions_hold(open_plane: OpenPlane, method: str) -> None:
    plane = await _plane(open_plane)
    await plane.call("PUT", _NOTE, {"value": "1"}, version=_VERSION)
    assert (await plane.call(method, _NOTE, {"value": "2"}, version=_VERSION, headers={"If-Match": '"v7"'})).status == 412
    assert (await plane.call("PUT", _NOTE, {"value": "2"}, version=_VERSION, headers={"If-None-Match": "*"})).status == 412
    assert (await plane.call(method, _NOTE, {"value": "2"}, version=_VERSION, headers={"If-Match": '"v1"'})).status in (
        200,
        201,
    )


async def test_methods_and_names(open_plane: OpenPlane) -> None:
    plane = await _plane(open_plane)
    losers = f"{GROUP}/providers/Acme.Toys/losers"
    for method, url in (("PATCH", f"{losers}/a"), ("DELETE", f"{losers}/a"), ("POST", f"{losers}/a"), ("GET", losers)):
        reply = await plane.call(method, url, {}, version=_VERSION)
        assert (reply.status, reply.code) == (405, "MethodNotAllowed")
    named = await plane.call("PUT", f"{GROUP}/providers/Acme.Toys/notes/Not1", {}, version=_VERSION)
    assert (named.status, named.code) == (400, "InvalidResourceName")


async def test_lists_carry_their_extras_and_links(open_plane: OpenPlane) -> None:
    plane = await _plane(open_plane)
    for name in ("a", "b", "c"):
        await plane.call("PUT", f"{GROUP}/providers/Acme.Toys/notes/{name}", {"value": name}, version=_VERSION)
    first = await plane.get(f"{GROUP}/providers/Acme.Toys/notes?$top=2&api-version={_VERSION}")
    assert ([one["name"] for one in first["value"]], first["totalCount"]) == (["a", "b"], 9)
    assert [one["name"] for one in (await plane.get(first["nextLink"]))["value"]] == ["c"]


async def test_a_race_that_is_always_lost_is_told(open_plane: OpenPlane) -> None:
    plane = await _plane(open_plane)
    url = f"{GROUP}/providers/Acme.Toys/losers/a"
    reply = await plane.call("PUT", url, {}, version=_VERSION)
    assert (reply.status, reply.code) == (409, "Conflict")
    assert [one.sub_status for one in await plane.events()][-1] == "Conflict"


async def test_open_actions_need_a_token_and_no_role(open_plane: OpenPlane) -> None:
    plane = await _plane(open_plane)
    reply = await plane.call("POST", f"{_NOTE}/echo", {"a": 1}, by="nobody", version=_VERSION)
    assert (reply.status, reply.body, reply.headers["location"]) == (202, {"body": {"a": 1}}, "https://x")
    assert (await plane.call("POST", f"{_NOTE}/echo", {"a": 1}, by=None, version=_VERSION)).status == 401
