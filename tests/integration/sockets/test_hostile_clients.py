"""Clients that break the protocol, are slow, huge, silent, or gone; and what everybody else notices of it: nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect

Run = Any


async def still_serves(world: Any) -> None:
    async with connect(world.url) as client:
        await client.send("alive?")
        assert await world.within(client.recv()) == "alive?"


# ---- heads


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_head_that_does_not_end_is_answered_408_in_time(run: Run, world: Any, sent: bytes) -> None:
    async def body() -> None:
        async with world.serve(limits={"head_timeout_s": 0.05}):
            raw = await world.raw(upgrade=False)
            await raw.write(sent)
            assert (await raw.read_to_end()).startswith(b"HTTP/1.1 408 ")
            await world.until(lambda: world.front.statistics().connections == 0)

    run(body())


def test_a_head_that_drips_in_byte_by_byte_is_served(run: Run, world: Any, head_of_upgrade: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw(upgrade=False)
            for octet in head_of_upgrade(extra="X-Padding: " + "p" * 500 + "\r\n"):
                await raw.write(bytes((octet,)))
            assert (await raw.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            await raw.write(frame(b"x"))
            assert await raw.frame() == (1, b"x")

    run(body())


@pytest.mark.parametrize("closed", [True, False], ids=["with an end", "without end"])
def test_a_huge_head_is_answered_431(run: Run, world: Any, closed: bool) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw(upgrade=False)
            await raw.write(b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + (b"\r\n\r\n" if closed else b""))
            assert (await raw.read_to_end()).startswith(b"HTTP/1.1 431 ")
            await still_serves(world)

    run(body())


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /?" + b"a=1&" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_nonsense_is_answered_400(run: Run, world: Any, octets: bytes) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw(upgrade=False)
            await raw.write(octets)
            assert (await raw.read_to_end()).startswith(b"HTTP/1.1 400 ")

    run(body())


def test_an_upload_gets_to_read_why_it_is_refused(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw(upgrade=False)
            await raw.write(b"POST / HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n")
            sending = asyncio.create_task(raw.write(b"u" * 3_000_000))
            assert (await raw.read_to_end()).startswith(b"HTTP/1.1 405 ")
            await asyncio.wait([sending])

    run(body())


# ---- admission


def test_a_client_that_vanishes_while_it_is_admitted_opens_nothing(run: Run, world: Any, head_of_upgrade: Any) -> None:
    async def body() -> None:
        cancelled = 0

        async def admit(head: Any) -> Any:
            nonlocal cancelled
            world.heads.append(head)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise

        async with world.serve(admit=admit):
            for number, vanish in enumerate(("reset", "close"), start=1):
                raw = await world.raw(upgrade=False)
                await raw.write(head_of_upgrade())
                await world.until(lambda number=number: len(world.heads) == number)
                getattr(raw, vanish)()
                await world.until(lambda number=number: cancelled == number)
            assert world.front.statistics().connections == 0
        assert world.sessions == []

    run(body())


def test_bytes_that_come_before_the_admission_are_kept_and_bounded(
    run: Run, world: Any, head_of_upgrade: Any, frame: Any
) -> None:
    async def body() -> None:
        world.echo = False
        gate = asyncio.Event()

        async def admit(head: Any) -> Any:
            world.heads.append(head)
            await gate.wait()

        async with world.serve(admit=admit):
            raw = await world.raw(upgrade=False)
            sent = [b"%d " % number + b"e" * 1000 for number in range(10_000)]
            writing = asyncio.create_task(raw.write(head_of_upgrade() + b"".join(map(frame, sent))))
            await world.until(lambda: world.heads)
            done, _ = await asyncio.wait([writing], timeout=0.3)
            assert not done, "10 MB were swallowed before anyone was admitted"
            gate.set()
            await world.within(writing)
            await world.until(lambda: world.sessions and len(world.sessions[0].frames) == len(sent))
            assert world.sessions[0].frames == sent

    run(body())


# ---- frames


def test_a_message_that_drips_in_byte_by_byte_arrives_whole(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as neighbour:
            raw = await world.raw()
            message = b"d" * 100_000
            for octet in frame(message):
                await raw.write(bytes((octet,)))
            assert await raw.frame() == (1, message)
            await neighbour.send("x")
            assert await world.within(neighbour.recv()) == "x"

    run(body())


@pytest.mark.parametrize("size", [256_001, 2**32, 2**62])
def test_a_length_over_the_limit_closes_before_its_payload_comes(run: Run, world: Any, frame: Any, size: int) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            await raw.write(frame(b"", size=size))
            assert await raw.close_code() == 1009
            assert await raw.read_to_end() == b""
            await world.until(lambda: world.sessions[0].closed_count == 1)
            assert world.front.statistics().oversize == 1

    run(body())


def test_a_client_still_sending_its_huge_message_gets_to_read_1009(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            sending = asyncio.create_task(raw.write(frame(b"h" * 30_000_000)))
            assert await raw.close_code() == 1009
            raw.close()
            await asyncio.wait([sending])
            await world.until(lambda: world.front.statistics().sockets == 0)
            await still_serves(world)

    run(body())


def test_a_client_that_never_stops_sending_after_1009_is_cut(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve(limits={"close_timeout_s": 0.1}):
            raw = await world.raw()
            await raw.write(frame(b"", size=2**40))

            async def babble() -> None:
                while True:
                    await raw.write(b"b" * 10_000)
                    await asyncio.sleep(0)

            babbling = asyncio.create_task(babble())
            await world.until(lambda: world.sessions[0].closed_count == 1)
            with pytest.raises(ConnectionError):
                await world.within(babbling)

    run(body())


def test_fragments_that_add_up_to_too_much_close_with_1009(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve(limits={"max_frame_bytes": 10_000}):
            raw = await world.raw()
            await raw.write(frame(b"f" * 4_000, fin=False))
            await raw.write(frame(b"f" * 6_000, opcode=0, fin=True))
            opcode, payload = await raw.frame()
            assert (opcode, len(payload)) == (1, 10_000)
            await raw.write(frame(b"f" * 4_000, fin=False))
            for _ in range(3):
                await raw.write(frame(b"f" * 4_000, opcode=0, fin=False))
            assert await raw.close_code() == 1009
            assert len(world.sessions[0].frames) == 1

    run(body())


@pytest.mark.parametrize(
    "violation",
    [
        {"payload": b"unmasked", "masked": False},
        {"payload": b"reserved", "rsv": 4},
        {"payload": b"reserved", "rsv": 1},
        {"payload": b"ping", "opcode": 9, "rsv": 2},
        {"payload": b"unknown opcode", "opcode": 3},
        {"payload": b"unknown control", "opcode": 11},
        {"payload": b"continues nothing", "opcode": 0},
        {"payload": b"p" * 126, "opcode": 9},
        {"payload": b"part of a ping", "opcode": 9, "fin": False},
        {"payload": b"\x03", "opcode": 8},
        {"payload": b"\x03\xed", "opcode": 8},
    ],
    ids=lambda violation: str(violation.get("payload"))[:20],
)
def test_a_violation_closes_with_1002(run: Run, world: Any, frame: Any, violation: dict[str, Any]) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            await raw.write(frame(b"before"))
            assert await raw.frame() == (1, b"before")
            await raw.write(frame(**violation) + frame(b"after"))
            assert await raw.close_code() == 1002
            assert await raw.read_to_end() == b""
            await world.until(lambda: world.sessions[0].closed_count == 1)
            assert world.sessions[0].frames == [b"before"]
            assert world.front.statistics().violations == 1
            await still_serves(world)

    run(body())


def test_a_new_message_inside_a_fragmented_one_closes_with_1002(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            await raw.write(frame(b"first", fin=False) + frame(b"second"))
            assert await raw.close_code() == 1002
            assert world.sessions[0].frames == []

    run(body())


def test_text_that_is_no_utf8_reaches_the_session_as_it_is(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            await raw.write(frame(b"\xff\xfe\xc0") + frame(b"next"))
            await world.until(lambda: world.sessions and len(world.sessions[0].frames) == 2)
            assert world.sessions[0].frames == [b"\xff\xfe\xc0", b"next"]

    run(body())


def test_a_close_frame_without_a_code_is_answered_and_the_connection_ends(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            await raw.write(frame(b"last words") + frame(b"", opcode=8) + frame(b"from the grave"))
            assert await raw.frame() == (1, b"last words")
            assert await raw.close_code() == 1000
            assert await raw.read_to_end() == b""
            await world.until(lambda: world.sessions[0].closed_count == 1)
            assert world.sessions[0].frames == [b"last words"]

    run(body())


def test_a_client_that_does_not_answer_a_close_is_cut(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve(limits={"close_timeout_s": 0.1}):
            raw = await world.raw()
            closing = asyncio.create_task(world.front.close_sockets(1012))
            assert await raw.close_code() == 1012
            await raw.write(frame(b"I go on"))
            await world.within(closing)
            assert world.sessions[0].closed_count == 1
            assert world.sessions[0].frames == []

    run(body())


@pytest.mark.parametrize("vanish", ["reset", "close"])
def test_a_client_that_vanishes_in_the_middle_of_a_frame_is_gone(run: Run, world: Any, frame: Any, vanish: str) -> None:
    async def body() -> None:
        async with world.serve():
            raw = await world.raw()
            await raw.write(frame(b"whole") + frame(b"half a frame")[:-3])
            await world.until(lambda: world.sessions[0].frames)
            getattr(raw, vanish)()
            await world.until(lambda: world.sessions[0].closed_count == 1)
            assert world.sessions[0].frames == [b"whole"]
            world.sessions[0].peer.send(b"nobody")
            assert world.front.statistics().sockets == 0

    run(body())


# ---- clients that do not read


def test_a_client_that_never_reads_is_closed_and_its_neighbour_misses_nothing(run: Run, world: Any) -> None:
    async def body() -> None:
        world.echo = False
        limits = {"max_buffer_bytes": 500_000, "close_timeout_s": 0.2}
        async with world.serve(limits=limits), connect(world.url, max_size=None) as reader:
            await world.raw(receive_buffer=4_096)
            await world.until(lambda: len(world.sessions) == 2)
            chunk = b"c" * 50_000
            sent = 0
            while not world.sessions[1].closed_count:
                for session in world.sessions:
                    session.peer.send(chunk)
                sent += 1
                assert await world.within(reader.recv(decode=False)) == chunk
            assert world.front.statistics().slow == 1
            assert world.front.statistics().sockets == 1
            assert sent > 10

    run(body())


def test_a_client_that_reads_again_finds_1013_after_what_was_sent(run: Run, world: Any) -> None:
    async def body() -> None:
        world.echo = False
        async with world.serve(limits={"max_buffer_bytes": 100_000, "close_timeout_s": 10}):
            raw = await world.raw(receive_buffer=4_096)
            peer = world.sessions[0].peer
            while not world.front.statistics().slow:
                peer.send(b"s" * 10_000)
                await asyncio.sleep(0)
            assert await raw.close_code() == 1013
            raw.close()
            await world.until(lambda: world.sessions[0].closed_count == 1)

    run(body())


def test_one_turn_cannot_queue_more_than_the_bound(run: Run, world: Any) -> None:
    async def body() -> None:
        world.echo = False
        async with world.serve(limits={"max_buffer_bytes": 100_000}):
            raw = await world.raw()
            peer = world.sessions[0].peer
            for _ in range(1000):
                peer.send(b"q" * 1000)
            assert world.front.statistics().slow == 1
            assert await raw.close_code() == 1013

    run(body())


def test_pings_of_a_client_that_does_not_read_are_bounded_too(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve(limits={"max_buffer_bytes": 65_536, "close_timeout_s": 0.1}):
            raw = await world.raw(receive_buffer=4_096)

            async def flood() -> None:
                pings = frame(b"p" * 125, opcode=9)
                while True:
                    await raw.write(pings)
                    await asyncio.sleep(0)

            flooding = asyncio.create_task(flood())
            await world.until(lambda: world.sessions[0].closed_count == 1)
            with pytest.raises(ConnectionError):
                await world.within(flooding)
            assert world.front.statistics().slow == 1

    run(body())


def test_a_client_that_half_closes_and_does_not_read_is_cut(run: Run, world: Any) -> None:
    async def body() -> None:
        world.echo = False
        async with world.serve(limits={"close_timeout_s": 0.1}):
            raw = await world.raw(receive_buffer=4_096)
            for _ in range(40):
                world.sessions[0].peer.send(b"h" * 100_000)
            raw.sock.shutdown(1)
            await world.until(lambda: world.sessions[0].closed_count == 1)

    run(body())


def test_stopping_takes_bounded_time_whatever_the_clients_do(run: Run, world: Any) -> None:
    async def body() -> None:
        world.echo = False
        world.clients_stay = True
        async with world.serve(limits={"close_timeout_s": 0.2}):
            for _ in range(5):
                await world.raw()
            await world.raw(receive_buffer=4_096)
            knocking = await world.raw(upgrade=False)
            await knocking.write(b"GET / HT")
            world.sessions[5].peer.send(b"u" * 3_000_000)
            await asyncio.sleep(0)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 5
        assert [session.closed_count for session in world.sessions] == [1] * 6

    run(body())


def test_a_process_without_file_descriptors_waits_and_goes_on(
    run: Run, world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zocket.sockets.listener.RETRY_S", 0.05)
    accept = socket.socket.accept
    refusals = 0
    exhausted = True

    def refuse(listening: socket.socket) -> Any:
        nonlocal refusals
        if not exhausted:
            return accept(listening)
        refusals += 1
        raise OSError(errno.EMFILE, "Too many open files")

    async def body() -> None:
        nonlocal exhausted
        async with world.serve(), connect(world.url) as client:
            monkeypatch.setattr(socket.socket, "accept", refuse)
            started = asyncio.get_running_loop().time()
            waiting = asyncio.create_task(connect(world.url).__aenter__())
            await world.until(lambda: refusals >= 3)
            elapsed_s = asyncio.get_running_loop().time() - started
            assert refusals <= 2 + elapsed_s / 0.05, "accepting spins"
            await client.send("the open ones go on")
            assert await world.within(client.recv()) == "the open ones go on"
            exhausted = False
            late = await world.within(waiting)
            await late.send("x")
            assert await world.within(late.recv()) == "x"
            await late.close()

    run(body())
    assert "no connection can be accepted for now" in caplog.text


# ---- silence


def test_a_silent_client_is_pinged_and_cut_and_an_answering_one_stays(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(limits={"ping_idle_s": 0.1, "pong_timeout_s": 0.1}), connect(world.url) as answering:
            silent = await world.raw()
            assert await silent.frame() == (9, b"")
            assert await silent.read_to_end() == b""
            await world.until(lambda: world.sessions[1].closed_count == 1)
            assert world.front.statistics().lost == 1
            await answering.send("still here")
            assert await world.within(answering.recv()) == "still here"

    run(body())
