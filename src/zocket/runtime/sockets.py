"""Which socket speaks for a session that was resumed: of all that runtimes have heard of, the newest.

Rules: a session's sockets are numbered by gateways, and a higher number wins in whatever order they are heard of; the
other one is closed where it lives. What an outdone socket has asked still runs, once, and changes nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zocket.host import Host
    from zocket.runtime.outbox import SessionLink


class Sockets:
    """The sockets of a runtime's sessions.

    Args:
        host: is told who is dropped and who is back.
        links: of all sockets, by name; the first one is named after its session.
    """

    def __init__(self, host: Host, links: Mapping[str, SessionLink]) -> None:
        self._host = host
        self._links = links
        self._newest: dict[str, SessionLink] = {}

    def enter(self, link: SessionLink) -> None:
        """A socket was heard of for the first time; it is in the links already."""
        assert link.session is not None
        session_id = link.session.id
        newest = self._newest_of(session_id)
        if newest is not None and newest is not link and newest.number > link.number:
            _close(link)
            return
        if link.number:
            if newest is not None and newest is not link:
                self._host.sessions.lapse(newest)
                _close(newest)
            self._newest[session_id] = link
        self._host.sessions.resume(link)

    def leave(self, session_id: str, number: int) -> bool:
        """A socket is gone; False if its session goes on at a newer one."""
        newest = self._newest.get(session_id)
        if newest is not None and newest.number > number:
            return False
        self._newest.pop(session_id, None)
        return True

    def _newest_of(self, session_id: str) -> SessionLink | None:
        return self._newest.get(session_id) or self._links.get(session_id)


def _close(link: SessionLink) -> None:
    link.lapsed = True
    link.dismiss(frames.replaced())
