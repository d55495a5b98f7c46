from __future__ import annotations

from typing import Any

from zocket.broker.memory_stream import MemoryConsumer, MemoryStream, Stored
from zocket.broker.port import ConsumerSpec, StreamSpec


class Target:
    def __init__(self) -> None:
        self.listening = True
        self.came: list[tuple[int, int]] = []

    def deliver(self, stored: Stored, attempt: int) -> None:
        self.came.append((stored.sequence, attempt))


def stream_and_consumer(clock: Any, **options: Any) -> tuple[MemoryStream, MemoryConsumer, Target]:
    stream = MemoryStream(StreamSpec("S", ("s.>",), options.pop("retention", "workqueue"), 60.0), clock)
    target = Target()
    consumer = MemoryConsumer(stream, ConsumerSpec("S", "c", "s.>", **options), target, clock)
    stream.consumers["c"] = consumer
    return stream, consumer, target


def store(stream: MemoryStream, count: int) -> None:
    for number in range(count):
        stream.store("s.1", b"%d" % number)


def test_what_comes_again_comes_before_what_is_new_and_in_order(clock: Any) -> None:
    stream, consumer, target = stream_and_consumer(clock, max_ack_pending=3)
    store(stream, 5)
    assert target.came == [(1, 1), (2, 1), (3, 1)]
    target.came.clear()
    consumer.target = Target()
    consumer.target.listening = False
    for sequence in (3, 1, 2):
        consumer.postpone(sequence, 0)
    consumer.target = target
    consumer.pump()
    assert target.came == [(1, 2), (2, 2), (3, 2)]


def test_redelivery_happens_when_the_wait_is_over_and_not_before(clock: Any) -> None:
    stream, consumer, target = stream_and_consumer(clock, ack_wait_s=10.0)
    store(stream, 2)
    clock.advance(9)
    consumer.extend(1)
    clock.advance(2)
    assert target.came == [(1, 1), (2, 1), (2, 2)]
    clock.advance(8.5)
    assert target.came == [(1, 1), (2, 1), (2, 2), (1, 2)]


def test_a_settled_message_leaves_a_work_queue_and_stays_under_limits(clock: Any) -> None:
    for retention, left in (("workqueue", 0), ("limits", 1)):
        stream, consumer, _ = stream_and_consumer(clock, retention=retention)
        store(stream, 1)
        consumer.settle(1)
        assert len(stream.current()) == left
        clock.advance(1_000 if retention == "workqueue" else 0)


def test_a_message_over_its_age_is_gone_without_redelivery(clock: Any) -> None:
    stream, _, target = stream_and_consumer(clock, ack_wait_s=50.0)
    store(stream, 1)
    clock.advance(70)
    assert target.came == [(1, 1), (1, 2)]
    clock.advance(100)
    assert target.came == [(1, 1), (1, 2)]
    assert not stream.current()
    store(stream, 1)
    assert target.came[-1] == (2, 1)


def test_a_message_id_is_forgotten_with_the_window(clock: Any) -> None:
    stream, _, _ = stream_and_consumer(clock)
    for wait_s, last in ((0, 1), (59, 1), (2, 2), (1, 2)):
        clock.advance(wait_s)
        stream.store("s.1", b"", "id")
        assert stream.last_sequence == last


def test_nothing_is_delivered_while_nobody_listens(clock: Any) -> None:
    stream, consumer, target = stream_and_consumer(clock)
    target.listening = False
    store(stream, 2)
    assert target.came == []
    target.listening = True
    consumer.pump()
    assert target.came == [(1, 1), (2, 1)]


def test_an_acknowledgement_of_what_was_never_delivered_is_ignored(clock: Any) -> None:
    stream, consumer, target = stream_and_consumer(clock, max_ack_pending=1)
    store(stream, 2)
    consumer.settle(2)
    consumer.settle(1)
    assert target.came == [(1, 1), (2, 1)]


def test_a_deleted_consumer_is_silent_and_leaves_the_messages(clock: Any) -> None:
    stream, _, target = stream_and_consumer(clock, ack_wait_s=1.0)
    store(stream, 1)
    assert stream.delete_consumer("c") is not None
    assert stream.delete_consumer("c") is None
    clock.advance(5)
    assert target.came == [(1, 1)]
    assert len(stream.current()) == 1
