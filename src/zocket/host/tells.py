"""One-way calls: ordered by a turn, on their way when it has committed, taken by their receivers in order.

Rules: nothing of a failed turn leaves. What a durable instance tells is in its record until it has arrived, and leaves
again after a crash, under the same name. What its receiver refuses for a reason that passes comes again; every other
failure is logged and counted, since nobody waits for it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from zocket.core import Caller
from zocket.errors import PASSING, Overloaded, TooLarge
from zocket.handles import instance_of
from zocket.host.calls import call_name, rpc
from zocket.host.link import Link
from zocket.host.unsent import Tell, Told
from zocket.metrics import Sample, count_code
from zocket.protocol.frames import decode_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zocket.clock import Clock
    from zocket.core import Instance, MethodDefinition, Order
    from zocket.handles import ActorHandle
    from zocket.host.host import Host
    from zocket.host.resident import Piece, Resident
    from zocket.host.store import Position
    from zocket.host.unsent import Unsent
    from zocket.protocol.frames import Rpc
    from zocket.settings import Limits

MAX_WAITING: Final = 1_000
"""One-way calls of one instance that have not arrived yet: they are in each of its records."""
AGAIN_S: Final = 1.0
"""When one that was refused for a reason that passes comes again."""

log = logging.getLogger("zocket.host")

Address = tuple[str, str]
"""Actor type and id of an instance."""


class Letter(NamedTuple):
    """A one-way call on its way."""

    sender: Address
    told: Told

    @property
    def receiver(self) -> Address:
        """Whom it is for."""
        return self.told.actor, self.told.actor_id

    def request(self) -> Rpc:
        """The call itself."""
        return rpc(self.told, self.told.method, self.told.input, call_name(self.told.request_id))


class TellLink(Link):
    """The link of a one-way call.

    Attributes:
        code: of the error that answered it; "" while there is none.
    """

    __slots__ = ("code",)

    def __init__(self, sender: Address) -> None:
        super().__init__(None)
        self.caller = Caller("actor", None, *sender)
        self.code = ""

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        head = decode_head(frame)
        if head is not None and head.outcome != "ok":
            self.code = head.outcome


class Tells:
    """The one-way calls that the actors of one host make and get.

    Args:
        host: runs what is here.
        clock: pauses.
        limits: `max_result_bytes` bounds the arguments.

    Attributes:
        post: takes a letter along and calls back once it is its receiver's business; by default the receiver is here.
    """

    def __init__(self, host: Host, clock: Clock, limits: Limits) -> None:
        self._host = host
        self._clock = clock
        self._max_bytes = limits.max_result_bytes
        self._waiting: dict[Address, int] = {}
        self._on_their_way: set[str] = set()
        self._held: dict[str, tuple[Piece, set[str]]] = {}
        self._failed: dict[str, int] = {}
        self._told = 0
        self.post: Callable[[Letter, Callable[[], None]], None] = self._deliver
        host.carry_out(Tell, self._carry)

    def order(
        self,
        instance: Instance,
        handle: ActorHandle,
        method: MethodDefinition,
        value: bytes | None,
        request_id: str,
    ) -> None:
        """Notes a one-way call of the turn in progress; errors as of `Actors.tell`."""
        sender = instance.definition.name, instance.actor_id
        if self._waiting.get(sender, 0) + len(instance.orders) >= MAX_WAITING:
            raise Overloaded(f"tell: {MAX_WAITING} one-way calls of this instance wait to leave already")
        if value is not None and len(value) > self._max_bytes:
            raise TooLarge(f"tell: arguments of {len(value)} bytes, the limit is {self._max_bytes}")
        arguments = msgspec.Raw(value or b"{}")
        instance.orders.append(Tell(Told(request_id, *instance_of(handle), method.name, arguments)))

    # -- leaving -------------------------------------------------------------------------------------------------

    def _carry(self, resident: Resident, order: Tell) -> None:
        """The turn that ordered it has committed; a durable instance's is stored."""
        if resident.keeper is None:
            self._send(resident, order.told)
        else:
            resident.keeper.sealed = self._host.is_leaving(resident)
            if resident.keeper.unsent is None or resident.keeper.unsent.leaves(order.told):
                self._send(resident, order.told)

    def hold(self, piece: Piece, orders: Iterable[Order]) -> bool:
        """Whether the piece of an instance in memory is finished only when these have arrived."""
        waited = {order.told.request_id for order in orders if isinstance(order, Tell)} & self._on_their_way
        if piece[3] is None or not waited:
            return False
        held = (piece, waited)
        self._held.update(dict.fromkeys(waited, held))
        return True

    def hand_over(self, resident: Resident) -> None:
        """Sends what is in the record of a durable instance and has not left yet."""
        if resident.keeper is not None and resident.keeper.unsent is not None:
            for told in resident.keeper.unsent.leaving():
                self._send(resident, told)

    def _send(self, resident: Resident, told: Told) -> None:
        sender = _address(resident)
        self._waiting[sender] = self._waiting.get(sender, 0) + 1
        self._on_their_way.add(told.request_id)
        self._host.begin()
        self.post(Letter(sender, told), partial(self._arrived, resident, told))

    def _arrived(self, resident: Resident, told: Told) -> None:
        sender = _address(resident)
        self._told += 1
        self._on_their_way.discard(told.request_id)
        self._waiting[sender] -= 1
        if not self._waiting[sender]:
            del self._waiting[sender]
        unsent = None if resident.keeper is None else resident.keeper.unsent
        if unsent is not None:
            unsent.arrived(told)
            self._note(resident)
        if (held := self._held.pop(told.request_id, None)) is not None:
            held[1].discard(told.request_id)
            if not held[1]:
                self._host.finish(held[0])
        self._host.end()

    def _note(self, resident: Resident) -> None:
        """The record is written without the calls that have arrived, if nothing else writes it first."""
        unsent = None if resident.keeper is None else resident.keeper.unsent
        if unsent is None or unsent.noting or not unsent.outdated or resident.gone:
            return
        unsent.noting = True
        self._host.write_again(resident, partial(self._noted, resident, unsent))

    def _noted(self, resident: Resident, unsent: Unsent) -> None:
        unsent.noting = False
        self._note(resident)

    # -- arriving ------------------------------------------------------------------------------------------------

    def _deliver(self, letter: Letter, arrived: Callable[[], None]) -> None:
        link, request, request_id = TellLink(letter.sender), letter.request(), letter.told.request_id
        self._host.submit(link, request, request_id, self.finisher(link, request, request_id, arrived))

    def finisher(
        self, link: TellLink, request: Rpc, request_id: str, done: Callable[[], None], position: Position | None = None
    ) -> Callable[[], None]:
        """What is called when the host has finished a one-way call: it is done, or comes again."""

        def finished() -> None:
            code, link.code = link.code, ""
            if code in PASSING:
                self._clock.call_later(
                    AGAIN_S, partial(self._host.submit, link, request, request_id, finished, position)
                )
                return
            if code:
                count_code(self._failed, code)
                extra = {"actor": request.actor, "actor_id": request.actor_id, "method": request.method}
                log.warning("a one-way call failed: %s", code, extra={**extra, "request": request_id})
            done()

        return finished

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("tells", "One-way calls that have arrived.", "counter", self._told)
        yield Sample("tells_waiting", "One-way calls that have not arrived.", "gauge", sum(self._waiting.values()))
        for code, number in self._failed.items():
            yield Sample("tells_failed", "One-way calls that failed here.", "counter", number, {"code": code})


def _address(resident: Resident) -> Address:
    return resident.instance.definition.name, resident.instance.actor_id
