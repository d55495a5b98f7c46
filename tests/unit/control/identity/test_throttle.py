from __future__ import annotations

import pytest

from zocket.control.failures import SlowDown
from zocket.control.identity.throttle import Throttle, network_of


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_what_comes_after_waits_for_one_to_come_back() -> None:
    time = Time()
    throttle = Throttle(3, 10.0, time)
    for _ in range(3):
        throttle.take("ada")
    with pytest.raises(SlowDown) as refused:
        throttle.take("ada")
    assert refused.value.retry_after_s == 10
    time.now += 9.9
    with pytest.raises(SlowDown) as refused:
        throttle.take("ada")
    assert refused.value.retry_after_s == 1
    time.now += 0.1
    throttle.take("ada")
    with pytest.raises(SlowDown):
        throttle.take("ada")


def test_being_refused_costs_nothing_more() -> None:
    time = Time()
    throttle = Throttle(1, 10.0, time)
    throttle.take("ada")
    for _ in range(100):
        with pytest.raises(SlowDown):
            throttle.take("ada")
    time.now += 10
    throttle.take("ada")


def test_keys_do_not_share() -> None:
    throttle = Throttle(1, 10.0, Time())
    throttle.take("ada")
    throttle.take("bob")


def test_an_attempt_that_is_given_back_does_not_count() -> None:
    throttle = Throttle(1, 10.0, Time())
    for _ in range(50):
        throttle.take("ada")
        throttle.give_back("ada")
    throttle.take("ada")
    with pytest.raises(SlowDown):
        throttle.take("ada")


def test_a_pause_fills_the_bucket_and_no_more_than_that() -> None:
    time = Time()
    throttle = Throttle(2, 10.0, time)
    throttle.take("ada")
    time.now += 1_000_000
    throttle.take("ada")
    throttle.take("ada")
    with pytest.raises(SlowDown):
        throttle.take("ada")


def test_the_number_of_keys_is_bounded_and_the_longest_unused_goes_first() -> None:
    throttle = Throttle(1, 10.0, Time(), max_keys=2)
    for key in ("ada", "bob", "cyd"):
        throttle.take(key)
    with pytest.raises(SlowDown):
        throttle.take("bob")
    throttle.take("ada")  # forgotten


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("no address", "unknown"),
    ],
)
def test_addresses_of_one_place_count_together(address: str, network: str) -> None:
    assert network_of(address) == network
