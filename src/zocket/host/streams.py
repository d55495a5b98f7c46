"""Chunks of a call on their way to its caller, no faster than they are taken.

Rules: chunks are numbered from 1 in each run of a call; at most `WINDOW_CHUNKS` and about `WINDOW_BYTES` are on their
way before the handler waits; a caller whose gateway does not tell what it has passed on gets one window each
`BLIND_PAUSE_S`. While chunks are taken the time limit of the turn begins anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from zocket.errors import Cancelled, Unavailable
from zocket.host.resident import CallLink
from zocket.protocol import frames
from zocket.protocol.client_session import error_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zocket.clock import Clock
    from zocket.core import Caller
    from zocket.host.link import Link
    from zocket.host.workers import Worker
    from zocket.protocol.frames import CallId

WINDOW_CHUNKS: Final = 64
"""Several of `frames.CREDIT_CHUNKS`, so that a credit comes before the window is used up."""
WINDOW_BYTES: Final = 256 * 1024
"""The same in bytes of JSON; the chunk that reaches it is sent still."""
BLIND_PAUSE_S: Final = 0.5
"""For gateways that do not credit: 128 chunks or 512 KiB a second, which a line of 5 Mbit/s takes."""


class ChunkStream:
    """The chunks of one run of a call.

    Args:
        link: the caller's.
        call_id: JSON of the call's id.
        worker: in whose turn they are made.
        clock: time of the turn.

    Attributes:
        number: of the last chunk that was sent, 0 before the first one.
    """

    __slots__ = ("_bytes", "_call_id", "_clock", "_link", "_room", "_under_way", "_worker", "number")

    def __init__(self, link: Link, call_id: CallId, worker: Worker, clock: Clock) -> None:
        self._link = link
        self._call_id = call_id
        self._worker = worker
        self._clock = clock
        self.number = 0
        self._bytes = 0
        self._under_way: deque[tuple[int, int]] = deque()
        self._room: asyncio.Future[None] | None = None

    async def send(self, chunk: bytes) -> None:
        """Sends a chunk (JSON), and returns when the next one may be made."""
        self.number += 1
        self._under_way.append((self.number, len(chunk)))
        self._bytes += len(chunk)
        self._link.send_chunk(self._call_id, self.number, frames.chunk(self._call_id, self.number, chunk))
        self._worker.started = self._clock.now()
        while len(self._under_way) >= WINDOW_CHUNKS or self._bytes >= WINDOW_BYTES:
            if self._link.credits:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            else:
                await self._clock.sleep(BLIND_PAUSE_S)
                self.credit(self.number)
            self._worker.started = self._clock.now()

    def credit(self, number: int) -> None:
        """The caller's side has taken the chunks up to this number."""
        under_way = self._under_way
        while under_way and under_way[0][0] <= number:
            self._bytes -= under_way.popleft()[1]
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


class GivenUp(Cancelled):
    """Whoever iterates over the chunks of a call has waited too long, or its turn is over."""


class StreamLink(CallLink):
    """The link of a call of this process whose chunks it takes one by one.

    Attributes:
        given_up: called once nobody may take chunks any more.
    """

    __slots__ = ("_arrived", "_frames", "given_up")

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self.credits = True
        self.given_up: Callable[[], None] | None = None
        self._frames: deque[bytes | None] = deque()
        self._arrived: asyncio.Future[None] | None = None

    def send_chunk(self, call_id: CallId, number: int, frame: bytes) -> None:
        """See `Link.send_chunk`."""
        self._push(frame)

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        self.answered = True
        self._push(frame)

    def give_up(self) -> None:
        """See `CallLink.give_up`."""
        self._push(None)
        if self.given_up is not None:
            self.given_up()

    def _push(self, frame: bytes | None) -> None:
        self._frames.append(frame)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def chunks(self, what: str) -> AsyncGenerator[tuple[int, bytes], None]:
        """Number and JSON of each chunk, in order and without a gap; `what` names the call in errors.

        Raises:
            ZocketError: the call failed: what a client would get.
            Unavailable: chunks were lost, or the call began anew.
            GivenUp: see `give_up`.
        """
        number = 0
        while True:
            while not self._frames:
                self._arrived = asyncio.get_running_loop().create_future()
                await self._arrived
            encoded = self._frames.popleft()
            frame = None if encoded is None else frames.decode_server_frame(encoded)
            if frame is None:
                raise GivenUp(f"{what}: the turn that called it is over")
            if frame.error is not None:
                raise error_of(frame, frame.error)
            if frame.type != "rpc:stream":
                if frame.seq == number:
                    return
            elif frame.seq == number + 1 and frame.chunk is not None:
                number += 1
                yield number, bytes(frame.chunk)
                continue
            raise Unavailable(f"{what}: the stream was interrupted; the call may or may not have taken effect")
