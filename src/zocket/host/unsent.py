"""The one-way calls of a durable instance that are stored with its state and have not arrived yet.

Rules: what is stored leaves; it is stored until it has arrived, and what has left once in this process does not leave
again. The message that caused it is finished when it is not in the record any more: after a crash it comes again, and
whoever loads the instance for it sends what is left. What no message caused (a hook, a timer, a call of another actor,
a part of a turn) needs an alarm that loads the instance. No loop, no clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from zocket.core import Order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.host.keeper import Outcome
    from zocket.host.resident import Piece

WOKEN_AFTER_S: Final = 1.0
"""How long after its turn an instance is woken for what it has told: in normal service it has long arrived by then."""


class Told(msgspec.Struct, array_like=True):
    """A one-way call, as a record keeps it.

    Attributes:
        request_id: names it like no other; the same if its turn runs again after a crash.
        input: JSON of the arguments.
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

    __slots__ = ("_arrived", "_held", "_left", "_unprompted", "_wake_at", "noting", "stored")

    def __init__(self) -> None:
        self.stored: list[Told] = []
        self.noting = False
        self._unprompted: set[str] = set()
        self._wake_at = math.inf
        self._left: set[str] = set()
        self._arrived: set[str] = set()
        self._held: list[tuple[Piece, set[str]]] = []

    def record(self, outcomes: Iterable[Outcome]) -> list[Told]:
        """What the next record has: what has not arrived yet, and what these turns add."""
        waiting = [told for told in self.stored if told.request_id not in self._arrived]
        for outcome in outcomes:
            added = [order.told for order in outcome.effects[3] if isinstance(order, Tell)]
            waiting += added
            if outcome.piece[5] is None:
                self._unprompted.update(told.request_id for told in added)
        return waiting

    def wake_at(self, record: Iterable[Told], now: float) -> float:
        """When the instance has to be woken if its process dies with this record; infinity if messages load it.

        The same time for as long as one record after the other needs it. Times are of the clock's `wall()`.
        """
        if self._unprompted.isdisjoint(told.request_id for told in record):
            self._wake_at = math.inf
        elif self._wake_at == math.inf:
            self._wake_at = now + WOKEN_AFTER_S
        return self._wake_at

    def load(self, stored: list[Told]) -> None:
        """This is in a record that was read; which of them a message caused is not known."""
        self._unprompted = {told.request_id for told in stored}
        self._wake_at = math.inf
        self.keep(stored)

    def keep(self, stored: list[Told]) -> None:
        """This is in the record now."""
        self.stored = stored
        names = {told.request_id for told in stored}
        self._left &= names
        self._arrived &= names
        self._unprompted &= names

    def leaves(self, told: Told) -> bool:
        """Whether it has not left yet; it has now."""
        if told.request_id in self._left:
            return False
        self._left.add(told.request_id)
        return True

    def leaving(self) -> list[Told]:
        """What is stored and has not left yet, in order; it has left now."""
        return [told for told in self.stored if self.leaves(told)]

    def hold(self, piece: Piece, orders: Iterable[Order] | None = None) -> bool:
        """Whether the piece is finished only when these are gone (by default all there are); `freed` has it then."""
        told = self.stored if orders is None else [order.told for order in orders if isinstance(order, Tell)]
        if piece[3] is None or not told:
            return False
        self._held.append((piece, {item.request_id for item in told}))
        return True

    def freed(self) -> list[Piece]:
        """Pieces that nothing holds any more."""
        names = {told.request_id for told in self.stored}
        found = [piece for piece, waited in self._held if waited.isdisjoint(names)]
        self._held = [held for held in self._held if not held[1].isdisjoint(names)]
        return found

    @property
    def holding(self) -> int:
        """Pieces that are not finished."""
        return len(self._held)

    def arrived(self, told: Told) -> None:
        """It is the business of its receiver now."""
        if told.request_id in self._left:
            self._arrived.add(told.request_id)

    @property
    def outdated(self) -> bool:
        """Whether the record has calls that have arrived."""
        return bool(self._arrived)
