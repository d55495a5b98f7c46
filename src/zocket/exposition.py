"""The Prometheus form of what the parts count.

Rule: only processes that are scraped import this, and they do so before they serve: importing takes a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from zocket.metrics import SECONDS, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from zocket.metrics import Sample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of the text that `render` gives."""


def render(samples: Iterable[Sample]) -> bytes:
    """The samples in the Prometheus text format, families in the order of their first sample."""
    families: dict[str, Any] = {}
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    for sample in samples:
        labels = dict(sample.labels or {})
        family = families.get(sample.name)
        if family is None:
            family = kinds[sample.kind]("zocket_" + sample.name, sample.help, labels=list(labels))
            families[sample.name] = family
        if isinstance(sample.value, Histogram):
            buckets, seen = [], 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), sample.value.counts, strict=True):
                seen += count
                buckets.append((bound, seen))
            family.add_metric(list(labels.values()), buckets, sample.value.total)
        else:
            family.add_metric(list(labels.values()), sample.value)

    class Families:
        def collect(self) -> Iterable[Metric]:
            return families.values()

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry)
