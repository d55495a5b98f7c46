"""The contract by hand, from its text alone: which messages there are, which fields they must and may have.

Rules: nothing here is derived from our own code; what we add to the contract is data in `additions.json`, and nothing
else is allowed in a message of ours. `Contract.refusal` says what is wrong with a message, None for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent

Form = Callable[[Any], bool]

FORMS: Final[dict[str, Form]] = {
    "anything": lambda value: True,
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "id": lambda value: isinstance(value, str | int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "integer or null": lambda value: value is None or FORMS["integer"](value),
    "milliseconds": lambda value: FORMS["integer"](value) and 10**11 < value < 10**14,
    "object": lambda value: isinstance(value, dict),
    "object or null": lambda value: value is None or isinstance(value, dict),
    "operations": lambda value: isinstance(value, list) and all(map(is_operation, value)),
    "scope": lambda value: (
        isinstance(value, dict)
        and value.keys() == {"workspaceId", "projectId"}
        and all(isinstance(part, str) for part in value.values())
    ),
    "string": lambda value: isinstance(value, str),
    "string or null": lambda value: value is None or isinstance(value, str),
    "strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
}


def is_operation(value: Any) -> bool:
    """Whether it is an operation of RFC 6902, by its sections 4 and 4.1 to 4.6."""
    needs = {"add": "value", "replace": "value", "test": "value", "remove": None, "move": "from", "copy": "from"}
    if not isinstance(value, dict) or value.get("op") not in needs:
        return False
    wanted = needs[value["op"]]
    paths = [value.get("path"), *([value.get("from")] if wanted == "from" else [])]
    return (wanted is None or wanted in value) and all(
        isinstance(path, str) and (path == "" or path.startswith("/")) for path in paths
    )


@dataclass(frozen=True)
class Shape:
    """Fields of one kind of message, each with the name of its form."""

    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)


ADDRESS: Final = {"actor": "string", "actorId": "string"}
TO_SERVER: Final = {
    "rpc": Shape({"id": "id", **ADDRESS, "method": "string"}, {"input": "anything"}),
    **{kind: Shape(ADDRESS) for kind in ("event:sub", "event:unsub", "state:sub", "state:unsub")},
}
TO_CLIENT: Final = {
    "welcome": Shape({"clientId": "string"}),
    "rpc:result": Shape({"id": "id"}, {"result": "anything", "error": "string"}),
    "event": Shape({**ADDRESS, "event": "string", "payload": "anything"}),
    "state:snapshot": Shape({**ADDRESS, "state": "anything"}),
    "state:patch": Shape({**ADDRESS, "patches": "operations"}),
}
"""Section 1: WebSocket frames by their `type`."""

OF_SESSION: Final = {"scope": "scope", "sessionId": "string"}
ENVELOPES: Final = {
    "inbound": Shape({**OF_SESSION, "userId": "string or null", "claims": "object or null", "message": "object"}),
    "outbound": Shape({**OF_SESSION, "message": "object"}),
    "session.connected": Shape({**OF_SESSION, "userId": "string or null", "connectedAt": "milliseconds"}),
    "session.disconnected": Shape({**OF_SESSION, "disconnectedAt": "milliseconds"}),
}
"""Section 2: what travels on NATS, by the front of its subject."""
SUBJECTS: Final = {
    "gateway": {"inbound.*.*.*.*", "session.connected.*.*", "session.disconnected.*.*"},
    "runtime": {"outbound.*.*.*"},
}
"""Section 2: who publishes what; `*` is one token."""
TRANSPORT: Final = ("$JS.", "_INBOX.")
"""How a NATS client asks for streams, consumers and acknowledgements, and where it is answered."""

CALLS: Final = {
    "runtime": {
        "GET /api/internal/runtime/active": Shape(
            {"workspaceId": "string", "projectId": "string", "deploymentId": "string"}
        ),
        "GET <file>": Shape({}),
        "POST /api/internal/runtime/report": Shape(
            {"deploymentId": "string", "status": "string"}, {"actorTypes": "strings", "message": "string"}
        ),
    },
    "gateway": {"POST /api/registry/authorize": Shape({"host": "string", "token": "string or null"})},
    "anyone": {"GET /health": Shape({})},
}
"""Sections 3 and 4: query or body of a call, by who makes it."""
ANSWERS: Final = {
    "GET /api/internal/runtime/active 200": (
        Shape({"deploymentId": "string", "url": "string", "sha256": "string", "size": "integer"}),
        Shape({"deploymentId": "string", "code": "string"}),
    ),
    "POST /api/internal/runtime/report 200": (Shape({"ok": "boolean"}),),
    "POST /api/registry/authorize 200": (
        Shape(
            {
                "workspaceId": "string",
                "projectId": "string",
                "userId": "string or null",
                "claims": "object or null",
            }
        ),
    ),
    "POST /api/registry/authorize 401": (Shape({"error": "string"}),),
    "GET /health 200": (
        Shape(
            {
                "ok": "boolean",
                "deploymentId": "string",
                "actorTypes": "strings",
                "deployCount": "integer",
                "workspaceId": "string",
                "projectId": "string",
            }
        ),
    ),
}
"""Sections 3 and 4: bodies of answers; several where older peers answer otherwise."""


@dataclass(frozen=True)
class Addition:
    """One thing that we add to the contract.

    Attributes:
        kind: `field`, `frame`, `subject`, `call` or `header`.
        of: of a field the kind of message; of a frame who gets it; of a subject who publishes on it; of a call who
            makes it; of a header the answer, or the envelope.
        name: of the field, frame, subject, call or header.
        form: of a field its form, a name in `FORMS`.
        see: heading of docs/protocol.md below which it is explained.
    """

    kind: str
    of: str
    name: str
    see: str
    form: str = "anything"


def read_additions() -> list[Addition]:
    """The additions that are allowed, the only place where they are."""
    return [Addition(**entry) for entry in json.loads((HERE / "additions.json").read_text())]


class Contract:
    """The contract, and what is allowed besides.

    Args:
        additions: none for a message as an existing peer sends it.
    """

    def __init__(self, additions: list[Addition]) -> None:
        self.additions = additions

    def added(self, kind: str, of: str) -> dict[str, Addition]:
        """The additions of one kind to one thing, by their names."""
        return {item.name: item for item in self.additions if (item.kind, item.of) == (kind, of)}

    def refusal_of_frame(self, frame: Any, *, to: str) -> str | None:
        """What is wrong with a frame to the `server` or to the `client`."""
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            return "no object with a type"
        kind = frame["type"]
        if kind in self.added("frame", to):
            return None
        shapes = TO_SERVER if to == "server" else TO_CLIENT
        if kind not in shapes:
            return f"unknown type {kind!r}"
        if kind == "rpc:result" and {"result", "error"} <= frame.keys():
            return "both result and error"
        rest = {name: value for name, value in frame.items() if name != "type"}
        return self.refusal(kind, [shapes[kind]], rest)

    def refusal_of_message(self, publisher: str, subject: str, payload: Any) -> str | None:
        """What is wrong with what a `gateway` or a `runtime` publishes; what a gateway passes on is its client's."""
        known = SUBJECTS[publisher] | self.added("subject", publisher).keys()
        matching = [pattern for pattern in known if matches(pattern, subject)]
        if not matching:
            return f"no subject of a {publisher}"
        if matching[0] not in SUBJECTS[publisher]:
            return None
        front = ".".join(subject.split(".")[: 2 if subject.startswith("session.") else 1])
        refusal = self.refusal(front, [ENVELOPES[front]], payload)
        if refusal is None and front == "outbound":
            refusal = self.refusal_of_frame(payload["message"], to="client")
        return refusal

    def refusal_of_call(self, caller: str, call: str, values: Any) -> str | None:
        """What is wrong with the query or the body of a call."""
        if call in self.added("call", caller):
            return None
        shape = CALLS[caller].get(call)
        return f"no call of a {caller}" if shape is None else self.refusal(call, [shape], values)

    def refusal_of_answer(self, call: str, status: int, body: Any) -> str | None:
        """What is wrong with the body of an answer."""
        shapes = ANSWERS.get(f"{call} {status}")
        return "no such answer" if shapes is None else self.refusal(f"{call} {status}", list(shapes), body)

    def refusal(self, kind: str, shapes: list[Shape], message: Any) -> str | None:
        """What is wrong with a message, by the first of the shapes if it fits none."""
        if not isinstance(message, dict):
            return f"{kind}: no object"
        found = [self._misfit(kind, shape, message) for shape in shapes]
        return None if None in found else found[0]

    def _misfit(self, kind: str, shape: Shape, message: dict[str, Any]) -> str | None:
        added = {name: item.form for name, item in self.added("field", kind).items()}
        forms = {**added, **shape.optional, **shape.required}
        missing = shape.required.keys() - message.keys()
        if missing:
            return f"{kind}: without {', '.join(sorted(missing))}"
        for name, value in message.items():
            if name not in forms:
                return f"{kind}: unknown field {name!r}"
            if not FORMS[forms[name]](value):
                return f"{kind}: {name} is no {forms[name]}: {value!r}"
        return None


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches, token by token; a `>` at the end is any number of them."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(map(fnmatchcase, tokens, wanted))
