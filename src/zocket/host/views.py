"""Sends the subscribers of a class with a view what each audience sees.

Rules: a view is computed once for an audience and a commit, of what is committed (stored, if the instance is durable);
who cannot be shown the newest is shown nothing: an error ends the subscription.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from zocket.core import is_expected, to_caller
from zocket.errors import TooLarge
from zocket.host.beside import committed
from zocket.host.history import History
from zocket.host.patches import send_missing, send_patch
from zocket.host.viewers import Group
from zocket.protocol import frames
from zocket.state import Document, difference

if TYPE_CHECKING:
    from collections.abc import Hashable

    from zocket.host.host import Host
    from zocket.host.link import Link, Outlet
    from zocket.host.resident import Resident
    from zocket.host.viewers import Viewers
    from zocket.protocol.frames import StateSub

log = logging.getLogger("zocket.host")


class Views:
    """The views of a host's instances.

    Args:
        host: refuses subscriptions.
        outlet: how a frame reaches an audience.
        max_bytes: of what one audience sees; None for no limit.
        dev_mode: unexpected exceptions reach subscribers with their text.
    """

    def __init__(self, host: Host, outlet: Outlet, *, max_bytes: int | None, dev_mode: bool) -> None:
        self._host = host
        self._outlet = outlet
        self._max_bytes = max_bytes
        self._dev_mode = dev_mode

    def watch(self, resident: Resident, viewers: Viewers, link: Link, request: StateSub, request_id: str) -> None:
        """Answers a state subscription: with the patches since the client's version, or with a snapshot."""
        view, session = resident.instance.definition.view, link.session
        assert view is not None
        assert session is not None
        try:
            key = view.key_of(session)
            group = viewers.groups.get(key)
            if group is None:
                group = Group()
                group.source = _source(resident)
                group.shown = self._look(resident, key, [])
        except Exception as error:  # noqa: BLE001 — border: a developer's view
            viewers.discard(session.id)
            self._host.refuse(link, request, request_id, error)
            return
        viewers.join(session.id, link, key, group, appends=request.appends)
        if not send_missing(link, request, resident.address, group.history):
            link.send(frames.snapshot(resident.address, group.shown, group.history.version()))

    def publish(self, resident: Resident, viewers: Viewers) -> None:
        """The state has changed: every audience gets what that changes for it."""
        source, read = _source(resident), list[Document[Any]]()
        for key, group in list(viewers.groups.items()):
            if source is not None and group.source is source:
                continue  # this commit was stored together with one that was shown
            shown = self._look_again(resident, viewers, key, group, read)
            group.source = source
            if shown is None or shown == group.shown:
                continue
            operations = difference(group.shown, shown)
            group.shown = shown
            if operations is None:
                group.history = History()
                frame = frames.snapshot(resident.address, shown, group.history.version())
                self._outlet.broadcast(group.audience, frame)
            elif operations != b"[]":
                send_patch(self._outlet, group.audience, resident.address, group.history, operations)

    def show(self, resident: Resident, viewers: Viewers) -> None:
        """Gives every subscriber a snapshot: the state has moved without patches, or patches may have been lost."""
        source, read = _source(resident), list[Document[Any]]()
        for key, group in list(viewers.groups.items()):
            shown = self._look_again(resident, viewers, key, group, read)
            group.source = source
            if shown is None:
                continue
            if shown != group.shown:
                group.shown, group.history = shown, History()
            self._outlet.broadcast(group.audience, frames.snapshot(resident.address, shown, group.history.version()))

    def _look(self, resident: Resident, key: Hashable, read: list[Document[Any]]) -> bytes:
        """What an audience sees; `read` holds the committed state once it was needed."""
        if not read:
            read.append(_readable(resident))
        shown = resident.instance.look(read[0], key)
        if self._max_bytes is not None and len(shown) > self._max_bytes:
            raise TooLarge(f"a view of {len(shown)} bytes, the limit is {self._max_bytes}")
        return shown

    def _look_again(
        self, resident: Resident, viewers: Viewers, key: Hashable, group: Group, read: list[Document[Any]]
    ) -> bytes | None:
        """As `_look`; None if the view fails: then the subscriptions of its audience have ended."""
        try:
            return self._look(resident, key, read)
        except Exception as error:  # border: a developer's view
            request_id = f"view.{secrets.token_hex(8)}"
            address = resident.instance.definition.name, resident.instance.actor_id
            if not is_expected(error):
                fields = {"actor": address[0], "actor_id": address[1], "request": request_id}
                log.error("a view failed", exc_info=error, extra=fields)
            frame = frames.problem(to_caller(error, request_id, dev_mode=self._dev_mode), *address)
            for session_id, link in list(group.audience.links.items()):
                viewers.discard(session_id)
                link.refuse(frame)
            return None


def _source(resident: Resident) -> bytes | None:
    return None if resident.keeper is None else resident.keeper.visible


def _readable(resident: Resident) -> Document[Any]:
    """The committed state, of a durable instance the stored one: the instance's own document, or a copy."""
    document, keeper = resident.instance.document, resident.keeper
    if not document.in_turn and (keeper is None or keeper.idle):
        return document
    return committed(resident)
