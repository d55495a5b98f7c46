"""The host: one turn at a time per instance, in order, and nothing that user code does hurts anybody else."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, Call, CallNext, Event, method
from zocket.errors import Overloaded
from zocket.state import apply

if TYPE_CHECKING:
    from collections.abc import Callable

variable: ContextVar[str] = ContextVar("variable", default="clean")


class State(BaseModel):
    count: int = 0
    log: list[str] = []


class It(Actor[State]):
    told = Event[str]()

    async def on_connect(self) -> None:
        self.state.log.append(f"+{self.session.id}")

    async def on_disconnect(self) -> None:
        self.state.log.append(f"-{self.session.id}")

    @method
    async def increment(self) -> int:
        self.state.count += 1
        return self.state.count

    @method
    async def read(self) -> State:
        return self.state

    @method
    async def nap(self, seconds: float, tag: str = "") -> str:
        self.state.log.append(f"in {tag}")
        await asyncio.sleep(seconds)
        self.state.log.append(f"out {tag}")
        return tag

    @method
    async def tell(self, text: str, to: str | None = None, exclude: str | None = None) -> None:
        self.state.count += 1
        self.told.emit(text, to=to, exclude=exclude)

    @method
    async def fail(self, kind: str) -> None:
        self.state.count = 99
        self.told.emit("never")
        await asyncio.sleep(0)
        if kind == "actor":
            raise ActorError("no tea", code="teapot", data={"a": 1})
        if kind == "exit":
            sys.exit(3)
        if kind == "cancel":
            raise asyncio.CancelledError
        raise ValueError("a secret")

    @method
    async def cancel_myself(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "done"

    @method
    async def leak(self) -> str:
        before = variable.get()
        variable.set("dirty")
        return before

    @method
    async def known(self) -> tuple[str, ...]:
        return self.clients

    @method
    async def use_asyncio(self) -> str:
        try:
            async with asyncio.timeout(0.5):
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(60))
        except TimeoutError:
            return "timed out"
        return "no"


async def test_a_call_is_answered_with_its_id_and_result(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.call("increment")
    s.call("increment")
    s.call("tell", text="x")
    await b.quiet()
    assert s.frames == [
        {"type": "rpc:result", "id": 1, "result": 1},
        {"type": "rpc:result", "id": 2, "result": 2},
        {"type": "rpc:result", "id": 3},
    ]


async def test_r13_a_subscriber_sees_patch_then_event_then_result(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.watch()
    s.listen()
    s.call("tell", text="hi")
    await b.quiet()
    assert s.kinds() == ["state:snapshot", "state:patch", "event", "rpc:result"]
    assert s.frames[1]["patches"] == [{"op": "replace", "path": "/count", "value": 1}]
    assert s.frames[2] == {"type": "event", "actor": "it", "actorId": "x", "event": "told", "payload": "hi"}


async def test_r13_a_handler_that_raises_leaves_no_trace(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.watch()
    s.listen()
    for kind in ("actor", "value", "exit", "cancel"):
        s.call("fail", kind=kind)
    s.call("read")
    await b.quiet()
    assert s.kinds() == ["state:snapshot"] + ["rpc:result"] * 5
    assert s.frames[1] == {
        "type": "rpc:result", "id": 1, "error": "no tea", "code": "teapot", "data": {"a": 1}, "requestId": "r1",
    }  # fmt: skip
    for frame in s.frames[2:5]:
        assert frame["error"] == "internal error"
        assert frame["code"] == "internal"
        assert frame["requestId"] == f"r{frame['id']}"
    assert s.frames[5]["result"] == {"count": 0, "log": ["+s1"]}


async def test_dev_mode_shows_the_text_of_unexpected_exceptions(bench: Callable[..., Any]) -> None:
    b = bench(It, dev_mode=True)
    s = b.session()
    s.call("fail", kind="value")
    await b.quiet()
    assert s.frames[0]["error"] == "ValueError: a secret"


async def test_an_unexpected_exception_is_logged_with_its_call(
    bench: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    b = bench(It)
    b.session().call("fail", kind="value")
    await b.quiet()
    (record,) = [item for item in caplog.records if item.name == "zocket.host"]
    fields = vars(record)
    assert (fields["actor"], fields["actor_id"], fields["method"], fields["session"], fields["request"]) == (
        "it", "x", "fail", "s1", "r1",
    )  # fmt: skip
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_r11_turns_of_one_instance_never_overlap_and_keep_their_order(bench: Callable[..., Any]) -> None:
    b = bench(It)
    sessions = [b.session(f"s{index}") for index in range(50)]
    for index, s in enumerate(sessions):
        s.call("nap", seconds=0.01 * (50 - index), tag=str(index))
    await b.quiet(60)
    sessions[0].call("read")
    await b.quiet()
    log = [line for line in sessions[0].results()[-1]["log"] if not line.startswith("+")]
    assert log == [f"{way} {index}" for index in range(50) for way in ("in", "out")]


async def test_r12_a_sleeping_instance_delays_no_other(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.call("nap", "slow", seconds=20.0)
    for index in range(200):
        s.call("nap", f"n{index}", seconds=0.0, tag=str(index))
        s.call("increment", f"i{index}")
    await b.quiet(0.1)
    assert len(s.results()) == 400
    await b.quiet(30)
    assert len(s.results()) == 401


async def test_r12_a_thousand_sleepers_wait_at_the_same_time(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    started = b.clock.now()
    for index in range(1000):
        s.call("nap", f"n{index}", seconds=5.0)
    while len(s.results()) < 1000:
        await b.quiet(0.1)
    assert b.clock.now() - started < 6


async def test_r10_an_instance_is_made_by_its_first_message_and_activated_once(bench: Callable[..., Any]) -> None:
    class Active(Actor[State]):
        async def on_activate(self) -> None:
            await asyncio.sleep(1)
            self.state.log.append(f"activated {self.id} {self.caller.kind}")

        @method
        async def read(self) -> list[str]:
            return self.state.log

    b = bench(Active)
    s = b.session()
    for index in range(1000):
        s.call("read", f"id{index}")
        s.call("read", f"id{index}")
    await b.quiet(2)
    assert len(s.results()) == 2000
    assert all(len(found) == 1 and found[0].endswith(" instance") for found in s.results())
    assert b.host.instances == 1000


async def test_an_unknown_method_or_actor_is_answered(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.call("nope")
    s.call("")
    s.call("__init__")
    s.call("state")
    s.call("on_connect")
    s.call("increment", actor="other")
    await b.quiet()
    assert s.results() == [
        "Unknown method: nope", "Unknown method: ", "Unknown method: __init__", "Unknown method: state",
        "Unknown method: on_connect", "Unknown actor: other",
    ]  # fmt: skip


async def test_invalid_input_is_answered_with_its_issues_and_runs_nothing(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.call("nap", seconds="long")
    await b.quiet()
    assert s.frames[0]["code"] == "validation_failed"
    assert s.frames[0]["error"].startswith('Validation failed for nap: [{"path":["seconds"]')
    assert s.frames[0]["data"][0]["path"] == ["seconds"]


class TestHooks:
    async def test_on_connect_runs_before_the_first_request_of_each_session(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        first, second = b.session("a"), b.session("b")
        first.call("increment")
        first.call("increment")
        second.watch()
        await b.quiet()
        assert second.frames[0]["state"]["log"] == ["+a", "+b"]

    async def test_r6_a_session_that_ends_is_dropped_by_every_instance_once(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        gone, stays = b.session("gone"), b.session("stays")
        for name in ("x", "y"):
            gone.watch(name)
            gone.listen(name)
            stays.watch(name)
        await b.quiet()
        b.host.sessions.disconnect("gone")
        b.host.sessions.disconnect("gone")
        await b.quiet()
        seen = len(gone.frames)
        for name in ("x", "y"):
            stays.call("tell", name, text="hi")
        stays.call("known")
        stays.call("read", "x")
        stays.call("read", "y")
        await b.quiet()
        assert len(gone.frames) == seen
        known, x, y = stays.results()[-3:]
        assert known == ["stays"]
        assert x["log"] == y["log"] == ["+gone", "+stays", "-gone"]

    async def test_requests_that_arrive_after_their_session_ended_still_run_but_it_stays_a_stranger(
        self, bench: Callable[..., Any]
    ) -> None:
        b = bench(It)
        gone = b.session("gone")
        b.host.sessions.disconnect("gone")
        gone.call("increment")
        gone.watch()
        gone.call("known")
        await b.quiet()
        assert gone.results() == [1, []]
        assert "state:snapshot" not in gone.kinds()

    @pytest.mark.parametrize("hook", ["on_activate", "on_connect", "on_disconnect", "on_deactivate"])
    @pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError, ActorError])
    async def test_a_throwing_hook_leaves_the_actor_alive(
        self, bench: Callable[..., Any], hook: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken(self: Any) -> None:
            self.state.count = 50
            raise error("broken")

        cls = type("Broken", (It,), {hook: broken})
        b = bench(cls)
        s, other = b.session("a"), b.session("b")
        s.call("increment")
        other.call("increment")
        await b.quiet()
        b.host.sessions.disconnect("b")
        s.call("increment")
        await b.quiet()
        await b.host.aclose()
        assert s.results() == [1, 3]
        assert other.results() == [2]
        failures = [item for item in caplog.records if item.message == f"{hook} raised"]
        assert failures
        assert all(vars(item)["actor"] == "it" and vars(item)["actor_id"] == "x" for item in failures)

    async def test_on_deactivate_runs_when_the_host_closes(self, bench: Callable[..., Any]) -> None:
        left: list[str] = []

        class Leaving(Actor[State]):
            async def on_deactivate(self) -> None:
                left.append(f"{self.id} {self.state.count}")

            @method
            async def increment(self) -> None:
                self.state.count += 1

        b = bench(Leaving)
        s = b.session()
        s.call("increment", "a")
        s.call("increment", "b")
        await b.quiet()
        await b.host.aclose()
        assert sorted(left) == ["a 1", "b 1"]


class TestSubscriptions:
    async def test_a_snapshot_answers_every_subscription_also_a_repeated_one(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.watch()
        s.call("increment")
        await b.quiet()
        assert s.kinds() == ["state:snapshot", "state:snapshot", "state:patch", "rpc:result"]

    async def test_a_snapshot_beside_a_suspended_turn_is_committed_state_at_once(
        self, bench: Callable[..., Any]
    ) -> None:
        b = bench(It)
        writer, reader = b.session("w"), b.session("r")
        writer.call("nap", seconds=5.0, tag="t")
        await b.quiet(1)
        reader.watch()
        assert [frame["state"]["log"] for frame in reader.frames] == [["+w"]]
        await b.quiet(10)
        assert reader.kinds() == ["state:snapshot", "state:patch", "state:patch"]
        replica: Any = reader.frames[0]["state"]
        for frame, log in (
            (reader.frames[1], ["+w", "in t", "out t"]),
            (reader.frames[2], ["+w", "in t", "out t", "+r"]),
        ):
            replica = apply(replica, frame["patches"])
            assert replica["log"] == log

    async def test_unsubscribing_stops_the_frames_and_makes_no_instance(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        s = b.session()
        s.unwatch("never")
        s.unlisten("never")
        assert b.host.instances == 0
        s.watch()
        s.listen()
        s.unwatch()
        s.unlisten()
        s.call("tell", text="x")
        await b.quiet()
        assert s.kinds() == ["state:snapshot", "rpc:result"]

    async def test_events_reach_everyone_or_one_or_all_but_one(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        sessions = {name: b.session(name) for name in "abc"}
        for s in sessions.values():
            s.listen()
        sessions["a"].call("tell", text="all")
        sessions["a"].call("tell", text="to", to="b")
        sessions["a"].call("tell", text="but", exclude="b")
        sessions["a"].call("tell", text="nobody", to="zzz")
        await b.quiet()
        heard = {
            name: [frame["payload"] for frame in s.frames if frame["type"] == "event"] for name, s in sessions.items()
        }
        assert heard == {"a": ["all", "but"], "b": ["all", "to"], "c": ["all", "but"]}

    async def test_who_leaves_and_comes_back_during_a_turn_stays_subscribed(self, bench: Callable[..., Any]) -> None:
        """The subscription is answered beside the turn, and overtakes the farewell that waits behind it."""
        b = bench(It)
        s, other = b.session("s"), b.session("o")
        s.watch()
        other.call("nap", seconds=1)
        await b.quiet()
        s.frames.clear()
        s.unwatch()
        s.watch()
        await b.quiet(2)
        other.call("increment")
        await b.quiet()
        assert s.kinds() == ["state:snapshot", "state:patch", "state:patch"]
        s.unwatch()
        other.call("increment")
        await b.quiet()
        assert len(s.frames) == 3
        assert b.host.pending == 0


class TestTimeLimit:
    async def test_a_handler_over_its_limit_is_ended_and_its_changes_dropped(
        self, bench: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        b = bench(It, handler_timeout_s=2.0)
        s = b.session()
        s.call("nap", seconds=60.0, tag="t")
        s.call("read")
        await b.quiet(3)
        assert s.frames[0]["code"] == "handler_timeout"
        assert s.frames[0]["error"] == "nap: ran longer than its limit of 2 s"
        assert s.frames[1]["result"]["log"] == ["+s1"]
        (line,) = caplog.records
        assert (line.levelname, line.getMessage()) == ("WARNING", "a turn ran longer than its limit of 2 s")
        assert vars(line).items() >= {"method": "nap", "request": "r1", "session": "s1"}.items()

    async def test_a_handler_that_swallows_its_cancellation_changes_nothing_either(
        self, bench: Callable[..., Any]
    ) -> None:
        class Stubborn(Actor[State]):
            @method
            async def stay(self) -> str:
                self.state.count = 5
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    await asyncio.sleep(1)
                return "stayed"

            @method
            async def read(self) -> int:
                return self.state.count

        b = bench(Stubborn, handler_timeout_s=2.0)
        s = b.session()
        s.call("stay")
        s.call("read")
        await b.quiet(10)
        assert s.frames[0]["code"] == "handler_timeout"
        assert s.results()[1] == 0

    async def test_a_method_has_its_own_limit(self, bench: Callable[..., Any]) -> None:
        class Own(Actor[State]):
            @method(timeout_s=100)
            async def long(self) -> str:
                await asyncio.sleep(50)
                return "ok"

            @method(timeout_s=1)
            async def short(self) -> str:
                await asyncio.sleep(50)
                return "ok"

        b = bench(Own)
        s = b.session()
        s.call("long", "a")
        s.call("short", "b")
        await b.quiet(60)
        assert sorted(s.results()) == ["ok", "short: ran longer than its limit of 1 s"]

    async def test_each_of_many_turns_of_one_worker_gets_its_own_limit(self, bench: Callable[..., Any]) -> None:
        b = bench(It, handler_timeout_s=2.0)
        s = b.session()
        for index in range(10):
            s.call("nap", seconds=1.9, tag=str(index))
        await b.quiet(30)
        assert s.results() == [str(index) for index in range(10)]


class TestIsolation:
    async def test_a_handler_that_cancels_its_task_harms_nobody(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        s = b.session()
        for index in range(20):
            s.call("cancel_myself", f"c{index}")
            s.call("nap", f"n{index}", seconds=0.1, tag="fine")
            s.call("nap", f"c{index}", seconds=0.1, tag="fine")
        await b.quiet(1)
        assert sorted(s.results()) == ["done"] * 20 + ["fine"] * 40

    async def test_no_context_variable_leaks_into_the_next_handler(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        s = b.session()
        for index in range(5):
            s.call("leak")
            s.call("leak", f"other{index}")
        await b.quiet()
        assert s.results() == ["clean"] * 10

    async def test_timeouts_and_task_groups_work_from_the_first_line(self, bench: Callable[..., Any]) -> None:
        b = bench(It)
        s = b.session()
        s.call("use_asyncio")
        await b.quiet(1)
        assert s.results() == ["timed out"]

    async def test_an_actor_whose_init_raises_is_an_error_of_its_callers_alone(self, bench: Callable[..., Any]) -> None:
        class Picky(Actor[State]):
            def __init__(self) -> None:
                if self.id == "bad":
                    raise RuntimeError("no")

            @method
            async def increment(self) -> int:
                self.state.count += 1
                return self.state.count

        b = bench(Picky)
        s = b.session()
        s.call("increment", "bad")
        s.watch("bad")
        s.call("increment", "good")
        await b.quiet()
        assert s.results() == ["internal error", 1]
        assert s.kinds() == ["rpc:result", "error", "rpc:result"]


class TestBounds:
    async def test_instances_over_the_cap_are_refused(self, bench: Callable[..., Any]) -> None:
        b = bench(It, max_instances=2)
        s = b.session()
        for name in ("a", "b", "c", "a"):
            s.call("increment", name)
        await b.quiet()
        assert [frame.get("code", frame.get("result")) for frame in s.answers()] == [1, 1, "overloaded", 2]

    async def test_a_slow_instance_that_holds_half_the_window_refuses_further_calls(
        self, bench: Callable[..., Any]
    ) -> None:
        b = bench(It, window=20)
        s = b.session()
        for _ in range(12):
            s.call("nap", seconds=1.5)
        await b.quiet(1.2)
        s.call("increment")
        assert s.frames[-1]["code"] == Overloaded.default_code
        s.call("increment", "neighbour")
        await b.quiet(0.01)
        assert s.results()[-1] == 1

    async def test_a_hot_but_fast_instance_is_never_refused(self, bench: Callable[..., Any]) -> None:
        b = bench(It, window=20)
        s = b.session()
        for _ in range(300):
            s.call("increment")
        await b.quiet()
        assert s.results() == list(range(1, 301))

    async def test_a_result_over_the_limit_fails_the_call_and_changes_nothing(self, bench: Callable[..., Any]) -> None:
        class Big(Actor[State]):
            @method
            async def big(self) -> str:
                self.state.count += 1
                return "x" * 3000

            @method
            async def read(self) -> int:
                return self.state.count

        b = bench(Big, max_result_bytes=2000)
        s = b.session()
        s.call("big")
        s.call("read")
        await b.quiet()
        assert s.frames[0]["code"] == "too_large"
        assert s.results()[1] == 0

    async def test_a_state_over_the_limit_fails_the_call_and_changes_nothing(self, bench: Callable[..., Any]) -> None:
        class Big(Actor[State]):
            @method
            async def grow(self, text: str) -> int:
                self.state.log.append(text)
                return len(self.state.log)

        b = bench(Big, max_state_bytes=2000)
        s = b.session()
        s.call("grow", text="x" * 1500)
        s.call("grow", text="x" * 1500)
        s.call("grow", text="y")
        await b.quiet()
        assert [frame.get("code") for frame in s.frames] == [None, "too_large", None]
        assert s.results()[2] == 2


class TestMiddleware:
    async def test_it_wraps_the_handler_and_its_error_is_the_callers(self, bench: Callable[..., Any]) -> None:
        order: list[str] = []

        async def outer(call: Call, call_next: CallNext) -> Any:
            order.append(f"outer {call.actor}/{call.actor_id}.{call.method} {call.arguments} {call.request_id}")
            if call.session.user_id is None:
                raise ActorError("sign in first", code="unauthorized")
            call.ctx = {"user": call.session.user_id}
            return [await call_next(call)]

        async def inner(call: Call, call_next: CallNext) -> Any:
            order.append("inner")
            call.arguments["text"] += "!"
            return await call_next(call)

        class Guarded(Actor[State]):
            middleware = [inner]

            @method
            async def say(self, text: str) -> Any:
                return f"{text} {self.ctx['user']}"

        b = bench(Guarded, middleware=[outer])
        nobody, alice = b.session("n"), b.session("a", "alice")
        nobody.call("say", text="hi")
        alice.call("say", text="hi")
        await b.quiet()
        assert nobody.frames[0]["code"] == "unauthorized"
        assert alice.results() == [["hi! alice"]]
        assert order == ["outer it/x.say {'text': 'hi'} r1"] * 2 + ["inner"]

    async def test_what_it_changes_is_rolled_back_with_the_handler(self, bench: Callable[..., Any]) -> None:
        async def catch(call: Call, call_next: CallNext) -> Any:
            try:
                return await call_next(call)
            except ValueError:
                return "caught"

        class Failing(Actor[State]):
            @method
            async def fail(self) -> str:
                self.state.count = 7
                raise ValueError

        b = bench(Failing, middleware=[catch])
        s = b.session()
        s.watch()
        s.call("fail")
        await b.quiet()
        assert s.results() == ["caught"]


async def test_r15_done_is_called_once_after_the_answer_was_sent(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    order: list[str] = []
    s.call("nap", seconds=1.0, done=lambda: order.append(f"done after {len(s.frames)}"))
    s.call("nope", done=lambda: order.append(f"done after {len(s.frames)}"))
    await b.quiet(0.5)
    assert order == []
    await b.quiet(2)
    assert order == ["done after 1", "done after 2"]


async def test_r19_drain_waits_for_everything_and_says_if_time_was_too_short(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.call("nap", seconds=5.0)
    s.call("increment")
    assert not await b.host.drain(1)
    assert await b.host.drain(10)
    assert s.results() == ["", 1]
    assert await b.host.drain(0)


async def test_r19_a_turn_that_the_stop_cuts_is_neither_answered_nor_done(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    done: list[int] = []
    s.call("nap", seconds=500.0, done=lambda: done.append(1))
    await b.quiet()
    await b.host.aclose(timeout_s=1)
    assert s.frames == []
    assert done == []


async def test_whatever_a_handler_raises_is_answered_and_the_instance_lives(bench: Callable[..., Any]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text of it")

    class Odd(Actor[State]):
        raising: BaseException

        @method
        async def fail(self) -> None:
            raise self.raising

        @method
        async def live(self) -> str:
            return "yes"

    b = bench(Odd, max_result_bytes=10_000)
    s = b.session()
    odd: list[Any] = [
        (ActorError(404), "actor_error"),  # type: ignore[arg-type]
        (ActorError("x", code=404), "404"),  # type: ignore[arg-type]
        (ActorError("x", data=object()), "actor_error"),
        (ActorError("x" * 20_000), "too_large"),
        (ActorError("x", data="x" * 20_000), "too_large"),
        (Mute(), "internal"),
        (SystemExit(3), "internal"),
        (BaseException(), "internal"),
        (StopIteration(), "internal"),
        (asyncio.CancelledError(), "internal"),
        (ExceptionGroup("g", [ValueError()]), "internal"),
        (RecursionError(), "internal"),
    ]
    for raised, code in odd:
        Odd.raising = raised
        s.call("fail")
        s.call("live")
        await b.quiet()
        failed, lived = s.frames[-2:]
        assert (failed["code"], failed["requestId"], lived["result"]) == (code, f"r{s.number - 1}", "yes")


@pytest.mark.filterwarnings("ignore")
async def test_an_instance_outlives_a_worker_that_died_of_it(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(It)
    s = b.session()
    broken = b.host.refuse

    def refuse(*args: Any) -> bool:
        monkeypatch.setattr(b.host, "refuse", broken)
        raise RuntimeError("a mistake of the host itself")

    monkeypatch.setattr(b.host, "refuse", refuse)
    s.call("nope")
    s.call("increment")
    await b.clock.sleep(1)
    s.call("increment")
    await b.clock.sleep(1)
    assert s.results() == [1, 2]


async def test_after_an_abort_closing_waits_for_nothing(bench: Callable[..., Any]) -> None:
    b = bench(It)
    b.session().call("nap", seconds=500.0)
    await b.quiet()
    before = b.clock.now()
    await b.host.abort()
    await b.host.aclose()
    assert b.clock.now() == before


async def test_log_lines_of_user_code_carry_the_call(
    bench: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    from zocket import logs

    seen: list[Any] = []

    class Talking(Actor[State]):
        @method
        async def talk(self) -> None:
            async def later() -> None:
                seen.append(logs.current_call())

            await asyncio.create_task(later())
            logging.getLogger("mine").info("hello")
            seen.append(logs.current_call())

    b = bench(Talking)
    b.session("s9").call("talk")
    await b.quiet()
    fields = {"actor": "it", "actor_id": "x", "method": "talk", "request": "r1", "session": "s9"}
    assert seen == [fields, fields]
    assert logs.current_call() is None


async def test_counts_tell_calls_by_code_and_instances(bench: Callable[..., Any]) -> None:
    b = bench(It)
    s = b.session()
    s.call("increment")
    s.call("nope")
    s.call("fail", kind="actor")
    await b.quiet()
    samples = {(item.name, (item.labels or {}).get("code")): item.value for item in b.host.samples()}
    assert samples["calls", "ok"] == 1
    assert samples["calls", "unknown_method"] == 1
    assert samples["calls", "teapot"] == 1
    assert samples["instances", None] == 1
    assert samples["pending_requests", None] == 0


async def test_a_call_of_the_process_itself_has_no_session(bench: Callable[..., Any]) -> None:
    class Asked(Actor[State]):
        @method
        async def who(self) -> str:
            return f"{self.caller.kind} {len(self.clients)}"

        @method
        async def session_id(self) -> str:
            return self.session.id

    b = bench(Asked)
    answer = await b.host.call("it", "x", "who", None, 1.0)
    assert answer.result is not None
    assert bytes(answer.result) == b'"server 0"'
    answer = await b.host.call("it", "x", "session_id", None, 1.0)
    assert answer.code == "internal"
