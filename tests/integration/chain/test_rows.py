"""The rows of the runtime's contract that the whole chain shows, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, ActorError, App, Event, method
from zocket.errors import Superseded
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Outside

pytestmark = pytest.mark.each_broker

HOLD_S = 0.02
"""How long a handler of these tests waits, so that others can come between."""


class Notes:
    """What handlers did, in order; one for each test."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, ...]] = []

    def add(self, *parts: str) -> None:
        self.lines.append(parts)

    def of(self, kind: str) -> list[tuple[str, ...]]:
        return [line[1:] for line in self.lines if line[0] == kind]


NOTES = Notes()


@pytest.fixture(autouse=True)
def notes() -> Notes:
    NOTES.lines.clear()
    return NOTES


class Room(Actor[dict[str, Any]]):
    said = Event[int]()

    async def on_activate(self) -> None:
        NOTES.add("activate", self.id)
        await asyncio.sleep(0)
        self.state["lines"] = []

    async def on_connect(self) -> None:
        NOTES.add("connect", self.id, self.session.id)

    async def on_disconnect(self) -> None:
        NOTES.add("disconnect", self.id, self.session.id)

    @method
    async def say(self, line: int, hold_s: float = 0.0) -> int:
        NOTES.add("enter", self.id, str(line))
        if hold_s:
            await asyncio.sleep(hold_s)
        self.state["lines"].append(line)
        self.said.emit(line)
        NOTES.add("leave", self.id, str(line))
        return len(self.state["lines"])

    @method
    async def fail(self, how: str, hold_s: float = 0.0) -> None:
        self.state["lines"].append("never seen")
        self.state["extra"] = {"deep": [1, 2, 3]}
        self.said.emit(-1)
        if hold_s:
            await asyncio.sleep(hold_s)
        if how == "on purpose":
            raise ActorError("refused", code="refused")
        raise KeyError("by mistake")

    @method
    async def lines(self) -> list[Any]:
        return list(self.state["lines"])


app = App(actors={"room": Room})


async def test_r6_an_ended_session_leaves_every_instance_once_and_gets_nothing_more(
    outside: Outside, notes: Notes
) -> None:
    async with TestApp(app) as t:
        leaver, stayer = outside.socket(t), outside.socket(t)
        for actor_id in ("a", "b"):
            for socket in (leaver, stayer):
                socket.subscribe("state:sub", "room", actor_id)
                socket.subscribe("event:sub", "room", actor_id)
        stayer.subscribe("state:sub", "room", "c")
        await stayer.wait_frames("state:snapshot", 3)
        await leaver.wait_frames("state:snapshot", 2)
        leaver.session.closed()
        await outside.until(lambda: len(notes.of("disconnect")) == 2, "on_disconnect in both instances")
        received = len(leaver.received)
        for number, actor_id in enumerate("abc"):
            stayer.call(number, "room", actor_id, "say", line=number)
        await stayer.wait_answer(2)
        await t.settle()
        assert sorted(notes.of("disconnect")) == [("a", leaver.id), ("b", leaver.id)]
        assert len(leaver.received) == received
        assert len(stayer.frames("event")) == 2


async def test_r10_a_thousand_ids_are_activated_once_each_before_their_first_method(
    outside: Outside, notes: Notes
) -> None:
    async with TestApp(app) as t:
        sockets = [outside.socket(t) for _ in range(25)]
        for number, actor in itertools.product(range(3), range(1_000)):
            sockets[actor % 25].call(f"{actor}.{number}", "room", f"id{actor}", "say", line=number)
        await outside.until(lambda: sum(len(socket.received) for socket in sockets) >= 3_025, "3,000 answers")
        results = {key: frame["result"] for socket in sockets for key, frame in socket.answers().items()}
        assert Counter(results.values()) == {1: 1_000, 2: 1_000, 3: 1_000}
        assert all(results[f"{actor}.2"] == 3 for actor in range(1_000))
        activated = notes.of("activate")
        assert len(activated) == len(set(activated)) == 1_000
        first: dict[str, str] = {}
        for kind, actor_id, *_ in notes.lines:
            if kind in ("activate", "enter"):
                first.setdefault(actor_id, kind)
        assert set(first.values()) == {"activate"}


