"""What only the NATS adapter can show: boot, credentials, the shape of its consumers, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from zocket.broker.credentials import Credentials
from zocket.broker.nats import HELD_BYTES, NatsBroker
from zocket.broker.port import ConsumerSpec, Delivered, Message, StreamSpec
from zocket.broker.server import NatsServer
from zocket.dev.ports import free_port
from zocket.errors import BootError, Overloaded, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from zocket.broker.port import ConnectionState
    from zocket.errors import ZocketError

pytestmark = pytest.mark.nats
DEADLINE_S = 15.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 — a condition of any kind
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[NatsBroker]:
    broker = await NatsBroker.open(url, name="test", boot_timeout_s=5, **options)
    try:
        yield broker
    finally:
        await broker.aclose()


async def publish(broker: NatsBroker, subject: str, payload: bytes, message_id: str) -> ZocketError | None:
    outcome: asyncio.Future[ZocketError | None] = asyncio.get_running_loop().create_future()
    broker.publish(subject, payload, message_id, outcome.set_result)
    async with asyncio.timeout(DEADLINE_S):
        return await outcome


async def api(broker: NatsBroker, verb: str, body: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await broker.request(f"$JS.API.{verb}", json.dumps(body).encode(), 5.0))
    assert "error" not in answer, answer
    return answer


# Boot.


async def test_boot_without_a_server_fails_after_its_time_and_says_where() -> None:
    started = asyncio.get_running_loop().time()
    url = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(BootError, match=url) as failure:
        await NatsBroker.open(url, name="test", boot_timeout_s=0.6)
    assert 0.2 < asyncio.get_running_loop().time() - started < 15
    assert "0.6 s" in failure.value.message


async def test_boot_waits_for_a_server_that_comes_late(tmp_path: Path) -> None:
    port = free_port()
    opening = asyncio.ensure_future(NatsBroker.open(f"nats://127.0.0.1:{port}", name="test", boot_timeout_s=10))
    await asyncio.sleep(0.2)
    async with NatsServer(port=port):
        broker = await opening
        assert broker.connected
        await broker.aclose()


async def test_boot_against_something_that_is_no_nats_server_fails() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(BootError, match="cannot be reached"):
            await NatsBroker.open(f"nats://127.0.0.1:{port}", name="test", boot_timeout_s=0.5)


async def test_boot_against_a_silent_server_ends_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with asyncio.timeout(20):
            with pytest.raises(BootError):
                await NatsBroker.open(f"nats://127.0.0.1:{silent.getsockname()[1]}", name="test", boot_timeout_s=1)


@pytest.mark.parametrize("url", ["", ",", "http://a:1", "nats://:4222", "nats://a:port", "ws://a:1"])
async def test_a_url_that_names_no_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(BootError, match="NATS_URL"):
        await NatsBroker.open(url, name="test", boot_timeout_s=30)


async def test_rejected_credentials_fail_at_once_without_showing_them() -> None:
    async with NatsServer(config='authorization { user: "alice", password: "s3cret" }') as server:
        for user in ("alice:wr0ng", "bob:wr0ng", "t0ken"):
            async with asyncio.timeout(15):
                with pytest.raises(BootError, match="rejects the credentials") as failure:
                    await NatsBroker.open(server.url.replace("//", f"//{user}@"), name="test", boot_timeout_s=30)
            assert "wr0ng" not in failure.value.message
            assert "t0ken" not in failure.value.message
        with pytest.raises(BootError, match="rejects the credentials"):
            await NatsBroker.open(server.url, name="test", boot_timeout_s=30)
        async with connected(server.url.replace("//", "//alice:s3cret@")) as broker:
            assert broker.connected
        async with connected(server.url, credentials=Credentials(user="alice", password="s3cret")) as broker:
            assert broker.connected
            assert "s3cret" not in repr(Credentials(user="alice", password="s3cret"))


async def test_a_token_in_the_url_authenticates() -> None:
    async with NatsServer(config='authorization { token: "t0p" }') as server:
        async with connected(server.url.replace("//", "//t0p@")) as broker:
            assert broker.connected
        async with connected(server.url, credentials=Credentials(token="t0p")) as broker:
            assert broker.connected


async def test_of_several_servers_any_that_lives_is_taken() -> None:
    dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with NatsServer() as server, connected(f"nats://{dead[0]}, {server.url},{dead[1]}") as broker:
        assert broker.connected


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    arguments = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *arguments, *names, "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True)
    return chain, key


async def test_tls_is_spoken_and_verified(certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    config = f"tls {{ cert_file: {json.dumps(str(chain))}, key_file: {json.dumps(str(key))} }}"
    async with NatsServer(config=config) as server:
        url = server.url.replace("nats:", "tls:")
        trusted = ssl.create_default_context(cafile=str(chain))
        heard: list[Message] = []
        async with connected(url, tls=trusted) as broker:
            await broker.subscribe("x", heard.extend)
            broker.send([Message("x", bytes(200_000))])
            await until(lambda: heard)
        with pytest.raises(BootError, match=r"(?i)certificate"):
            await NatsBroker.open(url, name="test", boot_timeout_s=0.3)


async def test_a_tls_url_never_falls_back_to_plain_text() -> None:
    async with NatsServer() as server:
        with pytest.raises(BootError, match="offers no TLS"):
            await NatsBroker.open(server.url.replace("nats:", "tls:"), name="test", boot_timeout_s=0.3)


# Consumers and streams as the server sees them.


async def test_r5_a_consumer_reads_back_with_the_exact_shape(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        await broker.ensure_stream(StreamSpec("R5", ("r5.>",), "workqueue", 60.0))
        await broker.take_over(ConsumerSpec("R5", "rt-w-p-chat", "r5.w.p.chat.>"), lambda _: None, lambda: None)
        info = await api(broker, "CONSUMER.INFO.R5.rt-w-p-chat", {})
        config = info["config"]
        assert config["durable_name"] == "rt-w-p-chat"
        assert config["filter_subject"] == "r5.w.p.chat.>"
        assert config["ack_policy"] == "explicit"
        assert config["max_ack_pending"] == 256
        assert config["ack_wait"] == 30_000_000_000
        assert config["deliver_subject"].startswith("_INBOX.")
        assert "deliver_group" not in config
        assert info["push_bound"] is True
        stream = (await api(broker, "STREAM.INFO.R5", {}))["config"]
        assert stream["retention"] == "workqueue"
        assert stream["max_age"] == 60_000_000_000
        assert stream["storage"] == "memory"


async def test_a_pull_durable_of_an_older_runtime_is_replaced(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        await broker.ensure_stream(StreamSpec("PULL", ("pull.>",), "workqueue", 60.0))
        config = {"durable_name": "old", "ack_policy": "explicit", "filter_subject": "pull.a.>"}
        await api(broker, "CONSUMER.DURABLE.CREATE.PULL.old", {"stream_name": "PULL", "config": config})
        assert await publish(broker, "pull.a.1", b"1", "1") is None
        came: list[Delivered] = []
        await broker.take_over(ConsumerSpec("PULL", "old", "pull.a.>"), came.extend, lambda: None)
        await until(lambda: came)


async def test_of_two_that_take_over_at_once_one_keeps_the_consumer(nats_url: str) -> None:
    async with connected(nats_url) as one, connected(nats_url) as two:
        await one.ensure_stream(StreamSpec("RACE", ("race.>",), "workqueue", 60.0))
        spec = ConsumerSpec("RACE", "rt", "race.>")
        brokers = {"one": one, "two": two}
        came: dict[str, list[Delivered]] = {"one": [], "two": []}
        for round_number in range(10):
            outcomes = await asyncio.gather(
                one.take_over(spec, came["one"].extend, lambda: None),
                two.take_over(spec, came["two"].extend, lambda: None),
                return_exceptions=True,
            )
            assert any(not isinstance(outcome, BaseException) for outcome in outcomes)
            assert all(not isinstance(o, BaseException) or isinstance(o, Unavailable) for o in outcomes)
            for items in came.values():
                items.clear()
            assert await publish(one, "race.1", b"%d" % round_number, f"{round_number}") is None
            await until(lambda: any(came.values()))
            (owner,) = [name for name, items in came.items() if items]
            brokers[owner].ack(came[owner])
            await brokers[owner].drain(DEADLINE_S)


async def test_a_full_stream_is_overloaded(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        for name, limit in (("FULLM", {"max_msgs": 2}), ("FULLB", {"max_bytes": 600})):
            config = {"name": name, "subjects": [f"{name}.>"], "storage": "memory", "discard": "new", **limit}
            await api(broker, f"STREAM.CREATE.{name}", config)
            outcomes = [await publish(broker, f"{name}.a", bytes(200), f"{n}") for n in range(4)]
            assert outcomes[0] is None
            assert isinstance(outcomes[-1], Overloaded), outcomes
        config = {"name": "SMALL", "subjects": ["SMALL.>"], "storage": "memory", "max_msg_size": 100}
        await api(broker, "STREAM.CREATE.SMALL", config)
        assert isinstance(await publish(broker, "SMALL.a", bytes(200), "1"), TooLarge)


async def test_the_limit_of_the_server_counts() -> None:
    async with NatsServer(config="max_payload: 2048") as server, connected(server.url) as broker:
        assert broker.max_payload_bytes == 2048
        assert isinstance(await publish(broker, "x", bytes(2040), "1"), TooLarge)
        with pytest.raises(TooLarge):
            await broker.request("x", bytes(2049), 1.0)


async def test_a_server_without_jetstream_is_unavailable() -> None:
    async with NatsServer(jetstream=False) as server, connected(server.url) as broker:
        with pytest.raises(Unavailable, match="disabled"):
            await broker.ensure_stream(StreamSpec("S", ("s.>",), "limits", 60.0))
        with pytest.raises(Unavailable):
            await broker.get("bucket", "key")
        with pytest.raises(Unavailable):
            await broker.put("bucket", "key", b"", None)


async def test_more_replicas_than_there_are_servers_are_refused_with_advice() -> None:
    async with NatsServer() as server, connected(server.url, replicas=3) as broker:
        advice = r"3 replicas need a cluster of at least so many NATS servers.*STREAM_REPLICAS=1"
        with pytest.raises(Unavailable, match=f"the stream S cannot be created.*{advice}"):
            await broker.ensure_stream(StreamSpec("S", ("s.>",), "limits", 60.0, replicas=3))
        with pytest.raises(Unavailable, match=f"the bucket b cannot be created.*{advice}"):
            await broker.put("b", "k", b"", None)


async def test_a_stream_with_other_replicas_than_asked_for_is_left_and_told(
    nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(nats_url) as broker:
        await broker.ensure_stream(StreamSpec("REPLICAS", ("replicas.>",), "limits", 60.0))
        assert "replicas" not in caplog.text
        await broker.ensure_stream(StreamSpec("REPLICAS", ("replicas.>",), "limits", 60.0, replicas=3))
        assert "nats stream edit REPLICAS --replicas 3" in caplog.text


async def test_what_is_not_permitted_is_unavailable_at_once_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zocket.broker.nats.API_TIMEOUT_S", 600)  # whoever waits for a time limit does not end
    monkeypatch.setattr("zocket.broker.acknowledgements.ACK_TIMEOUT_S", 600)
    allowed = 'publish: { allow: ["open"] }, subscribe: { allow: ["_INBOX.>"] }'
    users = f"{{ user: a, password: a, permissions: {{ {allowed} }} }}"
    async with (
        NatsServer(config=f"authorization {{ users: [ {users} ] }}") as server,
        connected(server.url.replace("//", "//a:a@")) as broker,
    ):
        with pytest.raises(Unavailable, match="may not subscribe to Secret"):
            await broker.subscribe("Secret.>", lambda _: None)
        with pytest.raises(Unavailable, match="may not publish"):
            await broker.stream_info("INBOUND")
        with pytest.raises(Unavailable, match="may not publish"):
            await broker.take_over(ConsumerSpec("S", "c", "s.>"), lambda _: None, lambda: None)
        outcomes = await asyncio.gather(*(publish(broker, f"Closed.{n % 2}", b"", f"{n}") for n in range(4)))
        assert all(isinstance(outcome, Unavailable) and "may not" in outcome.message for outcome in outcomes)
        outcome = await publish(broker, "open", b"", "5")
        assert isinstance(outcome, Unavailable)
        assert "no stream" in outcome.message
        assert "Permissions Violation for Publish" in caplog.text
        assert "Permissions Violation for Subscription" in caplog.text
        assert not broker._deliveries
        assert broker.connected


# Servers and connections that misbehave.


def states_of(broker: NatsBroker) -> list[ConnectionState]:
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    return states


async def test_an_error_of_the_server_that_ends_the_connection_is_survived(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        states = states_of(broker)
        heard: list[Message] = []
        await broker.subscribe("survived", heard.extend)
        assert broker._connection is not None
        broker._connection.write(b"NONSENSE\r\n")
        await until(lambda: states == ["disconnected", "reconnected"])
        broker.send([Message("survived", b"1")])
        await until(lambda: heard)


async def test_a_server_that_stopped_to_answer_makes_publishes_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.acknowledgements.ACK_TIMEOUT_S", 0.5)
    async with NatsServer() as server, connected(server.url) as broker:
        await broker.ensure_stream(StreamSpec("S", ("s.>",), "limits", 60.0))
        await server.pause()
        outcome = await publish(broker, "s.1", b"", "1")
        assert isinstance(outcome, Unavailable)
        assert "acknowledge" in outcome.message
        assert broker.outstanding == 0
        server.resume()
        assert await publish(broker, "s.1", b"", "2") is None


async def test_a_server_that_does_not_read_never_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.nats.UNWRITTEN_BYTES", 4_000_000)
    monkeypatch.setattr("zocket.broker.nats.SOCKET_BYTES", 4_000_000)
    async with NatsServer() as server, connected(server.url) as broker:
        await broker.ensure_stream(StreamSpec("S", ("s.>",), "limits", 60.0))
        await server.pause()
        outcomes: list[ZocketError | None] = []
        for number in range(60):
            broker.publish("s.1", bytes(1_000_000), f"{number}", outcomes.append)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert any(isinstance(outcome, Overloaded) for outcome in outcomes)
        assert broker._out_bytes < 8_000_000
        server.resume()
        await until(lambda: len(outcomes) == 60)
        assert None in outcomes
        assert await publish(broker, "s.1", b"after", "after") is None


async def test_what_is_held_while_disconnected_is_bounded_and_keeps_the_newest() -> None:
    async with NatsServer() as server, connected(server.url) as broker:
        await broker.ensure_stream(StreamSpec("S", ("s.>",), "limits", 60.0, "file"))
        await server.kill()
        await until(lambda: not broker.connected)
        for number in range(20):
            broker.send([Message("s.1", b"%04d" % number + bytes(1_000_000))])
        assert broker._held_bytes <= HELD_BYTES
        await server.start()
        await until(lambda: broker.connected)
        came: list[Delivered] = []
        await broker.drain(DEADLINE_S)
        await broker.take_over(ConsumerSpec("S", "c", "s.>"), came.extend, lambda: None)
        await until(lambda: len(came) == 8)
        assert [int(item.payload[:4]) for item in came] == list(range(12, 20))


async def test_it_moves_to_another_server_when_its_own_dies() -> None:
    async with NatsServer() as first, NatsServer() as second, connected(f"{first.url},{second.url}") as broker:
        states = states_of(broker)
        heard: list[Message] = []
        await broker.subscribe("x", heard.extend)
        assert broker._connection is not None
        port = urlsplit(broker._connection.url).port
        dead = first if port == first.port else second
        await dead.kill()
        await until(lambda: states == ["disconnected", "reconnected"])
        broker.send([Message("x", b"1")])
        await until(lambda: heard)


async def test_drain_waits_until_everything_is_acknowledged(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        await broker.ensure_stream(StreamSpec("DRAIN", ("drain.>",), "limits", 60.0))
        outcomes: list[ZocketError | None] = []
        for number in range(2_000):
            broker.publish("drain.1", b"x", f"{number}", outcomes.append)
        await broker.drain(DEADLINE_S)
        assert outcomes == [None] * 2_000


async def test_drain_ends_with_its_time_when_the_server_is_away() -> None:
    async with NatsServer() as server, connected(server.url) as broker:
        await server.kill()
        await until(lambda: not broker.connected)
        broker.send([Message("x", b"1")])
        started = asyncio.get_running_loop().time()
        await broker.drain(0.3)
        assert 0.2 < asyncio.get_running_loop().time() - started < 2


async def test_reconnected_means_that_the_server_has_the_subscriptions_again() -> None:
    async def drop_and_hear(broker: NatsBroker, other: NatsBroker, subject: str) -> None:
        heard: list[Message] = []
        await broker.subscribe(subject, heard.extend)
        states = states_of(broker)
        assert broker._connection is not None
        broker._connection.abort()
        await until(lambda: states == ["disconnected", "reconnected"])
        other.send([Message(subject, b"1")])
        await until(lambda: heard)

    async with NatsServer() as server, connected(server.url) as broker, connected(server.url) as other:
        for number in range(20):
            await drop_and_hear(broker, other, f"x{number}")


async def test_a_server_that_stops_during_the_reconnection_is_told_once() -> None:
    async with NatsServer() as server, connected(server.url) as broker:
        states = states_of(broker)
        await server.pause()
        assert broker._connection is not None
        broker._connection.abort()
        await until(lambda: states == ["disconnected"])
        await asyncio.sleep(0.2)
        await server.kill()
        await server.start()
        await until(lambda: len(states) > 1)
        assert states == ["disconnected", "reconnected"]
        assert broker.connected
