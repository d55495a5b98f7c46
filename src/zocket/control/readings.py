"""Live counters of runtimes, read off the `/metrics` of their health port.

Rules: a runtime is asked at most once a second whoever wants to know; one that does not answer has no counters, which
is no error; rates are between two readings, so the first has none.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from zocket.control.deployment_schemas import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.clock import Clock

FRESH_S: Final = 1.0
"""How old a reading may be to be shown again."""
FORGOTTEN_S: Final = 60.0
"""A reading that is older makes no rate: nobody asked for so long."""
TIMEOUT_S: Final = 2.0
MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    calls: float
    errors: float
    shown: Counters


class Readings:
    """The last reading of each runtime; made by `open`."""

    def __init__(self, clock: Clock, client: httpx.AsyncClient) -> None:
        self._clock = clock
        self._client = client
        self._last: dict[str, _Reading] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, clock: Clock) -> AsyncIterator[Readings]:
        """Connections are closed at the end of the block."""
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
            yield cls(clock, client)

    async def of(self, address: str) -> Counters | None:
        """The counters of the runtime at a base URL; None if it does not answer."""
        now = self._clock.now()
        before = self._last.get(address)
        if before is not None and now - before.at < FRESH_S:
            return before.shown
        text = await self._scrape(address)
        if text is None:
            self._last.pop(address, None)
            return None
        if before is not None and now - before.at > FORGOTTEN_S:
            before = None
        try:
            reading = _read(text, now, before)
        except ValueError:  # not what a runtime of ours says
            return None
        self._last = {kept: value for kept, value in self._last.items() if now - value.at <= FORGOTTEN_S}
        self._last[address] = reading
        return reading.shown

    async def _scrape(self, address: str) -> str | None:
        try:
            async with self._client.stream("GET", f"{address}/metrics") as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        return None
                return body.decode("utf-8", "replace") if response.status_code == 200 else None
        except httpx.HTTPError:
            return None


def _read(text: str, now: float, before: _Reading | None) -> _Reading:
    instances = sessions = calls = errors = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            match sample.name:
                case "zocket_instances":
                    instances += sample.value
                case "zocket_sessions":
                    sessions += sample.value
                case "zocket_calls_total":
                    calls += sample.value
                    errors += sample.value if sample.labels.get("code") != "ok" else 0
    rate = (now - before.at) if before is not None and calls >= before.calls else 0.0
    shown = Counters(
        sessions=int(sessions),
        instances=int(instances),
        calls=int(calls),
        errors=int(errors),
        calls_per_s=round((calls - before.calls) / rate, 2) if before is not None and rate else None,
        errors_per_s=round(max(errors - before.errors, 0) / rate, 2) if before is not None and rate else None,
    )
    return _Reading(now, calls, errors, shown)
