"""What an existing or a broken gateway may put on the wire: used, or refused with an answer where it says whom.

The runtime believes the envelope, never the subject, and the two must agree; what it refuses is never delivered again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, method
from zocket.host.streams import BLIND_PAUSE_S, WINDOW_CHUNKS
from zocket.protocol import subjects
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Frame, Outside, Wire

pytestmark = pytest.mark.each_broker


class Vault(Actor[dict[str, Any]]):
    @method
    async def whoami(self) -> list[Any]:
        return [self.id, self.session.id, self.session.user_id, self.session.claims]

    @method
    async def echo(self, value: Any = None) -> Any:
        return value

    @method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(1, to + 1):
            yield number

    async def on_disconnect(self) -> None:
        self.state["gone"] = self.state.get("gone", 0) + 1


app = App(actors={"vault": Vault})
FRONT = "inbound.test-workspace.test-project.vault."


def call(call_id: Any = 1, actor_id: str = "x", name: str = "whoami", **more: Any) -> Frame:
    return {"type": "rpc", "id": call_id, "actor": "vault", "actorId": actor_id, "method": name} | more


def counted(outside: Outside, t: TestApp, name: str) -> float:
    return next(sample.value for sample in outside.runtime(t).samples() if sample.name == name)  # type: ignore[return-value]


async def check(outside: Outside, t: TestApp, wire: Wire, *, refused: int) -> None:
    """The runtime serves on, and the refused messages are gone for good."""
    wire.inbound(call("still served?"), session="s_check")
    await wire.wait_frames_to("s_check", "rpc:result", 1)
    await t.settle()
    assert counted(outside, t, "inbound_refused") == refused
    assert counted(outside, t, "acknowledgements_outstanding") == 0
    await t.crash()
    wire.inbound(call("and by the next one?"), session="s_check")
    await wire.wait_frames_to("s_check", "rpc:result", 2)
    await t.settle()
    assert counted(outside, t, "inbound_refused") == 0, "nothing refused came again"
    assert wire.refused == []
    for message in wire.seen_on("outbound."):
        assert message.subject.startswith("outbound.test-workspace.test-project.s_")
    assert wire.seen_on("gateway.") == []


async def test_a_stream_through_an_existing_gateway_comes_whole_and_a_window_at_a_time(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        begun = t.clock.now()
        wire.inbound(call("s", name="count", input={"to": WINDOW_CHUNKS + 10}))
        [answer] = await wire.wait_frames_to("s_foreign", "rpc:result", 1)
        chunks = [frame["chunk"] for frame in await wire.wait_frames_to("s_foreign", "rpc:stream", WINDOW_CHUNKS + 10)]
        assert (answer["seq"], chunks) == (WINDOW_CHUNKS + 10, list(range(1, WINDOW_CHUNKS + 11)))
        assert t.clock.now() - begun >= BLIND_PAUSE_S


async def test_an_envelope_of_an_existing_gateway_is_served_and_a_raw_id_is_one_instance(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        for number, (subject_id, actor_id) in enumerate(
            [("a.b", "a.b"), ("a%2Eb", "a.b"), ("a..b".replace("..", "."), "a.b"), ("plain", "plain"), ("$x", "$x")]
        ):
            envelope = wire.envelope(call(number, actor_id), userId="ada", claims={"sub": "ada"}, extra={"x": 1})
            wire.publish(FRONT + subject_id, envelope)
            answers = await wire.wait_frames_to("s_foreign", "rpc:result", number + 1)
            assert answers[-1]["result"] == [actor_id, "s_foreign", "ada", {"sub": "ada"}]
        assert outside.runtime(t)._host.instances == 3
        assert wire.frames_to("s_foreign")[0] == {"type": "welcome", "clientId": "s_foreign"}
        await check(outside, t, wire, refused=0)


@pytest.mark.parametrize(
    "claims", [None, [], "text", 5, True, {}, {"exp": "never"}, {"sub": {"a": [1]}}, {"__proto__": {"x": 1}}, 1e300]
)
async def test_odd_claims_are_the_actors_to_read_and_what_is_no_object_is_empty(outside: Outside, claims: Any) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        wire.inbound(call(), claims=claims)
        answer = (await wire.wait_frames_to("s_foreign", "rpc:result", 1))[0]
        assert answer["result"][3] == (claims if isinstance(claims, dict) else {})
        # The same claims by way of our own gateway.
        socket = outside.socket(t, claims=claims)
        socket.call(1, "vault", "x", "whoami")
        assert (await socket.wait_answer(1))["result"][3] == (claims if isinstance(claims, dict) else {})


async def test_an_envelope_that_contradicts_its_subject_is_refused_and_its_caller_told(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        contradictions = {
            "another id": (FRONT + "y", call("another id")),
            "a part of the id": (FRONT + "x", call("a part of the id", "x.y")),
            "another spelling": (FRONT + "a%2eb", call("another spelling", "a.b")),
            "another actor": (FRONT + "x", call("another actor") | {"actor": "other"}),
        }
        for subject, frame in contradictions.values():
            wire.publish(subject, wire.envelope(frame))
        await wire.wait_frames_to("s_foreign", "rpc:result", len(contradictions))
        for frame in wire.frames_to("s_foreign"):
            assert frame["code"] == "invalid_frame"
            assert frame["error"] == "subject and envelope name different actors"
        assert {frame["id"] for frame in wire.frames_to("s_foreign")} == set(contradictions)
        assert outside.runtime(t)._host.instances == 0
        await check(outside, t, wire, refused=len(contradictions))


async def test_an_envelope_of_another_scope_is_refused_and_nobody_hears_of_it(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        scopes: list[Any] = [
            {"workspaceId": "rival", "projectId": "test-project"},
            {"workspaceId": "test-workspace", "projectId": "rival"},
            {"workspaceId": "", "projectId": ""},
            {"workspaceId": "*", "projectId": ">"},
            {"workspaceId": "test-workspace.test-project", "projectId": "x"},
            {"workspaceId": 5, "projectId": None},
            {"workspaceId": "test-workspace"},
            {},
            None,
            "test-workspace",
        ]
        for scope in scopes:
            wire.publish(FRONT + "x", wire.envelope(call()) | {"scope": scope})
        await outside.until(lambda: counted(outside, t, "inbound_refused") == len(scopes), "all are refused")
        await t.settle()
        assert wire.seen_on("outbound.") == []
        await check(outside, t, wire, refused=len(scopes))


ODD_TOKENS = ["", "a.b", "*", ">", "a b", "a\r\nPUB x 0\r\n", "\x00", "é", "\ud800", "x" * 129, "$JS.API", 5, [], {}]


async def test_a_session_or_gateway_id_that_is_no_token_is_refused(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        for odd in ODD_TOKENS:
            wire.publish(FRONT + "x", wire.envelope(call()) | {"sessionId": odd})
            wire.publish(FRONT + "x", wire.envelope(call()) | {"gateway": odd})
        refused = 2 * len(ODD_TOKENS)
        await outside.until(lambda: counted(outside, t, "inbound_refused") >= refused, "all are refused")
        await check(outside, t, wire, refused=refused)


async def test_ids_of_instances_have_the_same_limits_behind_any_gateway(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        ids = {"long": "x" * 257, "longer": "x" * 2_000, "bytes": "é" * 257, "wide": "🦊" * 129}
        for name, actor_id in ids.items():
            wire.publish(FRONT + "x" * 20 if len(actor_id) > 1_000 else subjects.inbound(wire.scope, "vault", actor_id),
                         wire.envelope(call(name, actor_id)))  # fmt: skip
        await wire.wait_frames_to("s_foreign", "rpc:result", len(ids))
        for frame in wire.frames_to("s_foreign"):
            assert frame["code"] in ("invalid_id", "invalid_frame"), frame
        assert outside.runtime(t)._host.instances == 0
        await check(outside, t, wire, refused=len(ids))


async def test_what_is_no_envelope_is_refused_and_a_caller_that_can_be_read_is_told(outside: Outside) -> None:
    whole = json.dumps(enveloped(call("told"))).encode()
    deep = b"[" * 10_000 + b"]" * 10_000
    silent = [b"", b"{", b"[]", b"null", b"5", b"\xff\xfe", b"\x00", deep, whole[:60]]
    fields = ("scope", "sessionId", "message")
    odd: tuple[Any, ...] = (None, "x", [], {}, {"type": "welcome", "id": 1}, {"type": "rpc"}, {"type": 5})
    silent += [
        json.dumps({key: value for key, value in json.loads(whole).items() if key != name}).encode() for name in fields
    ]
    silent += [json.dumps(json.loads(whole) | {"message": message}).encode() for message in odd]
    told = {
        "no actor": json.dumps(enveloped({"type": "rpc", "id": "no actor"})).encode(),
        "wrong method": json.dumps(enveloped(call("wrong method") | {"method": 5})).encode(),
        "wrong actor id": json.dumps(enveloped(call("wrong actor id") | {"actorId": ["x"]})).encode(),
        "surrogate": json.dumps(enveloped(call("surrogate", input={"value": "\ud800"}))).encode(),
        "deep input": json.dumps(enveloped(call("deep input", input="DEEP"))).encode().replace(b'"DEEP"', deep),
        "told": whole + b"}",
        "user id": json.dumps(enveloped(call("user id")) | {"userId": 5}).encode(),
    }
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        for payload in [*silent, *told.values()]:
            wire.publish(FRONT + "x", payload)
        refused = len(silent) + len(told)
        await outside.until(lambda: counted(outside, t, "inbound_refused") == refused, "all are refused")
        await wire.wait_frames_to("s_foreign", "rpc:result", len(told))
        await t.settle()
        answers = {frame["id"]: frame["code"] for frame in wire.frames_to("s_foreign")}
        assert answers == dict.fromkeys(told, "invalid_frame")
        assert all(frame["requestId"] for frame in wire.frames_to("s_foreign"))
        await check(outside, t, wire, refused=refused)


async def test_a_forged_disconnect_of_another_scope_ends_no_session(outside: Outside) -> None:
    own = {"workspaceId": "test-workspace", "projectId": "test-project"}
    theirs = {"workspaceId": "rival", "projectId": "prj"}
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        socket = outside.socket(t)
        socket.subscribe("state:sub", "vault", "x")
        await socket.wait_frames("state:snapshot", 1)
        forged: list[tuple[str, Any]] = [
            ("rival.prj", {"scope": own, "sessionId": socket.id}),
            ("rival.prj", {"scope": theirs, "sessionId": socket.id}),
            ("test-workspace.test-project", {"scope": theirs, "sessionId": socket.id}),
            ("test-workspace.test-project", {"scope": own}),
            ("test-workspace.test-project", {"sessionId": socket.id}),
            ("test-workspace.test-project", {"scope": own, "sessionId": [socket.id]}),
            ("test-workspace.test-project", {"scope": own, "sessionId": "*"}),
            ("test-workspace.test-project", {"scope": own, "sessionId": ""}),
        ]
        for subject, body in forged:
            wire.send(f"session.disconnected.{subject}", body)
        socket.call(1, "vault", "x", "echo", value=1)
        assert (await socket.wait_answer(1))["result"] == 1
        await t.settle()
        assert socket.replica() == {}
        wire.send("session.disconnected.test-workspace.test-project", {"scope": own, "sessionId": socket.id})
        late = outside.socket(t)

        def gone() -> bool:
            late.subscribe("state:sub", "vault", "x")
            return bool(late.replica())

        await outside.until(gone, "the true notice ends it")
        assert late.replica() == {"gone": 1}


def enveloped(frame: Any) -> Frame:
    scope = {"workspaceId": "test-workspace", "projectId": "test-project"}
    return {"scope": scope, "sessionId": "s_foreign", "userId": None, "claims": None, "message": frame}
