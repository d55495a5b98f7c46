"""Counters and histograms cheap enough for the hot path, and their Prometheus form.

Rules: counting is one addition on an attribute or list cell; names and labels are put together only when somebody
scrapes. A part of the product keeps its counts as plain fields and offers `samples()`; `render` joins several.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration buckets, from half a millisecond to the default handler limit."""

MAX_CODES: Final = 64
"""Different result codes that are counted by name. Actors choose codes: what comes after is `other`, so that no actor
can fill a gateway's memory with names, or a Prometheus server with series."""
MAX_CODE_CHARS: Final = 64
OTHER: Final = "other"

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of the text that `render` gives."""


def count_code(counts: dict[str, int], code: str) -> None:
    """Counts one result code among at most `MAX_CODES`."""
    if code not in counts and (len(counts) >= MAX_CODES or len(code) > MAX_CODE_CHARS):
        code = OTHER
    counts[code] = counts.get(code, 0) + 1


class Histogram:
    """Durations in seconds, counted into `SECONDS`."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Counts one duration."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a family: `zocket_` is put in front of its name."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    value: float | Histogram
    labels: Mapping[str, str] | None = None


def render(samples: Iterable[Sample]) -> bytes:
    """The samples in the Prometheus text format, families in the order of their first sample."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )

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
