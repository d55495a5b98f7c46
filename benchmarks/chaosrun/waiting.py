"""Waiting for conditions that no event tells of, with a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 60.0
"""Generous: the machine is at its limit on purpose."""
POLL_S = 0.02


class ChaosError(Exception):
    """Something that must come did not; its text is for a person."""


async def until(holds: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Returns when the condition holds.

    Raises:
        ChaosError: it does not come to hold in time.
    """
    try:
        async with asyncio.timeout(limit_s):
            while not holds():  # noqa: ASYNC110 — nothing tells when it comes to hold
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise ChaosError(f"{what}: not within {limit_s:g} s") from None