async def test_r11_fifty_sessions_on_one_instance_run_one_handler_at_a_time_in_order(
    outside: Outside, notes: Notes
) -> None:
    async with TestApp(app) as t:
        sockets = [outside.socket(t) for _ in range(50)]
        sent = list(itertools.product(range(4), range(50)))
        for turn, number in sent:
            line = turn * 50 + number
            sockets[number].call(turn, "room", "hot", "say", line=line, hold_s=0.001 if line % 3 else 0.0)
        for socket in sockets:
            await socket.wait_answer(3)
        steps = [line for line in notes.lines if line[0] in ("enter", "leave")]
        assert steps == [(step, "hot", str(line)) for line in range(200) for step in ("enter", "leave")]


async def test_r12_a_handler_that_sleeps_delays_no_other_instance(outside: Outside) -> None:
    async with TestApp(app) as t:
        socket = outside.socket(t)
        socket.call("slow", "room", "sleepy", "say", line=0, hold_s=2.0)
        for number in range(50):
            socket.call(number, "room", f"n{number}", "say", line=1)
        for number in range(50):
            assert (await socket.wait_answer(number))["result"] == 1
        assert "slow" not in socket.answers()
        assert (await socket.wait_answer("slow"))["result"] == 1


@pytest.mark.parametrize("how", ["on purpose", "by mistake"])
@pytest.mark.parametrize("hold_s", [0.0, HOLD_S])
async def test_r13_a_handler_that_raises_leaves_no_patch_and_no_event(
    outside: Outside, how: str, hold_s: float
) -> None:
    async with TestApp(app) as t:
        watcher, caller = outside.socket(t), outside.socket(t)
        watcher.subscribe("state:sub", "room", "a")
        watcher.subscribe("event:sub", "room", "a")
        await watcher.wait_frames("state:snapshot", 1)
        caller.call(1, "room", "a", "say", line=1)
        caller.call(2, "room", "a", "fail", how=how, hold_s=hold_s)
        caller.call(3, "room", "a", "say", line=3)
        caller.call(4, "room", "a", "lines")
        assert (await caller.wait_answer(4))["result"] == [1, 3]
        failed = caller.answers()[2]
        assert failed["code"] == ("refused" if how == "on purpose" else "internal")
        assert ("by mistake" in failed["error"]) is False
        await watcher.wait_frames("event", 2)
        await t.settle()
        assert [frame["payload"] for frame in watcher.frames("event")] == [1, 3]
        assert len(watcher.frames("state:patch")) == 2
        assert watcher.replica() == {"lines": [1, 3]}
        late = outside.socket(t)
        late.subscribe("state:sub", "room", "a")
        await late.wait_frames("state:snapshot", 1)
        assert late.replica() == watcher.replica()
        assert len(t.failures) == (how == "by mistake")
        t.failures.clear()


async def test_r14_one_message_each_for_sessions_of_a_gateway_that_announced_nothing_and_one_for_all_of_ours(
    outside: Outside,
) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        ours = [outside.socket(t) for _ in range(10)]
        for socket in ours:
            socket.subscribe("state:sub", "room", "a")
            socket.subscribe("event:sub", "room", "a")
        for number in range(10):
            for kind in ("state:sub", "event:sub"):
                wire.inbound({"type": kind, "actor": "room", "actorId": "a"}, session=f"s_foreign{number}")
        for number in range(10):
            await wire.wait_frames_to(f"s_foreign{number}", "state:snapshot", 1)
        for socket in ours:
            await socket.wait_frames("state:snapshot", 1)
        wire.seen.clear()
        call = {"type": "rpc", "id": 1, "actor": "room", "actorId": "a", "method": "say", "input": {"line": 7}}
        wire.inbound(call, session="s_foreign0")
        await wire.wait_frames_to("s_foreign0", "rpc:result", 1)
        for socket in ours:
            await socket.wait_frames("event", 1)
        kinds = defaultdict(list)
        for number in range(10):
            for frame in wire.frames_to(f"s_foreign{number}"):
                kinds[number].append(frame["type"])
        assert kinds.pop(0) == ["state:patch", "event", "rpc:result"]
        assert list(kinds.values()) == [["state:patch", "event"]] * 9
        assert len(wire.seen_on("outbound.")) == 21
        assert len(wire.seen_on("gateway.")) == 1, "patch and event for ten sessions of one gateway are one message"
        assert not [
            message
            for message in wire.seen
            if not message.subject.startswith(("outbound.", "gateway.", "inbound.", "_INBOX.", "$JS.", "runtime."))
        ]


