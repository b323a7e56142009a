"""Metrics: what is counted, in formats that Prometheus reads, and nothing of what callers send in any of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from tests.needed import missing
from tests.unit.bootstrap.telemetry_world import ObservedServer, observed_server

from idplane.bootstrap.survey import Survey
from idplane.bootstrap.telemetry_metrics import Metrics
from idplane.model.failure import FailureKind
from idplane.ports.telemetry import (
    CONNECTIONS,
    DUTY,
    DUTY_FAILURES,
    LEASES_HELD,
    METRICS,
    OTHER,
    REQUESTS,
    TOKENS_REFUSED,
    Metric,
)

_NAMES = {metric.name.removesuffix("_total"): metric for metric in METRICS}


@pytest.fixture
async def world() -> AsyncIterator[ObservedServer]:
    async with observed_server() as opened:
        yield opened


async def text_of(world: ObservedServer, accept: str | None = None) -> tuple[str, str]:
    survey = Survey(world.server, world.telemetry, freshness=lambda: 0.25, connections=lambda: {"public": 3})
    kind, body = await survey.metrics(accept)
    return kind, body.decode()


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    order = next(metric.labels for metric in METRICS if name.startswith(metric.name))
    return {
        tuple(sample.labels[one] for one in order): sample.value
        for family in plain_text(text)
        for sample in family.samples
        if sample.name == f"idplane_{name}"
    }


def strays(text: str) -> Iterator[tuple[str, str, str]]:
    """Series of ours whose labels are not declared values."""
    for family in plain_text(text):
        metric = _NAMES.get(family.name.removeprefix("idplane_").removesuffix("_total").removesuffix("_created"))
        if metric is None:
            assert not family.name.startswith("idplane_"), family.name
            continue
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le" and value not in metric.labels.get(label, frozenset()) | {OTHER}:
                    yield family.name, label, value


async def test_requests_tokens_and_commits_are_counted(world: ObservedServer) -> None:
    assert (await world.token())[0] == 200
    assert (await world.token(client_assertion="eyJhbGciOiJub25lIn0.e30."))[0] == 401
    assert (await world.ask("GET", "/subscriptions?api-version=2022-12-01"))[0] == 401
    _, text = await text_of(world)
    requests = values(text, "request_seconds_count")
    assert requests["authority", "2xx"] == 1
    assert requests["authority", "4xx"] == 1
    assert requests["management", "4xx"] == 1
    assert values(text, "tokens_issued_total") == {("client_assertion",): 1}
    assert sum(values(text, "tokens_refused_total").values()) == 1
    assert values(text, "store_commit_seconds_count")["applied",] >= 2


async def test_states_are_read_when_somebody_collects(world: ObservedServer) -> None:
    _, text = await text_of(world)
    assert values(text, "feed_age_seconds") == {(): 0.25}
    assert values(text, "connections") == {("public",): 3}
    assert values(text, "keys")["token", "active"] == 1
    assert values(text, "key_expiry_seconds")["token",] > 86_400
    assert "process_open_fds" in text
    assert "process_resident_memory_bytes" in text


async def test_both_formats_are_what_prometheus_reads(world: ObservedServer) -> None:
    await world.token()
    plain_kind, plain = await text_of(world)
    open_kind, opened = await text_of(world, "application/openmetrics-text; version=1.0.0")
    assert plain_kind.startswith("text/plain")
    assert open_kind.startswith("application/openmetrics-text")
    assert {family.name for family in plain_text(plain)} >= {"idplane_tokens_issued", "idplane_request_seconds"}
    families = open_metrics(opened)  # type: ignore[no-untyped-call]  # the parser is untyped
    assert {family.name for family in families} >= {"idplane_tokens_issued", "idplane_request_seconds"}


@pytest.mark.parametrize("accept", ["", "*/*", "\x00", "a" * 100_000, "application/openmetrics-text; version=9", ";;;=,,q=x"])
async def test_any_accept_header_gets_metrics(world: ObservedServer, accept: str) -> None:
    kind, text = await text_of(world, accept)
    assert "idplane_" in text
    assert "\n" not in kind


@pytest.mark.wide
async def test_promtool_finds_nothing_to_object_to(world: ObservedServer) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool is not installed (Debian: apt-get install prometheus)")
    await world.token()
    _, text = await text_of(world)
    checked = subprocess.run(  # noqa: ASYNC221 - nothing else is going on
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    ours = [line for line in (checked.stdout + checked.stderr).splitlines() if "idplane_" in line]
    assert (checked.returncode in {0, 3}, ours) == (True, [])


SECRET = "VerySecretValue-7f3a"


async def test_odd_requests_leave_nothing_of_theirs_in_any_series(world: ObservedServer) -> None:
    before = set(world.telemetry.metrics._series)
    odd = [
        ("GET", f"/{SECRET}/{SECRET}?{SECRET}={SECRET}", {"host": SECRET}),
        (SECRET, f"/subscriptions/{SECRET}", {"authorization": f"Bearer {SECRET}", "user-agent": SECRET}),
        ("POST", f"/{SECRET}/oauth2/token", {"traceparent": SECRET, "x-ms-correlation-request-id": SECRET}),
        ("PUT", "/subscriptions/x/../y", {"content-type": SECRET}),
        ("GET", "/v1.0/users/" + SECRET, {}),
        ("GET", "/agent/v1/" + SECRET, {"authorization": SECRET}),
        ("DELETE", "/" + "a" * 5000, {}),
    ]
    for method, path, headers in odd:
        await world.ask(method, path, headers, SECRET.encode())
    for grant in (SECRET, "password", "client_credentials"):
        await world.token(grant_type=grant, client_id=SECRET, scope=SECRET, client_assertion=SECRET)
    for accept in (None, "application/openmetrics-text"):
        _, text = await text_of(world, accept)
        assert SECRET not in text
        assert world.server.installation.operator.client_id not in text
        assert world.server.installation.tenant.id not in text
    _, text = await text_of(world)
    assert list(strays(text)) == []
    added = len(world.telemetry.metrics._series) - len(before)
    assert added < 60


@given(
    metric=st.sampled_from(METRICS),
    labels=st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=4),
    data=st.data(),
)
def test_no_label_makes_a_series_of_its_own(metric: Metric, labels: dict[str, str], data: st.DataObject) -> None:
    metrics = Metrics()
    for name in metric.labels:
        labels[name] = data.draw(st.text(max_size=30), label=name)
    metrics.series(metric, labels)
    assert list(strays(metrics.text(None)[1].decode())) == []
    kept = [value for key in metrics._series for _, value in key[1]]
    assert all(any(value in allowed for allowed in metric.labels.values()) for value in kept) or not metric.labels


def test_labels_in_another_order_are_the_same_series() -> None:
    metrics = Metrics()
    metrics.series(REQUESTS, {"surface": "graph", "status": "2xx"}).observe(1)
    metrics.series(REQUESTS, {"status": "2xx", "surface": "graph"}).observe(1)
    assert values(metrics.text(None)[1].decode(), "request_seconds_count") == {("graph", "2xx"): 2}


def test_two_processes_in_one_keep_apart() -> None:
    first, second = Metrics(), Metrics()
    first.series(CONNECTIONS, {"listener": "public"}).set(7)
    assert values(second.text(None)[1].decode(), "connections") == {}


async def test_every_duty_is_told_by_its_name() -> None:
    async with observed_server() as one:
        duties = {duty.name for duty in one.server.duty_list()}
    assert duties == LEASES_HELD.labels["duty"] == DUTY_FAILURES.labels["duty"] == DUTY.attributes["duty"]


def test_every_failure_is_a_reason() -> None:
    assert {kind.name.lower() for kind in FailureKind} == TOKENS_REFUSED.labels["reason"]


def test_every_metric_says_what_it_is() -> None:
    for metric in METRICS:
        assert metric.help.endswith("."), metric.name
        assert len(metric.labels) <= 2
        series = 1
        for allowed in metric.labels.values():
            series *= len(allowed) + 1
        assert series <= 200, metric.name
