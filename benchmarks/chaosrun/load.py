"""Callers on real sockets, and the record of every call that the oracle judges.

Rules: a call is sent once, under a number of its own that is never used again; one whose outcome is not known stays
unknown and its caller goes on with the next number; after a socket dropped, nothing that was under way on it counts as
answered. A caller works on one ledger at a time: it sends a few calls at once on one socket, and the next ones when all
of those have ended. A ledger takes a few hundred calls and is then replaced by a fresh one, so that its whole order can
be kept and read, and a write of it stays small.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

CALL_TIMEOUT_S: Final = 10.0
"""Of the gateways in this run."""
SILENCE_S: Final = CALL_TIMEOUT_S + 15.0
"""A call on an open socket that is not answered by then was met with silence."""
OPEN_TIMEOUT_S: Final = 5.0
RECONNECT_S: Final = 0.05
AFTER_FAILURE_S: Final = 0.2
"""Pause of a caller of whose calls one failed, as a person would make it."""
LOST: Final = "lost"
"""Outcome of a call whose socket dropped."""
SILENCE: Final = "silence"


@dataclass(slots=True, eq=False)
class Call:
    """One call.

    Attributes:
        name: unique; what the ledger writes down.
        caller, session: who sent it, and on which of its sockets.
        outcome: `ok`, the error's code, `lost` or `silence`; empty while it is under way.
        place: what an `ok` answer said.
    """

    name: str
    caller: str
    session: int
    ledger: str
    sent_at: float
    ended_at: float = 0.0
    outcome: str = ""
    place: int = 0


@dataclass
class Ledgers:
    """The ledgers that are called now, and all there were.

    Args:
        active: how many are called at the same time.
        size: calls that one takes before a fresh one replaces it.
    """

    active: int
    size: int
    names: list[str] = field(default_factory=list)
    all_names: list[str] = field(default_factory=list)
    retired: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for _ in range(self.active):
            self._add()

    def _add(self) -> None:
        name = f"ledger{len(self.all_names)}"
        self.names.append(name)
        self.all_names.append(name)
        self._sent[name] = 0

    def take(self, draw: random.Random, count: int) -> str:
        """A ledger that gets `count` more calls."""
        name = draw.choice(self.names)
        self._sent[name] += count
        if self._sent[name] >= self.size:
            self.names.remove(name)
            self._add()
            self.retired.put_nowait(name)
        return name


class Caller:
    """One client: a socket, opened again whenever it drops."""

    def __init__(self, name: str, urls: Sequence[str], ledgers: Ledgers, draw: random.Random) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.accepted = 0
        self.answered_twice: list[str] = []
        self._urls = urls
        self._ledgers = ledgers
        self._draw = draw
        self._socket: ClientConnection | None = None
        self._session = 0
        self._under_way: dict[str, tuple[Call, asyncio.Future[Any]]] = {}

    async def keep_connected(self) -> None:
        """Until it is cancelled."""
        attempt = self._draw.randrange(len(self._urls))
        while True:
            attempt += 1
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                url = self._urls[attempt % len(self._urls)]
                async with connect(
                    url, open_timeout=OPEN_TIMEOUT_S, close_timeout=1, proxy=None, compression=None, ping_interval=None
                ) as socket:
                    self._session += 1
                    self._socket = socket
                    async for text in socket:
                        self._received(json.loads(text))
            self._socket = None
            for call, answer in self._under_way.values():
                _end(call, answer, LOST)
            self._under_way.clear()
            await asyncio.sleep(RECONNECT_S)

    def _received(self, frame: dict[str, Any]) -> None:
        if frame["type"] != "rpc:result":
            return
        found = self._under_way.pop(frame["id"], None)
        if found is None:
            self.answered_twice.append(str(frame["id"]))
            return
        call, answer = found
        self.accepted += "error" not in frame
        _end(call, answer, frame.get("code", "internal") if "error" in frame else "ok", frame.get("result"))

    async def call(self, pause_s: float, most_at_once: int) -> None:
        """Calls until it is cancelled between two rounds; `pause_s` on average between them."""
        while True:
            await asyncio.sleep(pause_s * 2 * self._draw.random())
            while self._socket is None:  # noqa: ASYNC110 — an event would have to be kept in step with it
                await asyncio.sleep(RECONNECT_S)
            count = self._draw.randint(1, most_at_once)
            ledger = self._ledgers.take(self._draw, count)
            if not await asyncio.shield(asyncio.ensure_future(self._round(ledger, count))):
                await asyncio.sleep(AFTER_FAILURE_S)

    async def _round(self, ledger: str, count: int) -> bool:
        """Whether all calls were answered `ok`."""
        answers = []
        for _ in range(count):
            socket = self._socket
            if socket is None:
                break
            call = Call(f"{self.name}.{len(self.calls) + 1}", self.name, self._session, ledger, time.monotonic())
            self.calls.append(call)
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._under_way[call.name] = call, answer
            answers.append(self._wait(call, answer))
            with contextlib.suppress(OSError, WebSocketException):
                await socket.send(request(call.name, ledger, "add", {"call": call.name}))
        await asyncio.gather(*answers)
        return all(call.outcome == "ok" for call in self.calls[len(self.calls) - len(answers) :])

    async def _wait(self, call: Call, answer: asyncio.Future[Any]) -> None:
        await asyncio.wait({answer}, timeout=SILENCE_S)
        if not call.outcome:
            self._under_way.pop(call.name, None)
            _end(call, answer, SILENCE)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way


def _end(call: Call, answer: asyncio.Future[Any], outcome: str, place: Any = None) -> None:
    call.outcome, call.ended_at = outcome, time.monotonic()
    if outcome == "ok":
        call.place = int(place)
    if not answer.done():
        answer.set_result(None)


def request(call_id: str, ledger: str, method: str, value: dict[str, Any]) -> str:
    """The frame of a call."""
    frame = {"type": "rpc", "id": call_id, "actor": "ledger", "actorId": ledger, "method": method, "input": value}
    return json.dumps(frame)
