"""What every adapter of the broker port guarantees about a divided stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.broker.port import ConsumerSpec, StreamSpec
from zocket.ids import Partition, Scope
from zocket.protocol import subjects

if TYPE_CHECKING:
    from tests.integration.broker.conftest import World


async def test_a_divided_stream_gives_each_partition_its_instances(world: World) -> None:
    """Both adapters divide alike, as `partition_of` computes it."""
    await world.server_of_its_own()  # its subjects would overlap with those of INBOUND
    broker = await world.connect()
    stream, scope, count = f"S{world.name}", Scope("ws", world.name), 5
    prefix = f"inbound.*.{scope.project_id}.>"
    await broker.ensure_stream(StreamSpec(stream, (prefix,), "workqueue", 60.0, "memory", count))
    info = await broker.stream_info(stream)
    assert info is not None
    assert info.partitions == count
    intakes = [world.intake() for _ in range(count)]
    for number, intake in enumerate(intakes):
        place = Partition(number, count)
        name, pattern = subjects.consumer(scope, "room", place), subjects.inbound_filter(scope, "room", place)
        await intake.take_over(broker, ConsumerSpec(stream, name, pattern))
    ids = [f"i{number}" for number in range(40)] + ["a.b", "ü", "$x", "%"]
    for actor_id in ids:
        await world.publish(broker, subjects.inbound(scope, "room", actor_id), actor_id.encode())
    await world.until(lambda: sum(len(intake.all) for intake in intakes) == len(ids), "all of them")
    for number, intake in enumerate(intakes):
        expected = [one for one in ids if subjects.partition_of_instance("room", one, count) == number]
        assert sorted(payload.decode() for payload in intake.payloads) == sorted(expected)
        for delivered in intake.all:
            assert subjects.agrees(delivered.subject, scope, "room", delivered.payload.decode(), count)
