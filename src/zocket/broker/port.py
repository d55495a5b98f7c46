"""The port to the broker: everything above speaks to this, and only an adapter below it knows NATS.

Rules: sending never waits (an adapter writes what was given in one loop turn together, in order); receiving gives
lists, synchronously, on the event loop, never inside a call to the port; a callback that raises is logged and ends
nothing; no NATS type and no NATS exception passes upward; a malformed subject, message id or key is a `UsageError` at
once. Two adapters pass the same conformance tests: `broker.memory` and `broker.nats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from zocket.errors import ZocketError


@dataclass(slots=True)
class Message:
    """A core message. `reply` is empty where no answer is expected."""

    subject: str
    payload: bytes
    reply: str = ""


@dataclass(slots=True)
class Delivered:
    """A message of a stream, to be settled exactly once by `ack`, `nak` or `term`.

    Attributes:
        sequence: its number in the stream.
        attempt: 1 for the first delivery by this consumer.
        handle: the adapter's own; opaque above.
    """

    subject: str
    payload: bytes
    sequence: int
    attempt: int
    handle: object


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream that is created if absent; an existing one is left as it is.

    `partitions` above 1 divide the stream of requests: it puts the number of an instance's partition into the subject.
    """

    name: str
    subjects: tuple[str, ...]
    retention: Literal["workqueue", "limits"]
    max_age_s: float
    storage: str = "memory"
    partitions: int = 1
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream is.

    Attributes:
        incarnation: names this life of the stream: one that was lost and made again has another.
        storage: `memory` or `file`.
        last_sequence: number of the newest message that it ever had; 0 if it had none.
        partitions: that it puts into its subjects; 1 for none, 0 for a transform of subjects that is not ours.
    """

    incarnation: str
    storage: str
    last_sequence: int
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it lies in a stream, read without a consumer."""

    subject: str
    payload: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A durable push consumer with explicit acknowledgement, delivered to an inbox of this process alone."""

    stream: str
    name: str
    subjects: str
    max_ack_pending: int = 256
    ack_wait_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of the key-value store and its revision, which a compare-and-set expects."""

    value: bytes
    revision: int


ConnectionState = Literal["connected", "disconnected", "reconnected", "closed"]


class Subscription(Protocol):
    """A running delivery."""

    async def aclose(self) -> None:
        """No more messages. What was delivered may still be settled. The durable consumer itself stays."""


