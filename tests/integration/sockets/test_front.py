"""The front as a well-behaved client sees it; the client is the `websockets` library."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from websockets.asyncio.client import connect

from zocket.errors import BootError
from zocket.sockets.front import SocketFront
from zocket.sockets.limits import UNSENT_IN_KERNEL_BYTES
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

Run = Any


def test_messages_come_back_in_order_and_whole(run: Run, world: Any) -> None:
    async def body() -> None:
        sent = ["", "a", "x" * 125, "y" * 126, "ä" * 40_000, "z" * 200_000]
        async with world.serve(), connect(world.url, max_size=None) as client:
            for message in sent:
                await client.send(message)
            assert [await world.within(client.recv()) for _ in sent] == sent
        assert world.sessions[0].frames == [message.encode() for message in sent]

    run(body())


def test_a_session_may_send_before_anything_was_received(run: Run, world: Any) -> None:
    async def body() -> None:
        def greet(peer: Any, admitted: Any) -> Any:
            peer.send(b"welcome")
            return world.open(peer, admitted)

        async with world.serve(open=greet), connect(world.url) as client:
            assert await world.within(client.recv()) == "welcome"

    run(body())


def test_binary_and_fragmented_messages_arrive_like_text(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as client:
            await client.send(b"\x00\xff binary")
            assert await world.within(client.recv(decode=False)) == b"\x00\xff binary"
            await client.send(["in ", "three ", "parts"])
            assert await world.within(client.recv()) == "in three parts"
            await client.send([b"a", b"b"])
            assert await world.within(client.recv()) == "ab"

    run(body())


def test_pings_are_answered_between_the_fragments_of_a_message(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as client:

            async def parts() -> Any:
                yield "one "
                await world.within(await client.ping(b"payload"))
                yield "two"

            await client.send(parts())
            assert await world.within(client.recv()) == "one two"

    run(body())


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_client_that_closes_gets_its_code_back(run: Run, world: Any, code: int) -> None:
    async def body() -> None:
        async with world.serve():
            client = await connect(world.url)
            await world.until(lambda: world.sessions)
            await world.within(client.close(code, "bye"))
            assert client.close_code == code
            await world.until(lambda: world.sessions[0].closed_count)
            assert world.sessions[0].closed_count == 1
            assert world.front.statistics().sockets == 0

    run(body())


def test_a_peer_closes_after_what_it_sent_and_sends_nothing_more(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as client:
            await world.until(lambda: world.sessions)
            peer = world.sessions[0].peer
            peer.send(b"last")
            peer.close(4001, "ü" * 200)
            peer.send(b"too late")
            peer.close(4002)
            assert await world.within(client.recv()) == "last"
            with pytest.raises(websockets.ConnectionClosed):
                await world.within(client.recv())
            assert client.close_code == 4001
            assert client.close_reason == "ü" * 61
            await world.until(lambda: world.sessions[0].closed_count)
            peer.send(b"nobody there")
            peer.close(1000)
            assert world.sessions[0].closed_count == 1

    run(body())


def test_a_session_may_close_its_socket_while_it_is_opened(run: Run, world: Any) -> None:
    async def body() -> None:
        def turn_away(peer: Any, admitted: Any) -> Any:
            peer.close(4003, "go")
            return world.open(peer, admitted)

        async with world.serve(open=turn_away):
            client = await connect(world.url)
            await world.within(client.wait_closed())
            assert client.close_code == 4003
            await world.until(lambda: world.sessions[0].closed_count == 1)

    run(body())


def test_one_frame_reaches_every_socket_and_others_stay_in_order(run: Run, world: Any) -> None:
    async def body() -> None:
        world.echo = False
        async with world.serve():
            clients = [await connect(world.url) for _ in range(20)]
            await world.until(lambda: len(world.sessions) == 20)
            shared, again = b"shared " + b"x" * 300, b"again"
            for number, session in enumerate(world.sessions):
                session.peer.send(shared)
                if number % 2:
                    session.peer.send(b"own %d" % number)
                session.peer.send(again)
            for number, client in enumerate(clients):
                expected = [shared, *([b"own %d" % number] if number % 2 else []), again]
                assert [await world.within(client.recv(decode=False)) for _ in expected] == expected
            await asyncio.gather(*(client.close() for client in clients))

    run(body())


def test_the_head_says_who_knocks(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve():
            async with connect(f"{world.url}rooms/a?x=1&token=from%20query&y=2", additional_headers={"X-Name": "v"}):
                pass
            async with connect(world.url, additional_headers={"Authorization": "Bearer from.header"}):
                pass
            async with connect(world.url):
                pass
        first, second, third = world.heads
        assert (first.path, first.token, first.host) == ("/rooms/a", "from query", "127.0.0.1")
        assert first.headers["x-name"] == "v"
        assert first.remote.startswith("127.0.0.1:")
        assert (second.path, second.token) == ("/", "from.header")
        assert third.token is None
        assert world.sessions[1].admitted is second

    run(body())


def test_a_refused_upgrade_is_answered_with_its_status_and_json(run: Run, world: Any) -> None:
    async def body() -> None:
        async def refuse(head: Any) -> None:
            raise Refused(401, "unauthorized", "the token is wrong")

        async with world.serve(admit=refuse):
            with pytest.raises(websockets.InvalidStatus) as caught:
                await connect(world.url)
            response = caught.value.response
            assert response.status_code == 401
            assert response.headers["Content-Type"] == "application/json"
            assert response.body == b'{"error":"the token is wrong","code":"unauthorized"}'
            assert world.front.statistics().refused == 1
        assert world.sessions == []

    run(body())


def test_an_admission_that_fails_or_never_ends_is_an_error_of_the_server(
    run: Run, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async def fail_or_hang(head: Any) -> None:
            if head.path == "/fail":
                raise KeyError("secret detail")
            await asyncio.Event().wait()

        async with world.serve(admit=fail_or_hang, limits={"admit_timeout_s": 0.05}):
            for path, status in (("fail", 500), ("hang", 503)):
                with pytest.raises(websockets.InvalidStatus) as caught:
                    await connect(world.url + path)
                assert caught.value.response.status_code == status
                assert b"secret" not in (caught.value.response.body or b"")

    run(body())
    assert "an upgrade could not be decided" in caplog.text


def test_who_is_known_is_not_asked_about(run: Run, world: Any) -> None:
    async def body() -> None:
        def known(head: Any) -> Any:
            if head.path == "/refused":
                raise Refused(403, "origin_refused", "not from here")
            return "known" if head.path == "/known" else None

        async with world.serve(known=known):
            async with connect(f"{world.url}known") as client:
                await client.send("1")
                assert await world.within(client.recv()) == "1"
            assert not world.heads
            async with connect(f"{world.url}other") as client:
                await client.send("2")
                assert await world.within(client.recv()) == "2"
            assert [session.admitted for session in world.sessions] == ["known", *world.heads]
            assert [head.path for head in world.heads] == ["/other"]
            with pytest.raises(websockets.InvalidStatus, match="403"):
                async with connect(f"{world.url}refused"):
                    pass
            assert len(world.sessions) == 2

    run(body())


def test_what_a_known_client_sends_with_its_head_is_read(run: Run, world: Any, frame: Any) -> None:
    async def body() -> None:
        async with world.serve(known=lambda head: head):
            client = await world.raw(upgrade=False)
            await client.upgrade(early=frame(b"early"))
            assert await client.frame() == (1, b"early")

    run(body())


def test_an_accepted_socket_sends_small_frames_at_once_and_takes_little_unsent(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url):
            await world.until(lambda: world.sessions)
            sock = world.sessions[0].peer._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_IN_KERNEL_BYTES

    run(body())


def test_a_slow_admission_holds_nobody_else_up(run: Run, world: Any) -> None:
    async def body() -> None:
        gate = asyncio.Event()

        async def admit(head: Any) -> Any:
            if head.path == "/slow":
                await gate.wait()
            return head

        async with world.serve(admit=admit):
            slow = asyncio.create_task(connect(world.url + "slow").__aenter__())
            async with connect(world.url) as quick:
                await quick.send("hello")
                assert await world.within(quick.recv()) == "hello"
            assert not slow.done()
            gate.set()
            client = await world.within(slow)
            await client.send("at last")
            assert await world.within(client.recv()) == "at last"
            await client.close()

    run(body())


def test_neither_query_nor_token_is_ever_logged(run: Run, world: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1, "zocket")
    caplog.set_level(1, "picows")
    caplog.set_level(1, "aiofastnet")

    async def body() -> None:
        async def admit(head: Any) -> Any:
            logging.getLogger("zocket.test").info("asked by %r", head)
            if head.path == "/no":
                raise Refused(401, "unauthorized", "no")
            return head

        async with world.serve(admit=admit):
            async with connect(world.url + "?token=s3cret&other=pr1vate") as client:
                await client.send("raise")
                await world.within(client.wait_closed())
            with pytest.raises(websockets.InvalidStatus):
                await connect(world.url + "no?token=s3cret")
            with pytest.raises(websockets.InvalidStatus):
                await connect(world.url + "no", additional_headers={"Authorization": "Bearer s3cret"})

    run(body())
    logged = [repr(record.__dict__) for record in caplog.records if not record.name.startswith("websockets")]
    assert any("asked by" in line for line in logged)
    assert not [line for line in logged if "s3cret" in line or "pr1vate" in line]


def test_a_session_that_raises_loses_its_own_socket_only(
    run: Run, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as other:
            async with connect(world.url) as client:
                await client.send("raise")
                await world.within(client.wait_closed())
                assert client.close_code == 1011
            await other.send("still here")
            assert await world.within(other.recv()) == "still here"
            await world.until(lambda: world.sessions[1].closed_count == 1)
            assert world.sessions[0].closed_count == 0
            assert world.front.statistics().failed == 1

    run(body())
    assert "a session failed" in caplog.text
    assert "this session fails" in caplog.text


def test_a_session_that_cannot_be_opened_closes_its_socket(
    run: Run, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        def fail(peer: Any, admitted: Any) -> Any:
            raise RuntimeError("no room")

        async with world.serve(open=fail):
            client = await connect(world.url)
            await world.within(client.wait_closed())
            assert client.close_code == 1011
            await world.until(lambda: world.front.statistics().sockets == 0)

    run(body())
    assert "a session could not be opened" in caplog.text


def test_a_frame_that_is_no_bytes_ends_its_socket_and_no_other(
    run: Run, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as wrong, connect(world.url) as right:
            await world.until(lambda: len(world.sessions) == 2)
            world.sessions[0].peer.send("text")
            world.sessions[1].peer.send(b"bytes")
            assert await world.within(right.recv()) == "bytes"
            await world.within(wrong.wait_closed())

    run(body())
    assert "a socket could not be written to" in caplog.text


def test_close_sockets_tells_every_client_and_returns_when_all_are_gone(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve():
            clients = [await connect(world.url) for _ in range(10)]
            await world.until(lambda: len(world.sessions) == 10)
            world.front.stop_listening()
            await world.within(world.front.close_sockets(1012, "restart"))
            assert world.front.statistics().sockets == 0
            assert [session.closed_count for session in world.sessions] == [1] * 10
            await asyncio.gather(*(client.wait_closed() for client in clients))
            assert {(client.close_code, client.close_reason) for client in clients} == {(1012, "restart")}
            with pytest.raises(ConnectionRefusedError):
                await connect(world.url)

    run(body())


def test_leaving_the_block_closes_what_is_open_and_refuses_who_waits(run: Run, world: Any) -> None:
    async def body() -> None:
        waiting = asyncio.Event()

        async def admit(head: Any) -> Any:
            if head.path == "/wait":
                waiting.set()
                await asyncio.Event().wait()
            return head

        async with world.serve(admit=admit):
            client = await connect(world.url)
            undecided = asyncio.create_task(connect(world.url + "wait").__aenter__())
            await world.within(waiting.wait())
        with pytest.raises(websockets.InvalidStatus) as caught:
            await undecided
        assert caught.value.response.status_code == 503
        await world.within(client.wait_closed())
        assert client.close_code == 1001
        assert world.sessions[0].closed_count == 1

    run(body())


def test_a_taken_port_and_a_foreign_host_are_boot_errors(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve():
            with pytest.raises(BootError, match=f"cannot listen on 127.0.0.1 port {world.port}: "):
                async with SocketFront.open("127.0.0.1", world.port, admit=world.admit, open=world.open):
                    pass
        with pytest.raises(BootError, match=r"cannot listen on 192\.0\.2\.1"):
            async with SocketFront.open("192.0.2.1", 0, admit=world.admit, open=world.open):
                pass

    run(body())


def test_several_fronts_can_share_a_port(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(reuse_port=True):
            options: dict[str, Any] = {"admit": world.admit, "open": world.open, "reuse_port": True}
            async with SocketFront.open("127.0.0.1", world.port, **options) as second:
                clients = [await connect(world.url) for _ in range(40)]
                await world.until(lambda: len(world.sessions) == 40)
                assert world.front.statistics().sockets + second.statistics().sockets == 40
                await asyncio.gather(*(client.close() for client in clients))

    run(body())


def test_every_address_of_a_host_gets_the_same_free_port(run: Run, world: Any) -> None:
    async def body() -> None:
        async with SocketFront.open("localhost", 0, admit=world.admit, open=world.open) as front:
            assert front.port > 0
            async with connect(f"ws://localhost:{front.port}/") as client:
                await client.send("x")
                assert await world.within(client.recv()) == "x"

    run(body())


def test_statistics_count_messages_and_bytes(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(), connect(world.url) as client:
            await client.send("abc")
            await client.send("d" * 1000)
            await client.recv()
            await client.recv()
            seen = world.front.statistics()
            assert (seen.sockets, seen.opened, seen.connections) == (1, 1, 0)
            assert (seen.messages_in, seen.messages_out) == (2, 2)
            assert (seen.bytes_in, seen.bytes_out) == (1003, 2 + 3 + 4 + 1000)

    run(body())


def test_sends_of_one_turn_leave_in_one_write(run: Run, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        world.echo = False
        async with world.serve(), connect(world.url) as client:
            await world.until(lambda: world.sessions)
            peer = world.sessions[0].peer
            writes: list[bytes] = []
            write: Callable[[bytes], None] = peer._write

            def record(octets: bytes) -> None:
                writes.append(octets)
                write(octets)

            monkeypatch.setattr(peer, "_write", record)
            for number in range(16):
                peer.send(b"%d" % number)
            assert [await world.within(client.recv()) for _ in range(16)] == [str(number) for number in range(16)]
            assert len(writes) == 1

    run(body())


def test_a_paused_client_is_read_on_after_the_pause_and_loses_nothing(
    run: Run, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zocket.sockets.peer.PAUSE_S", 3_600)

    async def body() -> None:
        async with world.serve(), connect(world.url) as client, connect(world.url) as other:
            await client.send("pause")
            assert await world.within(client.recv()) == "pause"
            for number in range(3):
                await client.send(str(number))
                await other.send("other")
                assert await world.within(other.recv()) == "other"
            assert world.sessions[0].frames == [b"pause"]
            world.sessions[0].peer.read_on()
            assert [await world.within(client.recv()) for _ in range(3)] == ["0", "1", "2"]

    run(body())


def test_a_paused_client_may_leave_and_may_be_closed(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve():
            async with connect(world.url) as client:
                await client.send("pause")
                assert await world.within(client.recv()) == "pause"
            async with connect(world.url) as client:
                await client.send("pause")
                assert await world.within(client.recv()) == "pause"
                world.sessions[1].peer.close(1001, "enough")
                with pytest.raises(websockets.ConnectionClosed):
                    await world.within(client.recv())
        assert [session.closed_count for session in world.sessions] == [1, 1]

    run(body())
