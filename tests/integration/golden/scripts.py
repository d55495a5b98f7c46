"""What existing clients say in the recorded conversations; `python -m tests.integration.golden` records the rest.

Rules: a script has the client's lines alone; only what the contract knows is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.golden.conversation import Line


def opens(socket: str, token: str | None = None) -> Line:
    """A client connects."""
    return {"from": "client", "socket": socket, "open": token}


def says(socket: str, kind: str, place: str, **more: Any) -> Line:
    """A client sends a frame about an instance, `actor/id`."""
    actor, actor_id = place.split("/", 1)
    frame = {"type": kind, "actor": actor, "actorId": actor_id, **more}
    return {"from": "client", "socket": socket, "frame": frame}


def calls(socket: str, call_id: int | str, place: str, method: str, **given: Any) -> Line:
    """A client calls a method."""
    more = {"input": given} if given else {}
    return says(socket, "rpc", place, id=call_id, method=method, **more)


def leaves(socket: str) -> Line:
    """A client closes its socket."""
    return {"from": "client", "socket": socket, "close": 1000}


SCRIPTS: dict[str, tuple[str, list[Line]]] = {
    "calls": (
        "calls and all their answers",
        [
            opens("a", "ada"),
            calls("a", "1", "counter/one", "increment"),
            calls("a", 2, "counter/one", "increment", by=40),
            calls("a", "who", "counter/one", "who"),
            calls("a", "void", "room/hall", "send", **{"from": "ada", "text": "hi"}),
            calls("a", "null", "room/hall", "find", text="nothing"),
            calls("a", "object", "room/hall", "find", text="hi"),
            calls("a", "on purpose", "counter/one", "refuse", reason="no, on purpose: ü €"),
            calls("a", "unchanged", "counter/one", "increment"),
            calls("a", "no method", "counter/one", "fly"),
            calls("a", "empty method", "counter/one", ""),
            calls("a", "wrong type", "counter/one", "increment", by="many"),
            calls("a", "no field", "room/hall", "count"),
            leaves("a"),
        ],
    ),
    "unknown-actor": (
        "a call of an actor that nobody serves",
        [
            opens("a"),
            calls("a", "1", "nobody/one", "increment"),
            calls("a", "2", "counter/one", "increment"),
            leaves("a"),
        ],
    ),
    "state": (
        "a state from its snapshot over its patches to the end of the subscription",
        [
            opens("a", "ada"),
            opens("b"),
            says("a", "state:sub", "room/hall"),
            calls("b", 1, "room/hall", "send", **{"from": "b", "text": "first"}),
            calls("a", 2, "room/hall", "send", **{"from": "a", "text": "second"}),
            calls("b", 3, "room/hall", "insert", at=0, text="in front"),
            calls("b", 4, "room/hall", "remove", at=1),
            calls("b", 5, "room/hall", "count", topic="a/b~c"),
            calls("b", 6, "room/hall", "count", topic="a/b~c"),
            calls("b", 7, "room/hall", "drop", topic="a/b~c"),
            says("a", "state:sub", "room/hall"),
            calls("b", 8, "room/hall", "find", text="changes nothing"),
            says("a", "state:unsub", "room/hall"),
            calls("a", 9, "room/hall", "find", text="after the end"),
            calls("b", 10, "room/hall", "count", topic="unseen"),
            calls("a", 11, "room/hall", "find", text="still nothing"),
            leaves("b"),
            leaves("a"),
        ],
    ),
    "events": (
        "events, for their caller too, in the order patch, event, result",
        [
            opens("a", "ada"),
            opens("b", "bob"),
            says("a", "event:sub", "room/hall"),
            calls("a", 1, "room/hall", "find", text="subscribed"),
            calls("b", 1, "room/hall", "send", **{"from": "bob", "text": "to a"}),
            says("a", "state:sub", "room/hall"),
            calls("a", 2, "room/hall", "send", **{"from": "ada", "text": "to myself"}),
            says("a", "event:unsub", "room/hall"),
            calls("a", 3, "room/hall", "send", **{"from": "ada", "text": "no event"}),
            leaves("b"),
            leaves("a"),
        ],
    ),
    "two-actors": (
        "several instances of two actors on one socket",
        [
            opens("a", "ada"),
            says("a", "state:sub", "counter/one"),
            says("a", "state:sub", "counter/two words.and > a dot"),
            says("a", "state:sub", "room/one"),
            calls("a", 1, "counter/one", "increment"),
            calls("a", 2, "counter/two words.and > a dot", "increment", by=5),
            calls("a", 3, "room/one", "count", topic="t"),
            leaves("a"),
        ],
    ),
    "disconnect": (
        "a client leaves, and whoever watches sees what that changes",
        [
            opens("a", "ada"),
            opens("b", "bob"),
            says("a", "state:sub", "counter/one"),
            says("b", "state:sub", "counter/one"),
            calls("b", 1, "counter/one", "increment"),
            leaves("b"),
            calls("a", 1, "counter/one", "who"),
            leaves("a"),
        ],
    ),
    "together": (
        "requests to one instance that are written together, each a message of its own",
        [
            opens("a", "ada"),
            {
                "from": "client",
                "socket": "a",
                "frames": [
                    frame["frame"]
                    for frame in (
                        says("a", "state:sub", "counter/one"),
                        *(calls("a", number, "counter/one", "increment") for number in (1, 2, 3)),
                        says("a", "state:unsub", "counter/one"),
                        calls("a", 4, "counter/one", "increment"),
                    )
                ],
            },
            leaves("a"),
        ],
    ),
    "odd-frames": (
        "frames that are ignored, and the session goes on",
        [
            opens("a"),
            {"from": "client", "socket": "a", "text": "{broken"},
            {"from": "client", "socket": "a", "text": "[]"},
            {"from": "client", "socket": "a", "text": '"rpc"'},
            {"from": "client", "socket": "a", "frame": {"type": "hello"}},
            {"from": "client", "socket": "a", "frame": {"type": 5}},
            {"from": "client", "socket": "a", "frame": {"id": 1}},
            {
                "from": "client",
                "socket": "a",
                "binary": '{"type":"rpc","id":"binary","actor":"counter","actorId":"one","method":"increment"}',
            },
            says("a", "rpc", "counter/one", id="more", method="increment", later={"a": [1]}),
            leaves("a"),
        ],
    ),
}
"""By the name of the file: its title, and what the clients say."""


def asks(caller: str, call: str, *, query: Line | None = None, body: Line | None = None) -> Line:
    """A call over HTTP with the internal bearer."""
    line: Line = {"from": caller, "call": call, "bearer": "<bearer>"}
    return line | ({"query": query} if query else {}) | ({"body": body} if body else {})


ACTIVE: Line = asks(
    "runtime",
    "GET /api/internal/runtime/active",
    query={"workspaceId": "<ws>", "projectId": "<proj>", "deploymentId": "<deployment>"},
)
REPORT = "POST /api/internal/runtime/report"
AUTHORIZE = "POST /api/registry/authorize"

CALL_SCRIPTS: dict[str, tuple[str, list[Line]]] = {
    "boot": (
        "a runtime asks what to load, loads it and reports",
        [
            ACTIVE,
            asks("runtime", "GET <file>"),
            asks(
                "runtime", REPORT, body={"deploymentId": "<deployment>", "status": "ready", "actorTypes": ["counter"]}
            ),
        ],
    ),
    "failed-boot": (
        "a runtime cannot use what it has loaded",
        [
            ACTIVE,
            asks("runtime", "GET <file>"),
            asks("runtime", REPORT, body={"deploymentId": "<deployment>", "status": "failed", "message": "<message>"}),
        ],
    ),
    "authorize": (
        "a gateway asks who its clients are",
        [
            asks("gateway", AUTHORIZE, body={"host": "<host>", "token": "<token>"}),
            asks("gateway", AUTHORIZE, body={"host": "<host>", "token": "no token"}),
            asks("gateway", AUTHORIZE, body={"host": "<host>", "token": None}),
        ],
    ),
}
"""The same of calls to the control plane."""
