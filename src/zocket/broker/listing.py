"""All entries of a key-value bucket, many with one request: batches of direct gets (NATS 2.11, ADR-31).

Rules: what is read is as new as the leader was when the reading began; where that cannot be had (an older server, a
replica that lags behind, a missing permission), it fails and the caller reads key by key, which the leader answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from zocket.broker import wire
from zocket.broker.port import Entry
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.broker.replies import Reply

BATCH: Final = 1_000
"""Entries with one request; a server allows 1,024."""
PENDING: Final = b"Nats-Num-Pending"
"""The header of every message of a batch: an older server takes the request for that of one message."""
DELETE_MARKERS: Final = (b"DEL", b"PURGE")


class AskMany(Protocol):
    """One request with several answers; raises `Unavailable` if they do not come."""

    async def __call__(self, subject: str, payload: bytes) -> list[Reply]:
        """The answers."""


async def batches(ask: AskMany, bucket: str, last_sequence: int) -> AsyncIterator[list[tuple[str, Entry]]]:
    """The entries of a bucket in the order of their revisions, without deleted keys.

    Args:
        ask: on the connection.
        bucket: its name, which has been checked.
        last_sequence: of its stream, by its leader.

    Raises:
        Unavailable: they cannot be read so, or not as new as `last_sequence`.
    """
    head, sequence, seen = f"$KV.{bucket}.", 1, 0
    while seen < last_sequence:
        body = msgspec.json.encode({"batch": BATCH, "seq": sequence})  # a filter would be counted through each time
        page = []
        for reply in await ask(f"$JS.API.DIRECT.GET.KV_{bucket}", body):
            header = reply.header or b""
            if wire.status(header) or not wire.header_value(header, PENDING):
                break
            seen = _number(header, b"Nats-Sequence")
            if wire.header_value(header, b"KV-Operation") not in DELETE_MARKERS:
                key = wire.header_value(header, b"Nats-Subject").decode().removeprefix(head)
                page.append((key, Entry(reply.payload, seen)))
        if seen < sequence:
            raise Unavailable(f"the bucket {bucket} cannot be read in batches up to {last_sequence}")
        sequence = seen + 1
        yield page


def _number(header: bytes, name: bytes) -> int:
    digits = wire.header_value(header, name)
    return int(digits) if digits.isdigit() else 0
