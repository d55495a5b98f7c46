"""Tells the runtimes that a gateway is there.

Rules: said on one subject for all projects; whoever hears nothing for some seconds takes the gateway's sessions for
ended. Nothing is kept for a broker that is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zocket.broker.port import Message
from zocket.protocol import subjects

if TYPE_CHECKING:
    from zocket.broker.port import Broker
    from zocket.clock import Clock, TimerHandle

ALIVE_EVERY_S: Final = 1.0
"""A sixth of the silence after which a runtime takes a gateway for dead."""


class Liveness:
    """Of one gateway."""

    def __init__(self, broker: Broker, clock: Clock, gateway_id: str) -> None:
        self._broker = broker
        self._clock = clock
        self._message = Message(subjects.alive(gateway_id), b"{}")
        self._timer: TimerHandle | None = None

    def say(self) -> None:
        """Says it at once, and every `ALIVE_EVERY_S` until `stop`."""
        if self._broker.connected:
            self._broker.send([self._message])
        self._timer = self._clock.call_later(ALIVE_EVERY_S, self.say)

    def stop(self) -> None:
        """Says nothing more."""
        if self._timer is not None:
            self._timer.cancel()
