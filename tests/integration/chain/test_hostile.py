"""Whatever a client sends: every call is answered with the documented code, nothing leaves its tenant, all others live.

Each test ends with the same two looks: a spy on every subject has seen no message where none belongs, and the hostile
session and an innocent one are still served.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, method
from zocket.ids import Scope, actor_id_token
from zocket.settings import Limits
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Outside, RawSocket, Wire

pytestmark = pytest.mark.each_broker


class Vault(Actor[dict[str, Any]]):
    async def on_connect(self) -> None:
        self.state["connected"] = self.state.get("connected", 0) + 1

    @method
    async def whoami(self) -> str:
        return self.id

    @method
    async def put(self, key: str, value: Any) -> None:
        self.state[key] = value

    @method
    async def number(self, value: int) -> int:
        return value + 1

    @method
    async def ratio(self, value: float) -> float:
        return value / 2

    @method
    async def echo(self, value: Any = None) -> Any:
        return value

    @method
    async def wait(self) -> None:
        await asyncio.sleep(30)

    async def not_a_method(self) -> str:
        return "secret"


app = App(actors={"vault": Vault})

OWN = re.compile(
    r"inbound\.test-workspace\.test-project\.[A-Za-z_][\w-]{0,63}\.[!-~]+"
    r"|(outbound|gateway)\.test-workspace\.test-project\.[\w-]+"
    r"|(session\.(dis)?connected|runtime\.(announce|discover))\.test-workspace\.test-project"
    r"|gateway\.alive\.[\w-]+"
    r"|_INBOX\..*|\$JS\.(API|ACK|EVENT)\..*"
    r"|\$KV\.zocket-owner-test-workspace-test-project\.test-workspace\.test-project(\.begun)?"
)


class Scene:
    """A hostile socket, an innocent one that watches an instance, and a spy that is subscribed to everything."""

    def __init__(self, outside: Outside, t: TestApp, wire: Wire) -> None:
        self.outside = outside
        self.t = t
        self.wire = wire
        self.hostile: RawSocket = outside.socket(t, user_id="mallory")
        self.innocent: RawSocket = outside.socket(t, user_id="alice")

    @classmethod
    async def set(cls, outside: Outside, t: TestApp) -> Scene:
        wire = await (await outside.wire(t)).spy()
        scene = cls(outside, t, wire)
        scene.innocent.subscribe("state:sub", "vault", "home")
        await scene.innocent.wait_frames("state:snapshot", 1)
        return scene

    async def check(self) -> None:
        """Everything lives, and no message is where none belongs."""
        self.hostile.call("still served?", "vault", "other home", "whoami")
        assert (await self.hostile.wait_answer("still served?"))["result"] == "other home"
        self.innocent.call("still served?", "vault", "home", "put", key="k", value="v")
        await self.innocent.wait_answer("still served?")
        assert self.innocent.replica() == {"connected": 1, "k": "v"}
        assert self.hostile.closed_with is self.innocent.closed_with is None
        for message in self.wire.seen:
            subject = message.subject
            assert OWN.fullmatch(subject), subject
            if subject.startswith("inbound."):
                content = json.loads(message.payload, parse_int=str)
                parts = content if isinstance(content, list) else [content]
                first = parts[0]["message"]
                assert subject.split(".")[3:] == [first["actor"], actor_id_token(first["actorId"])]
                for envelope in parts:
                    assert envelope["scope"] == {"workspaceId": "test-workspace", "projectId": "test-project"}
                    assert envelope["sessionId"] in (self.hostile.id, self.innocent.id)
                    assert envelope["userId"] == ("mallory" if envelope["sessionId"] == self.hostile.id else "alice")
                    assert envelope["message"]["actor"] == first["actor"]


SERVED_IDS = {
    "dots": "a.b.c",
    "only dots": "...",
    "space": "a b",
    "star": "*",
    "tail": ">",
    "controls": "".join(map(chr, range(1, 32))),
    "line break": "a\r\nPUB evil 1\r\nx\r\n",
    "nul": "a\x00b",
    "delete": "\x7f",
    "emoji": "🦊" * 128,
    "two bytes each": "é" * 256,
    "management": "$JS.API.STREAM.DELETE.INBOUND",
    "dollar": "$",
    "percent": "%",
    "an id's token": "a%2Eb%2Ec",
    "longest": "x" * 256,
    "line separator": "a\u2028b\u0085",
    "bidi": "\u202eabc",
    "path": "../../etc/passwd",
    "prototype": "__proto__",
    "quotes": "\"'\\",
}
REFUSED_IDS = {
    "empty": ("", "invalid_id"),
    "257 characters": ("x" * 257, "invalid_id"),
    "4 kB": ("x" * 4_096, "invalid_id"),
    "200 kB": ("x" * 200_000, "invalid_id"),
    "513 bytes": ("é" * 256 + "x", "invalid_id"),
    "over 512 bytes": ("🦊" * 129, "invalid_id"),
    "lone surrogate": ("\ud800", "invalid_frame"),
}


async def test_every_odd_id_is_an_instance_of_its_own(outside: Outside) -> None:
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for name, actor_id in SERVED_IDS.items():
            scene.hostile.call(name, "vault", actor_id, "put", key="name", value=name)
            scene.hostile.call(f"{name}?", "vault", actor_id, "whoami")
            scene.hostile.subscribe("state:sub", "vault", actor_id)
        for name, actor_id in SERVED_IDS.items():
            assert (await scene.hostile.wait_answer(f"{name}?"))["result"] == actor_id
        snapshots = await scene.hostile.wait_frames("state:snapshot", len(SERVED_IDS))
        assert {frame["actorId"]: frame["state"]["name"] for frame in snapshots} == {
            actor_id: name for name, actor_id in SERVED_IDS.items()
        }
        await scene.check()


async def test_ids_and_types_that_may_not_be_used_are_refused_and_reach_nobody(outside: Outside) -> None:
    types = {
        "room.x": "invalid_id",
        "*": "invalid_id",
        ">": "invalid_id",
        "": "invalid_id",
        "vault\r\nPUB evil 0\r\n": "invalid_id",
        "vault ": "invalid_id",
        "vault.>": "invalid_id",
        "$JS": "invalid_id",
        "väult": "invalid_id",
        "1vault": "invalid_id",
        "v" * 65: "invalid_id",
        "v" * 64: "unknown_actor",
        "__proto__": "unknown_actor",
        "constructor": "unknown_actor",
        "Vault": "unknown_actor",
    }
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for name, (actor_id, _) in REFUSED_IDS.items():
            scene.hostile.call(name, "vault", actor_id, "whoami")
        for actor in types:
            scene.hostile.call(actor, actor, "x", "whoami")
        for name, (_, code) in REFUSED_IDS.items():
            assert (await scene.hostile.wait_answer(name))["code"] == code, name
        for actor, code in types.items():
            assert (await scene.hostile.wait_answer(actor))["code"] == code, actor
        for kind in ("state:sub", "event:sub"):
            for actor_id, _ in REFUSED_IDS.values():
                scene.hostile.subscribe(kind, "vault", actor_id)
            for actor in types:
                scene.hostile.subscribe(kind, actor, "x")
        # A lone surrogate makes the frame no JSON that a parser here reads, and a subscription has no id to answer.
        errors = await scene.hostile.wait_frames("error", 2 * (len(types) + len(REFUSED_IDS) - 1))
        assert {frame["code"] for frame in errors} == {"invalid_id", "unknown_actor"}
        assert not scene.hostile.session.edge.subscriptions
        assert not [message for message in scene.wire.seen if scene.hostile.id.encode() in message.payload][1:]
        await scene.check()


async def test_only_methods_can_be_called(outside: Outside) -> None:
    names = [
        "__init__", "__class__", "__dict__", "__proto__", "on_connect", "on_disconnect", "on_activate",
        "on_deactivate", "state", "id", "session", "caller", "clients", "ctx", "_instance", "not_a_method",
        "whoami ", "Whoami", "whoami.__call__", "who\x00ami", "", "*", ">", "x" * 100_000,
    ]  # fmt: skip
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for number, name in enumerate(names):
            scene.hostile.call(number, "vault", "x", name)
        for number, name in enumerate(names):
            answer = await scene.hostile.wait_answer(number)
            assert (answer["code"], answer["error"]) == ("unknown_method", f"Unknown method: {name}")
        for number, value in enumerate((None, 5, ["whoami"], {"a": 1}, True)):
            frame = {"type": "rpc", "id": f"m{number}", "actor": "vault", "actorId": "x", "method": value}
            scene.hostile.write(frame)
            assert (await scene.hostile.wait_answer(f"m{number}"))["code"] == "invalid_frame"
        await scene.check()


def call_text(call_id: object, method_name: str, input_text: str, head: str = "") -> bytes:
    return (
        f'{{{head}"type":"rpc","id":{json.dumps(call_id)},"actor":"vault","actorId":"x","method":"{method_name}",'
        f'"input":{input_text}}}'
    ).encode()


async def test_numbers_keys_and_values_that_json_cannot_hold_never_reach_a_state(outside: Outside) -> None:
    refused = {
        "too big": call_text("too big", "ratio", '{"value":1e400}'),
        "too big to echo": call_text("too big to echo", "echo", '{"value":[1e999]}'),
        "5,000 digits": call_text("5,000 digits", "number", '{"value":' + "9" * 5_000 + "}"),
        "200,000 digits": call_text("200,000 digits", "echo", '{"value":' + "9" * 200_000 + "}"),
        "text": call_text("text", "number", '{"value":"5"}'),
        "list": call_text("list", "number", "[1,2]"),
        "missing": call_text("missing", "number", "{}"),
        "bool": call_text("bool", "number", '{"value":true}'),
        "no object": call_text("no object", "put", '"x"'),
    }
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for frame in refused.values():
            scene.hostile.write(frame)
        for name in refused:
            answer = await scene.hostile.wait_answer(name)
            assert answer["code"] == "validation_failed", (name, answer)
            assert answer["error"].startswith("Validation failed for ")
        for literal in ("NaN", "Infinity", "-Infinity", "nan", "1.", "01", "+1", "0x10", "'a'", "undefined", "1e"):
            scene.hostile.write(call_text(f"no JSON {literal}", "echo", f'{{"value":{literal}}}'))
        for name, value in {
            "1 MB fraction": "0." + "3" * 200_000,
            "tiny": "1e-99999",
            "big": "9" * 18,
            "minus zero": "-0",
        }.items():
            scene.hostile.write(call_text(name, "echo", f'{{"value":{value}}}'))
            assert "result" in await scene.hostile.wait_answer(name)
        assert not [call_id for call_id in scene.hostile.answers() if str(call_id).startswith("no JSON")]
        await scene.check()


async def test_keys_of_the_prototype_chain_become_nothing(outside: Outside) -> None:
    keys = ("__proto__", "constructor", "prototype")
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for key in keys:
            value = f'{{"{key}":{{"polluted":true}}}}'
            scene.hostile.write(call_text(f"in frame {key}", "whoami", "{}", head=f'"{key}":{{"type":"x"}},'))
            scene.hostile.write(call_text(f"in input {key}", "whoami", value))
            scene.hostile.call(f"as key {key}", "vault", "x", "put", key=key, value=1)
            scene.hostile.call(f"below {key}", "vault", "x", "put", key="ok", value={"a": [{key: {"b": 1}}]})
        for key in keys:
            assert (await scene.hostile.wait_answer(f"in frame {key}"))["result"] == "x"
            assert (await scene.hostile.wait_answer(f"in input {key}"))["result"] == "x"
            for where in ("as key", "below"):
                assert "error" in await scene.hostile.wait_answer(f"{where} {key}")
        scene.hostile.subscribe("state:sub", "vault", "x")
        await scene.hostile.wait_frames("state:snapshot", 1)
        assert scene.hostile.replica() == {"connected": 1}
        t.failures.clear()
        await scene.check()


@pytest.mark.parametrize("depth", [61, 62, 63, 100, 1_000, 10_000, 60_000])
async def test_nesting_is_served_up_to_the_limit_and_answered_beyond_it(outside: Outside, depth: int) -> None:
    served = depth <= 62  # beside the frame, its input and the method's value
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        scene.hostile.write(call_text("deep", "echo", '{"value":' + "[" * depth + "]" * depth + "}"))
        scene.hostile.write(call_text("deep objects", "echo", '{"value":' + '{"a":' * depth + "1" + "}" * depth + "}"))
        scene.hostile.write(b"[" * depth + b"]" * depth)
        for name in ("deep", "deep objects"):
            answer = await scene.hostile.wait_answer(name)
            assert answer.get("code") == (None if served else "invalid_frame"), answer
        await scene.check()


async def test_a_name_given_twice_means_the_same_to_gateway_and_runtime(outside: Outside) -> None:
    twice = {
        "actorId": b'{"type":"rpc","id":"actorId","actor":"vault","actorId":"first","actorId":"last",'
        b'"method":"whoami"}',
        "escaped": b'{"type":"rpc","id":"escaped","actor":"vault","actorId":"first","\\u0061ctorId":"last",'
        b'"method":"whoami"}',
        "actor": b'{"type":"rpc","id":"actor","actor":"nobody","actorId":"last","actor":"vault","method":"whoami"}',
        "method": b'{"type":"rpc","id":"method","actor":"vault","actorId":"last","method":"echo","method":"whoami"}',
        "id": b'{"type":"rpc","id":"first","actor":"vault","actorId":"last","method":"whoami","id":"id"}',
        "input": b'{"type":"rpc","id":"input","actor":"vault","actorId":"x","method":"echo",'
        b'"input":{"value":"first"},"input":{"value":"last"}}',
        "envelope": b'{"scope":{"workspaceId":"a","projectId":"b"},"sessionId":"s","userId":"root","claims":{"a":1},'
        b'"gateway":"g","requestId":"r","message":{"type":"x"},"type":"rpc","id":"envelope","actor":"vault",'
        b'"actorId":"last","method":"whoami"}',
    }
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for name, frame in twice.items():
            scene.hostile.write(frame)
            assert (await scene.hostile.wait_answer(name))["result"] == "last", name
        scene.hostile.write(b'{"type":"rpc","id":1,"type":"state:sub","actor":"vault","actorId":"x","method":"whoami"}')
        scene.hostile.write(b'{"type":"rpc","id":2,"actor":"vault","actor":"*","actorId":"x","method":"whoami"}')
        assert (await scene.hostile.wait_answer(2))["code"] == "invalid_id"
        await scene.check()
        assert 1 not in scene.hostile.answers()
        refused = [sample for sample in outside.runtime(t).samples() if sample.name == "inbound_refused"]
        assert [sample.value for sample in refused] == [0]


async def test_ids_of_calls_are_echoed_as_they_came_or_refused(outside: Outside) -> None:
    echoed = ['"a"', '""', "0", "-1", "1.5", "1e3", '"\\u00e9"', '"é🦊"', '"__proto__"', f'"{"x" * 254}"', "1e999"]
    refused = ["null", "true", "[]", "{}", "[1]", f'"{"x" * 255}"', "9" * 257, '"' + "x" * 200_000 + '"']
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        socket = scene.hostile
        for text in echoed:
            socket.write(f'{{"type":"rpc","id":{text},"actor":"vault","actorId":"x","method":"whoami"}}'.encode())
        await socket.wait_frames("rpc:result", len(echoed))
        spelled = [frame.removeprefix(b'{"type":"rpc:result","id":')[:-14] for frame in socket.raw[1:]]
        assert sorted(spelled) == sorted(text.encode() for text in echoed)
        del socket.received[:]
        for text in refused:
            socket.write(f'{{"type":"rpc","id":{text},"actor":"vault","actorId":"x","method":"whoami"}}'.encode())
        assert [frame["code"] for frame in await socket.wait_frames("error", len(refused))] == ["invalid_frame"] * len(
            refused
        )
        await scene.check()


async def test_what_is_no_frame_is_ignored(outside: Outside) -> None:
    nothing = [
        b"", b" ", b"\x00", b"null", b"1", b'"rpc"', b"[]", b"{}", b"{", b"}", b"\xff\xfe", b"\xef\xbb\xbf{}",
        b'{"type":"rpc"', b'{"type":5}', b'{"type":"nope","id":1}', b'{"type":"rpc:result","id":1}',
        b'{"type":"welcome","clientId":"x"}', b'{"type":"state:snapshot","actor":"vault","actorId":"x","state":{}}',
        b'{"type":"rpc","actor":"vault","actorId":"x","method":"whoami"}', b"{}" * 1_000, b"[" * 200_000,
        b'{"type":"rpc","id":1,"actor":"vault","actorId":"x","method":"whoami"}{"type":"rpc","id":2}',
        b'{"type":"rpc","id":1,"actor":"vault","actorId":"\xff","method":"whoami"}',
        b'{"type":"rpc","id":1,"actor":"vault","actorId":"\xed\xa0\x80","method":"whoami"}',
        b'{"type":"state:sub","actor":"vault"}', b'{"type":"state:sub","actor":5,"actorId":"x"}',
    ]  # fmt: skip
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for frame in nothing:
            scene.hostile.write(frame)
        await scene.check()
        kinds = [frame["type"] for frame in scene.hostile.received]
        assert kinds == ["welcome", "error", "rpc:result"]
        assert scene.hostile.frames("error")[0]["code"] == "invalid_frame", "too deep to be read at all"


async def test_ten_thousand_subscriptions_end_at_the_limit(outside: Outside) -> None:
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        for number in range(10_000):
            scene.hostile.subscribe("event:sub" if number % 2 else "state:sub", "vault", f"id{number}")
        errors = await scene.hostile.wait_frames("error", 9_000)
        assert {frame["code"] for frame in errors} == {"too_many_subscriptions"}
        await scene.hostile.wait_frames("state:snapshot", 500)
        await t.settle()
        assert len(scene.hostile.frames("error")) == 9_000
        assert len(scene.hostile.frames("state:snapshot")) == 500
        assert outside.runtime(t)._host.instances == 1_001
        await scene.check()


async def test_three_hundred_calls_at_once_end_at_the_limit(outside: Outside) -> None:
    limits = replace(Limits(), max_ack_pending=1_000)
    async with TestApp(app, limits=limits) as t:
        scene = await Scene.set(outside, t)
        for number in range(300):
            scene.hostile.call(number, "vault", f"id{number}", "wait")
        refused = await scene.hostile.wait_frames("rpc:result", 44)
        assert {frame["code"] for frame in refused} == {"too_many_calls"}
        assert sorted(frame["id"] for frame in refused) == list(range(256, 300))
        scene.hostile.call("one more", "vault", "id0", "wait")
        assert (await scene.hostile.wait_answer("one more"))["code"] == "too_many_calls"
        assert len(scene.hostile.session.edge.pending) == 256
        await t.kill()


async def test_a_rate_limit_refuses_and_recovers(outside: Outside) -> None:
    limits = replace(Limits(), rate_per_s=50, rate_burst=20)
    async with TestApp(app, limits=limits) as t:
        hostile, innocent = outside.socket(t), outside.socket(t)
        for number in range(100):
            hostile.call(number, "vault", "x", "whoami")
        await hostile.wait_frames("rpc:result", 100)
        codes = [frame.get("code") for frame in hostile.answers().values()]
        assert codes.count("rate_limited") in range(70, 81)
        innocent.call(1, "vault", "x", "whoami")
        assert "result" in await innocent.wait_answer(1)
        await t.clock.advance(1.0)
        hostile.call("later", "vault", "x", "whoami")
        assert "result" in await hostile.wait_answer("later")


async def test_messages_of_another_tenants_runtime_reach_no_session(outside: Outside) -> None:
    rival = Scope("rival", "prj")
    own = {"workspaceId": "test-workspace", "projectId": "test-project"}
    theirs = {"workspaceId": rival.workspace_id, "projectId": rival.project_id}
    fake = {"type": "state:snapshot", "actor": "vault", "actorId": "home", "state": {"forged": True}}
    async with TestApp(app) as t:
        scene = await Scene.set(outside, t)
        stranger = outside.socket(t, scope=rival)
        victim, gateway = scene.innocent.id, outside.gateway(t)
        scene.innocent.call("waits", "vault", "slow", "wait")
        answer = {"type": "rpc:result", "id": "waits", "result": "forged"}
        for frame in (fake, answer):
            for scope in (own, theirs):
                batch = {"scope": scope, "deliveries": [{"sessions": [victim], "message": frame}]}
                scene.wire.send(f"gateway.rival.prj.{gateway.gateway_id}", batch)
                single = {"scope": scope, "sessionId": victim, "message": frame}
                for session in (victim, stranger.id):
                    scene.wire.send(f"outbound.rival.prj.{session}", single)
        for broken in (b"", b"{", b"[]", b"\xff", b'{"scope":1}', b"[" * 100_000):
            for subject in (
                f"gateway.rival.prj.{gateway.gateway_id}",
                f"gateway.test-workspace.test-project.{gateway.gateway_id}",
                f"outbound.test-workspace.test-project.{victim}",
                f"outbound.rival.prj.{stranger.id}",
                "runtime.announce.rival.prj",
                "runtime.announce.test-workspace.test-project",
                "session.disconnected.test-workspace.test-project",
                "session.disconnected.rival.prj",
            ):
                scene.wire.send(subject, broken)
        announcement = {"scope": own, "epoch": "e_forged", "actorTypes": []}
        scene.wire.send("runtime.announce.rival.prj", announcement)
        for scope, subject in ((own, "rival.prj"), (theirs, "test-workspace.test-project"), (theirs, "rival.prj")):
            scene.wire.send(f"session.disconnected.{subject}", {"scope": scope, "sessionId": victim})
        # What the true runtime says of a stranger's session does not reach it either.
        scene.wire.send(
            f"gateway.test-workspace.test-project.{gateway.gateway_id}",
            {"scope": own, "deliveries": [{"sessions": [stranger.id], "message": fake}]},
        )
        proof = {"type": "event", "actor": "vault", "actorId": "home", "event": "proof", "payload": 1}
        scene.wire.send(
            f"gateway.rival.prj.{gateway.gateway_id}",
            {"scope": theirs, "deliveries": [{"sessions": [stranger.id, victim], "message": proof}]},
        )
        await stranger.wait_frames("event", 1)
        assert [frame["type"] for frame in stranger.received] == ["welcome", "event"]
        assert [frame["type"] for frame in scene.innocent.received] == ["welcome", "state:snapshot"]
        assert gateway.statistics.dropped > 0
        await outside.until(
            lambda: any(b'"proof"' in message.payload for message in scene.wire.seen), "the spy's own words"
        )
        scene.wire.seen.clear()
        await scene.check()
        assert scene.innocent.frames("event") == []
        await t.kill()
