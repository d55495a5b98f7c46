"""Answers of a NATS server to requests of one connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from zocket.broker import wire

if TYPE_CHECKING:
    from zocket.errors import ZocketError


class Reply(msgspec.Struct):
    """An answer as it came."""

    payload: bytes
    header: bytes | None = None


class Replies:
    """The answers to one request that has several: messages that are stored, and a last one that is none.

    Attributes:
        all: what they are, once the last one has come.
    """

    def __init__(self) -> None:
        self.all: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self._replies: list[Reply] = []

    def done(self) -> bool:
        """Whether nothing more is awaited."""
        return self.all.done()

    def set_result(self, reply: Reply) -> None:
        """One more answer."""
        self._replies.append(reply)
        if not wire.header_value(reply.header or b"", b"Nats-Num-Pending") or wire.status(reply.header or b""):
            self.all.set_result(self._replies)

    def set_exception(self, error: ZocketError) -> None:
        """No further one comes."""
        self.all.set_exception(error)
