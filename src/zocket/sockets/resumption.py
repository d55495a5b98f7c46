"""Tokens by which a client resumes its session on another socket.

Rules: a token is signed (HMAC-SHA256), and counts for the session's user and project alone and for a limited time; one
that does not count is no error for its client, which gets a new session. Whoever holds the secret takes the tokens of
everybody who holds it. It says nothing that its client does not know; like any token it is never logged.
"""

from __future__ import annotations

import binascii
import hmac
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from zocket.ids import new_session_id
from zocket.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

VALID_S: Final = 86_400.0
"""How long after its socket was opened a token counts. A socket that is older when it is lost is followed by a new
session."""
MAX_TOKEN_CHARS: Final = 1_024
"""Of what is looked at as a token; ours have about 200."""

RESUME_HEADER: Final = "x-zocket-resume"
"""Has the token, from clients that can send headers: so it is in no address."""

_log: Final = logging.getLogger("zocket.sockets")
_encode: Final = msgspec.json.Encoder().encode


class Socket(NamedTuple):
    """One socket of a session.

    Attributes:
        session_id: of its session, which is named after its first socket.
        name: of the socket, unlike any other.
        number: grows from socket to socket of the session; 0 for the first one.
    """

    session_id: str
    name: str
    number: int


class _Content(NamedTuple):
    socket: Socket
    expires_at: float


_decode: Final = msgspec.json.Decoder(_Content).decode


def first_socket() -> Socket:
    """The socket of a new session."""
    session_id = new_session_id()
    return Socket(session_id, session_id, 0)


def resume_of(query: Mapping[str, Sequence[str]], headers: Mapping[str, str]) -> str:
    """The token of an upgrade, by the fields of its query (`?resume=`) or its headers; "" if there is none."""
    return query["resume"][0] if "resume" in query else headers.get(RESUME_HEADER, "")


class ResumeTokens:
    """Issues and checks the tokens of one server.

    Args:
        secret: the same in every process that shall take the others' tokens.
        wall: the time of day, in seconds since the epoch.

    Attributes:
        taken: how many tokens counted.
        refused: how many did not.
    """

    def __init__(self, secret: bytes, wall: Callable[[], float]) -> None:
        self.taken = self.refused = 0
        self._last = 0
        self._secret = secret
        self._wall = wall

    def issue(self, socket: Socket, owner: Sequence[str | None]) -> str:
        """A token for the successor of a socket; `owner` is everything that must be the same then."""
        content = _encode(_Content(socket, self._wall() + VALID_S))
        return f"{_text(content)}.{_text(self._sign(content, owner))}"

    def successor(self, token: str, owner: Sequence[str | None]) -> tuple[Socket, Socket] | None:
        """The socket that the token was issued for, and the one that goes on with its session.

        None for a token that does not count: forged, expired, somebody else's, or none at all.
        """
        previous = self._check(token, owner)
        if previous is None:
            self.refused += 1
            _log.debug("a session is not resumed: its token does not count")
            return None
        self.taken += 1
        # Milliseconds, so that of two sockets with the same predecessor the later one has the higher number, wherever.
        self._last = max(self._last + 1, previous.number + 1, int(self._wall() * 1000))
        return previous, Socket(previous.session_id, new_session_id(), self._last)

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        what = "Sockets that showed a token to go on with a session."
        yield Sample("resumptions", what, "counter", self.taken, {"outcome": "taken"})
        yield Sample("resumptions", what, "counter", self.refused, {"outcome": "refused"})

    def _check(self, token: str, owner: Sequence[str | None]) -> Socket | None:
        first, _, second = token.partition(".")
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        try:
            content, signature = urlsafe_b64decode(first), urlsafe_b64decode(second)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(signature, self._sign(content, owner)):
            return None
        try:
            socket, expires_at = _decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # of another version that has the same secret
        return socket if self._wall() < expires_at else None

    def _sign(self, content: bytes, owner: Sequence[str | None]) -> bytes:
        return hmac.digest(self._secret, _encode([content.decode("latin-1"), *owner]), "sha256")


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()
