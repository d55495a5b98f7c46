"""The token bucket of a session's rate."""

from __future__ import annotations

from zocket.protocol.rate import TokenBucket


def test_a_burst_passes_at_once_and_then_the_rate_counts() -> None:
    bucket = TokenBucket(2.0, 3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(10.4)
    assert bucket.take(10.5)
    assert not bucket.take(10.6)


def test_rest_refills_no_more_than_the_burst() -> None:
    bucket = TokenBucket(100.0, 2)
    assert [bucket.take(now) for now in (0.0, 0.0, 0.0)] == [True, True, False]
    assert [bucket.take(1_000.0) for _ in range(3)] == [True, True, False]


def test_time_that_goes_backwards_refills_nothing() -> None:
    bucket = TokenBucket(1.0, 1)
    assert bucket.take(5.0)
    assert not bucket.take(1.0)
    assert not bucket.take(5.5)
    assert bucket.take(6.0)
