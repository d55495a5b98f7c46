"""What a host counts, per actor type, cheap enough for every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.metrics import Histogram, Sample, count_code

if TYPE_CHECKING:
    from collections.abc import Iterator


class TypeCounts:
    """Counts of one actor type.

    Attributes:
        results: calls by result code; `ok` for those that succeeded.
        wait: seconds between arrival and start.
        run: seconds of the turn.
        hook_failures: hooks that raised.
        instances: alive now.
    """

    __slots__ = ("hook_failures", "instances", "results", "run", "wait")

    def __init__(self) -> None:
        self.results: dict[str, int] = {"ok": 0}
        self.wait = Histogram()
        self.run = Histogram()
        self.hook_failures = 0
        self.instances = 0

    def failed(self, code: str) -> None:
        """Counts a call that was answered with an error."""
        count_code(self.results, code)

    def samples(self, actor: str) -> Iterator[Sample]:
        """The counts for a scrape."""
        label = {"actor": actor}
        yield Sample("instances", "Live actor instances.", "gauge", self.instances, label)
        for code, count in self.results.items():
            yield Sample("calls", "Calls by result code.", "counter", count, {**label, "code": code})
        yield Sample("queue_wait_seconds", "Time a call waited for its turn.", "histogram", self.wait, label)
        yield Sample("handler_seconds", "Time a turn took.", "histogram", self.run, label)
        yield Sample("hook_failures", "Hooks that raised.", "counter", self.hook_failures, label)
