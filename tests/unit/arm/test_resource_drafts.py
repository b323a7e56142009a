"""PUT states, PATCH merges; location, name and type never change."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.arm import drafts
from idplane.arm.declare import ResourceType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource

_TYPE = ResourceType(name="Acme.Things/things", api_versions=("2024-01-01",))
_ID = ResourceId.parse("/subscriptions/s/resourceGroups/g/providers/Acme.Things/things/One")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_FIRST, _LATER = drafts.Author("a", "Application", _NOW), drafts.Author("b", "ManagedIdentity", _NOW + timedelta(hours=1))


def _made(**body: object) -> Resource:
    return drafts.put(_TYPE, _ID, {"location": "West Europe", **body}, None, _FIRST)


def test_put_replaces_everything_but_the_id_and_who_made_it() -> None:
    old = _made(tags={"a": "1"}, properties={"x": 1}, sku={"name": "S"}, kind="k")
    assert (old.location, old.tags, old.properties, old.envelope) == (
        "westeurope",
        {"a": "1"},
        {"x": 1},
        {"sku": {"name": "S"}, "kind": "k"},
    )
    other_case = ResourceId.parse(
        str(_ID).upper().replace("/SUBSCRIPTIONS", "/subscriptions").replace("/RESOURCEGROUPS", "/resourceGroups")
    )
    new = drafts.put(_TYPE, other_case, {"location": "westeurope", "id": "/x", "name": "y", "type": "z"}, old, _LATER)
    assert str(new.id) == str(_ID)
    assert (new.tags, new.properties, new.envelope) == ({}, {}, {})
    assert (new.created_by, new.created_at, new.changed_by, new.changed_by_type) == ("a", _NOW, "b", "ManagedIdentity")


def test_patch_replaces_tags_whole_and_merges_the_rest() -> None:
    old = _made(tags={"a": "1", "b": "2"}, properties={"x": 1, "deep": {"y": 1, "z": 2}}, sku={"name": "S", "tier": "T"})
    body = {"tags": {"c": "3"}, "properties": {"x": None, "deep": {"y": 5}, "provisioningState": "Fake"}, "sku": {"tier": None}}
    new = drafts.patched(_TYPE, body, old, _LATER)
    assert new.tags == {"c": "3"}
    assert new.properties == {"deep": {"y": 5, "z": 2}}
    assert new.envelope == {"sku": {"name": "S"}}
    assert drafts.patched(_TYPE, {}, old, _LATER).tags == old.tags
    assert drafts.patched(_TYPE, {"tags": None}, old, _LATER).tags == {}


def test_a_location_is_needed_and_stays() -> None:
    old = _made()
    for body in ({}, {"location": None}, {"location": "  "}):
        with pytest.raises(Failure) as missing:
            drafts.put(_TYPE, _ID, body, old, _LATER)
        assert missing.value.kind is FailureKind.LOCATION_REQUIRED

    def put(location: str) -> Resource:
        return drafts.put(_TYPE, _ID, {"location": location}, old, _LATER)

    def patch(location: str) -> Resource:
        return drafts.patched(_TYPE, {"location": location}, old, _LATER)

    for change in (put, patch):
        with pytest.raises(Failure) as moved:
            change("northeurope")
        assert moved.value.kind is FailureKind.LOCATION_CHANGED
        assert change("WEST europe").location == "westeurope"


@pytest.mark.parametrize(
    "body",
    [
        {"location": 5},
        {"location": ["westeurope"]},
        {"location": "<script>"},
        {"location": "x" * 100},
        {"tags": []},
        {"tags": "a"},
        {"tags": {"a": 1}},
        {"tags": {"a": None}},
        {"tags": {"a": {"b": "c"}}},
        {"tags": {"": "1"}},
        {"tags": {"a": "1", "A": "2"}},
        {"tags": {"a/b": "1"}},
        {"tags": {"a": "x" * 257}},
        {"tags": {"x" * 513: "1"}},
        {"properties": []},
        {"properties": "x"},
    ],
)
def test_wrong_types_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(Failure) as refused:
        _made(**body)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER


_JSON = st.recursive(
    st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3), max_leaves=10
)
_OBJECT = st.dictionaries(st.text(max_size=2), _JSON, max_size=4)


@given(_OBJECT, _OBJECT)
def test_merging_twice_changes_nothing_more(old: dict[str, object], change: dict[str, object]) -> None:
    once = drafts.merge(old, change)
    assert drafts.merge(once, change) == once


@given(_OBJECT)
def test_merging_into_nothing_states_it_all(change: dict[str, object]) -> None:
    assert drafts.merge({}, change) == change
    assert drafts.merge(change, dict.fromkeys(change)) == {}


def test_tags_that_tools_hide_may_name_resources() -> None:
    link = "hidden-link:/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/a"
    assert _made(tags={link: "Resource"}).tags == {link: "Resource"}
    for name in ("link:/subscriptions", "hidden-link:<", "a/b"):
        with pytest.raises(Failure):
            _made(tags={name: "x"})
