"""Who watches the state and the events of an instance, and what they are sent.

Rules: a subscription is answered with what the client misses: patches since the version it has, or a snapshot. Patch
first, then events, each encoded once for everybody, a text that has grown once for each form of it. Nobody sees what is
not committed, of a durable instance stored.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zocket.core import UNSEEN, to_caller
from zocket.host.history import History
from zocket.host.patches import send_missing, send_patch
from zocket.host.resident import NOBODY, NOTHING
from zocket.host.views import Views
from zocket.protocol import frames
from zocket.protocol.frames import EventUnsub, StateSub, StateUnsub

if TYPE_CHECKING:
    from zocket.core.actor import Emitted
    from zocket.host.host import Host
    from zocket.host.link import Link, Outlet
    from zocket.host.resident import Resident
    from zocket.host.sessions import Sessions
    from zocket.protocol.frames import Request
    from zocket.state import Operations

log = logging.getLogger("zocket.host")


class Subscriptions:
    """The subscriptions of a host.

    Args:
        host: answers those that are refused.
        sessions: knows whose they are.
        outlet: how a frame reaches many sessions.
        max_state_bytes: the largest state that a view may give.
        dev_mode: unexpected exceptions reach the caller with their text.
    """

    def __init__(self, host: Host, sessions: Sessions, outlet: Outlet, *, max_state_bytes: int, dev_mode: bool) -> None:
        self._host = host
        self._sessions = sessions
        self._outlet = outlet
        self._dev_mode = dev_mode
        self._views = Views(host, outlet, max_bytes=max_state_bytes, dev_mode=dev_mode)

    def change(
        self,
        resident: Resident,
        link: Link,
        request: Request,
        request_id: str,
    ) -> None:
        """A subscription begins or ends, in its place among the turns; nothing is asked of guards here.

        What a lapsed link has asked means nothing: its session may have subscribed by another link.
        """
        if link.lapsed:
            return
        session_id = "" if link.session is None else link.session.id
        if type(request) is StateUnsub:
            resident.watchers.discard(session_id)
        elif type(request) is EventUnsub:
            resident.events.discard(session_id)
        elif session_id in resident.instance.sessions:
            if resident.failure is not None:
                self._host.refuse(link, request, request_id, resident.failure)
            elif isinstance(request, StateSub):
                self._watch(resident, link, request, request_id)
            else:
                resident.events.add(session_id, link)

    def may_watch_beside(self, resident: Resident, link: Link) -> bool:
        """Whether a state subscription need not wait for the turn that is suspended."""
        instance = resident.instance
        return (
            instance.in_turn
            and not instance.definition.guards
            and resident.views is None
            and self._sessions.may_pass(resident, link)
        )

    def watch_beside(self, resident: Resident, link: Link, request: StateSub, request_id: str, now: float) -> None:
        """A state subscription while a turn is suspended: the committed state at once, `on_connect` in its order."""
        if link.session is None or self._sessions.has_ended(link):
            return
        mailbox = resident.mailbox
        for index, piece in enumerate(mailbox):
            if piece[0] is link and type(piece[1]) is StateUnsub:  # it came before, and must not end this one
                mailbox[index] = (NOBODY, NOTHING, "", piece[3], piece[4], None)
        self._sessions.meet(resident, link, request_id, now)
        self._watch(resident, link, request, request_id)

    def _watch(self, resident: Resident, link: Link, request: StateSub, request_id: str) -> None:
        """Answers a state subscription: with the patches since the client's version, or with a snapshot."""
        assert link.session is not None
        if resident.views is not None:
            self._views.watch(resident, resident.views, link, request, request_id)
            return
        history = resident.history
        if history is None:
            history = resident.history = History()
        if send_missing(link, request, resident.address, history):
            resident.watchers.add(link.session.id, link, appends=request.appends)
            return
        try:
            state = _visible(resident)
        except Exception as error:  # border: a developer's field serializers
            log.error("snapshot failed", exc_info=error, extra=_fields(resident))
            link.send(
                frames.problem(to_caller(error, request_id, dev_mode=self._dev_mode), *_fields(resident).values())
            )
            return
        resident.watchers.add(link.session.id, link, appends=request.appends)
        link.send(frames.snapshot(resident.address, state, history.version()))

    def publish_patch(self, resident: Resident, operations: Operations) -> None:
        """What a turn has changed goes to whoever watches."""
        if resident.views is not None:
            self._views.publish(resident, resident.views)
        elif resident.history is not None and operations != UNSEEN:
            send_patch(self._outlet, resident.watchers, resident.address, resident.history, operations)

    def publish_event(self, resident: Resident, event: Emitted) -> None:
        """An event goes to its audience."""
        audience = resident.events.only(event.to, event.exclude)
        if audience.links:
            frame = frames.event(resident.address, event.definition.name_json, event.payload)
            self._outlet.broadcast(audience, frame)

    def show(self, resident: Resident) -> None:
        """Gives every watcher a snapshot: the state has moved without patches, or patches may have been lost."""
        if resident.views is not None:
            self._views.show(resident, resident.views)
            return
        if not resident.watchers.links or resident.history is None:
            return
        try:
            state = _visible(resident)
        except Exception as error:  # border: a developer's field serializers
            log.error("snapshot failed", exc_info=error, extra=_fields(resident))
            return
        self._outlet.broadcast(resident.watchers, frames.snapshot(resident.address, state, resident.history.version()))


def _visible(resident: Resident) -> bytes:
    """JSON of what a subscriber may see: of a durable instance, what is stored."""
    instance, keeper = resident.instance, resident.keeper
    return instance.public(instance.document.snapshot() if keeper is None else keeper.visible)


def _fields(resident: Resident) -> dict[str, str]:
    return {"actor": resident.instance.definition.name, "actor_id": resident.instance.actor_id}
