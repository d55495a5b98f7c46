"""How often a session may send: a token bucket, refilled by the time that its caller hands in.

Rules: no clock of its own; time that goes backwards refills nothing.
"""

from __future__ import annotations


class TokenBucket:
    """Lets `burst` pass at once and `rate_per_s` a second after that."""

    __slots__ = ("_burst", "_rate_per_s", "_refilled_at", "_tokens")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._refilled_at = float("-inf")

    def take(self, now: float) -> bool:
        """Whether one more may pass at `now` (monotonic seconds)."""
        elapsed = now - self._refilled_at
        if elapsed > 0:
            self._refilled_at = now
            self._tokens = min(self._burst, self._tokens + elapsed * self._rate_per_s)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
