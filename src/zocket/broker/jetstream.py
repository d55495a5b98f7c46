"""What is asked of JetStream by its JSON API: streams, consumers, and a key-value bucket with compare-and-set.

Rules: everything goes through one `Ask` (a request that comes back with payload and header), so this file knows no
connection; an error of the server becomes one of ours by its number, never by its text; names are checked before they
enter a subject of the API.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from zocket.broker import wire
from zocket.broker.listing import DELETE_MARKERS, batches
from zocket.broker.port import Entry, StoredMessage, StreamInfo
from zocket.errors import Conflict, Overloaded, TooLarge, Unavailable, UsageError, ZocketError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.broker.listing import AskMany
    from zocket.broker.port import ConsumerSpec, StreamSpec
    from zocket.broker.replies import Reply

DUPLICATE_WINDOW_S: Final = 120.0
"""How long a stream remembers message ids; a server allows no more than the stream's age limit."""
TAKE_OVER_ATTEMPTS: Final = 5
"""Two processes that take over at the same moment find each other's consumer; the later attempt wins."""
CREATE_ATTEMPTS: Final = 6
"""A cluster that elects leaders gives no answer to what it has begun to do: the same consumer is asked for again."""
BUCKET_WAITS_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Between writes to a bucket that nobody serves yet: the servers of a cluster elect its leader, and tell each other."""

_log: Final = logging.getLogger("zocket.broker")
_CONSUMER_NOT_FOUND: Final = 10014
_CONSUMER_EXISTS: Final = frozenset({10013, 10105, 10148})
_NO_MESSAGE: Final = 10037
_NAME_IN_USE: Final = 10058
_STREAM_NOT_FOUND: Final = 10059
_WRONG_SEQUENCE: Final = frozenset({10071, 10164})
_FULL: Final = frozenset({10023, 10028, 10047, 10077, 10111})
"""Storage exhausted, limits of the account or the stream reached (10077 is "maximum messages or bytes exceeded")."""
_TOO_LARGE: Final = 10054
_TOO_FEW_SERVERS: Final = frozenset({10005, 10074})
"""No suitable peers for the replicas, or no cluster at all."""
NO_RESPONDERS: Final = 503
"""Status of the answer to a message that nobody takes."""

_UNDIVIDED: Final = "inbound.*.*.*.*"
_DIVIDED: Final = "inbound.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{partition(N,3,4)}}.{{wildcard(4)}}"
"""How a divided stream writes the number of an instance's partition into the subject."""
_DIVIDED_PATTERN: Final = re.compile(re.escape(_DIVIDED).replace("N", r"(\d+)", 1) + r"\Z")

_NAME: Final = re.compile(r"[^\x00-\x20\x7f.*>/\\]{1,255}\Z")
_KEY: Final = re.compile(r"[-/_=A-Za-z0-9]+(?:\.[-/_=A-Za-z0-9]+)*\Z")
GETS_AT_ONCE: Final = 64
"""Entries that are read key by key at the same time, where batches cannot be had."""


class ApiError(msgspec.Struct):
    """An error in an answer of JetStream."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Ask(Protocol):
    """One request; raises `Unavailable` if the connection is away or no answer comes in time."""

    async def __call__(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Reply:
        """The answer."""


class NoAnswer(Unavailable):
    """Nothing came back in time: what was asked for may have been done, or may be done later."""


class ServerError(Unavailable):
    """The server refused; `number` is its err_code. Never leaves this package with a meaning of its own."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class _StoredMessage(msgspec.Struct):
    seq: int
    subject: str = ""
    data: str = ""
    hdrs: str = ""


class _Transform(msgspec.Struct, frozen=True):
    dest: str = ""


class _Config(msgspec.Struct, frozen=True):
    storage: str = "file"
    subject_transform: _Transform | None = None
    num_replicas: int = 1


class _State(msgspec.Struct, frozen=True):
    subjects: dict[str, int] | None = None
    last_seq: int = 0


class _Answer(msgspec.Struct):
    error: ApiError | None = None
    created: str = ""
    state: _State = _State()
    config: _Config = _Config()
    consumers: list[str] | None = None
    total: int = 0
    seq: int = 0
    message: _StoredMessage | None = None


_decoder: Final = msgspec.json.Decoder(_Answer)


def error_from(error: ApiError) -> ZocketError:
    """The server's refusal as one of our errors."""
    text = f"JetStream: {error.description} ({error.err_code})"
    if error.err_code in _FULL:
        return Overloaded(text)
    if error.err_code == _TOO_LARGE:
        return TooLarge(text)
    if error.err_code in _WRONG_SEQUENCE:
        return Conflict(text)
    return ServerError(text, error.err_code)


