"""ETags never return, and the conditional headers hold."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from idplane.arm.preconditions import Preconditions, resource_etag
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.store import Versioned

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_RESOURCE = Resource(id=ResourceId.parse("/subscriptions/s/resourceGroups/g"), type="t", created_at=_NOW, changed_at=_NOW)


def test_an_etag_differs_between_versions_and_between_lives_of_one_name() -> None:
    again = replace(_RESOURCE, created_at=_NOW + timedelta(microseconds=1))
    tags = {resource_etag(Versioned(_RESOURCE, 1)), resource_etag(Versioned(_RESOURCE, 2)), resource_etag(Versioned(again, 1))}
    assert len(tags) == 3


@pytest.mark.parametrize("header", ["*", "a1", '"a1"', 'W/"a1"', '"x", "a1"'])
def test_a_match(header: str) -> None:
    Preconditions(if_match=header).check("a1")
    with pytest.raises(Failure) as refused:
        Preconditions(if_none_match=header).check("a1")
    assert refused.value.kind is FailureKind.PRECONDITION_FAILED


@pytest.mark.parametrize(("header", "etag"), [('"a1"', "a2"), ("*", None), ('"a1"', None), ("", "a1"), ('"a"', "a1")])
def test_no_match(header: str, etag: str | None) -> None:
    Preconditions(if_none_match=header).check(etag)
    with pytest.raises(Failure) as refused:
        Preconditions(if_match=header).check(etag)
    assert refused.value.kind is FailureKind.PRECONDITION_FAILED


def test_without_headers_anything_goes() -> None:
    Preconditions().check(None)
    Preconditions().check("a1")
    assert Preconditions(if_match='"a"').pins_version
    assert not Preconditions(if_match="*").pins_version
