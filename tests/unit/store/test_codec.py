from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.directory import Setting, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.vault import SecretVersion
from idplane.store.codec import decoder, encode
from idplane.testing import store_samples as sample

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _JSON, max_size=4))
def test_json_members_pass_through(properties: dict[str, object]) -> None:
    value = sample.resource(sample.VM, **{f"_{name}": one for name, one in properties.items()})
    assert decoder(Resource)(encode(value)) == value


@given(st.binary())
def test_bytes_come_back(sealed: bytes) -> None:
    value = SecretVersion(
        vault="v", name="n", version="0", sealed=sealed, created_at=sample.NOW, updated_at=sample.NOW, sequence=1
    )
    assert decoder(SecretVersion)(encode(value)) == value


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_instants_come_back_in_utc(at: datetime) -> None:
    value = Tenant(id="t", display_name="", domain="", issuer_v1="", issuer_v2="", created_at=at)
    found = decoder(Tenant)(encode(value))
    assert found == value
    assert found.created_at.utcoffset() == timedelta(0)


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    value = Tenant(id="t", display_name="", domain="", issuer_v1="", issuer_v2="", created_at=at)
    assert decoder(Tenant)(encode(value)).created_at == at


def test_a_resource_id_keeps_its_casing_and_holds_nothing_else() -> None:
    value = sample.resource(sample.VM)
    assert value.id.key  # computed before encoding, and not stored
    found = decoder(Resource)(encode(value)).id
    assert isinstance(found, ResourceId)
    assert str(found) == sample.VM
    assert sample.VM.lower() not in encode(value)


def test_an_older_program_reads_what_a_newer_one_wrote() -> None:
    assert decoder(Setting)('{"name":"a","value":"b","later":[1]}') == Setting(name="a", value="b")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name":1,"value":""}', '{"name":"a"}', "null"])
def test_what_is_no_record_is_unavailable(text: str) -> None:
    with pytest.raises(Failure) as caught:
        decoder(Setting)(text)
    assert caught.value.kind is FailureKind.UNAVAILABLE


def _nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", ["\ud800", _nested(100_000)], ids=["surrogate", "deep"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(Failure) as caught:
        encode(sample.resource(sample.GROUP, x=value))
    assert caught.value.kind is FailureKind.INVALID_PARAMETER
