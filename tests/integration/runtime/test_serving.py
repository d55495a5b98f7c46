"""A runtime process under load, killed, stopped, superseded, with its NATS server restarted (R6, R10-R12, R14-R19)."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from typing import TYPE_CHECKING

import pytest

from zocket.broker.port import Message
from zocket.broker.server import NatsServer
from zocket.protocol import subjects

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.runtime.conftest import FakeControlPlane, Launcher, Wire, WireMaker

pytestmark = pytest.mark.nats


async def consumers(wire: Wire) -> list[str]:
    names = await wire.broker.consumer_names(subjects.INBOUND_STREAM)
    return sorted(name for name in names if wire.scope.workspace_id in name)


async def test_r6_a_lost_session_runs_on_disconnect_once_per_instance_and_gets_nothing_more(
    launcher: Launcher, wires: WireMaker
) -> None:
    await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        for actor_id in ("a", "b"):
            wire.subscribe("state:sub", actor_id, session="gone")
            wire.subscribe("event:sub", actor_id, session="gone")
        wire.call(1, "c", "add", session="stays", by=1)
        await wire.wait_results(1)
        await wires.until(lambda: len(wire.frames("state:snapshot")) == 2, "snapshots")
        wire.disconnect("gone")
        wire.disconnect("gone")
        wanted = {"disconnect a gone", "disconnect b gone"}
        await wires.until(lambda: wanted <= set(launcher.notes()), "on_disconnect")
        for number, actor_id in enumerate("ab"):
            wire.call(10 + number, actor_id, "add", session="stays", by=1)
        await wire.wait_results(3)
        assert sorted(note for note in launcher.notes() if note.startswith("disconnect")) == sorted(wanted)
        assert wire.frames("state:patch") == wire.frames("event") == []


async def test_r10_r11_a_thousand_ids_are_activated_once_each_and_served_in_order(
    launcher: Launcher, wires: WireMaker
) -> None:
    await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        for number, actor in itertools.product(range(3), range(1_000)):
            wire.call(f"{actor}-{number}", f"id{actor}", "add", session=f"s{actor % 50}", by=10**number)
        results = await wire.wait_results(3_000)
        assert {value for key, value in results.items() if key.endswith("-2")} == {111}
        assert {value for key, value in results.items() if key.endswith("-0")} == {1}
        activated = [note for note in launcher.notes() if note.startswith("activate")]
        assert len(activated) == len(set(activated)) == 1_000


async def test_r12_a_handler_that_sleeps_delays_no_other_instance(launcher: Launcher, wires: WireMaker) -> None:
    await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        wire.call("warm", "a", "add", by=1)
        await wire.wait_results(1)
        wire.call("slow", "sleepy", "sleep", seconds=2.0)
        for number in range(50):
            wire.call(number, f"n{number}", "add", by=1)
        await wire.wait_results(51)
        assert "slow" not in wire.results()
        await wire.wait_results(52)


async def test_r14_one_outbound_message_per_subscriber_and_no_subject_of_its_own(
    launcher: Launcher, wires: WireMaker
) -> None:
    await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        for number in range(10):
            wire.subscribe("state:sub", "a", session=f"s{number}")
            wire.subscribe("event:sub", "a", session=f"s{number}")
        await wires.until(lambda: len(wire.frames("state:snapshot")) == 10, "snapshots")
        wire.outbound.clear()
        wire.call(1, "a", "add", session="s0", by=5)
        await wire.wait_results(1)
        scope = launcher.scope
        head = f"outbound.{scope.workspace_id}.{scope.project_id}."
        for kind in ("state:patch", "event"):
            reached = [subject for subject, body in wire.outbound if body["message"]["type"] == kind]
            assert sorted(reached) == sorted(f"{head}s{number}" for number in range(10))
        caller = [body["message"]["type"] for subject, body in wire.outbound if subject == head + "s0"]
        assert caller == ["state:patch", "event", "rpc:result"]
        assert len(wire.outbound) == 21


async def test_r15_what_a_killed_runtime_had_not_finished_reaches_the_next_one(
    launcher: Launcher, wires: WireMaker
) -> None:
    first = await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        for number in range(600):
            wire.call(number, f"id{number % 60}", "add", by=1, sleep_s=0.02)
            if number == 300:
                await wire.wait_results(40)
                first.signal(signal.SIGKILL)
                await first.wait_exit()
                assert len(wire.results()) < 300
        await launcher.start().wait_ready()
        await wire.wait_results(600)
        assert wire.failures == []


async def test_r16_state_in_memory_is_gone_after_a_restart(launcher: Launcher, wires: WireMaker) -> None:
    first = await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        wire.call(1, "a", "add", by=7)
        assert await wire.wait_results(1) == {1: 7}
        first.signal(signal.SIGTERM)
        assert await first.wait_exit() == 0
        await launcher.start().wait_ready()
        wire.call(2, "a", "add", by=1)
        assert (await wire.wait_results(2))[2] == 1


async def test_r18_two_replicas_never_split_an_actor_and_the_older_stands_down(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker
) -> None:
    old = await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        numbers = itertools.count()

        async def load() -> None:
            while True:
                number = next(numbers)
                wire.call(number, f"id{number % 20}", "add", by=1)
                await asyncio.sleep(0.002)

        loading = asyncio.create_task(load())
        await wire.wait_results(50)
        new = launcher.start()
        assert await old.wait_exit() == 3
        assert any("superseded" in line["event"] for line in old.lines())
        await new.wait_ready()
        count = len(wire.results())
        await wire.wait_results(count + 200)
        loading.cancel()
        await wire.wait_results(next(numbers))
        lines = [line.split(" ") for line in launcher.app_log.read_text().splitlines()]
        taken = next(index for index, line in enumerate(lines) if line[0] == str(new.process.pid))
        late = [line for line in lines[taken:] if line[0] == str(old.process.pid) and line[1] == "run"]
        assert len(late) <= 1, "the old runtime went on after the new one had begun"
        assert len(await consumers(wire)) == 2
        assert [report["status"] for report in control_plane.reports] == ["ready", "ready"]


async def test_r18_a_runtime_that_was_stopped_and_woken_stands_down(launcher: Launcher, wires: WireMaker) -> None:
    old = await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        wire.call(1, "a", "add", by=1)
        await wire.wait_results(1)
        old.signal(signal.SIGSTOP)
        new = await launcher.start().wait_ready()
        wire.call(2, "a", "add", by=1)
        assert (await wire.wait_results(2))[2] == 1
        old.signal(signal.SIGCONT)
        assert await old.wait_exit() == 3
        wire.call(3, "a", "add", by=1)
        assert (await wire.wait_results(3))[3] == 2
        assert new.process.poll() is None
        assert len(await consumers(wire)) == 2


async def test_r19_sigterm_under_load_loses_no_call_and_leaves_nothing_behind(
    launcher: Launcher, wires: WireMaker
) -> None:
    first = await launcher.start().wait_ready()
    async with wires.open(launcher.scope) as wire:
        for number in range(400):
            wire.call(number, f"id{number % 40}", "add", by=1, sleep_s=0.02)
        await wire.wait_results(30)
        first.signal(signal.SIGTERM)
        assert await first.wait_exit() == 0
        assert await consumers(wire) == []
        notes = launcher.notes()
        assert len([note for note in notes if note.startswith("run")]) == len(
            [note for note in notes if note.startswith("done")]
        )
        activated = {note.split()[1] for note in notes if note.startswith("activate")}
        assert {note.split()[1] for note in notes if note.startswith("deactivate")} == activated
        await launcher.start().wait_ready()
        await wire.wait_results(400)
        assert len([note for note in launcher.notes() if note.startswith("done")]) == 400


async def test_r19_a_handler_that_outlasts_the_drain_is_given_to_the_next_runtime(
    launcher: Launcher, wires: WireMaker
) -> None:
    first = await launcher.start(DRAIN_TIMEOUT_S="0.2").wait_ready()
    async with wires.open(launcher.scope) as wire:
        wire.call(1, "a", "add", by=1, sleep_s=25.0)
        await wires.until(lambda: "run a 1" in launcher.notes(), "the handler runs")
        first.signal(signal.SIGTERM)
        assert await first.wait_exit() == 0
        assert wire.results() == {}
        await launcher.start().wait_ready()
        await wires.until(lambda: launcher.notes().count("run a 1") == 2, "the handler runs again")


async def test_a_handler_longer_than_the_redelivery_time_runs_once(launcher: Launcher, wires: WireMaker) -> None:
    await launcher.start(ACK_WAIT_S="0.6").wait_ready()
    async with wires.open(launcher.scope) as wire:
        wire.call(1, "a", "add", by=1, sleep_s=2.5)
        assert await wire.wait_results(1) == {1: 1}
        assert launcher.notes().count("run a 1") == 1


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_nats_restart_under_load_ends_with_everything_working(
    launcher: Launcher, wires: WireMaker, how: str
) -> None:
    async with NatsServer() as server:
        process = await launcher.start(NATS_URL=server.url).wait_ready()
        async with wires.open(launcher.scope, server.url) as wire:
            for number in range(100):
                wire.call(number, f"id{number % 10}", "add", by=1, sleep_s=0.01)
            await wire.wait_results(20)
            await (server.kill() if how == "kill" else server.terminate())
            await server.start()
            await process.wait_line("the consumers are ours again")
            await wires.until(lambda: process.health("/ready").status_code == 200, "ready again")
            # The memory streams went with the server; whoever calls now is served as before.
            await wires.until(lambda: wire.broker.connected, "the gateway's connection")
            for stream_number in range(100):
                wire.call(f"after {stream_number}", f"id{stream_number % 10}", "add", by=1)
            await wires.until(
                lambda: all(f"after {number}" in wire.results() for number in range(100)), "calls after the restart"
            )
            runs = [note for note in launcher.notes() if note.startswith("run")]
            assert len(runs) <= 200


async def test_the_runtime_announces_itself_to_whoever_asks(launcher: Launcher, wires: WireMaker) -> None:
    process = await launcher.start().wait_ready()
    heard: list[dict[str, object]] = []
    async with wires.open(launcher.scope) as wire:
        await wire.broker.subscribe(
            subjects.announcement(launcher.scope),
            lambda messages: heard.extend(json.loads(message.payload) for message in messages),
        )
        wire.broker.send([Message(subjects.discovery(launcher.scope), b"")])
        await wires.until(lambda: heard, "an announcement")
    assert heard[0]["actorTypes"] == ["room", "other"]
    assert str(heard[0]["process"]).endswith(f"/{process.process.pid}")


async def test_the_log_of_a_runtime_holds_no_token(launcher: Launcher, tmp_path: Path) -> None:
    process = await launcher.start().wait_ready()
    process.signal(signal.SIGTERM)
    assert await process.wait_exit() == 0
    assert "a token of the test" not in process.log
    assert all(line.get("workspace") == launcher.scope.workspace_id for line in process.lines())
