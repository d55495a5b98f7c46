"""A runtime in standby: it proves that its version can run, and waits for the word to take over.

Rules: nothing here touches a consumer or the owner record, and stored state is only read; the word comes from the
control plane by asking (a long poll), so that the control plane needs no door to NATS; a control plane that is away is
asked again and again, since silence means neither yes nor no.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.errors import (
    ActorError,
    BootError,
    CallTimeout,
    Conflict,
    StateValueError,
    StoredStateError,
    ZocketError,
)
from zocket.host import Host
from zocket.host.store import Stored, decode_record
from zocket.state import Document

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zocket.clock import Clock
    from zocket.core import AppDefinition
    from zocket.protocol.client_session import Instance
    from zocket.runtime.control_plane import Activation, ControlPlane
    from zocket.runtime.state_store import BrokerStateStore
    from zocket.settings import Limits

SMOKE_TIMEOUT_S: Final = 30.0
"""Longest smoke call; a version that needs more is refused."""
STORED_SAMPLES: Final = 50
"""Stored records of each durable actor that a new version reads before it takes over."""
CALL_TIMEOUT_S: Final = 10.0
"""Longest single call of one."""
RETRY_FIRST_S: Final = 0.25
RETRY_MOST_S: Final = 5.0
"""Between questions to a control plane that does not answer."""

log = logging.getLogger("zocket.runtime")


async def run_smoke(definition: AppDefinition, *, clock: Clock, limits: Limits) -> None:
    """Runs the smoke call that the app declares, on a host of its own; returns at once if there is none.

    Raises:
        BootError: it failed or took too long; the message is the app's own.
    """
    if definition.smoke is None:
        return
    host = Host(definition, clock=clock, limits=limits, dev_mode=True, store=_ForgetfulStore())
    try:
        async with asyncio.timeout(SMOKE_TIMEOUT_S):
            await definition.smoke(_Invoker(host))
    except TimeoutError as error:
        if isinstance(error, ZocketError):
            raise BootError(f"smoke call: {error.message}") from error
        raise BootError(f"smoke call: it took longer than {SMOKE_TIMEOUT_S:g} s") from error
    except ZocketError as error:
        raise BootError(f"smoke call: {error.message}") from error
    except Exception as error:  # border: the app's own smoke call
        log.error("the smoke call failed", exc_info=error)
        text = f": {error}" if str(error) else ""
        raise BootError(f"smoke call: {type(error).__name__}{text}") from error
    finally:
        await host.aclose()
    log.info("smoke call passed")


async def check_stored_state(definition: AppDefinition, store: BrokerStateStore) -> None:
    """Reads samples of what durable actors have stored as this version would; nothing is written.

    Raises:
        BootError: this version cannot use one of them.
        Unavailable: the broker is away or refuses.
    """
    for actor in definition.actors.values():
        if not actor.durable:
            continue
        samples = await store.samples(actor.name, STORED_SAMPLES)
        for stored in samples:
            try:
                record = decode_record(stored.record)
                Document(actor.restore_state(record.state, record.version))
            except (StoredStateError, StateValueError) as error:
                raise BootError(
                    f"stored state: {error.message}; this version was refused, and nothing changed"
                ) from error
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BootError(f"stored state: a record of {actor.name} cannot be read: {error}") from error
        log.info("stored state can be used", extra={"actor": actor.name, "samples": len(samples)})


class _Invoker:
    """Carries the calls of a smoke call's handles to its host."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    async def invoke(self, instance: Instance, method: str, value: bytes | None) -> bytes | None:
        """See `Invoker.invoke`."""
        try:
            answer = await self._host.call(instance.actor, instance.actor_id, method, value, CALL_TIMEOUT_S)
        except CallTimeout as error:
            raise CallTimeout(f"{error.message} (smoke call)") from error
        if answer.error is not None:
            raise ActorError(answer.error, code=answer.code, request_id=answer.request_id)
        return None if answer.result is None else bytes(answer.result)

    def stream(self, instance: Instance, method: str, value: bytes | None) -> AsyncGenerator[bytes, None]:
        """See `Invoker.stream`."""
        return self._host.stream(instance.actor, instance.actor_id, method, value, CALL_TIMEOUT_S)


class _ForgetfulStore:
    """Records of durable actors for the time of one smoke call."""

    shared = False

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Stored] = {}

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `StateStore.load`."""
        return self._records.get((actor, actor_id))

    def save(self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[Any], None]) -> None:
        """See `StateStore.save`."""
        found = self._records.get((actor, actor_id))
        revision = 0 if found is None else found.revision
        outcome: Any = Conflict("another revision is there")
        if revision == expected:
            outcome = revision + 1
            self._records[actor, actor_id] = Stored(record, outcome)
        asyncio.get_running_loop().call_soon(done, outcome)


async def wait_for_the_word(
    control_plane: ControlPlane, deployment_id: str, clock: Clock, *, since: int = 0
) -> Activation:
    """Waits until the control plane says to take over, or to end.

    Args:
        control_plane: who says it.
        deployment_id: who is meant.
        clock: time between questions that nobody answers.
        since: the word that the runtime acts upon already; the next one is waited for.
    """
    delay_s = RETRY_FIRST_S
    while True:
        try:
            word = await control_plane.activation(deployment_id, since)
        except BootError as error:
            log.warning("no word from the control plane: %s", error.message)
            await clock.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_MOST_S)
            continue
        delay_s = RETRY_FIRST_S
        if word.action != "wait":
            log.info("the control plane says: %s", word.action, extra={"deployment": deployment_id})
            return word
