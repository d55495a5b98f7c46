"""One socket as the layers see each other: `Peer` is below, `SocketSession` is above, `Head` is who knocks.

Rules: nothing here waits except `admit`; a peer may be told to send or close at any time, also after it is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

ABNORMAL: Final = 1006
"""Close code of a socket that just vanished."""

PAUSE_S: Final = 0.1
"""How long a client that has gone beyond a bound is not read. What it sends meanwhile stays where it is: in the end in
its own process, which the kernel lets send no more."""

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Head:
    """The HTTP head of an upgrade request, or of a call.

    Attributes:
        host: the Host header in lower case without its port; empty if there is none.
        token: from the query (`?token=`) or `Authorization: Bearer`, or None. Never logged.
        remote: address and port of the other side, for the log.
        headers: names in lower case.
        metadata: what the client says of itself (`?metadata=`), a JSON object; empty if it says nothing.
        resume: by which an upgrade goes on with a session, from the query (`?resume=`) or `X-Zocket-Resume`; "" if it
            does not. Never logged.
    """

    path: str
    host: str
    token: str | None = field(repr=False)
    remote: str
    headers: Mapping[str, str] = field(repr=False)
    metadata: bytes = field(default=b"", repr=False)
    resume: str = field(default="", repr=False)


@dataclass(eq=False)
class Refused(Exception):
    """The request is answered with this HTTP status and a JSON body `{"error": message, "code": code}`.

    Not frozen: `contextlib` sets `__traceback__` of an exception that passes through it.
    """

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


class Peer(Protocol):
    """An open socket."""

    def send(self, frame: bytes) -> None:
        """Sends one text frame after those sent before. A client that reads too slowly is closed with 1013."""

    def close(self, code: int, reason: str = "") -> None:
        """Sends what is waiting, then closes with the code."""

    def unsent_bytes(self) -> int:
        """What waits for the client in this process."""

    def pause(self) -> None:
        """Reads nothing more of the client for `PAUSE_S`: it sends more than it may, at the expense of the others."""


class SocketSession(Protocol):
    """What a socket's frames go to."""

    def received(self, frame: bytes) -> None:
        """One text frame (or a binary one, which counts as text) came, whole."""

    def fell_behind(self) -> None:
        """The client reads more slowly than it is sent to: the session should leave out what can be made up for."""

    def caught_up(self) -> None:
        """The client has read what was waiting; only after `fell_behind`."""

    def closed(self, *, said_goodbye: bool = False) -> None:
        """The socket is gone; called once. `said_goodbye` if its client has closed it, as one that does not return."""


def is_goodbye(code: int) -> bool:
    """Whether a client that closes with this code does not mean to return: 1000, or 1001 (a page is left).

    One that gives none may be about to connect again.
    """
    return code in (1000, 1001)


class Admit(Protocol[A_co]):
    """Decides before the upgrade."""

    async def __call__(self, head: Head) -> A_co:
        """Who it is.

        Raises:
            Refused: the upgrade is refused with its status.
        """


class Known(Protocol[A_co]):
    """Decides about an upgrade at once, where that can be done without waiting."""

    def __call__(self, head: Head) -> A_co | None:
        """Who it is; None if `Admit` has to decide.

        Raises:
            Refused: the upgrade is refused with its status.
        """


class Open(Protocol[A_contra]):
    """Makes the session of an upgraded socket."""

    def __call__(self, peer: Peer, admitted: A_contra) -> SocketSession:
        """The session; its first frames may be sent at once."""
