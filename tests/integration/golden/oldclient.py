"""A client that knows the contract and nothing else, and says when a server sends what it cannot bear.

Rules: unknown frame types and unknown fields are ignored, as the contract says, and must be in `additions.json`; every
other frame must be whole, expected and mean the same to RFC 6902 and to a client that assigns at an array's index.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any, NamedTuple, NoReturn

import jsonpatch

from tests.integration.golden.contract import Contract, read_additions

Place = tuple[str, str]


class Replica(NamedTuple):
    """One state, as both readings of the patches give it."""

    existing: Any
    standard: Any


class OldClient:
    """One socket after the other of one client.

    Attributes:
        unbearable: what it could not bear, each with its reason.
        session_id: of `welcome`.
        answers: result frames by the id of the call.
        replicas: what it is subscribed to and has a snapshot of.
        ignored: how many frames of each unknown type came.
        received: how many frames of each known type came.
        closed_with: close code of the last socket, None while it is open.
    """

    def __init__(self) -> None:
        self.contract = Contract(read_additions())
        self.unbearable: list[str] = []
        self.session_id: str | None = None
        self.pending: set[int] = set()
        self.answers: dict[int, dict[str, Any]] = {}
        self.replicas: dict[Place, Replica] = {}
        self.states: set[Place] = set()
        self.feeds: set[Place] = set()
        self.events: list[dict[str, Any]] = []
        self.ignored: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.closed_with: int | None = None
        self._last_call = 0

    # What it says.

    def call(self, actor: str, actor_id: str, method: str, **given: Any) -> tuple[int, bytes]:
        """Id and frame of a call."""
        self._last_call += 1
        self.pending.add(self._last_call)
        frame = {"type": "rpc", "id": self._last_call, "actor": actor, "actorId": actor_id, "method": method}
        return self._last_call, json.dumps(frame | ({"input": given} if given else {})).encode()

    def subscribe(self, kind: str, actor: str, actor_id: str) -> bytes:
        """The frame of a subscription, `state:sub` or `event:sub`."""
        (self.states if kind == "state:sub" else self.feeds).add((actor, actor_id))
        return json.dumps({"type": kind, "actor": actor, "actorId": actor_id}).encode()

    def reopened(self) -> list[bytes]:
        """It has a new socket: its calls are lost, its subscriptions are sent again."""
        self.closed_with = self.session_id = None
        self.pending.clear()
        self.replicas.clear()
        return [
            *(self.subscribe("state:sub", *place) for place in sorted(self.states)),
            *(self.subscribe("event:sub", *place) for place in sorted(self.feeds)),
        ]

    # What it hears.

    def hears(self, raw: bytes | str) -> None:
        """A frame of the server."""
        try:
            self._hears(raw)
        except Exception as error:  # noqa: BLE001 — border: whatever it cannot take is what is looked for
            self.unbearable.append(f"{type(error).__name__}: {error}: {raw!r}")

    def _hears(self, raw: bytes | str) -> None:
        if self.closed_with is not None:
            raise ValueError("a frame after the close")
        frame = json.loads(raw, parse_constant=_no_json)
        refusal = self.contract.refusal_of_frame(frame, to="client")
        if refusal is not None:
            raise ValueError(refusal)
        kind = frame["type"]
        if self.session_id is None and kind != "welcome":
            raise ValueError("the first frame is no welcome")
        if kind in self.contract.added("frame", "client"):
            self.ignored[kind] += 1
            return
        self.received[kind] += 1
        place = (frame.get("actor", ""), frame.get("actorId", ""))
        match kind:
            case "welcome":
                if self.session_id not in (None, frame["clientId"]):
                    raise ValueError("another clientId on the same socket")
                self.session_id = frame["clientId"]
            case "rpc:result":
                if type(frame["id"]) is not int or frame["id"] not in self.pending:
                    raise ValueError("an answer to no open call of this socket")
                self.pending.remove(frame["id"])
                self.answers[frame["id"]] = frame
            case "event":
                if place not in self.feeds:
                    raise ValueError("an event that nobody subscribed to")
                self.events.append(frame)
            case "state:snapshot":
                if place not in self.states:
                    raise ValueError("a snapshot that nobody subscribed to")
                self.replicas[place] = Replica(frame["state"], copy.deepcopy(frame["state"]))
            case "state:patch":
                self.replicas[place] = self._patched(self.replicas[place], frame["patches"])

    def _patched(self, replica: Replica, operations: Any) -> Replica:
        standard = jsonpatch.apply_patch(replica.standard, operations)
        existing = copy.deepcopy(replica.existing)
        for operation in operations:
            if operation["path"] == "":
                raise ValueError("a patch of the whole document")
            assign(existing, operation)
        if json.dumps(existing, sort_keys=True) != json.dumps(standard, sort_keys=True):
            raise ValueError(f"an existing client reads the patch as {existing!r}")
        return Replica(existing, standard)


def assign(state: Any, operation: dict[str, Any]) -> None:
    """One operation as an existing client takes it: it assigns at an index, and ignores `move`, `copy` and `test`."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    target = state
    for part in way:
        target = target[int(part)] if isinstance(target, list) else target[part]
    match operation["op"], target:
        case "add" | "replace", list() if last == "-" or int(last) == len(target):
            target.append(operation["value"])
        case "add" | "replace", list():
            target[int(last)] = operation["value"]
        case "add" | "replace", _:
            target[last] = operation["value"]
        case "remove", list():
            del target[int(last)]
        case "remove", _:
            del target[last]


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