class Broker(Protocol):
    """A connection to a broker; made by an adapter's `open`, closed by `aclose`."""

    @property
    def connected(self) -> bool:
        """Whether the connection is up now. An adapter reconnects for ever after its first connection."""

    @property
    def max_payload_bytes(self) -> int:
        """Largest message that the server takes."""

    def on_connection(self, callback: Callable[[ConnectionState], None]) -> Callable[[], None]:
        """Calls back at every change of the connection, until what it gives is called."""

    def send(self, messages: Sequence[Message]) -> None:
        """Core publish: in order, unacknowledged. While disconnected up to 8 MiB wait, the oldest are dropped first.

        A message that the server would not take (too large) is dropped with an error in the log, the others leave.
        """

    def publish(
        self, subject: str, payload: bytes, message_id: str, done: Callable[[ZocketError | None], None]
    ) -> None:
        """Publishes into the stream that captures `subject`, pipelined and in order.

        `done` is called exactly once on the loop: with None once the stream holds the message (also if it already held
        this `message_id`), else with `Unavailable`, `Overloaded` (the stream is full) or `TooLarge`. While
        disconnected it is `Unavailable` at once.
        """

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """One answer to a core request.

        Raises:
            Unavailable: nobody listens, nobody answered in time, or the connection is down.
        """

    async def subscribe(self, subject: str, callback: Callable[[list[Message]], None]) -> Subscription:
        """Core subscription (wildcards allowed); it comes back by itself after a reconnect.

        Raises:
            Unavailable: the server does not permit it.
        """

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Creates the stream if no stream has its name.

        Raises:
            Unavailable: the server is away or refuses; the message says why.
        """

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """What a stream is; None if there is none of this name.

        Raises:
            Unavailable: the server is away or refuses.
        """

    async def next_message(self, stream: str, subject: str, sequence: int) -> StoredMessage | None:
        """The first message of this number or a greater one on `subject` (wildcards allowed); None if there is none.

        Raises:
            Unavailable: the server is away or refuses.
        """

    async def delete_message(self, stream: str, sequence: int) -> None:
        """Deletes one message of a stream; one that does not exist is no error.

        Raises:
            Unavailable: the server is away or refuses.
        """

    async def take_over(
        self, spec: ConsumerSpec, callback: Callable[[list[Delivered]], None], lost: Callable[[], None]
    ) -> Subscription:
        """Deletes the durable of that name if there is one and creates it anew, delivered to this process alone.

        What is unacknowledged comes again at once and in order, after this has returned. `lost` is called when the
        server says that the consumer is gone, misses its heartbeats (on NATS about 6.5 s), or lost a delivery on its
        way through a cluster; then nothing more comes until the caller takes over again. An earlier delivery of this
        connection to the same durable ends silently.
        After a reconnect the delivery goes on if the consumer still exists, but what came before can no longer be
        settled: the stream may have been made anew and count from 1 again.

        Raises:
            Unavailable: the stream is missing, or the server is away or refuses.
        """

    async def consumer_names(self, stream: str) -> list[str]:
        """Names of the stream's durable consumers; empty if the stream is missing."""

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Deletes a durable; one that does not exist is no error."""

    def ack(self, delivered: Sequence[Delivered]) -> None:
        """Done; written together at the end of the loop turn."""

    def nak(self, delivered: Sequence[Delivered], delay_s: float = 0.0) -> None:
        """Deliver again, after `delay_s`."""

    def term(self, delivered: Sequence[Delivered]) -> None:
        """Never deliver again."""

    def in_progress(self, delivered: Sequence[Delivered]) -> None:
        """Still at it: the redelivery time starts anew."""

    async def get(self, bucket: str, key: str) -> Entry | None:
        """The current value of a key.

        Raises:
            Unavailable: the server is away or refuses.
        """

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys of a bucket that begin with `prefix` and a dot, or all of them, each once and in no order.

        A key that was deleted may be among them.

        Raises:
            Unavailable: the server is away or refuses.
        """

    def entries(self, bucket: str) -> AsyncIterator[list[tuple[str, Entry]]]:
        """All keys of a bucket with their entries, some at a time, each at least once.

        What was written before the first ones are asked for is there; later writes may be.

        Raises:
            Unavailable: the server is away or refuses.
        """

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int:
        """Compare-and-set: writes only if the key's revision is `expected` (None: it does not exist); the new revision.

        Raises:
            Conflict: another revision is there.
            Unavailable: the server is away or refuses.
        """

    def put_pipelined(
        self, bucket: str, key: str, value: bytes, expected: int | None, done: Callable[[int | ZocketError], None]
    ) -> None:
        """`put` for many at once, those of one key in order.

        `done` is called exactly once on the loop, later: with the new revision, else with `Conflict`, `TooLarge`,
        `Overloaded` (the store is full) or `Unavailable` (it may be written or not).
        """

    async def delete(self, bucket: str, key: str, expected: int) -> None:
        """Removes a key if its revision is `expected`.

        Raises:
            Conflict: another revision is there.
            Unavailable: the server is away or refuses.
        """

    @property
    def outstanding(self) -> int:
        """Publishes and pipelined puts whose answer has not come yet."""

    async def drain(self, timeout_s: float) -> None:
        """Waits at most `timeout_s` until all that was sent, published, put and settled is written and acknowledged.

        It does not wait for what others send meanwhile.
        """

    async def aclose(self) -> None:
        """Flushes what was sent and closes the connection; open publishes are done with `Unavailable`."""
