"""Orders of a turn: carried out when it is committed, of a durable instance when stored; none of a failed turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, method
from zocket.core import AppDefinition, Order
from zocket.host import Host
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from zocket.host.resident import Resident


class Light(Order):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Heavy(Light):
    stored: ClassVar[bool] = True


class It(Actor[dict[str, Any]]):
    @method
    async def want(self, name: str, heavy: bool = False, fail: bool = False) -> None:
        self._instance.orders.append((Heavy if heavy else Light)(name))
        if fail:
            raise ActorError("no")


class Kept(It):
    durability = "file"


@pytest.mark.parametrize("cls", [It, Kept])
async def test_orders_are_carried_out_after_the_commit_and_those_of_a_failed_turn_never(cls: type[It]) -> None:
    clock, carried = VirtualClock(), list[str]()
    shelf = Shelf(clock)
    host = Host(AppDefinition({"it": cls}), clock=clock, limits=Limits(), store=shelf)
    finalizers.get().push_async_callback(host.abort)

    def carry(resident: Resident, order: Light) -> None:
        assert not resident.instance.in_turn
        carried.append(f"{order.name} after {shelf.saves} saves")

    host.carry_out(Light, carry)
    host.carry_out(Heavy, carry)
    alice = Recorder(host, "alice")
    for given in ({"name": "a"}, {"name": "b", "fail": True}, {"name": "c", "heavy": True}, {"name": "d"}):
        alice.call("want", **given)
        await clock.advance(1)
    assert alice.results() == ["void", "no", "void", "void"]
    stored = int(cls is Kept)
    assert carried == ["a after 0 saves", f"c after {stored} saves", f"d after {stored} saves"]
