"""`Replica`: one process's part of a project that is divided into partitions, with others that serve the rest.

Rules: each partition is served by a `Runtime` of its own, whose claim on its owner record and consumers is what keeps
it exclusive; everything here only decides who should serve what. Replicas say several times a second that they are
there and what they hold (the roll call); whoever is silent for a lease has died or hangs, and the others take its
partitions. All compute the same shares from what they hear; a difference costs a needless move, never a lost message.
Replicas of another deployment are not waited for: the newest deployment owns the project, and its epoch in the owner
record of the project is the generation that all its replicas serve under.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from zocket import logs
from zocket.broker.port import Message
from zocket.errors import PlatformError, Superseded, Unavailable, ZocketError
from zocket.ids import Partition, new_epoch
from zocket.metrics import Sample
from zocket.protocol import envelopes, subjects
from zocket.runtime.generation import Generation
from zocket.runtime.runtime import Runtime
from zocket.runtime.shares import Member, shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from zocket.broker.port import Broker, ConnectionState, Subscription
    from zocket.clock import Clock
    from zocket.core import AppDefinition
    from zocket.crashpoints import CrashPoints
    from zocket.ids import Scope
    from zocket.settings import Limits

LEASE_S: Final = 1.25
"""A replica that was not heard for so long is given up, and its partitions are taken."""
WORDS_A_LEASE: Final = 5
"""How often a replica says in one lease that it is there."""
LISTEN_S: Final = 0.3
"""How long a new replica listens before it takes anything: the others answer its question at once, and release
nothing to it before."""
RETRY_S: Final = 0.5
"""Pause before a partition is claimed again after the broker refused."""


class _Share:
    """A partition that this replica serves or is taking."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.let_go = asyncio.Event()
        self.task: asyncio.Task[None]


