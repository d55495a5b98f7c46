"""The one-way calls of a durable instance that are stored with its state and have not arrived yet.

Rules: what is stored leaves; it is stored until it has arrived, and what has left once in this process does not leave
again. No loop, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from zocket.core import Order

if TYPE_CHECKING:
    from collections.abc import Iterable


class Told(msgspec.Struct, array_like=True):
    """A one-way call, as a record keeps it.

    Attributes:
        request_id: names it like no other; the same if its turn runs again after a crash.
        input: JSON of the arguments; empty for none.
    """

    request_id: str
    actor: str
    actor_id: str
    method: str
    input: msgspec.Raw


class Tell(Order):
    """A one-way call that a turn has ordered."""

    __slots__ = ("told",)

    stored: ClassVar[bool] = True

    def __init__(self, told: Told) -> None:
        self.told = told


class Unsent:
    """The outbox of one instance.

    Attributes:
        stored: what is in the record, in order.
        noting: a record without those that have arrived is on its way.
    """

    __slots__ = ("_arrived", "_left", "noting", "stored")

    def __init__(self) -> None:
        self.stored: list[Told] = []
        self.noting = False
        self._left: set[str] = set()
        self._arrived: set[str] = set()

    def record(self, orders: Iterable[Order]) -> list[Told]:
        """What the next record has: what has not arrived yet, and what these orders add."""
        waiting = [told for told in self.stored if told.request_id not in self._arrived]
        return waiting + [order.told for order in orders if isinstance(order, Tell)]

    def keep(self, stored: list[Told]) -> None:
        """This is in the record now."""
        self.stored = stored
        names = {told.request_id for told in stored}
        self._left &= names
        self._arrived &= names

    def leaving(self) -> list[Told]:
        """What is stored and has not left yet, in order; it has left now."""
        found = [told for told in self.stored if told.request_id not in self._left]
        self._left.update(told.request_id for told in found)
        return found

    def arrived(self, told: Told) -> None:
        """It is the business of its receiver now."""
        if told.request_id in self._left:
            self._arrived.add(told.request_id)

    @property
    def outdated(self) -> bool:
        """Whether the record has calls that have arrived."""
        return bool(self._arrived)
