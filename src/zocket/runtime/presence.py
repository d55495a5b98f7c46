"""Which gateways are there: a lease for each, renewed by what it says of itself.

Rules: a gateway holds a lease from the first message of one of its sessions on. One that was silent for the length of a
lease is only suspected; it has died if it is silent still after the broker has shown that it reaches this process.
Nobody is blamed for what this process missed: then every lease starts anew. No I/O here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zocket.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.clock import Clock

PRESENCE_LEASE_S: Final = 6.0
"""A gateway that is silent for so long has died: six of its messages, and three times the longest pause after which it
tries to reach a broker that was away."""
SWEEP_EVERY_S: Final = 1.0
"""How often the leases are looked at."""
LAPSED_KEPT: Final = 1_024
"""Dead gateways that are remembered, the newest: the clients of one that comes back later than these have to subscribe
again by themselves."""


class Presence:
    """The gateways of a runtime's sessions.

    Args:
        clock: measures the silence.
        lease_s: how long it may last.
    """

    def __init__(self, clock: Clock, lease_s: float = PRESENCE_LEASE_S) -> None:
        self._now = clock.now
        self._lease_s = lease_s
        self._heard_at: dict[str, float] = {}
        self._suspects: frozenset[str] = frozenset()
        self._confirmed = False
        self._lapsed: dict[str, None] = {}
        self._lapses = 0

    def met(self, gateway: str) -> None:
        """One of its sessions has sent its first message."""
        self._heard_at.setdefault(gateway, self._now())

    def heard(self, gateway: str) -> bool:
        """It says that it is there; True if it was taken for dead."""
        if gateway in self._lapsed:
            del self._lapsed[gateway]
            self._heard_at[gateway] = self._now()
            return True
        if gateway in self._heard_at:
            self._heard_at[gateway] = self._now()
        return False

    def renew(self) -> None:
        """This process was away, or stood still: every lease starts anew."""
        self._heard_at = dict.fromkeys(self._heard_at, self._now())

    def confirm(self) -> None:
        """Something that this process sent itself has come back from the broker."""
        self._confirmed = True

    def sweep(self) -> frozenset[str]:
        """The gateways that have died since the last sweep; to be called every `SWEEP_EVERY_S`."""
        now = self._now()
        silent = frozenset(gateway for gateway, at in self._heard_at.items() if now - at > self._lease_s)
        dead = silent & self._suspects if self._confirmed else frozenset()
        self._suspects, self._confirmed = silent - dead, False
        for gateway in dead:
            del self._heard_at[gateway]
            self._lapsed[gateway] = None
            if len(self._lapsed) > LAPSED_KEPT:
                del self._lapsed[next(iter(self._lapsed))]
        self._lapses += len(dead)
        return dead

    @property
    def in_doubt(self) -> bool:
        """Whether a gateway is suspected, so that the broker should `confirm` before the next sweep."""
        return bool(self._suspects)

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample(
            "gateways", "Gateways whose sessions were here and that are heard of.", "gauge", len(self._heard_at)
        )
        yield Sample(
            "gateways_lapsed", "Gateways that were silent until their sessions ended.", "counter", self._lapses
        )
