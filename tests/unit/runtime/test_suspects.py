"""What follows the death of a runtime, on the memory broker in virtual time; a death is `Runtime.abort`."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from zocket.core import Actor, method
from zocket.host.trials import ALONE_S, PATIENCE_S
from zocket.protocol import subjects
from zocket.protocol.envelopes import MAX_PARTS
from zocket.runtime.suspects import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.runtime.conftest import Bench, Wire
    from zocket.runtime.runtime import Runtime

KEY = "ws.proj.begun"


class Worker(Actor[dict[str, Any]]):
    """Notes what it does; `kill` ends its process, `wait` takes its time."""

    entered: ClassVar[list[str]]
    kills: ClassVar[Callable[[], object]]

    @method
    async def note(self, text: str) -> str:
        self.entered.append(text)
        return text

    @method
    async def kill(self, after_s: float = 0.0) -> None:
        self.entered.append("kill")
        await asyncio.sleep(after_s)
        type(self).kills()
        await asyncio.Event().wait()

    @method
    async def tell(self, other: str, text: str) -> None:
        self.actors.tell(self.actors.get(type(self), other).kill)
        self.actors.tell(self.actors.get(type(self), other).note, text=text)

    @method
    async def wait(self, text: str, seconds: float) -> str:
        self.entered.append(text)
        await asyncio.sleep(seconds)
        return text


class Lives:
    """A project whose runtimes die, one life after the other."""

    def __init__(self, bench: type[Bench]) -> None:
        self.bench = bench()
        self.clock = self.bench.clock
        self.worker: type[Worker] = type("Worker", (Worker,), {"entered": []})
        self.bench.actors = {"worker": self.worker}
        self.wire: Wire
        self.runtime: Runtime
        self.died = asyncio.Event()
        self._deaths: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Lives:
        self.wire = await self.bench.wire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def begin(self, **more: Any) -> Runtime:
        """The next life."""
        self.runtime = runtime = await self._stack.enter_async_context(self.bench.runtime(**more))
        self.died.clear()
        self.worker.kills = lambda: self._deaths.add(asyncio.create_task(self._die(runtime)))
        await self.bench.settle()
        return runtime

    async def _die(self, runtime: Runtime) -> None:
        await runtime.abort()
        self.died.set()

    async def deaths(self, count: int) -> None:
        """So many lives that end by themselves."""
        for _ in range(count):
            await self.begin()
            await self.died.wait()

    def call(self, name: str, actor_id: str, call_id: Any, **values: Any) -> None:
        self.wire.call(name, actor_id, actor="worker", call_id=call_id, input=values)

    def note(self, text: str, actor_id: str = "a") -> None:
        self.call("note", actor_id, text, text=text)

    @property
    def answers(self) -> dict[Any, Any]:
        """By call id the result, or the code of the error; nothing is answered twice."""
        frames = self.wire.frames()
        found = {frame["id"]: frame.get("code", frame.get("result")) for frame in frames}
        assert len(found) == len(frames), frames
        return found

    def marks(self) -> Any:
        entry = self.bench.server.buckets[subjects.owner_bucket(self.bench.scope)].get(KEY)
        begun = {} if entry is None else json.loads(entry.value).get("begun", {})
        return None if entry is None else {str(int(key) // MAX_PARTS): epochs for key, epochs in begun.items()}

    async def write_marks(self, begun: dict[int, list[str]]) -> None:
        """As runtimes have left them, or an earlier one that still lives has just changed them."""
        source = f"INBOUND:{self.bench.server.streams[subjects.INBOUND_STREAM].incarnation}"
        entry = self.bench.server.buckets[subjects.owner_bucket(self.bench.scope)].get(KEY)
        positions = {sequence * MAX_PARTS: epochs for sequence, epochs in begun.items()}
        record = json.dumps({"source": source, "begun": positions}).encode()
        await self.wire.broker.put(
            subjects.owner_bucket(self.bench.scope), KEY, record, None if entry is None else entry.revision
        )

    def dead_letters(self) -> list[dict[str, Any]]:
        stream = self.bench.server.streams.get(subjects.DEAD_LETTER_STREAM)
        return [] if stream is None else [json.loads(stored.payload) for stored in stream.current().values()]


async def test_a_poison_message_is_given_up_after_three_deaths_and_only_it(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.note("first")
        lives.call("kill", "a", "poison")
        for number in range(5):
            lives.note(f"a{number}", "a")
            lives.note(f"b{number}", "b")
        await lives.died.wait()
        await lives.deaths(2)
        assert lives.worker.entered.count("kill") == 3
        assert len(lives.marks()) == 1
        runtime = await lives.begin(deployment_id="dpl_4", process_name="fourth")
        await lives.clock.sleep(GRACE_S + 1)
        assert lives.worker.entered.count("kill") == 3
        innocents = {f"{name}{number}": f"{name}{number}" for name in "ab" for number in range(5)}
        assert lives.answers == {"first": "first", "poison": "dead_letter"} | innocents
        for name in "ab":
            assert [text for text in lives.worker.entered if text[0] == name][-5:] == [f"{name}{i}" for i in range(5)]
        assert lives.marks() == {}
        assert next(sample.value for sample in runtime.samples() if sample.name == "dead_letters") == 1
        (letter,) = lives.dead_letters()
        assert (letter["actor"], letter["actorId"], letter["method"], letter["attempts"]) == ("worker", "a", "kill", 3)
        assert (letter["deployment"], letter["process"], letter["sequence"]) == ("dpl_4", "fourth", 2)
        assert letter["subject"] == "inbound.ws.proj.worker.a"
        assert letter["envelope"]["message"]["id"] == "poison"
        assert "3 times" in letter["cause"]
        assert lives.bench.server.streams[subjects.INBOUND_STREAM].current() == {}


async def test_of_requests_to_several_instances_in_one_message_only_the_one_that_kills_is_given_up(
    bench: type[Bench],
) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        calls: dict[str, dict[str, Any]] = {
            "before": {"method": "note", "input": {"text": "before"}},
            "poison": {"method": "kill"},
            "behind": {"method": "note", "input": {"text": "behind"}},
        }
        parts = [
            lives.wire.envelope({"type": "rpc", "id": name, "actor": "worker", "actorId": name} | call)
            for name, call in calls.items()
        ]
        lives.wire.publish_raw(subjects.inbound(lives.bench.scope, "worker", "before"), json.dumps(parts).encode())
        await lives.died.wait()
        await lives.deaths(2)
        await lives.begin()
        await lives.clock.sleep(GRACE_S + 1)
        assert lives.worker.entered.count("kill") == 3
        answers = {(frame["id"], frame.get("code", frame.get("result"))) for frame in lives.wire.frames()}
        assert answers == {("before", "before"), ("poison", "dead_letter"), ("behind", "behind")}
        (letter,) = lives.dead_letters()
        assert (letter["actorId"], letter["subject"]) == ("poison", "inbound.ws.proj.worker.poison")
        assert letter["envelope"]["message"]["id"] == "poison"
        assert lives.marks() == {}
        assert lives.bench.server.streams[subjects.INBOUND_STREAM].current() == {}


async def test_a_one_way_call_that_kills_ends_in_the_dead_letters_and_the_next_one_arrives(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("tell", "a", "telling", other="b", text="behind it")
        await lives.died.wait()
        await lives.deaths(2)
        await lives.begin()
        await lives.clock.sleep(GRACE_S + 2)
        assert lives.worker.entered == ["kill", "kill", "kill", "behind it"]
        (letter,) = lives.dead_letters()
        assert (letter["actorId"], letter["method"]) == ("b", "kill")
        assert letter["envelope"]["caller"] == {"actor": "worker", "actorId": "a"}
        # Its process may end before the call that told is acknowledged: the answer is sent again then.
        assert {(frame["id"], "error" in frame) for frame in lives.wire.frames()} == {("telling", False)}
        counts = {sample.name: sample.labels for sample in lives.runtime.samples() if sample.name == "tells_failed"}
        assert counts == {"tells_failed": {"code": "dead_letter"}}


async def test_in_normal_service_and_after_a_clean_stop_nothing_is_marked(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        async with lives.bench.runtime():
            lives.note("one")
            await lives.bench.settle()
        runtime = await lives.begin()
        lives.note("two")
        await lives.bench.settle()
        assert lives.answers == {"one": "one", "two": "two"}
        assert lives.marks() is None
        assert runtime._intake.submit == runtime._host.submit


async def test_a_row_of_redeploys_never_gives_up_a_long_call(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "long", text="long", seconds=20.0)
        for _ in range(6):
            await lives.bench.settle()
            await lives.begin()
            await lives.clock.sleep(5.0)
        await lives.clock.sleep(20.0)
        assert lives.answers == {"long": "long"}
        assert lives.worker.entered == ["long"] * 7
        assert lives.dead_letters() == []


async def test_a_runtime_that_stops_cleanly_takes_its_marks_back(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "long", text="long", seconds=25.0)
        await lives.bench.settle()
        await lives.runtime.abort()
        for _ in range(4):
            async with lives.bench.runtime(drain_timeout_s=1.0):
                await lives.clock.sleep(2.0)
            assert lives.marks() in ({}, None)
        await lives.begin()
        await lives.clock.sleep(30.0)
        assert lives.answers == {"long": "long"}
        assert lives.dead_letters() == []


async def test_after_a_takeover_from_a_living_runtime_the_others_run_without_marks(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        for number in range(40):
            lives.call("wait", f"i{number}", number, text=f"t{number}", seconds=0.9)
        await lives.bench.settle()
        await lives.begin()
        await lives.clock.sleep(3.0)
        assert len(lives.answers) == 40, "one suspect at a time would take 36 s"
        assert lives.dead_letters() == []


async def test_a_suspect_that_waits_lets_the_others_begin_after_a_second(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "slow", text="slow", seconds=10.0)
        lives.note("a1", "a")
        lives.note("b1", "b")
        await lives.bench.settle()
        await lives.runtime.abort()
        lives.worker.entered.clear()
        await lives.begin()
        lives.note("b2", "b")
        await lives.clock.sleep(PATIENCE_S - 0.1)
        assert lives.worker.entered == ["slow"], "one at a time, and b2 does not overtake b1"
        assert list(lives.marks()) == ["1"]
        await lives.clock.sleep(0.2)
        assert lives.worker.entered == ["slow", "b2"]  # b1 was answered in the first life
        assert "slow" not in lives.answers
        await lives.clock.sleep(10.0)
        assert lives.worker.entered == ["slow", "b2", "a1"]
        assert lives.answers == {"slow": "slow", "a1": "a1", "b1": "b1", "b2": "b2"}
        assert lives.marks() == {}


async def test_what_is_for_the_instance_of_a_slow_suspect_holds_nobody_up(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "slow", text="slow", seconds=10.0)
        for number in range(20):
            lives.note(f"a{number}", "a")
        await lives.bench.settle()
        await lives.runtime.abort()
        lives.worker.entered.clear()
        await lives.begin()
        lives.note("new", "a")
        lives.note("b", "b")
        await lives.clock.sleep(PATIENCE_S + 0.1)
        assert lives.worker.entered == ["slow", "b"]
        assert list(lives.marks()) == ["1"], "what does not run yet has no mark"
        await lives.clock.sleep(10.0)
        assert lives.worker.entered == ["slow", "b", *(f"a{number}" for number in range(20)), "new"]
        assert len(lives.answers) == 23


async def test_whoever_subscribes_beside_a_suspect_that_waits_gets_the_state_at_once(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "slow", text="slow", seconds=10.0)
        await lives.bench.settle()
        await lives.runtime.abort()
        await lives.begin()
        lives.wire.publish({"type": "state:sub", "actor": "worker", "actorId": "a"})
        await lives.clock.sleep(PATIENCE_S + 0.1)
        assert [frame["type"] for frame in lives.wire.frames()] == ["state:snapshot"]


async def test_on_its_last_attempt_a_message_runs_alone_so_that_no_innocent_is_given_up(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "long", text="long", seconds=8.0)
        lives.call("kill", "b", "poison", after_s=2.0)
        await lives.died.wait()
        await lives.deaths(2)
        await lives.begin()
        await lives.clock.sleep(ALONE_S)
        assert lives.answers == {"long": "long", "poison": "dead_letter"}
        assert [letter["actorId"] for letter in lives.dead_letters()] == ["b"]


async def test_beside_a_last_attempt_nothing_begins(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "long", text="long", seconds=8.0)
        lives.call("kill", "b", "poison", after_s=2.0)
        await lives.died.wait()
        await lives.write_marks({1: ["earlier"]})
        await lives.deaths(1)
        assert lives.answers == {"long": "long"}


async def test_a_last_attempt_begins_when_what_runs_has_finished(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("kill", "b", "poison", after_s=5.0)
        lives.call("wait", "a", "long", text="long", seconds=8.0)
        await lives.died.wait()
        await lives.write_marks({2: ["earlier"]})
        lives.worker.entered.clear()
        await lives.deaths(1)
        assert lives.worker.entered == ["kill"]
        assert lives.marks()["2"] == ["earlier"]


async def test_a_message_is_not_given_up_if_a_runtime_that_lives_takes_its_mark_back_late(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "long", text="long", seconds=1.0)
        await lives.bench.settle()
        await lives.runtime.abort()
        await lives.write_marks({1: ["earlier", "alive"]})
        await lives.begin()
        await lives.clock.sleep(GRACE_S / 2)
        await lives.write_marks({1: ["earlier"]})
        await lives.clock.sleep(GRACE_S + 1.0)
        assert lives.answers == {"long": "long"}
        assert lives.dead_letters() == []


async def test_as_long_as_the_dead_letter_cannot_be_stored_nobody_is_told_and_the_others_go_on(
    bench: type[Bench],
) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("kill", "a", "poison")
        lives.note("behind", "a")
        await lives.died.wait()
        await lives.deaths(2)
        lives.bench.server.full_streams.add(subjects.DEAD_LETTER_STREAM)
        await lives.begin()
        await lives.clock.sleep(40.0)
        assert lives.answers == {"behind": "behind"}
        assert lives.dead_letters() == []
        assert len(lives.marks()) == 1
        lives.bench.server.full_streams.clear()
        await lives.clock.sleep(31.0)
        assert lives.answers == {"behind": "behind", "poison": "dead_letter"}
        assert len(lives.dead_letters()) == 1
        assert lives.worker.entered.count("kill") == 3
        assert lives.marks() == {}


async def test_when_the_last_suspect_is_done_normal_service_goes_on(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:
        await lives.begin()
        lives.call("wait", "a", "slow", text="slow", seconds=3.0)
        await lives.bench.settle()
        await lives.runtime.abort()
        runtime = await lives.begin()
        lives.note("new", "b")
        assert runtime._intake.submit != runtime._host.submit
        await lives.clock.sleep(5.0)
        assert lives.answers == {"slow": "slow", "new": "new"}
        assert runtime._intake.submit == runtime._host.submit


async def test_a_subscription_that_kills_is_given_up_with_an_error_frame(bench: type[Bench]) -> None:
    async with Lives(bench) as lives:

        async def on_connect(self: Worker) -> None:
            type(self).kills()
            await asyncio.Event().wait()

        lives.worker = type("Connects", (Worker,), {"entered": [], "on_connect": on_connect})
        lives.bench.actors = {"worker": lives.worker}
        await lives.begin()
        lives.wire.publish({"type": "state:sub", "actor": "worker", "actorId": "a"})
        await lives.died.wait()
        await lives.deaths(2)
        await lives.begin()
        await lives.clock.sleep(GRACE_S + 1)
        frames = [(frame["type"], frame.get("code"), frame.get("actorId")) for frame in lives.wire.frames()]
        assert frames[-1] == ("error", "dead_letter", "a")
        assert [letter["method"] for letter in lives.dead_letters()] == [None]
