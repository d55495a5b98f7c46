"""Counters and histograms cheap enough for the hot path.

Rules: counting is one addition on an attribute or list cell; names and labels are put together only when somebody
scrapes. A part of the product keeps its counts as plain fields and offers `samples()`; `exposition` joins several.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration buckets, from half a millisecond to the default handler limit."""

_SHORTEST: Final = SECONDS[0]

MAX_CODES: Final = 64
"""Different result codes that are counted by name. Actors choose codes: what comes after is `other`, so that no actor
can fill a gateway's memory with names, or a Prometheus server with series."""
MAX_CODE_CHARS: Final = 64
OTHER: Final = "other"


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
        self.counts[0 if seconds <= _SHORTEST else bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a family: `zocket_` is put in front of its name."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    value: float | Histogram
    labels: Mapping[str, str] | None = None
