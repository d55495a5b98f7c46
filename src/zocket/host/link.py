"""Where frames go: one session as the host sees it, and several at once.

Rules: sending never waits and never fails; a link whose socket is gone swallows its frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol

from zocket.core import SERVER, Caller, Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.protocol.frames import CallId


class Link(ABC):
    """One session.

    Attributes:
        caller: what a turn that it causes reads as `self.caller`.
        credits: whether its side tells how many chunks of a stream it has taken (`Host.credit`); None if it takes none.
        lapsed: its session was ended without a goodbye, and comes back with another link if at all.
    """

    __slots__ = ("caller", "credits", "lapsed", "session")

    def __init__(self, session: Session | None) -> None:
        self.session = session
        self.credits: bool | None = None
        self.lapsed = False
        self.caller: Caller = SERVER if session is None else Caller("client", session)

    def renew(self, session: Session) -> None:
        """The session has other claims from its next turn on."""
        self.session = session
        self.caller = Caller("client", session)

    @abstractmethod
    def send(self, frame: bytes) -> None:
        """Sends one frame to the session, after those sent before."""

    def refuse(self, frame: bytes) -> None:
        """Sends the frame that says why a subscription did not come about."""
        self.send(frame)

    def dismiss(self, frame: bytes) -> None:
        """Sends the frame that says why, and closes the socket with 4403, where its server knows how to."""
        self.refuse(frame)

    def answer(self, call_id: CallId, frame: bytes, *, kept: bool = False) -> None:
        """Sends the frame that answers the call with this id; `kept` if what the call did is stored."""
        self.send(frame)

    def send_chunk(self, call_id: CallId, number: int, frame: bytes) -> None:
        """Sends a part of the answer to the call with this id; nothing where no chunks are taken."""
        return


_NO_LINKS: Final[dict[str, Link]] = {}
"""Of every audience that never had a member; nothing is ever put there."""


class Audience:
    """The links that get the same frames.

    Attributes:
        links: by session id.
        cache: an outlet's own (what it made of the links); None again whenever the membership changes.
    """

    __slots__ = ("cache", "links")

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self.links: dict[str, Link] = {link.session.id: link for link in links if link.session is not None} or _NO_LINKS
        self.cache: Any = None

    def add(self, session_id: str, link: Link) -> None:
        """The session gets the frames from now on."""
        if self.links is _NO_LINKS:
            self.links = {}
        self.links[session_id] = link
        self.cache = None

    def discard(self, session_id: str) -> None:
        """The session gets no more frames."""
        if self.links.pop(session_id, None) is not None:
            self.cache = None

    def only(self, to: frozenset[str] | None, exclude: frozenset[str] | None) -> Audience:
        """The part of the audience that `to=` or `exclude=` leaves."""
        if to is None and exclude is None:
            return self
        if to is not None:
            return Audience(self.links[session_id] for session_id in to if session_id in self.links)
        return Audience(link for session_id, link in self.links.items() if session_id not in (exclude or ()))


class Watchers(Audience):
    """The subscribers of a state, some of which take `append`."""

    __slots__ = ("_appending", "_parts")

    def __init__(self) -> None:
        super().__init__()
        self._appending: set[str] | None = None
        self._parts: tuple[Audience, Audience] | None = None

    def add(self, session_id: str, link: Link, *, appends: bool = False) -> None:
        """See `Audience.add`; what the session said last of `append` counts."""
        super().add(session_id, link)
        self._parts = None
        if appends:
            self._appending = self._appending or set()
            self._appending.add(session_id)
        elif self._appending:
            self._appending.discard(session_id)

    def discard(self, session_id: str) -> None:
        """See `Audience.discard`."""
        super().discard(session_id)
        self._parts = None
        if self._appending:
            self._appending.discard(session_id)

    def parts(self) -> tuple[Audience, Audience]:
        """Those who take `append`, and the others; kept until the membership changes."""
        appending = self._appending
        if not appending:
            return Audience(), self
        if len(appending) == len(self.links):
            return self, Audience()
        if self._parts is None:
            names = frozenset(appending)
            self._parts = self.only(names, None), self.only(None, names)
        return self._parts


class Outlet(Protocol):
    """How one frame reaches a whole audience."""

    def broadcast(self, audience: Audience, frame: bytes) -> None:
        """Sends the frame to every link of the audience."""


class EachLink:
    """The outlet that sends to one link after the other."""

    def broadcast(self, audience: Audience, frame: bytes) -> None:
        """See `Outlet.broadcast`."""
        for link in audience.links.values():
            link.send(frame)
