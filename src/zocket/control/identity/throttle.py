"""How often somebody may try: a bucket of attempts for each key, in memory.

Rules: buckets are bounded in number, and the one that was used longest ago goes first (it is the fullest); an attempt
that turned out to be rightful is given back. A process that restarts forgets: an attacker gains one burst by it.
"""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Final

from zocket.control.failures import SlowDown

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEYS: Final = 20_000
"""Buckets that are remembered; some 200 bytes each."""


class Throttle:
    """Buckets of one kind of attempt.

    Args:
        burst: attempts that a key may make at once.
        every_s: seconds until one attempt has come back.
        now: monotonic seconds.
    """

    def __init__(self, burst: int, every_s: float, now: Callable[[], float], *, max_keys: int = MAX_KEYS) -> None:
        self._burst = burst
        self._every_s = every_s
        self._now = now
        self._max_keys = max_keys
        self._full_at: dict[str, float] = {}

    def take(self, key: str) -> None:
        """One attempt.

        Raises:
            SlowDown: the key has none left; nothing is taken then.
        """
        now = self._now()
        # The bucket as one number: when it will be full again. An attempt moves that moment `every_s` further away.
        full_at = max(self._full_at.pop(key, now), now) + self._every_s
        wait_s = full_at - now - self._burst * self._every_s
        if wait_s > 1e-9:
            self._full_at[key] = full_at - self._every_s
            raise SlowDown(max(1, math.ceil(wait_s)))
        self._full_at[key] = full_at
        while len(self._full_at) > self._max_keys:
            del self._full_at[next(iter(self._full_at))]

    def give_back(self, key: str) -> None:
        """The last attempt was rightful and does not count."""
        if key in self._full_at:
            self._full_at[key] -= self._every_s


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 that one IPv6 customer has at least."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return str(ip)
