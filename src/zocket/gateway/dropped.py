"""What counts of a runtime that is not known to own its part of a project, and the calls whose answer is dropped.

Rules: a superseded runtime that does not know it yet acknowledges what it has answered, and the broker takes that for
its successor's word. Where its answer is dropped, the message is in the successor's hands alone: that one answers, and
if it is superseded, too, nobody else will. A partition's calls are kept until then; those that are answered are
forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zocket.errors import Unavailable
from zocket.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zocket.gateway.directory import Project
    from zocket.gateway.session import GatewaySession
    from zocket.protocol.envelopes import Delivery

SUPERSEDED: Final = "every runtime that had the call was superseded before it answered; it may have taken effect"

_STATE: Final = b'{"type":"state:'
"""How snapshots and patches begin in a batch."""


class OpenCall(NamedTuple):
    """A call by the JSON text of its id, and by its number in the session: a client may use an id again."""

    session: GatewaySession
    call_id: bytes
    number: int

    @property
    def waits(self) -> bool:
        """Whether the client has no answer yet."""
        pending = self.session.edge.pending.get(self.call_id)
        return pending is not None and pending[1] == self.number

    def give_up(self) -> None:
        """Answers it with an error, if it has no answer yet."""
        if self.waits:
            self.session.fail(self.call_id, Unavailable(SUPERSEDED))


class DroppedAnswers:
    """The calls of one project, by partition; no more than its sessions have open."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[int, dict[OpenCall, None]] = {}

    def add(self, partition: int, sessions: Mapping[str, GatewaySession], deliveries: Iterable[Delivery]) -> None:
        """Takes note of the answers among what is dropped."""
        calls = {call: None for call in self._calls.get(partition, ()) if call.waits}
        for delivery in deliveries:
            session = sessions.get(delivery.sessions[0]) if len(delivery.sessions) == 1 else None
            head = None if session is None else frames.decode_head(bytes(delivery.message))
            if session is None or head is None or head.type != "rpc:result" or head.id is None:
                continue
            call_id = bytes(head.id)
            pending = session.edge.pending.get(call_id)
            if pending is not None:
                calls[OpenCall(session, call_id, pending[1])] = None
        self._calls[partition] = calls

    def take(self, partition: int) -> Iterable[OpenCall]:
        """The partition has a new owner: the calls that the one before had in hand."""
        return self._calls.pop(partition, {})


def what_counts(project: Project, epoch: str, deliveries: list[Delivery]) -> list[Delivery]:
    """The deliveries that count of a runtime that is none of the project's owners, as far as these are known.

    Of a superseded one only the answers of stored calls do. One that was never heard may be such, or has just come up:
    its states do not count, since all subscriptions are sent again once it is heard.
    """
    if epoch in project.past_epochs:
        dropped = [delivery for delivery in deliveries if not delivery.kept]
        project.dropped.add(project.past_epochs[epoch], project.sessions, dropped)
        return [delivery for delivery in deliveries if delivery.kept]
    if project.epochs:
        return [delivery for delivery in deliveries if not bytes(delivery.message).startswith(_STATE)]
    return deliveries
