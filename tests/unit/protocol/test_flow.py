"""What is credited of streams, and when."""

from __future__ import annotations

from collections.abc import Callable

from zocket.protocol.flow import LOOK_EVERY_S, Flow
from zocket.protocol.frames import CREDIT_BYTES

FIRST, SECOND = (0.0, 1, "a", "x"), (0.0, 2, "a", "x")


class Socket:
    """A socket whose backlog a test sets, and the timers of its flow."""

    def __init__(self) -> None:
        self.unsent = 0
        self.credited: list[tuple[int, int]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.flow = Flow(
            lambda: self.unsent,
            100,
            lambda pending, number: self.credited.append((pending[1], number)),
            lambda delay_s, callback: self.timers.append((delay_s, callback)),
        )

    def tick(self) -> float:
        delay_s, callback = self.timers.pop(0)
        callback()
        return delay_s


def test_every_sixteenth_chunk_and_every_large_one_is_credited() -> None:
    socket = Socket()
    for number in range(1, 16):
        socket.flow.sent(FIRST, number, 10)
    assert socket.timers == []
    socket.flow.sent(FIRST, 16, 10)
    socket.flow.sent(SECOND, 3, CREDIT_BYTES)
    socket.flow.sent(SECOND, 4, CREDIT_BYTES)
    assert socket.tick() == 0.0
    assert socket.credited == [(1, 16), (2, 4)]
    assert socket.timers == []


def test_nothing_is_credited_while_the_socket_is_full() -> None:
    socket = Socket()
    socket.unsent = 101
    socket.flow.sent(FIRST, 16, 10)
    assert socket.tick() == 0.0
    assert socket.tick() == LOOK_EVERY_S
    assert socket.credited == []
    socket.unsent = 100
    socket.tick()
    assert (socket.credited, socket.timers) == ([(1, 16)], [])


def test_nothing_is_credited_for_a_socket_that_is_gone() -> None:
    socket = Socket()
    socket.flow.sent(FIRST, 16, 10)
    socket.flow.close()
    socket.tick()
    assert (socket.credited, socket.timers) == ([], [])
