"""The declared metrics in a registry of prometheus_client that belongs to one `Metrics`, and their text for whoever collects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from idplane.ports.telemetry import METRICS, OTHER, Metric, MetricKind

__all__ = ["Metrics"]

_NAMESPACE: Final = "idplane"
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a cached answer to a request that is about to be given up."""
_MAX_ACCEPT: Final = 1024


class Metrics:
    """All declared metrics of one process, and how much memory, time and descriptors it takes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._families: dict[Metric, Any] = {metric: _family(metric, self._registry) for metric in METRICS}
        self._series: dict[tuple[Metric, tuple[tuple[str, str], ...]], Any] = {}
        ProcessCollector(registry=self._registry)

    def series(self, metric: Metric, labels: Mapping[str, str]) -> Any:
        """prometheus_client's child for these labels. What the declaration does not list counts as `OTHER`, labels left out do, too."""
        key = (metric, tuple(labels.items()))
        found = self._series.get(key)
        if found is None:
            values = [_listed(allowed, labels.get(name, OTHER)) for name, allowed in metric.labels.items()]
            family = self._families[metric]
            found = family.labels(*values) if values else family
            if labels.keys() == metric.labels.keys() and all(
                labels[name] in allowed for name, allowed in metric.labels.items()
            ):
                # Declared values only: nothing that a caller makes up may stay here.
                self._series[key] = found
        return found

    def forget(self, metric: Metric) -> None:
        """Start a gauge anew, so that what is no longer said goes."""
        self._families[metric].clear()
        self._series = {key: one for key, one in self._series.items() if key[0] is not metric}

    def text(self, accept: str | None) -> tuple[str, bytes]:
        """Media type and body, as the `Accept` header wants it: Prometheus' text format or OpenMetrics."""
        encode, media_type = choose_encoder((accept or "")[:_MAX_ACCEPT])
        return media_type, encode(self._registry)


def _listed(allowed: frozenset[str], value: str) -> str:
    return value if value in allowed else OTHER


def _family(metric: Metric, registry: CollectorRegistry) -> Any:
    labels = tuple(metric.labels)
    match metric.kind:
        case MetricKind.COUNTER:
            return Counter(metric.name, metric.help, labels, namespace=_NAMESPACE, registry=registry)
        case MetricKind.GAUGE:
            return Gauge(metric.name, metric.help, labels, namespace=_NAMESPACE, registry=registry)
        case MetricKind.HISTOGRAM:
            return Histogram(metric.name, metric.help, labels, namespace=_NAMESPACE, registry=registry, buckets=_SECONDS)
        case _:
            assert_never(metric.kind)