def _number(error: ZocketError) -> int:
    return error.number if isinstance(error, ServerError) else 0


def _name(kind: str, name: str) -> str:
    if not _NAME.match(name):
        raise UsageError(f"{kind}: no name: {name[:80]!r}")
    return name


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


class JetStream:
    """Management calls on one server.

    Attributes:
        buckets_seen: names of buckets that were there.
    """

    def __init__(self, ask: Ask, ask_many: AskMany, replicas: int = 1) -> None:
        """`replicas` is of the buckets that are made here."""
        self._ask = ask
        self._ask_many = ask_many
        self._replicas = replicas
        self.buckets_seen: set[str] = set()
        self._looking = asyncio.Lock()

    async def _call(self, verb: str, body: dict[str, Any]) -> _Answer:
        reply = await self._ask(f"$JS.API.{verb}", msgspec.json.encode(body))
        return _read(reply)

    # Streams.

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """See `Broker.ensure_stream`."""
        existing = await self._config(spec.name)
        if existing is not None:
            if existing.num_replicas != spec.replicas:
                _log.warning(
                    "The stream %s has %d replicas, and STREAM_REPLICAS says %d: nats stream edit %s --replicas %d",
                    *(spec.name, existing.num_replicas, spec.replicas, spec.name, spec.replicas),
                )
            return
        config: dict[str, Any] = {
            "name": spec.name,
            "subjects": list(spec.subjects),
            "retention": spec.retention,
            "max_age": _nanoseconds(spec.max_age_s),
            "storage": spec.storage,
            "num_replicas": spec.replicas,
            "duplicate_window": _nanoseconds(min(DUPLICATE_WINDOW_S, spec.max_age_s or DUPLICATE_WINDOW_S)),
        }
        if spec.partitions > 1:
            config["subject_transform"] = {"src": _UNDIVIDED, "dest": _DIVIDED.replace("N", str(spec.partitions))}
        await self._create_stream(f"the stream {spec.name}", config)

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """See `Broker.stream_info`."""
        answer = await self._info(stream)
        if answer is None:
            return None
        return StreamInfo(answer.created, answer.config.storage, answer.state.last_seq, _partitions(answer.config))

    async def _config(self, stream: str) -> _Config | None:
        answer = await self._info(stream)
        return None if answer is None else answer.config

    async def _info(self, stream: str) -> _Answer | None:
        try:
            return await self._call(f"STREAM.INFO.{_name('stream', stream)}", {})
        except ServerError as error:
            if error.number == _STREAM_NOT_FOUND:
                return None
            raise

    async def next_message(self, stream: str, subject: str, sequence: int) -> StoredMessage | None:
        """See `Broker.next_message`."""
        stored = await self._message(stream, {"seq": sequence, "next_by_subj": subject})
        return None if stored is None else StoredMessage(stored.subject, base64.b64decode(stored.data), stored.seq)

    async def delete_message(self, stream: str, sequence: int) -> None:
        """See `Broker.delete_message`."""
        try:
            await self._call(f"STREAM.MSG.DELETE.{_name('stream', stream)}", {"seq": sequence})
        except ServerError:
            # Its number does not tell a message that is not there from one that cannot be deleted.
            if await self._message(stream, {"seq": sequence}) is not None:
                raise

    async def _message(self, stream: str, which: dict[str, Any]) -> _StoredMessage | None:
        try:
            answer = await self._call(f"STREAM.MSG.GET.{_name('stream', stream)}", which)
        except ServerError as error:
            if error.number in (_NO_MESSAGE, _STREAM_NOT_FOUND):
                return None
            raise
        return answer.message

    async def _create_stream(self, what: str, config: dict[str, Any]) -> None:
        """Makes a stream; one that somebody else made in the same moment is fine."""
        try:
            await self._call(f"STREAM.CREATE.{_name('stream', config['name'])}", config)
        except ServerError as error:
            if error.number == _NAME_IN_USE:
                return
            advice = ""
            if error.number in _TOO_FEW_SERVERS:
                advice = (
                    f"; {config['num_replicas']} replicas need a cluster of at least so many NATS servers with "
                    "JetStream, all of them up: start them, or set STREAM_REPLICAS=1"
                )
            raise Unavailable(f"{what} cannot be created: {error.message}{advice}") from error
        except Unavailable as error:
            raise Unavailable(f"{what} cannot be created: {error.message}") from error

    # Consumers.

    async def replace_consumer(self, spec: ConsumerSpec, inbox: str, heartbeat_s: float) -> None:
        """Deletes the durable of that name, whatever its shape, and creates it anew for `inbox`.

        A creation without an answer is asked for again as it was and never deleted: it may come true after all, and a
        cluster under load would otherwise lose each consumer before it could say that it is there.

        Raises:
            Unavailable: the stream is missing, or the server is away or refuses.
        """
        for _ in range(TAKE_OVER_ATTEMPTS):
            await self.delete_consumer(spec.stream, spec.name)
            if await self._created(spec, inbox, heartbeat_s):
                return
        raise Unavailable(f"the consumer {spec.name} is taken over by another process again and again")

    async def _created(self, spec: ConsumerSpec, inbox: str, heartbeat_s: float) -> bool:
        """False if another process has made a consumer of that name a moment ago."""
        for attempt in range(CREATE_ATTEMPTS):
            try:
                await self._create_consumer(spec, inbox, heartbeat_s)
            except NoAnswer:
                continue
            except ServerError as error:
                if error.number not in _CONSUMER_EXISTS:
                    raise Unavailable(f"the consumer {spec.name} cannot be created: {error.message}") from error
                if attempt:  # so much time has passed that its maker may be the owner
                    raise Unavailable(f"the consumer {spec.name} was taken over by another process") from error
                return False
            return True
        raise NoAnswer(f"the consumer {spec.name} cannot be created: no answer")

    async def _create_consumer(self, spec: ConsumerSpec, inbox: str, heartbeat_s: float) -> None:
        config = {
            "name": spec.name,
            "durable_name": spec.name,
            "deliver_subject": inbox,
            "filter_subject": spec.subjects,
            "deliver_policy": "all",
            "replay_policy": "instant",
            "ack_policy": "explicit",
            "ack_wait": _nanoseconds(spec.ack_wait_s),
            "max_ack_pending": spec.max_ack_pending,
            "idle_heartbeat": _nanoseconds(heartbeat_s),
        }
        # The filter stands in the subject, so that a permission covers it; the server holds the body to it.
        verb = f"CONSUMER.CREATE.{_name('stream', spec.stream)}.{_name('consumer', spec.name)}.{spec.subjects}"
        await self._call(verb, {"stream_name": spec.stream, "action": "create", "config": config})

    async def consumer_names(self, stream: str) -> list[str]:
        """See `Broker.consumer_names`."""
        names: list[str] = []
        while True:
            try:
                page = await self._call(f"CONSUMER.NAMES.{_name('stream', stream)}", {"offset": len(names)})
            except ServerError as error:
                if error.number == _STREAM_NOT_FOUND:
                    return []
                raise
            names += page.consumers or []
            if not page.consumers or len(names) >= page.total:
                return names

    async def delete_consumer(self, stream: str, name: str) -> None:
        """See `Broker.delete_consumer`."""
        try:
            await self._call(f"CONSUMER.DELETE.{_name('stream', stream)}.{_name('consumer', name)}", {})
        except ServerError as error:
            if error.number not in (_CONSUMER_NOT_FOUND, _STREAM_NOT_FOUND):
                raise

    # Key-value. A bucket is a stream of one message a key; a revision is the sequence of that message.

    async def get(self, bucket: str, key: str) -> Entry | None:
        """See `Broker.get`; a bucket that does not exist has no keys."""
        stored = await self._last(bucket, key)
        return None if stored is None or _is_marker(stored) else Entry(base64.b64decode(stored.data), stored.seq)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """See `Broker.keys`.

        A server names 100,000 subjects an answer, in their order. A deleted key stays as its marker, so that nothing
        moves to an earlier page; a new one may move the others to a later page, where they are met again.
        """
        head = f"$KV.{_name('bucket', bucket)}."
        pattern = f"{key_subject(bucket, prefix)}.>" if prefix else f"{head}>"
        found: dict[str, None] = {}
        offset = 0
        while True:
            try:
                page = await self._call(f"STREAM.INFO.KV_{bucket}", {"subjects_filter": pattern, "offset": offset})
            except ServerError as error:
                if error.number == _STREAM_NOT_FOUND:
                    return []
                raise
            subjects = page.state.subjects or {}
            found.update(dict.fromkeys(subjects))
            offset += len(subjects)
            if not subjects or offset >= page.total:
                return [subject.removeprefix(head) for subject in found]

    async def entries(self, bucket: str) -> AsyncIterator[list[tuple[str, Entry]]]:
        """See `Broker.entries`."""
        info = await self._info(f"KV_{_name('bucket', bucket)}")
        if info is None:
            return
        try:
            async for page in batches(self._ask_many, bucket, info.state.last_seq):
                yield page
        except Unavailable as error:
            _log.info("%s; it is read key by key", error.message)
            keys = await self.keys(bucket)
            for start in range(0, len(keys), GETS_AT_ONCE):
                chosen = keys[start : start + GETS_AT_ONCE]
                found = await asyncio.gather(*(self.get(bucket, key) for key in chosen))
                yield [(key, entry) for key, entry in zip(chosen, found, strict=True) if entry is not None]

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int:
        """See `Broker.put`; the bucket is created if absent.

        It is looked for before its first new key: where somebody listens to `>` a server says nothing of a missing one.
        """
        if expected is None and bucket not in self.buckets_seen:
            await self.look_for(bucket)
        try:
            return await self._put(bucket, key, value, expected or 0, {})
        except ServerError as error:
            if error.number != NO_RESPONDERS:
                raise
            await self.ensure_bucket(bucket)
            return await self._put_patiently(bucket, key, value, expected or 0)
        except Conflict:
            marker = await self._last(bucket, key) if expected is None else None
            if marker is None or not _is_marker(marker):
                raise
            return await self._put(bucket, key, value, marker.seq, {})

    async def look_for(self, bucket: str) -> None:
        """The bucket is in `buckets_seen` afterwards; the server is asked once, whoever else wants to know.

        Raises:
            Unavailable: the server is away or refuses.
        """
        async with self._looking:
            if bucket not in self.buckets_seen:
                await self.ensure_bucket(bucket)
                self.buckets_seen.add(bucket)

    async def _put_patiently(self, bucket: str, key: str, value: bytes, expected: int) -> int:
        """A write to a bucket that exists and may have no leader yet."""
        for wait_s in BUCKET_WAITS_S:
            try:
                return await self._put(bucket, key, value, expected, {})
            except ServerError as error:
                if error.number != NO_RESPONDERS:
                    raise
            await asyncio.sleep(wait_s)
        return await self._put(bucket, key, value, expected, {})

    async def delete(self, bucket: str, key: str, expected: int) -> None:
        """See `Broker.delete`; what stays is a marker that `get` does not show."""
        try:
            await self._put(bucket, key, b"", expected, {"KV-Operation": "DEL"})
        except ServerError as error:
            if error.number != NO_RESPONDERS or await self._info(f"KV_{bucket}") is not None:
                raise  # a bucket that is there and does not answer has no leader now
            raise Conflict(f"the key {key} does not exist") from error

    async def _put(self, bucket: str, key: str, value: bytes, expected: int, headers: dict[str, str]) -> int:
        headers = headers | {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        try:
            return _read(await self._ask(key_subject(bucket, key), value, headers)).seq
        except Conflict as error:
            raise Conflict(f"the key {key} has another revision than {expected or 'none'}") from error

    async def _last(self, bucket: str, key: str) -> _StoredMessage | None:
        return await self._message(f"KV_{bucket}", {"last_by_subj": key_subject(bucket, key)})

    async def ensure_bucket(self, bucket: str) -> None:
        """Makes a key-value bucket if there is none of this name; on file, with the replicas of this broker.

        Raises:
            Unavailable: the server is away or refuses.
        """
        if await self._info(f"KV_{bucket}") is not None:
            return
        config = {
            "name": f"KV_{bucket}",
            "subjects": [f"$KV.{bucket}.>"],
            "retention": "limits",
            "storage": "file",
            "num_replicas": self._replicas,
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
            "duplicate_window": _nanoseconds(DUPLICATE_WINDOW_S),
        }
        await self._create_stream(f"the bucket {bucket}", config)


def _read(reply: Reply) -> _Answer:
    if reply.header is not None and wire.status(reply.header) == NO_RESPONDERS:
        raise ServerError("JetStream does not answer: it is disabled, or no such stream exists", NO_RESPONDERS)
    try:
        answer = _decoder.decode(reply.payload)
    except msgspec.DecodeError:
        raise Unavailable("JetStream's answer cannot be read") from None
    if answer.error is not None:
        raise error_from(answer.error)
    return answer


def check_key(bucket: str, key: str) -> None:
    """Refuses names that a key-value bucket does not take.

    Raises:
        UsageError: the bucket's or the key's name has other characters than NATS allows.
    """
    _name("bucket", bucket)
    if not _KEY.match(key):
        raise UsageError(f"key: expected letters, digits and - / _ = with single dots between, got {key[:80]!r}")


def key_subject(bucket: str, key: str) -> str:
    """The subject of a key; errors as of `check_key`."""
    check_key(bucket, key)
    return f"$KV.{bucket}.{key}"


def _partitions(config: _Config) -> int:
    if config.subject_transform is None or not config.subject_transform.dest:
        return 1
    found = _DIVIDED_PATTERN.match(config.subject_transform.dest.replace(" ", ""))
    return 0 if found is None else int(found[1])


def _is_marker(stored: _StoredMessage) -> bool:
    header = base64.b64decode(stored.hdrs) if stored.hdrs else b""
    return wire.header_value(header, b"KV-Operation") in DELETE_MARKERS
