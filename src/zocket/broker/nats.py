"""The broker port on a NATS server with JetStream.

Rules: what is written in one loop turn leaves as one write, acknowledgements last; a lost connection is replaced by a
new one for ever, and subscriptions move over to it; what waits for an answer when it is lost ends with `Unavailable`;
acknowledgements of an earlier connection are dropped, since the stream behind it may have been made anew and count
from 1 again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from zocket.broker import wire
from zocket.broker.acknowledgements import PublishWindow, not_permitted, read_sequence, read_stored
from zocket.broker.connection import Connection
from zocket.broker.credentials import Credentials, Servers
from zocket.broker.deliveries import IDLE_HEARTBEAT_S, CoreDelivery, Delivery, Handle, PushDelivery
from zocket.broker.jetstream import NO_RESPONDERS, JetStream, NoAnswer
from zocket.broker.matching import MAX_SUBJECT_BYTES, check_subject
from zocket.broker.puts import PipelinedPuts
from zocket.broker.replies import Replies, Reply
from zocket.errors import BootError, Overloaded, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from zocket.broker.port import (
        ConnectionState,
        ConsumerSpec,
        Delivered,
        Entry,
        Message,
        StoredMessage,
        StreamInfo,
        StreamSpec,
        Subscription,
    )
    from zocket.errors import ZocketError

API_TIMEOUT_S: Final = 5.0
"""A management call without an answer for so long is `Unavailable`."""
BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MOST_S: Final = 2.0
"""Between two rounds over all servers; each wait is a random part of it, so that processes do not come back at once."""
HELD_BYTES: Final = 8 * 1024 * 1024
"""What `send` keeps while disconnected; the oldest is dropped first."""
UNWRITTEN_BYTES: Final = 64 * 1024 * 1024
"""What waits for a connected server that does not read; beyond it nothing more is taken."""
SOCKET_BYTES: Final = 8 * 1024 * 1024
"""What is given to the socket ahead; the rest waits here, where it is counted."""
STALLED_S: Final = 0.02
"""How soon a socket that did not take everything is tried again."""
CLOSE_TIMEOUT_S: Final = 2.0
"""How long `aclose` waits for the server to have read the last bytes."""

T = TypeVar("T")

_log: Final = logging.getLogger("zocket.broker")


class NatsBroker:
    """A connection to NATS; see `zocket.broker.port.Broker` for what every method guarantees."""

    def __init__(self, servers: Servers, name: str, tls: ssl.SSLContext | None, replicas: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._given = servers.urls
        self._servers = list(servers.urls)
        self._credentials = servers.credentials
        self._name = name
        # Made once: it reads the certificates of the machine from disk.
        self._tls = tls or (ssl.create_default_context() if str(servers).count("tls://") else None)
        self._connection: Connection | None = None
        self._closing = False
        self._told_away = False
        self._listeners: list[Callable[[ConnectionState], None]] = []
        self._inbox = f"{servers.credentials.inbox_prefix}.{secrets.token_hex(11)}."
        self._inboxes = 0
        self._deliveries: dict[Delivery, None] = {}
        self._window = PublishWindow(self._loop)
        self._requests: dict[int, tuple[str, asyncio.Future[Reply] | Replies]] = {}
        self._last_request = 0
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._acks: list[bytes] = []
        self._flush_planned = False
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._dropped = 0
        self._lost = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._jetstream = JetStream(self._ask, self._ask_many, replicas)
        self._puts = PipelinedPuts(self._publish_expecting, self._jetstream)
        self.subject = self._inbox + "*"

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        name: str,
        boot_timeout_s: float = 10.0,
        credentials: Credentials | None = None,
        tls: ssl.SSLContext | None = None,
        replicas: int = 1,
    ) -> NatsBroker:
        """Connects to one of the comma-separated servers of `url`, trying for `boot_timeout_s`.

        `replicas` is how many servers keep a copy of the key-value buckets that this connection makes.

        Raises:
            BootError: no server could be reached in time; or, at once, the URL is wrong or the credentials are
                rejected.
        """
        broker = cls(Servers.parse(url, credentials or Credentials()), name, tls, replicas)
        deadline = broker._loop.time() + boot_timeout_s
        delays = backoff()
        while (failure := await broker._dial()) is not None:
            if isinstance(failure, BootError):
                raise failure
            delay = next(delays)
            if broker._loop.time() + delay >= deadline:
                raise BootError(
                    f"{failure.message}; tried for {boot_timeout_s:g} s. Is a NATS server running there? "
                    "NATS_URL names the servers."
                )
            await asyncio.sleep(delay)
        broker._supervisor = asyncio.create_task(broker._supervise(), name=f"nats-{name}")
        return broker

    # The connection.

    @property
    def connected(self) -> bool:
        """See `Broker.connected`."""
        return self._connection is not None

    @property
    def outstanding(self) -> int:
        """See `Broker.outstanding`."""
        return len(self._window)

    @property
    def max_payload_bytes(self) -> int:
        """Largest message that the server takes, headers included; of the last server while disconnected."""
        return self._max_payload_bytes

    _max_payload_bytes = 1024 * 1024

    def on_connection(self, callback: Callable[[ConnectionState], None]) -> Callable[[], None]:
        """See `Broker.on_connection`."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def _tell(self, state: ConnectionState) -> None:
        for listener in list(self._listeners):
            try:
                listener(state)
            except Exception:  # noqa: BLE001 — border: a listener that fails must not stop the reconnection
                _log.exception("A listener of the connection failed", extra={"state": state})

    async def _dial(self) -> BootError | Unavailable | None:
        """Tries every server once; None when connected, else the last failure."""
        failure: BootError | Unavailable = Unavailable("no NATS server is known")
        for url in random.sample(self._servers, len(self._servers)):
            try:
                connection = await Connection.dial(
                    url,
                    name=self._name,
                    credentials=self._credentials,
                    tls=self._tls,
                    lost=self._connection_lost,
                    refused=self._refused,
                    hostname=self._hostname_of(url),
                )
            except (BootError, Unavailable) as error:
                failure = error
                continue
            self._use(connection)
            return None
        return failure

    def _hostname_of(self, url: str) -> str | None:
        """A server that the cluster told of by its address has a certificate for the name that was given."""
        return None if url in self._given else urlsplit(self._given[0]).hostname

    def _learn(self, connection: Connection) -> None:
        self._servers += [url for url in connection.discovered if url not in self._servers]

    def _use(self, connection: Connection) -> None:
        self._learn(connection)
        self._max_payload_bytes = connection.max_payload
        self._lost.clear()
        self._connection = connection
        connection.attach(self)
        for delivery in self._deliveries:
            delivery.attach(connection)
        if self._dropped:
            _log.warning("Messages were dropped while NATS was away", extra={"dropped": self._dropped})
        connection.write(b"".join(self._held))
        self._held.clear()
        self._held_bytes = self._dropped = 0

    def _connection_lost(self, reason: str) -> None:
        self._connection, lost = None, self._connection
        self._lost_connection = lost
        self._out.clear()
        self._acks.clear()
        self._out_bytes = 0
        for delivery in self._deliveries:
            delivery.suspend()
        self._lost.set()
        if lost is not None and not self._closing:
            self._learn(lost)
            _log.warning("The connection to NATS is lost: %s", reason)
            self._fail_waiting("the connection to NATS is lost")
            if not self._told_away:
                self._told_away = True
                self._tell("disconnected")

    _lost_connection: Connection | None = None

    def _fail_waiting(self, reason: str) -> None:
        self._window.fail(reason)
        for _, answer in self._requests.values():
            if not answer.done():
                answer.set_exception(Unavailable(reason))

    def _refused(self, subject: str) -> None:
        """The server did not let us publish to this subject."""
        self._window.refuse(subject)
        for asked, answer in self._requests.values():
            if asked == subject and not answer.done():
                answer.set_exception(not_permitted("publish", asked))

    async def _supervise(self) -> None:
        while not self._closing:
            await self._lost.wait()
            if self._lost_connection is not None:
                await self._lost_connection.hang_up()
                self._lost_connection = None
            delays, told = backoff(), ""
            while not self._closing and (failure := await self._dial()) is not None:
                if failure.message != told:
                    told = failure.message
                    _log.warning("NATS is away, trying for ever: %s", told)
                await asyncio.sleep(next(delays))
            connection = self._connection
            # Told only when the server has the subscriptions again, so that an answer to what is sent then is heard.
            answered = connection is not None and await connection.round_trip(API_TIMEOUT_S)
            if self._connection is not connection or connection is None or self._closing:
                continue
            if answered:
                self._told_away = False
                _log.info("NATS is connected again")
                self._tell("reconnected")
            else:
                self._connection_lost("the server does not answer")

    async def drain(self, timeout_s: float) -> None:
        """See `Broker.drain`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._connection is not None or self._held:
                    self._flush()
                    connection = self._connection
                    if connection is not None and not self._out:
                        await self._window.settled()
                        if await connection.round_trip(timeout_s):
                            return
                    await asyncio.sleep(STALLED_S)
        except TimeoutError:
            return

    async def aclose(self) -> None:
        """See `Broker.aclose`."""
        if self._closing:
            return
        self._closing = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})
        connection = self._connection
        if connection is not None:
            self._flush()
            await connection.round_trip(CLOSE_TIMEOUT_S)
            await connection.hang_up()
        self._connection = None
        if self._lost_connection is not None:
            await self._lost_connection.hang_up()
        for delivery in list(self._deliveries):
            delivery.close()
        self._fail_waiting("the connection to NATS is closed")
        self._tell("closed")

    def abort(self) -> None:
        """Ends as the connection of a killed process does: nothing more leaves. For tests of what follows then."""
        self._closing = True
        if self._supervisor is not None:
            self._supervisor.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        for delivery in list(self._deliveries):
            delivery.close()
        self._fail_waiting("the connection to NATS was aborted")

    # Writing.

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        connection = self._connection
        if connection is None:
            return
        if connection.unwritten_bytes > SOCKET_BYTES:
            if not self._flush_planned:
                self._flush_planned = True
                self._loop.call_later(STALLED_S, self._flush)
            return
        if self._acks:
            self._out.append(wire.acknowledgements(self._acks))
            self._acks.clear()
        if self._out:
            connection.write(b"".join(self._out))
            self._out.clear()
            self._out_bytes = 0

    def _refusal(self, subject: str, size: int) -> ZocketError | None:
        if size > self._max_payload_bytes:
            return TooLarge(f"a message of {size} bytes, the NATS server takes {self._max_payload_bytes}")
        if len(subject) > MAX_SUBJECT_BYTES:
            return TooLarge(f"a subject of {len(subject)} bytes, the limit is {MAX_SUBJECT_BYTES}")
        if self._out_bytes > UNWRITTEN_BYTES:
            return Overloaded("the NATS server does not read fast enough")
        return None

    def send(self, messages: Sequence[Message]) -> None:
        """See `Broker.send`; a message that no server would take is dropped with an error in the log."""
        for message in messages:
            check_subject(message.subject)
            size = len(message.payload)
            if (refusal := self._refusal(message.subject, size)) is not None:
                _log.error("A message is dropped: %s", refusal.message, extra={"subject": message.subject[:120]})
                continue
            head = wire.publish_head(message.subject, message.reply, size)
            if self._connection is None:
                self._hold(head + message.payload + wire.CRLF)
            else:
                self._out += (head, message.payload, wire.CRLF)
                self._out_bytes += size
        if self._out:
            self._plan_flush()

    def _hold(self, command: bytes) -> None:
        self._held.append(command)
        self._held_bytes += len(command)
        while self._held_bytes > HELD_BYTES:
            self._held_bytes -= len(self._held.popleft())
            self._dropped += 1

    def publish(
        self, subject: str, payload: bytes, message_id: str, done: Callable[[ZocketError | None], None]
    ) -> None:
        """See `Broker.publish`."""
        check_subject(subject)
        wire.check_header_value(message_id)
        size = len(payload)
        refusal = (
            Unavailable("NATS is not connected")
            if self._connection is None
            else self._refusal(subject, size + wire.message_id_bytes(message_id))
        )
        if refusal is not None:
            self._loop.call_soon(done, refusal)
            return
        reply = f"{self._inbox}{self._window.add(done, subject, read_stored)}"
        self._out += (wire.publish_with_id_head(subject, reply, message_id, size), payload, wire.CRLF)
        self._out_bytes += size
        self._plan_flush()

    def _publish_expecting(
        self, subject: str, payload: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `PublishExpecting`; the subject is checked."""
        size = len(payload)
        refusal = (
            Unavailable("NATS is not connected")
            if self._connection is None
            else self._refusal(subject, size + wire.expected_sequence_bytes(expected))
        )
        if refusal is not None:
            self._loop.call_soon(done, refusal)
            return
        reply = f"{self._inbox}{self._window.add(done, subject, read_sequence)}"
        self._out += (wire.publish_expecting_head(subject, reply, expected, size), payload, wire.CRLF)
        self._out_bytes += size
        self._plan_flush()

    # Answers: of streams to publishes, and of services to requests, on one inbox.

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        """Takes what comes to the reply inbox of this connection."""
        token = subject[len(self._inbox) :]
        if token.isdigit():
            self._window.answered(int(token), payload, header)
        elif token[1:].isdigit():
            asked = self._requests.get(int(token[1:]))
            if asked is not None and not asked[1].done():
                asked[1].set_result(Reply(payload, header))

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """See `Broker.request`."""
        reply = await self._request(subject, payload, None, timeout_s)
        if reply.header is not None and wire.status(reply.header) == NO_RESPONDERS:
            raise Unavailable(f"nobody listens to {subject}")
        return reply.payload

    async def _ask(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Reply:
        return await self._request(subject, payload, headers, API_TIMEOUT_S)

    async def _ask_many(self, subject: str, payload: bytes) -> list[Reply]:
        answers = Replies()
        return await self._wait_answer(subject, payload, None, API_TIMEOUT_S, answers, answers.all)

    async def _request(self, subject: str, payload: bytes, headers: dict[str, str] | None, timeout_s: float) -> Reply:
        answer: asyncio.Future[Reply] = self._loop.create_future()
        return await self._wait_answer(subject, payload, headers, timeout_s, answer, answer)

    async def _wait_answer(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None,
        timeout_s: float,
        taker: asyncio.Future[Reply] | Replies,
        answer: asyncio.Future[T],
    ) -> T:
        check_subject(subject)
        if self._connection is None:
            raise Unavailable("NATS is not connected")
        if (refusal := self._refusal(subject, len(payload))) is not None:
            raise refusal
        self._last_request += 1
        number = self._last_request
        self._requests[number] = (subject, taker)
        reply = f"{self._inbox}r{number}"
        if headers:
            self._out.append(wire.publish_with_headers(subject, reply, headers, payload))
        else:
            self._out += (wire.publish_head(subject, reply, len(payload)), payload, wire.CRLF)
        self._plan_flush()
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise NoAnswer(f"no answer from {subject.split('.', 1)[0]} within {timeout_s:g} s") from None
        finally:
            del self._requests[number]

    # Subscriptions.

    async def subscribe(self, subject: str, callback: Callable[[list[Message]], None]) -> Subscription:
        """See `Broker.subscribe`; when it returns, the server has it (unless the connection is away)."""
        check_subject(subject)
        delivery = CoreDelivery(subject, callback, self._loop)
        await self._start(delivery)
        return _Running(self, delivery)

    async def _start(self, delivery: Delivery) -> None:
        self._deliveries[delivery] = None
        connection = self._connection
        if connection is not None:
            delivery.attach(connection)
            await connection.round_trip(API_TIMEOUT_S)
            if connection.refuses(delivery):
                self._stop(delivery)
                raise not_permitted("subscribe", delivery.subject)

    def _stop(self, delivery: Delivery) -> None:
        self._deliveries.pop(delivery, None)
        delivery.close()

    async def take_over(
        self, spec: ConsumerSpec, callback: Callable[[list[Delivered]], None], lost: Callable[[], None]
    ) -> Subscription:
        """See `Broker.take_over`. An earlier delivery of this connection to the same durable ends without `lost`."""
        if self._connection is None:
            raise Unavailable("NATS is not connected")
        self._inboxes += 1
        inbox = f"{self._credentials.inbox_prefix}.{secrets.token_hex(11)}.{self._inboxes}"
        delivery = PushDelivery(inbox, spec, callback, lost, self._loop)
        for earlier in [
            item for item in self._deliveries if isinstance(item, PushDelivery) and item.key == delivery.key
        ]:
            self._stop(earlier)
        await self._start(delivery)
        try:
            await self._jetstream.replace_consumer(spec, inbox, IDLE_HEARTBEAT_S)
        except BaseException:
            self._stop(delivery)
            raise
        delivery.start()
        return _Running(self, delivery)

    def ack(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.ack`."""
        self._acks += self._current(delivered)
        if self._acks:
            self._plan_flush()

    def nak(self, delivered: Sequence[Delivered], delay_s: float = 0.0) -> None:
        """See `Broker.nak`."""
        self._settle(delivered, wire.negative(delay_s))

    def term(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.term`."""
        self._settle(delivered, wire.TERM)

    def in_progress(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.in_progress`."""
        self._settle(delivered, wire.IN_PROGRESS)

    def _settle(self, delivered: Sequence[Delivered], verdict: bytes) -> None:
        self._out += [wire.settlement(reply, verdict) for reply in self._current(delivered)]
        if self._out:
            self._plan_flush()

    def _current(self, delivered: Sequence[Delivered]) -> Iterable[bytes]:
        connection = self._connection
        for item in delivered:
            handle = item.handle
            if isinstance(handle, Handle) and handle.connection is connection and connection is not None:
                yield handle.reply

    # Management and key-value.

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """See `Broker.ensure_stream`."""
        await self._jetstream.ensure_stream(spec)

    async def ensure_bucket(self, bucket: str) -> None:
        """Makes a key-value bucket if there is none of this name; a write makes it, too, where that is permitted.

        Raises:
            Unavailable: the server is away or refuses.
        """
        await self._jetstream.ensure_bucket(bucket)

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """See `Broker.stream_info`."""
        return await self._jetstream.stream_info(stream)

    async def next_message(self, stream: str, subject: str, sequence: int) -> StoredMessage | None:
        """See `Broker.next_message`."""
        check_subject(subject)
        return await self._jetstream.next_message(stream, subject, sequence)

    async def delete_message(self, stream: str, sequence: int) -> None:
        """See `Broker.delete_message`."""
        await self._jetstream.delete_message(stream, sequence)

    async def consumer_names(self, stream: str) -> list[str]:
        """See `Broker.consumer_names`."""
        return await self._jetstream.consumer_names(stream)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """See `Broker.delete_consumer`."""
        await self._jetstream.delete_consumer(stream, name)

    async def get(self, bucket: str, key: str) -> Entry | None:
        """See `Broker.get`."""
        return await self._jetstream.get(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """See `Broker.keys`."""
        return await self._jetstream.keys(bucket, prefix)

    def entries(self, bucket: str) -> AsyncIterator[list[tuple[str, Entry]]]:
        """See `Broker.entries`."""
        return self._jetstream.entries(bucket)

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int:
        """See `Broker.put`."""
        return await self._jetstream.put(bucket, key, value, expected)

    def put_pipelined(
        self, bucket: str, key: str, value: bytes, expected: int | None, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `Broker.put_pipelined`."""
        self._puts.put(bucket, key, value, expected, done)

    async def delete(self, bucket: str, key: str, expected: int) -> None:
        """See `Broker.delete`."""
        await self._jetstream.delete(bucket, key, expected)


class _Running:
    """A subscription of a `NatsBroker`."""

    def __init__(self, broker: NatsBroker, delivery: Delivery) -> None:
        self._broker = broker
        self._delivery = delivery

    async def aclose(self) -> None:
        """See `Subscription.aclose`."""
        self._broker._stop(self._delivery)  # noqa: SLF001 — two halves of one thing


def backoff() -> Iterator[float]:
    """Waits between rounds over all servers: doubling up to `BACKOFF_MOST_S`, each a random half to whole of it."""
    most = BACKOFF_FIRST_S
    while True:
        yield random.uniform(most / 2, most)  # noqa: S311 — spreads load, keeps no secret
        most = min(2 * most, BACKOFF_MOST_S)
