"""The dialects' error tables are total, and so are the parsers in front of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.agent import appservice_errors, imds_errors
from idplane.agent.answers import ANSWER
from idplane.agent.identities import HostDescription, HostedIdentity, NoSelector, Selector, SelectorKind, select
from idplane.agent.query import parse_selector, parse_target
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId

T = TypeVar("T")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "11111111-1111-1111-1111-111111111111"


def outcome(attempt: Callable[[], T]) -> T | FailureKind:
    """What it returned, or the kind of its failure; anything else that is raised fails the test."""
    try:
        return attempt()
    except Failure as failure:
        return failure.kind


@pytest.mark.parametrize("kind", FailureKind)
def test_imds_has_words_for_every_failure(kind: FailureKind) -> None:
    answer = imds_errors.render(Failure(kind, "a detail"), ID, NOW)
    status = int(answer.head.split(b" ")[1])
    body = json.loads(answer.body)
    assert 400 <= status <= 503
    assert f"x-ms-request-id: {ID}".encode() in answer.head
    assert isinstance(body["error"], str)
    assert (status >= 500) == (kind.category in (Category.INTERNAL, Category.UNAVAILABLE) or kind is FailureKind.AGENT_UNKNOWN)
    assert status != 404 or kind.category is Category.NOT_FOUND


@pytest.mark.parametrize("kind", FailureKind)
def test_app_service_has_words_for_every_failure(kind: FailureKind) -> None:
    answer = appservice_errors.render(Failure(kind, "a detail"), ID, NOW)
    status = int(answer.head.split(b" ")[1])
    body = json.loads(answer.body)
    assert body["statusCode"] == status
    assert body["correlationId"] == ID
    assert body["message"]
    assert (status == 401) == (kind is FailureKind.ENDPOINT_SECRET)


def test_what_went_wrong_inside_is_not_told() -> None:
    failure = Failure(FailureKind.INTERNAL, "the secret detail")
    for render in (imds_errors.render, appservice_errors.render):
        assert b"secret" not in render(failure, ID, NOW).body


def test_a_repeated_answer_is_repeated_whatever_the_kind() -> None:
    failure = Failure(FailureKind.ASSERTION_INVALID, "x", **{ANSWER: '{"error":"invalid_client","error_codes":[700027]}'})
    answer = imds_errors.render(failure, ID, NOW)
    assert answer.head.startswith(b"HTTP/1.1 400 ")
    assert answer.body == b'{"error":"invalid_client","error_codes":[700027]}'


@given(st.binary(max_size=300))
def test_any_target_is_parsed_or_refused(raw: bytes) -> None:
    target = outcome(lambda: parse_target(raw))
    if isinstance(target, FailureKind):
        assert target in (FailureKind.PATH_NOT_FOUND, FailureKind.INVALID_PARAMETER)
        return
    assert target.path == target.path.lower()
    assert not {"..", "."} & set(target.path.split("/"))
    assert "%" not in target.path


@given(st.binary(max_size=200))
def test_any_query_is_parsed_or_refused(raw: bytes) -> None:
    target = outcome(lambda: parse_target(b"/metadata?" + raw))
    if isinstance(target, FailureKind):
        assert target is FailureKind.INVALID_PARAMETER
        return
    assert all(value.isprintable() for value in target.parameters.values())
    selector = outcome(lambda: parse_selector(target.parameters))
    assert selector is FailureKind.SELECTOR_REPEATED or selector is None or isinstance(selector, Selector)


IDENTITY = st.builds(
    HostedIdentity,
    principal_id=st.uuids().map(str),
    client_id=st.uuids().map(str),
    resource_id=st.just(f"/subscriptions/{ID}/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"),
    system_assigned=st.just(value=False),
)


@given(st.lists(IDENTITY, max_size=3), st.sampled_from(SelectorKind), st.text(max_size=60), st.sampled_from(NoSelector))
def test_what_is_selected_bears_the_name_that_was_given(
    identities: list[HostedIdentity], kind: SelectorKind, value: str, default: NoSelector
) -> None:
    host = HostDescription(
        id=ResourceId.parse(f"/subscriptions/{ID}"), type="t", tenant_id="t", token_endpoint="e", identities=tuple(identities)
    )
    chosen = outcome(lambda: select(host, Selector(kind, value), default))
    if isinstance(chosen, FailureKind):
        assert chosen is FailureKind.IDENTITY_NOT_FOUND
    else:
        assert value.lower() in {chosen.client_id, chosen.principal_id, str(chosen.resource_id).lower()}