class Replica:
    """Partitions of one project, served from this process; opened by `open`."""

    def __init__(
        self,
        definition: AppDefinition,
        scope: Scope,
        broker: Broker,
        *,
        clock: Clock,
        partitions: int,
        lease_s: float,
        generation: Generation,
        open_runtime: Callable[..., AbstractAsyncContextManager[Runtime]],
    ) -> None:
        self.scope = scope
        self.actor_types = list(definition.actors)
        self.replica_id = new_epoch()
        self._broker = broker
        self._clock = clock
        self._count = partitions
        self._lease_s = lease_s
        self._generation = generation
        self._open_runtime = open_runtime
        self._held: dict[int, _Share] = {}
        self._members: dict[str, Member] = {}
        self._subscriptions: list[Subscription] = []
        self._forget_connection: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: ZocketError | None = None
        self._leaving = False
        self._aborted = False
        self._in_doubt = False
        self._looked_at = clock.now()
        self._moves = 0
        self._log = logs.bound("zocket.runtime", workspace=scope.workspace_id, project=scope.project_id)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        definition: AppDefinition,
        scope: Scope,
        broker: Broker,
        *,
        clock: Clock,
        limits: Limits,
        process_name: str,
        deployment_id: str = "",
        partitions: int,
        lease_s: float = LEASE_S,
        dev_mode: bool = False,
        ack_wait_s: float = 30.0,
        drain_timeout_s: float = 10.0,
        storage: str = "memory",
        replicas: int = 1,
        crashpoints: CrashPoints | None = None,
    ) -> AsyncIterator[Replica]:
        """Serves its share of the project during the block; at its end hands it to the others.

        Args:
            definition: the app.
            scope: whose messages are taken.
            broker: stays open; whoever opened it closes it.
            clock: time of everything that waits.
            limits: as `Runtime.open`; the instances are divided by the partitions.
            process_name: names this process in owner records and in announcements.
            deployment_id: processes of one deployment share the project; those of another one give it up.
            partitions: that the project is divided into; the same in every process, also of the gateways.
            lease_s: after so long without a word from a replica the others take its partitions.
            dev_mode: as `Runtime.open`.
            ack_wait_s: as `Runtime.open`.
            drain_timeout_s: as `Runtime.open`.
            storage: as `Runtime.open`.
            replicas: as `Runtime.open`.
            crashpoints: as `Runtime.open`.

        Raises:
            BootError: the stream of requests cannot be used: it is not divided so, or in memory for durable actors.
            Unavailable: the broker is away or refuses.
            Superseded: yet another deployment took the project while this one started.
        """
        open_runtime = partial(
            Runtime.open,
            definition,
            scope,
            broker,
            clock=clock,
            limits=replace(
                limits,
                max_instances=max(1, limits.max_instances // partitions),
                max_memory_bytes=-(-limits.max_memory_bytes // partitions),
            ),
            process_name=process_name,
            deployment_id=deployment_id,
            dev_mode=dev_mode,
            ack_wait_s=ack_wait_s,
            drain_timeout_s=drain_timeout_s,
            storage=storage,
            replicas=replicas,
            crashpoints=crashpoints,
            lease_s=lease_s,
        )
        generation = Generation(
            broker,
            scope,
            process=process_name,
            deployment=deployment_id,
            actor_types=list(definition.actors),
            partitions=partitions,
            clock=clock,
        )
        replica = cls(
            definition,
            scope,
            broker,
            clock=clock,
            partitions=partitions,
            lease_s=lease_s,
            generation=generation,
            open_runtime=open_runtime,
        )
        try:
            await replica._start()
            yield replica
        finally:
            await replica._stop()

    @property
    def serving(self) -> bool:
        """Whether this replica takes part, is connected, and serves every partition that it holds."""
        takes_part = not self._leaving and not self._stopped.is_set()
        return takes_part and self._broker.connected and all(runtime.serving for runtime in self._runtimes())

    @property
    def held(self) -> list[int]:
        """Numbers of the partitions that it serves."""
        return sorted(number for number, share in self._held.items() if share.runtime is not None)

    @property
    def pending(self) -> int:
        """Requests and hooks that are not finished."""
        return sum(runtime.pending for runtime in self._runtimes())

    async def wait_stopped(self) -> None:
        """Waits until the replica cannot go on by itself; a stop from outside does not end it.

        Raises:
            Superseded: another deployment owns the project.
            Unavailable: the broker's connection was closed for good.
        """
        await self._stopped.wait()
        if self._failure is not None:
            raise self._failure

    def look_again(self) -> None:
        """See `Runtime.look_again`."""
        for runtime in self._runtimes():
            runtime.look_again()

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape, those of a partition with its number."""
        yield Sample("partitions_held", "Partitions that this replica serves.", "gauge", len(self.held))
        yield Sample("replicas_seen", "Replicas of the project, this one included.", "gauge", len(self._members) + 1)
        yield Sample("partition_moves", "Partitions taken so far.", "counter", self._moves)
        for number, share in sorted(self._held.items()):
            for sample in share.runtime.samples() if share.runtime is not None else ():
                yield replace(sample, labels={**(sample.labels or {}), "partition": str(number)})

    async def abort(self) -> None:
        """Ends as a killed process does; for tests of what follows then."""
        self._aborted = True
        self._end(Unavailable("the replica was aborted"))
        await self._close_subscriptions()
        for runtime in self._runtimes():
            await runtime.abort()
        await self._close_tasks()

    def _runtimes(self) -> list[Runtime]:
        return [share.runtime for share in self._held.values() if share.runtime is not None]

    def _end(self, failure: ZocketError) -> None:
        """It cannot go on, and lets go of everything; whoever waits is told why."""
        self._failure = self._failure or failure
        self._stopped.set()
        self._changed.set()
        for share in self._held.values():
            share.let_go.set()

    # -- start and stop ------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._forget_connection = self._broker.on_connection(self._connection_changed)
        await self._generation.join()
        self._subscriptions = [
            await self._broker.subscribe(subjects.roll_call(self.scope), self._heard),
            await self._broker.subscribe(subjects.announcement(self.scope), self._heard_runtime),
        ]
        self._say(asks=True)
        await self._clock.sleep(LISTEN_S)
        self._take_shares()
        self._say()
        while any(share.runtime is None for share in self._held.values()):
            self._changed.clear()
            await self._changed.wait()
            if self._failure is not None:
                raise self._failure
        self._spawn(self._follow())
        self._spawn(self._keep_saying())
        self._log.info("replica serves", extra={"partitions": self.held, "replica": self.replica_id})

    async def _stop(self) -> None:
        self._leaving = True
        if not self._aborted:
            self._say()
        await self._close_tasks()
        for share in self._held.values():
            share.let_go.set()
            if share.runtime is None:
                share.task.cancel()
        await asyncio.gather(*(share.task for share in list(self._held.values())), return_exceptions=True)
        await self._close_subscriptions()
        self._forget_connection()

    async def _close_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close_subscriptions(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.aclose()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._task_done)
        self._tasks.append(task)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("the replica cannot go on", exc_info=error)
            self._end(PlatformError(f"the replica cannot go on: {type(error).__name__}"))

    # -- the roll call -------------------------------------------------------------------------------------------

    def _say(self, *, asks: bool = False) -> None:
        """Tells the others what this replica holds."""
        if self._broker.connected and not self._aborted:
            word = envelopes.RollCall(
                envelopes.wire_scope(self.scope),
                self.replica_id,
                self._generation.epoch,
                sorted(self._held),
                leaving=self._leaving,
                asks=asks,
            )
            self._broker.send([Message(subjects.roll_call(self.scope), envelopes.encode(word))])

    async def _keep_saying(self) -> None:
        while not self._stopped.is_set():
            await self._clock.sleep(self._lease_s / WORDS_A_LEASE)
            self._say()
            self._changed.set()

    def _heard(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                word = envelopes.decode_roll_call(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._log.warning("a roll call cannot be decoded")
                continue
            if word.replica == self.replica_id or word.scope != envelopes.wire_scope(self.scope):
                continue
            if word.generation != self._generation.epoch:
                self._doubt_generation()
                continue
            self._note(word)
            if word.asks:
                self._say()

    def _note(self, word: envelopes.RollCall) -> None:
        before = self._members.get(word.replica)
        held = frozenset(word.held)
        if word.leaving and not held:
            self._members.pop(word.replica, None)
        else:
            self._members[word.replica] = Member(
                word.replica, held, self._clock.now(), leaving=word.leaving, listening=word.asks
            )
        if before is None or (before.held, before.leaving, before.listening) != (held, word.leaving, word.asks):
            self._changed.set()

    def _heard_runtime(self, messages: list[Message]) -> None:
        """A runtime that divides the project otherwise announces itself."""
        for message in messages:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if envelopes.decode_announcement(message.payload).partitions != self._count:
                    self._doubt_generation()

    def _doubt_generation(self) -> None:
        self._in_doubt = True
        self._changed.set()

    def _connection_changed(self, state: ConnectionState) -> None:
        if state == "reconnected":
            self._excuse_all()
            self._doubt_generation()
        elif state == "closed" and not self._leaving:
            self._end(Unavailable("the connection to the broker was closed"))

    def _excuse_all(self) -> None:
        """Nobody is blamed for what this replica could not hear."""
        now = self._clock.now()
        self._members = {name: replace(member, heard_at=now) for name, member in self._members.items()}

    # -- shares --------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._in_doubt and self._broker.connected:
                try:
                    self._in_doubt = False
                    await self._generation.check()
                except Superseded as error:
                    self._end(error)
                    return
                except Unavailable:
                    self._in_doubt = True
            self._give_up_silent()
            if self._broker.connected:
                self._take_shares()

    def _give_up_silent(self) -> None:
        now = self._clock.now()
        stood_still, self._looked_at = now - self._looked_at > self._lease_s / 2, now
        if stood_still:  # what the others said meanwhile has still to be read
            self._excuse_all()
            return
        for member in [item for item in self._members.values() if now - item.heard_at > self._lease_s]:
            del self._members[member.name]
            self._log.warning(
                "a replica is silent, its partitions are taken",
                extra={"replica": member.name, "partitions": sorted(member.held)},
            )

    def _take_shares(self) -> None:
        me = Member(self.replica_id, frozenset(self._held), self._clock.now())
        take, release = shares(me, list(self._members.values()), self._count)
        for number in release:
            self._held[number].let_go.set()
        for number in take:
            self._held[number] = share = _Share()
            share.task = asyncio.create_task(self._serve(number, share), name=f"partition {number}")
        if take:
            self._say()

    async def _serve(self, number: int, share: _Share) -> None:
        """One partition, from its claim until it is let go or lost."""
        try:
            async with self._open_runtime(
                partition=Partition(number, self._count), generation=self._generation.epoch
            ) as runtime:
                share.runtime = runtime
                self._moves += 1
                self._changed.set()
                await self._until_over(share, runtime)
        except Superseded as error:
            self._log.info("partition %d: %s", number, error.message)
            self._doubt_generation()
        except Unavailable as error:
            self._log.warning("partition %d cannot be served now: %s", number, error.message)
            if not self._stopped.is_set() and not share.let_go.is_set():
                await self._clock.sleep(RETRY_S)
        except ZocketError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 — border: a partition that fails must not only look served
            self._log.error("partition %d cannot be served", number, exc_info=error)
            self._end(PlatformError(f"partition {number}: {type(error).__name__}"))
        finally:
            del self._held[number]
            self._say()
            self._changed.set()

    async def _until_over(self, share: _Share, runtime: Runtime) -> None:
        waits = [asyncio.create_task(share.let_go.wait()), asyncio.create_task(runtime.wait_stopped())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            results = await asyncio.gather(*waits, return_exceptions=True)
        if isinstance(results[1], ZocketError):
            raise results[1]