@pytest.mark.parametrize("die", ["crash", "kill"])
async def test_r15_what_a_dead_runtime_had_not_finished_is_answered_by_the_next_one(
    outside: Outside, notes: Notes, die: str
) -> None:
    async with TestApp(app) as t:
        sockets = [outside.socket(t) for _ in range(10)]
        for number in range(200):
            sockets[number % 10].call(number, "room", f"id{number % 20}", "say", line=number, hold_s=HOLD_S)
        await outside.until(lambda: len(notes.of("leave")) >= 30, "some are done")
        assert len(notes.of("leave")) < 200
        if die == "crash":
            await t.crash()
        else:
            await t.kill()
            sockets[0].call("while nobody is there", "room", "id0", "say", line=1_000)
            await t.start()
            await sockets[0].wait_answer("while nobody is there")
        for number in range(200):
            answer = await sockets[number % 10].wait_answer(number)
            assert "result" in answer, answer
        for socket in sockets:
            socket.answers()
        entered = Counter(notes.of("enter"))
        assert set(entered.values()) <= {1, 2}, "run once, or once more by the next runtime"
        for actor in range(20):
            ran = [int(line) for actor_id, line in notes.of("leave") if actor_id == f"id{actor}" and int(line) < 200]
            last = max(index for index, line in enumerate(ran) if line == min(ran))
            assert ran[last:] == sorted(ran[last:]), "the next runtime takes them in their order"


async def test_r16_state_in_memory_is_gone_after_a_restart(outside: Outside) -> None:
    async with TestApp(app) as t:
        socket = outside.socket(t)
        socket.call(1, "room", "a", "say", line=1)
        assert (await socket.wait_answer(1))["result"] == 1
        await t.stop()
        await t.start()
        socket.call(2, "room", "a", "lines")
        assert (await socket.wait_answer(2))["result"] == []


async def test_r18_the_older_of_two_runtimes_stands_down_and_no_instance_runs_on_both(
    outside: Outside, notes: Notes
) -> None:
    async with TestApp(app) as t:
        old = outside.runtime(t)
        sockets = [outside.socket(t) for _ in range(4)]
        watcher = outside.socket(t)
        for number in range(10):
            watcher.subscribe("state:sub", "room", f"id{number}")
        await watcher.wait_frames("state:snapshot", 10)
        for number in range(100):
            sockets[number % 4].call(number, "room", f"id{number % 10}", "say", line=number, hold_s=HOLD_S)
        await outside.until(lambda: len(notes.of("leave")) >= 20, "some are done")
        await t.start()
        with pytest.raises(Superseded):
            await old.wait_stopped()
        for number in range(100):
            assert "result" in await sockets[number % 4].wait_answer(number)
        for actor in range(10):
            steps = [line[0] for line in notes.lines if line[0] in ("enter", "leave") and line[1] == f"id{actor}"]
            assert Counter(steps)["enter"] - Counter(steps)["leave"] <= 1, "at most the turn that was cut"
        await watcher.wait_frames("state:snapshot", 20)
        await t.settle()
        assert all(answer["result"] <= 10 for socket in sockets for answer in socket.answers().values())
        last = outside.socket(t)
        last.call("last", "room", "id3", "lines")
        lines = (await last.wait_answer("last"))["result"]
        assert lines == sorted(set(lines)), "each once, in order"


async def test_r20_a_call_goes_the_whole_way_and_comes_back_as_patch_event_result(outside: Outside) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        caller, watcher = outside.socket(t, user_id="ada"), outside.socket(t)
        for socket in (caller, watcher):
            socket.subscribe("event:sub", "room", "a")
            socket.subscribe("state:sub", "room", "a")
            await socket.wait_frames("state:snapshot", 1)
        caller.call(7, "room", "a", "say", line=5)
        await caller.wait_answer(7)
        await watcher.wait_frames("event", 1)
        assert [frame["type"] for frame in caller.received] == [
            "welcome",
            "state:snapshot",
            "state:patch",
            "event",
            "rpc:result",
        ]
        assert [frame["type"] for frame in watcher.received] == ["welcome", "state:snapshot", "state:patch", "event"]
        assert watcher.received[2]["patches"] == [{"op": "add", "path": "/lines/0", "value": 5}]
        assert caller.replica() == watcher.replica() == {"lines": [5]}
        inbound = [message.subject.split(".")[0] for message in wire.seen]
        assert "inbound" in inbound
        assert "gateway" in inbound
