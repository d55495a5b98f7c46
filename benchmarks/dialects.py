"""How the peers that the load generator cannot speak to are spoken to, and Zocket with the same driver.

Rules: a dialect is pure: it makes the text of a call or a subscription and tells what a received one is, with a slice
or two and no parsing, so that what the driver costs is the same for all.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol


class Heard(NamedTuple):
    """What a received text is.

    Attributes:
        kind: the answer of a call, a message of the room, a text that has to be answered with `reply`, or the sign that
            the session is open.
        call: number of the call that is answered.
        failed: whether the answer is an error.
    """

    kind: Literal["answer", "message", "reply", "open"]
    call: int = 0
    reply: bytes = b""
    failed: bool = False


class Dialect(Protocol):
    """One protocol over WebSocket.

    Attributes:
        path: of the WebSocket, behind the port.
        greeting: sent first; empty for none.
    """

    path: str
    greeting: bytes

    def increment(self, room: str, call: int) -> bytes:
        """A call on a counter."""

    def watch(self, room: str, call: int) -> bytes:
        """Subscribes to the messages of a room."""

    def send(self, room: str, call: int) -> bytes:
        """A call that adds a message to a room, which is then sent to all subscribers."""

    def hear(self, text: bytes) -> Heard | None:
        """What a text is; None for one that does not matter."""


class Zocket:
    """Zocket's frames, which the FastAPI service speaks, too."""

    path = "/"
    greeting = b""

    def increment(self, room: str, call: int) -> bytes:
        """See `Dialect`."""
        return b'{"type":"rpc","id":%d,"actor":"counter","actorId":"%b","method":"increment"}' % (call, room.encode())

    def watch(self, room: str, call: int) -> bytes:
        """See `Dialect`."""
        return b'{"type":"event:sub","actor":"chat","actorId":"%b"}' % room.encode()

    def send(self, room: str, call: int) -> bytes:
        """See `Dialect`."""
        head = b'{"type":"rpc","id":%d,"actor":"chat","actorId":"%b","method":"send"' % (call, room.encode())
        return head + b',"input":{"from":"driver","text":"hello"}}'

    def hear(self, text: bytes) -> Heard | None:
        """See `Dialect`."""
        if b'"event"' in text[:24]:
            return Heard("message")
        if b'"rpc:result"' in text:
            after = text.index(b'"id":') + 5
            digits = text[after : after + 12].lstrip()
            return Heard("answer", int(digits[: _digits(digits)]), failed=b'"error"' in text)
        return Heard("open") if b'"welcome"' in text else None


class SocketIO:
    """Socket.IO 5 on Engine.IO 4. https://socket.io/docs/v4/socket-io-protocol/"""

    path = "/socket.io/?EIO=4&transport=websocket"
    greeting = b"40"

    def increment(self, room: str, call: int) -> bytes:
        """See `Dialect`."""
        return b'42%d["increment","%b"]' % (call, room.encode())

    def watch(self, room: str, call: int) -> bytes:
        """See `Dialect`."""
        return b'42%d["watch","%b"]' % (call, room.encode())

    def send(self, room: str, call: int) -> bytes:
        """See `Dialect`."""
        return b'42%d["send","%b",{"from":"driver","text":"hello"}]' % (call, room.encode())

    def hear(self, text: bytes) -> Heard | None:
        """See `Dialect`."""
        if text.startswith(b"43"):
            return Heard("answer", int(text[2 : text.index(b"[")]), failed=b'"error"' in text)
        if text.startswith(b"42"):
            return Heard("message")
        if text.startswith(b"40"):
            return Heard("open")
        return Heard("reply", reply=b"3") if text == b"2" else None


def _digits(text: bytes) -> int:
    for place, character in enumerate(text):
        if not 48 <= character <= 57:
            return place
    return len(text)


ZOCKET: Final = Zocket()
SOCKET_IO: Final = SocketIO()
