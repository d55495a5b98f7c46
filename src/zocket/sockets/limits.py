"""What one socket may cost, and what the front has counted.

Rules: every queue of a socket has a bound here; counting is one addition on a plain field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zocket.metrics import Sample

if TYPE_CHECKING:
    from zocket.settings import Limits

UNSENT_IN_KERNEL_BYTES: Final = 65_536
"""Unsent bytes of one socket that the kernel takes (`TCP_NOTSENT_LOWAT`). By default it takes megabytes, which nothing
here could count, and a client would be found slow only after them."""

READ_BUFFER_BYTES: Final = 2_048
"""First read buffer of a socket: 9–13 KiB for an idle connection where the library's default of 16 KiB takes 27."""


@dataclass(frozen=True, kw_only=True)
class SocketLimits:
    """The bounds of every connection of one front."""

    max_frame_bytes: int = 256_000
    """One message from a client, also when it comes in fragments; a larger one closes the socket with 1009."""
    max_buffer_bytes: int = 16_777_216
    """Bytes that wait for a client which does not read; beyond it the socket is closed with 1013."""
    slow_reader_bytes: int = 65_536
    """Unsent bytes above which a socket's backlog is watched, see `backlog.py`."""
    slow_reader_timeout_s: float = 30.0
    """A backlog that does not shrink by `slow_reader_bytes` in so long closes its socket with 1013."""
    max_buffered_total_bytes: int = 536_870_912
    """Unsent bytes of all watched sockets; beyond it the largest backlogs are closed with 1013."""
    max_head_bytes: int = 16_384
    """Request line and headers; a longer head is answered 431."""
    head_timeout_s: float = 10.0
    """A connection whose head is not complete by then is answered 408."""
    admit_timeout_s: float = 15.0
    """An upgrade that is not decided by then is answered 503."""
    close_timeout_s: float = 2.0
    """How long a socket that is being closed may take, before the connection is cut."""
    ping_idle_s: float = 30.0
    """A client that sent nothing for so long is pinged; 0 for never."""
    pong_timeout_s: float = 20.0
    """A pinged client that sends nothing for so long is gone; its connection is cut."""

    @classmethod
    def of(cls, limits: Limits) -> SocketLimits:
        """As the settings of the process say."""
        return cls(
            max_frame_bytes=limits.max_frame_bytes,
            max_buffer_bytes=limits.max_buffer_bytes,
            slow_reader_bytes=limits.slow_reader_bytes,
            slow_reader_timeout_s=limits.slow_reader_timeout_s,
            max_buffered_total_bytes=limits.max_buffered_total_bytes,
        )


@dataclass(slots=True)
class Counts:
    """What happened since the front was opened."""

    requests: int = 0
    opened: int = 0
    refused: int = 0
    slow: int = 0
    oversize: int = 0
    violations: int = 0
    lost: int = 0
    failed: int = 0
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, kw_only=True)
class SocketStatistics:
    """A front at one moment; all but the first two only grow."""

    sockets: int
    """Open WebSockets."""
    connections: int
    """Connections that are no WebSocket (yet)."""
    requests: int
    """HTTP heads read, upgrades among them."""
    opened: int
    """Upgrades that succeeded."""
    refused: int
    """HTTP requests answered with a status of 400 or above."""
    slow: int
    """Sockets closed with 1013, since their clients did not read."""
    oversize: int
    """Sockets closed with 1009."""
    violations: int
    """Sockets closed with 1002."""
    lost: int
    """Sockets cut for want of a pong."""
    failed: int
    """Sockets closed with 1011, since the session above raised."""
    messages_in: int
    messages_out: int
    bytes_in: int
    """Payload of received messages."""
    bytes_out: int
    """Sent frames with their headers."""

    def samples(self) -> list[Sample]:
        """The numbers for `/metrics`."""
        closed = "Sockets that this side closed, by reason"
        reasons = {
            "slow": self.slow,
            "oversize": self.oversize,
            "violation": self.violations,
            "lost": self.lost,
            "failed": self.failed,
        }
        return [
            Sample("sockets", "Open WebSockets", "gauge", self.sockets),
            Sample("http_connections", "Connections that are no WebSocket (yet)", "gauge", self.connections),
            Sample("http_requests", "HTTP heads read, upgrades among them", "counter", self.requests),
            Sample("http_refused", "HTTP requests answered with 400 or above", "counter", self.refused),
            Sample("sockets_opened", "Upgrades that succeeded", "counter", self.opened),
            *(Sample("sockets_closed", closed, "counter", count, {"reason": key}) for key, count in reasons.items()),
            Sample("socket_messages", "Messages", "counter", self.messages_in, {"direction": "in"}),
            Sample("socket_messages", "Messages", "counter", self.messages_out, {"direction": "out"}),
            Sample("socket_bytes", "Bytes of messages", "counter", self.bytes_in, {"direction": "in"}),
            Sample("socket_bytes", "Bytes of messages", "counter", self.bytes_out, {"direction": "out"}),
        ]
