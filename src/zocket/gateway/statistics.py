"""What a gateway counts, and its Prometheus form.

Rules: counting is an addition on a field; labels are made when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.metrics import Histogram, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable


class Statistics:
    """Counters of one gateway since its start.

    Attributes:
        calls: answered calls by result code; `ok` without an error.
        answer_time: from a call's arrival at the edge to its answer.
        dropped: messages of runtimes that reach no session (late results, ended sessions, other scopes, no frames).
    """

    __slots__ = (
        "answer_time",
        "bytes_in",
        "bytes_out",
        "calls",
        "dropped",
        "frames_in",
        "frames_out",
        "resubscriptions",
        "sessions_opened",
    )

    def __init__(self) -> None:
        self.sessions_opened = 0
        self.frames_in = 0
        self.bytes_in = 0
        self.frames_out = 0
        self.bytes_out = 0
        self.resubscriptions = 0
        self.dropped = 0
        self.calls: dict[str, int] = {}
        self.answer_time = Histogram()

    def samples(self, *, sessions: int, outstanding: int) -> Iterable[Sample]:
        """Everything counted, with the two values that the gateway and its broker know now."""
        yield Sample("gateway_sessions", "Open sessions", "gauge", sessions)
        yield Sample("gateway_sessions_opened", "Sessions opened since the start", "counter", self.sessions_opened)
        for code, count in sorted(self.calls.items()):
            yield Sample("gateway_calls", "Answered calls by result code", "counter", count, {"code": code})
        yield Sample("gateway_answer_seconds", "From call to answer, at the edge", "histogram", self.answer_time)
        frames = "WebSocket frames by direction"
        yield Sample("gateway_frames", frames, "counter", self.frames_in, {"direction": "in"})
        yield Sample("gateway_frames", frames, "counter", self.frames_out, {"direction": "out"})
        size = "Bytes of WebSocket frames by direction"
        yield Sample("gateway_bytes", size, "counter", self.bytes_in, {"direction": "in"})
        yield Sample("gateway_bytes", size, "counter", self.bytes_out, {"direction": "out"})
        yield Sample("gateway_publishes_outstanding", "Publishes without acknowledgement", "gauge", outstanding)
        yield Sample("gateway_resubscriptions", "Subscriptions sent again", "counter", self.resubscriptions)
        yield Sample("gateway_dropped", "Messages of runtimes that reached no session", "counter", self.dropped)
