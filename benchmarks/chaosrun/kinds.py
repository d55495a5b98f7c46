"""The kinds of faults; each breaks one thing, and comes back when it is mended.

Rules: a fault that shall strike at a place does so by that place's crash point, and counts only if the process died of
it; where one runtime serves, a fault of it includes that another takes over, while it still exists or after it died.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from chaosrun.waiting import ChaosError
from zocket.crashpoints import PLACES

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

    from processes import Process

    from chaosrun.fleet import Fleet
    from chaosrun.proxy import Proxy

EXIT_SUPERSEDED: Final = 3
COMMITS_UNTIL_DEATH: Final = 100
"""On average, at the places that every call passes."""
DEATH_LIMIT_S: Final = 30.0
IN_FLIGHT_S: Final = 0.03
"""Before a connection is cut it is slowed down by so much, so that something is under way and lost."""


async def runtime_kill(fleet: Fleet, draw: random.Random) -> bool:
    """SIGKILL; a new one is started."""
    await fleet.kill(draw.choice(fleet.runtimes))
    await fleet.fill_up()
    return True


async def redeploy(fleet: Fleet, draw: random.Random) -> bool:
    """A new runtime is started; when it serves, the old one gets its SIGTERM."""
    old = draw.choice(fleet.runtimes)
    await fleet.ready(fleet.launch_runtime())
    await fleet.retire(old)
    await fleet.fill_up()
    return True


async def early_stop(fleet: Fleet, draw: random.Random) -> bool:
    """The old runtime gets its SIGTERM while the new one is being started."""
    old = draw.choice(fleet.runtimes)
    fleet.launch_runtime()
    await asyncio.sleep(draw.random())
    await fleet.retire(old)
    await fleet.fill_up()
    return True


async def runtime_pause(fleet: Fleet, draw: random.Random) -> bool:
    """SIGSTOP for 0.5–6 s; another one takes over meanwhile; SIGCONT, and the first must give way."""
    first = draw.choice(fleet.runtimes)
    first.send(signal.SIGSTOP)
    try:
        pause_s = draw.uniform(0.5, 6.0)
        began = asyncio.get_running_loop().time()
        if fleet.replicas == 1:
            await fleet.ready(fleet.launch_runtime())
        await asyncio.sleep(max(0.0, began + pause_s - asyncio.get_running_loop().time()))
    finally:
        first.send(signal.SIGCONT)
    if fleet.replicas == 1:
        await fleet.gone(first)
        if first.code != EXIT_SUPERSEDED:
            raise AssertionError(f"{first.name} was superseded and ended with {first.code}")
    await fleet.fill_up()
    return True


def crash(place: str) -> Callable[[Fleet, random.Random], Awaitable[bool]]:
    """A runtime with this crash point takes over, and dies of it; a new one is started."""

    async def fault(fleet: Fleet, draw: random.Random) -> bool:
        once = place in ("in_takeover", "after_takeover", "in_drain")
        if fleet.replicas > 1:
            await fleet.kill(draw.choice(fleet.runtimes))
        victim = fleet.launch_runtime(f"{place}:{1.0 if once else 1 / COMMITS_UNTIL_DEATH}")
        if place == "in_drain" and await fleet.ready(victim):
            await asyncio.sleep(draw.random())
            victim.send(signal.SIGTERM)
        died = await _dies(fleet, victim)
        await fleet.fill_up()
        return died

    fault.__doc__ = f"Dies where {PLACES[place]}; another one is started."
    return fault


async def _dies(fleet: Fleet, victim: Process) -> bool:
    """Whether it died of its crash point in time; it is gone in any case."""
    try:
        await fleet.gone(victim, DEATH_LIMIT_S)
    except ChaosError:
        await fleet.kill(victim)
        return False
    return victim.code == -signal.SIGKILL


async def nats_kill(fleet: Fleet, draw: random.Random) -> bool:
    """`kill -9`, and the same server again on its files."""
    await fleet.nats.kill()
    await asyncio.sleep(draw.random())
    await fleet.nats.start()
    return True


async def cut_runtimes(fleet: Fleet, draw: random.Random) -> bool:
    """The connections between NATS and runtimes are reset; for a while new ones are, too."""
    return await _cut(fleet.nats_of_runtimes, draw)


async def cut_gateways(fleet: Fleet, draw: random.Random) -> bool:
    """The connections between NATS and gateways are reset; for a while new ones are, too."""
    return await _cut(fleet.nats_of_gateways, draw)


async def _cut(proxy: Proxy, draw: random.Random) -> bool:
    delay_s, proxy.delay_s = proxy.delay_s, IN_FLIGHT_S
    await asyncio.sleep(3 * IN_FLIGHT_S)
    proxy.refusing = True
    try:
        proxy.cut()
        proxy.delay_s = delay_s
        await asyncio.sleep(draw.choice((0.0, 0.3, 1.5)))
    finally:
        proxy.refusing = False
    return True


async def delay(fleet: Fleet, draw: random.Random) -> bool:
    """What passes between NATS and the others takes 10–100 ms longer each way, for a second or two."""
    proxy = draw.choice((fleet.nats_of_runtimes, fleet.nats_of_gateways))
    proxy.delay_s = draw.uniform(0.01, 0.1)
    try:
        await asyncio.sleep(draw.uniform(0.5, 2.0))
    finally:
        proxy.delay_s = 0.0
    return True


async def cut_clients(fleet: Fleet, draw: random.Random) -> bool:
    """Half of the clients' sockets of a gateway are reset."""
    draw.choice(fleet.gateways).clients.cut_some(lambda: draw.random() < 0.5)
    return True


async def gateway_kill(fleet: Fleet, draw: random.Random) -> bool:
    """SIGKILL; it is started again on its port."""
    gateway = draw.choice(fleet.gateways)
    assert gateway.process is not None
    gateway.process.send(signal.SIGKILL)
    await fleet.gone(gateway.process)
    await fleet.start_gateway(gateway)
    return True


KINDS: Final[Mapping[str, Callable[[Fleet, random.Random], Awaitable[bool]]]] = {
    "runtime SIGKILL": runtime_kill,
    "runtime SIGSTOP, takeover, SIGCONT": runtime_pause,
    "rolling redeploy": redeploy,
    "SIGTERM before the next one serves": early_stop,
    **{f"crash {place}": crash(place) for place in PLACES},
    "NATS SIGKILL": nats_kill,
    "cut NATS–runtime": cut_runtimes,
    "cut NATS–gateway": cut_gateways,
    "delay to NATS": delay,
    "cut clients": cut_clients,
    "gateway SIGKILL": gateway_kill,
}
"""By the name that the table shows."""
LIGHT: Final = ("cut NATS–runtime", "cut NATS–gateway", "delay to NATS", "cut clients")
"""Those that may happen in the middle of another one."""
FAILOVERS: Final = ("runtime SIGKILL", "runtime SIGSTOP, takeover, SIGCONT", "rolling redeploy")
"""Those whose outage is measured."""
