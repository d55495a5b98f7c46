"""Clients that watch every ledger, and notice whatever they see that cannot be.

Rules: what was visible once stays visible: each view must begin with the one before, and the last state with all of
them. Two kinds watch: the product's client, which asks for what it missed since its version, and one that knows nothing
of versions, applies the patches that come, and gets a new snapshot for each subscription. When its gateway lost the
connection to NATS, the second kind may get patches that do not fit before the snapshot that mends it: it counts the
hole and waits; that the snapshot comes is shown by the comparison.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import jsonpatch
from jsonpointer import JsonPointerException
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from zocket.client import Client
from zocket.client import connect as connect_client
from zocket.errors import ZocketError

if TYPE_CHECKING:
    from zocket.client import StateStream

OPEN_TIMEOUT_S: Final = 5.0
RECONNECT_S: Final = 0.05


class Views:
    """What one watcher has seen of each ledger.

    Attributes:
        logs: the newest view.
        wrong: what cannot be, in words.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.logs: dict[str, list[str]] = {}
        self.wrong: list[str] = []
        self.updates = 0

    def saw(self, ledger: str, state: Any) -> None:
        """Takes the newest view of a ledger."""
        self.updates += 1
        log, before = list(state.get("log", ())), self.logs.get(ledger, [])
        if log[: len(before)] != before:
            self.wrong.append(
                f"{self.name}: {ledger} had {before[-3:]} at {len(before)}, then {log[-3:]} at {len(log)}"
            )
        self.logs[ledger] = log


class Follower:
    """The product's client."""

    def __init__(self, name: str, url: str) -> None:
        self.views = Views(name)
        self._url = url
        self._client: Client
        self.open = asyncio.Event()
        self._streams: dict[str, tuple[StateStream[Any], asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        async with connect_client(self._url) as self._client:
            self.open.set()
            await asyncio.Event().wait()

    def watch(self, ledger: str) -> None:
        """From now on."""
        stream = self._client.state(self._client.dynamic("ledger", ledger))
        self._streams[ledger] = stream, asyncio.create_task(self._read(ledger, stream))

    async def _read(self, ledger: str, stream: StateStream[Any]) -> None:
        try:
            async for state in stream:
                self.views.saw(ledger, state)
        except ZocketError as error:
            self.views.wrong.append(f"{self.views.name}: the stream of {ledger} ended: {error}")

    async def leave(self, ledger: str) -> None:
        """No longer."""
        stream, reading = self._streams.pop(ledger)
        await stream.aclose()
        reading.cancel()


class OldClient:
    """A client that knows frames and patches and nothing else."""

    def __init__(self, name: str, url: str) -> None:
        self.views = Views(name)
        self.holes = 0
        self._url = url
        self._watched: set[str] = set()
        self._states: dict[str, Any] = {}
        self._socket: ClientConnection | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self.open = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                async with connect(
                    self._url,
                    open_timeout=OPEN_TIMEOUT_S,
                    close_timeout=1,
                    proxy=None,
                    compression=None,
                    max_size=None,
                    ping_interval=None,
                ) as self._socket:
                    self._states.clear()
                    self.open.set()
                    for ledger in self._watched:
                        await self._send("state:sub", ledger)
                    async for text in self._socket:
                        self._received(json.loads(text))
            self._socket = None
            await asyncio.sleep(RECONNECT_S)

    def watch(self, ledger: str) -> None:
        """From now on."""
        self._watched.add(ledger)
        self._later("state:sub", ledger)

    async def leave(self, ledger: str) -> None:
        """No longer."""
        self._watched.discard(ledger)
        self._later("state:unsub", ledger)
        self._states.pop(ledger, None)

    def _later(self, kind: str, ledger: str) -> None:
        if self._socket is not None:
            sending = asyncio.create_task(self._send(kind, ledger))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, kind: str, ledger: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError, WebSocketException):
                await self._socket.send(json.dumps({"type": kind, "actor": "ledger", "actorId": ledger}))

    def _received(self, frame: dict[str, Any]) -> None:
        ledger = frame.get("actorId", "")
        if ledger not in self._watched:
            return
        if frame["type"] == "state:snapshot":
            self._states[ledger] = frame["state"]
        elif frame["type"] == "state:patch" and ledger in self._states:
            try:
                self._states[ledger] = jsonpatch.apply_patch(self._states[ledger], frame["patches"], in_place=True)
            except (jsonpatch.JsonPatchException, JsonPointerException):
                self.holes += 1
                del self._states[ledger]
                return
        else:
            return
        self.views.saw(ledger, self._states[ledger])


Watcher = Follower | OldClient
