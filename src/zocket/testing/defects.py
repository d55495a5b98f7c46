"""Defects that can be planted into the platform, to show that the simulation finds them.

Rules: each takes away one ingredient of delivery and nothing else; none is ever active outside a `with`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from zocket.broker.memory import MemoryBroker, MemoryServer, _Delivery
from zocket.host.eviction import Eviction
from zocket.host.host import Host
from zocket.host.keeper import Keeper
from zocket.runtime.intake import Intake
from zocket.runtime.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zocket.host.resident import Resident


def _no_compare_and_set() -> Any:
    """Whoever writes last wins."""
    write = MemoryServer.write

    def blind(self: MemoryServer, bucket: str, key: str, value: bytes | None, expected: int) -> int:
        if bucket.startswith("zocket-state"):
            current = self.buckets.get(bucket, {}).get(key)
            expected = 0 if current is None else current.revision
        return write(self, bucket, key, value, expected)

    return mock.patch.object(MemoryServer, "write", blind)


def _no_watermark() -> Any:
    """What is delivered again runs again."""
    return mock.patch.object(Keeper, "includes", return_value=False)


def _no_incarnation() -> Any:
    """A stream that was lost and made again cannot be told from the old one."""
    received = Intake.received

    def nameless(self: Intake, batch: Any, source: str) -> None:
        received(self, batch, "INBOUND")

    return mock.patch.object(Intake, "received", nameless)


def _acknowledge_first() -> Any:
    """A message is done before its turn has run."""
    submit = Host.submit

    def eager(self: Host, link: Any, request: Any, request_id: str, done: Any = None, position: Any = None) -> None:
        if done is not None:
            done()
        submit(self, link, request, request_id, None, position)

    return mock.patch.object(Host, "submit", eager)


def _no_takeover() -> Any:
    """A new runtime uses the consumer as it is instead of making it anew."""
    take_over = MemoryBroker.take_over

    async def join(self: MemoryBroker, spec: Any, callback: Any, lost: Any) -> Any:
        stream = self.server.streams.get(spec.stream)
        consumer = None if stream is None else stream.consumers.get(spec.name)
        if consumer is None:
            return await take_over(self, spec, callback, lost)
        await asyncio.sleep(0)
        delivery = _Delivery(self, spec.subjects, callback, spec, lost)
        self._deliveries[delivery] = None
        consumer.target = delivery
        consumer.pump()
        return delivery

    return mock.patch.object(MemoryBroker, "take_over", join)


def _zombie() -> Any:
    """A superseded runtime does not look at the owner record, and takes the consumer back."""

    async def confirm(self: Ownership) -> bool:
        return True

    async def ours(self: Ownership) -> bool:
        return True

    return mock.patch.multiple(Ownership, confirm=confirm, is_ours=ours)


def _no_last_turn() -> Any:
    """An instance that leaves memory serves on while its last turn is stored."""
    begin = Eviction.begin

    def begin_and_serve(self: Eviction, resident: Resident) -> bool:
        begins = begin(self, resident)
        if resident.keeper is not None:
            resident.keeper.careful = 0
        return begins

    return mock.patch.object(Eviction, "begin", begin_and_serve)


DEFECTS: Final[dict[str, Callable[[], Any]]] = {
    "no compare-and-set": _no_compare_and_set,
    "no watermark": _no_watermark,
    "no incarnation": _no_incarnation,
    "acknowledge first": _acknowledge_first,
    "no take-over": _no_takeover,
    "zombie": _zombie,
    "no last turn": _no_last_turn,
}
"""What can be planted, by name."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The defect is there during the block."""
    with DEFECTS[name]():
        yield
