"""What gateways say of calls under way: that a caller has cancelled one, or how far the chunks of one have come.

Rules: it comes beside the stream of requests, so a cancellation may overtake its call, which is then cancelled when it
arrives; it may also be lost or come too late, and changes nothing then. What came early is remembered as long as its
call can lie in the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from zocket import logs
from zocket.protocol import envelopes
from zocket.protocol.subjects import INBOUND_MAX_AGE_S

if TYPE_CHECKING:
    from zocket.broker.port import Message
    from zocket.clock import Clock
    from zocket.host import Host
    from zocket.ids import Scope
    from zocket.protocol.frames import Request

MAX_EARLY: Final = 10_000
"""Cancellations that wait for their calls; the oldest are forgotten first."""


class Controls:
    """The calls of one runtime as gateways control them.

    Args:
        scope: whose messages are taken.
        host: runs the calls.
        clock: tells how long a cancellation waits for its call.

    Attributes:
        early: cancellations whose calls have not come, by session and request id, oldest first; when each came.
    """

    def __init__(self, scope: Scope, host: Host, clock: Clock) -> None:
        self.early: dict[tuple[str, str], float] = {}
        self._wire_scope = envelopes.wire_scope(scope)
        self._host = host
        self._clock = clock
        self._log = logs.bound("zocket.runtime", workspace=scope.workspace_id, project=scope.project_id)

    def received(self, messages: list[Message]) -> None:
        """Takes messages of gateways."""
        for message in messages:
            try:
                control = envelopes.decode_control(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._log.warning("a control message cannot be decoded")
                continue
            if control.scope != self._wire_scope:
                continue
            if control.received:
                self._host.credit(control.session_id, control.request_id, control.received)
            else:
                self._cancel(control)

    def arrived(self, request: Request, session_id: str, request_id: str) -> None:
        """A call is here now; it is cancelled if its caller was faster."""
        name = (session_id, request_id)
        if name in self.early and self._host.cancel(request.actor, request.actor_id, *name):
            del self.early[name]

    def sweep(self) -> None:
        """Forgets what waits for calls that will not come any more."""
        oldest = self._clock.now() - INBOUND_MAX_AGE_S
        while self.early and (len(self.early) > MAX_EARLY or next(iter(self.early.values())) < oldest):
            del self.early[next(iter(self.early))]

    def _cancel(self, control: envelopes.Control) -> None:
        if not self._host.cancel(control.actor, control.actor_id, control.session_id, control.request_id):
            self.early[control.session_id, control.request_id] = self._clock.now()
            self.sweep()
