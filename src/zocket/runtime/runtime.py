"""`Runtime`: the host of an app on a broker, owning its project, or a partition of it, until it stops or is superseded.

Rules: exactly one runtime takes the messages of a project or partition. It claims the owner record first and the
consumers after it, and reads the record again before it takes a consumer again and after it has. Whenever another may
have taken over without its knowledge (the connection was lost, the process stood still) nothing leaves until the record
was read; a runtime that was superseded settles nothing and sends nothing more. A stop finishes what is here, gives the
rest back, and leaves nothing behind unless a successor is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from zocket import logs
from zocket.broker.port import ConsumerSpec
from zocket.broker.port import Message as BrokerMessage
from zocket.broker.streams import transport_streams
from zocket.errors import BootError, PlatformError, Superseded, Unavailable
from zocket.host import Host
from zocket.host.calls import ServerInvoker
from zocket.ids import WHOLE, Partition, new_epoch
from zocket.metrics import Sample
from zocket.protocol import envelopes, subjects
from zocket.runtime.controls import Controls
from zocket.runtime.correspondence import Correspondence
from zocket.runtime.intake import Intake
from zocket.runtime.marks import Marks
from zocket.runtime.outbox import Outbox
from zocket.runtime.ownership import OwnerRecord, Ownership
from zocket.runtime.presence import SWEEP_EVERY_S, Presence
from zocket.runtime.pulse import BEAT_S, STOOD_STILL_S, Pulse
from zocket.runtime.state_store import BrokerStateStore
from zocket.runtime.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    from zocket.broker.port import Broker, ConnectionState, Delivered, Message, Subscription
    from zocket.clock import Clock
    from zocket.core import AppDefinition
    from zocket.crashpoints import CrashPoints
    from zocket.errors import ZocketError
    from zocket.host.store import Key
    from zocket.ids import Scope
    from zocket.settings import Limits

ANNOUNCE_EVERY_S: Final = 5.0
"""How often a runtime says that it is there, besides at boot and when asked."""
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0
"""Between attempts to get the consumers back while the broker refuses."""
ENVELOPE_BYTES: Final = 160 * 1024
"""Most that a message has around a result, an event or a state: a list of 4,096 sessions, the name of the instance."""
HOOKS_TIMEOUT_S: Final = 5.0
"""How long a stop waits for `on_deactivate` of all instances."""
FLUSH_TIMEOUT_S: Final = 2.0
"""How long a stop waits for the broker to take the last answers and acknowledgements."""


class Runtime:
    """An app's instances, served from a broker; opened by `open`."""

    def __init__(
        self,
        definition: AppDefinition,
        scope: Scope,
        broker: Broker,
        *,
        clock: Clock,
        limits: Limits,
        process_name: str,
        deployment_id: str,
        dev_mode: bool,
        ack_wait_s: float,
        drain_timeout_s: float,
        storage: str,
        partition: Partition,
        generation: str | None,
        lease_s: float | None,
        replicas: int,
        crashpoints: CrashPoints | None,
    ) -> None:
        self.scope = scope
        self._partition = partition
        self.actor_types = list(definition.actors)
        self.epoch = new_epoch()
        self._deployment_id = deployment_id
        self._broker = broker
        self._crashpoints = crashpoints
        self._clock = clock
        limits = _fitting(limits, broker.max_payload_bytes)
        self._drain_timeout_s = drain_timeout_s
        self._ack_wait_s = ack_wait_s
        self._streams = transport_streams(storage, partition.count, replicas)
        self._consumers = {
            name: ConsumerSpec(
                stream=subjects.INBOUND_STREAM,
                name=subjects.consumer(scope, name, partition),
                subjects=subjects.inbound_filter(scope, name, partition),
                max_ack_pending=limits.max_ack_pending,
                ack_wait_s=ack_wait_s,
            )
            for name in self.actor_types
        }
        record = OwnerRecord(self.epoch, process_name, int(clock.wall() * 1000), self.actor_types)
        self._ownership = Ownership(broker, scope, record, clock, partition, generation)
        self._outbox = Outbox(broker, scope, self.epoch, crashpoints)
        self._beat_s = BEAT_S if lease_s is None else min(BEAT_S, lease_s / 4)
        self._pulse = Pulse(clock, self._stood_still, STOOD_STILL_S if lease_s is None else lease_s * 0.8)
        self._outbox.before_flush = self._pulse.beat
        store = BrokerStateStore(broker, scope, crashpoints)
        self._host = Host(
            definition,
            clock=clock,
            limits=limits,
            dev_mode=dev_mode,
            outlet=self._outbox,
            window=limits.max_ack_pending,
            store=store,
            owns=self._still_owns,
            alarms=store.alarms,
        )
        self._durable = [name for name, actor in definition.actors.items() if actor.durable]
        self._presence = Presence(clock)
        self._controls = Controls(scope, self._host, clock)
        self._intake = Intake(
            broker, scope, self._host, self._outbox, self._presence, self._controls, divided=partition.count > 1
        )
        self._correspondence = Correspondence(
            broker,
            scope,
            runtime_id=f"rt_{self.epoch}",
            partition=partition,
            host=self._host,
            intake=self._intake,
            outbox=self._outbox,
            clock=clock,
        )
        self._invokers = definition.invokers
        self._invoker = ServerInvoker(self._host)
        self._marks = Marks(broker, scope, self.epoch, partition)
        self._suspects = Suspects(
            broker,
            scope,
            marks=self._marks,
            intake=self._intake,
            outbox=self._outbox,
            host=self._host,
            clock=clock,
            spawn=self._spawn,
            deployment_id=deployment_id,
            process_name=process_name,
        )
        self._announcement = envelopes.Announcement(
            envelopes.wire_scope(scope),
            self.epoch,
            self.actor_types,
            process=process_name,
            partition=partition.number,
            partitions=partition.count,
            bursts=True,
            controls=True,
            grace=definition.has_grace,
        )
        self._connection = self._shown = 0
        self._pushes: dict[str, Subscription] = {}
        self._missing = set(self._consumers)
        self._taking: _Taking | None = None
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._disturbed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: ZocketError | None = None
        self._superseded: Superseded | None = None
        self._serving = False
        self._forget_connection: Callable[[], None] = lambda: None
        self._take_overs = 0
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
        dev_mode: bool = False,
        ack_wait_s: float = 30.0,
        drain_timeout_s: float = 10.0,
        storage: str = "memory",
        partition: Partition = WHOLE,
        generation: str | None = None,
        lease_s: float | None = None,
        replicas: int = 1,
        crashpoints: CrashPoints | None = None,
    ) -> AsyncIterator[Runtime]:
        """Owns the project and serves it during the block; at its end stops cleanly (R19).

        Args:
            definition: the app.
            scope: whose messages are taken.
            broker: stays open; whoever opened it closes it.
            clock: time of everything that waits.
            limits: bounds of instances and of the window per actor type.
            process_name: names this process in the owner record and in announcements.
            deployment_id: goes into the log.
            dev_mode: unexpected exceptions reach the caller with their text.
            ack_wait_s: the broker delivers again what it heard nothing of for so long.
            drain_timeout_s: how long a stop finishes what is here.
            storage: of streams that do not exist yet, `memory` or `file`.
            partition: owns and serves this part of the project alone.
            generation: in a divided project the epoch of its owner record, whose change ends this runtime.
            lease_s: after so long without a word from this process another takes the partition; None: nobody does.
            replicas: of streams that do not exist yet.
            crashpoints: where the process kills itself; None outside of tests.

        Raises:
            BootError: an actor is durable, and the stream of requests is in memory; or that stream is not divided as
                `partition` says.
            Unavailable: the broker is away or refuses.
            Superseded: yet another runtime took the project while this one started.
        """
        runtime = cls(
            definition,
            scope,
            broker,
            clock=clock,
            limits=limits,
            process_name=process_name,
            deployment_id=deployment_id,
            dev_mode=dev_mode,
            ack_wait_s=ack_wait_s,
            drain_timeout_s=drain_timeout_s,
            storage=storage,
            partition=partition,
            generation=generation,
            lease_s=lease_s,
            replicas=replicas,
            crashpoints=crashpoints,
        )
        try:
            await runtime._start()
            yield runtime
        finally:
            await runtime._stop()

    @property
    def serving(self) -> bool:
        """Whether this runtime owns the project, is connected and has its consumers."""
        return self._serving and self._broker.connected and not self._incomplete

    async def wait_stopped(self) -> None:
        """Waits until the runtime cannot go on by itself; a stop from outside does not end it.

        Raises:
            Superseded: another runtime owns the project now.
            Unavailable: the broker's connection was closed for good.
        """
        await self._stopped.wait()
        if self._failure is not None:
            raise self._failure

    # -- start and recovery --------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._forget_connection = self._broker.on_connection(self._connection_changed)
        await self._marks.read()
        last_sequence = await self._ensure_streams()
        if self._partition.count == 1:
            await self._host.timing.open(self._is_here)  # while a predecessor still serves
        else:  # it has let go already, and its callers wait
            await self._host.timing.open(self._is_here, patience_s=0)
        predecessor = await self._ownership.claim()
        await self._marks.read()  # again: its predecessor may have left just now
        self._intake.finished_before = self._marks.given_back_finished
        self._suspects.take_over(predecessor, _source(self._announcement.inbound), last_sequence, self.actor_types)
        self._reach("in_takeover")
        scope = self.scope
        if predecessor is not None and predecessor.partitions != self._partition.count == 1:
            await remove_consumers(
                self._broker, scope, {*predecessor.actor_types, *self.actor_types}, predecessor.partitions
            )
        listening = {
            subjects.disconnected(scope): self._intake.disconnected,
            subjects.ANY_ALIVE: self._intake.alive,
            subjects.discovery(scope): lambda _: self._announce(),
            subjects.announcement(scope): self._heard,
            subjects.rewritten(scope): self._rewritten,
            subjects.control(scope, self._partition.number): self._controls.received,
        }
        if self._partition.count > 1:
            listening[subjects.gateway(scope, f"rt_{self.epoch}")] = self._correspondence.answered
            listening[subjects.call_control(scope)] = self._correspondence.controlled
        await asyncio.gather(*(self._listen(subject, heard) for subject, heard in listening.items()))
        await self._take_consumers()
        self._reach("after_takeover")
        if predecessor is not None:
            await self._remove_leftovers(predecessor)
        self._serving = True
        self._host.timing.start()
        self._invokers.append(self._invoker)
        self._announce()
        self._spawn(self._supervise())
        self._spawn(self._repeat(self._beat_s, self._pulse.beat))
        self._spawn(self._repeat(ANNOUNCE_EVERY_S, self._announce))
        self._spawn(self._repeat(SWEEP_EVERY_S, self._sweep))
        self._spawn(self._repeat(self._ack_wait_s / 3, self._intake.report_progress))
        self._log.info("runtime serves", extra={"actors": self.actor_types, "deployment": self._deployment_id})

    async def _listen(self, subject: str, heard: Callable[[list[BrokerMessage]], None]) -> None:
        self._subscriptions.append(await self._broker.subscribe(subject, heard))

    def _is_here(self, key: Key) -> bool:
        """Whether an instance is one of those that this runtime serves."""
        place = self._partition
        served = key.actor in self._consumers
        return served and (place.count == 1 or subjects.partition_of_instance(*key, place.count) == place.number)

    async def _ensure_streams(self) -> int:
        """The streams are there afterwards; the number of the newest request."""
        for stream in self._streams:
            await self._broker.ensure_stream(stream)
        inbound = await self._broker.stream_info(subjects.INBOUND_STREAM)
        if inbound is None:
            raise Unavailable(f"the stream {subjects.INBOUND_STREAM} is gone again")
        if self._durable and inbound.storage != "file":
            raise BootError(
                f"{', '.join(self._durable)}: durable actors need the stream {subjects.INBOUND_STREAM} on file "
                f"storage, and it is in {inbound.storage}. That cannot be changed: stop gateways and runtimes, "
                f"delete it (nats stream rm {subjects.INBOUND_STREAM}) and start them with STREAM_STORAGE=file"
            )
        count = self._partition.count
        if count > 1 and inbound.partitions != count:
            raise BootError(
                f"PARTITIONS={count}, and the stream {subjects.INBOUND_STREAM} is not divided so. That is set when it "
                f"is made: stop gateways and runtimes, delete it (nats stream rm {subjects.INBOUND_STREAM}) and start "
                "them with the same PARTITIONS"
            )
        self._intake.partitions = self._announcement.mixed = inbound.partitions or 1
        self._marks.use(_source(inbound.incarnation))
        self._intake.finished_before = self._marks.given_back_finished
        self._announcement.inbound = inbound.incarnation
        return inbound.last_sequence

    async def _still_owns(self) -> bool:
        """Asked after another writer was found in the store: only the owner of the project goes on."""
        while True:
            try:
                await self._confirm()
            except Superseded as error:
                self._superseded = error
                self._suspects.stop()
                self._disturbed.set()
                return False
            except Unavailable:
                await self._clock.sleep(RETRY_FIRST_S)
            else:
                return True

    async def _confirm(self) -> None:
        """Goes on only as the owner, and where another one may have come and gone, with what that one stored.

        What was given up once (an instance that another owner had written) stays given up.
        """
        if self._superseded is not None:
            raise self._superseded
        if not await self._ownership.confirm():
            self._host.doubt_stored()

    async def _take_consumers(self) -> None:
        """Takes every consumer that is not ours, the owner record read before and after.

        An attempt that fails on the way is continued by the next one; nothing of what it took is used before.
        """
        await self._confirm()
        taking = self._taking_for(self._announcement.inbound)
        missing = [name for name in self._consumers if name in self._missing]
        self._missing.difference_update(missing)  # before anything waits: a reconnect in between misses them all again
        taking.names.update(missing)
        for failure in await asyncio.gather(*(self._take(name, taking) for name in missing), return_exceptions=True):
            if failure is not None:
                raise failure
        await self._confirm()
        await self._check_life(taking)
        self._taking = None
        self._received(taking, taking.certain())

    async def _take(self, name: str, taking: _Taking) -> None:
        self._take_overs += 1
        try:
            self._pushes[name] = await self._broker.take_over(
                self._consumers[name], partial(self._received, taking), partial(self._consumer_lost, name)
            )
        except Unavailable:
            self._missing.add(name)
            raise

    def _taking_for(self, life: str) -> _Taking:
        """What is taken over this connection, of this life of the stream; what was taken otherwise is missing again."""
        taking = self._taking
        if taking is None or (taking.connection, taking.life) != (self._connection, life):
            self._missing.update(() if taking is None else taking.names)
            taking = self._taking = _Taking(self._connection, life)
        return taking

    @property
    def _incomplete(self) -> bool:
        """Whether there are consumers to take, or to make certain of."""
        return bool(self._missing) or self._taking is not None

    async def _check_life(self, taking: _Taking) -> None:
        """The stream may have been made anew while its consumers were taken: their messages would bear a wrong name."""
        inbound = await self._broker.stream_info(subjects.INBOUND_STREAM)
        if inbound is None or inbound.incarnation != taking.life:
            self._missing.update(taking.names)
            raise Unavailable(f"the stream {subjects.INBOUND_STREAM} was made anew in this moment")

    async def _remove_leftovers(self, predecessor: OwnerRecord) -> None:
        """Consumers of actor types that the project had and has no more; nobody else would ever remove them."""
        for name in set(predecessor.actor_types) - set(self.actor_types):
            consumer = subjects.consumer(self.scope, name, self._partition)
            try:
                await self._broker.delete_consumer(subjects.INBOUND_STREAM, consumer)
            except Unavailable as error:
                self._log.warning("the consumer of %s, which is no more, stays behind: %s", name, error.message)

    def _received(self, taking: _Taking, batch: list[Delivered]) -> None:
        """Takes messages of a consumer that was taken over this connection.

        After a reconnect the old consumer goes on behind what was lost on the way; it is taken anew, and everything
        comes again in its order.
        """
        if taking.waiting is not None:
            taking.waiting += batch
        elif taking.connection == self._connection:
            self._intake.received(batch, taking.source)

    def _consumer_lost(self, name: str) -> None:
        self._missing.add(name)
        self._disturbed.set()

    def _connection_changed(self, state: ConnectionState) -> None:
        if state == "disconnected":
            self._connection += 1
            self._outbox.hold()
        elif state == "reconnected":
            self._presence.renew()
            self._missing.update(self._consumers)
            self._disturbed.set()
            self._correspondence.send_again()
        elif state == "closed" and self._serving:
            self._end(Unavailable("the connection to the broker was closed"))

    def _stood_still(self, seconds: float) -> None:
        """This process did nothing for a while: it may have been superseded, and is silent until it knows."""
        if self._serving:
            self._log.warning("this process stood still for %.1f s", seconds)
            self._presence.renew()
            self._outbox.hold()
            self._disturbed.set()

    def look_again(self) -> None:
        """Somebody may have claimed the project, or removed its consumers, and not said so.

        The owner record is read now; if it still names this runtime, the consumers are taken again.
        """
        self._missing.update(self._consumers)
        self._disturbed.set()

    def _heard(self, messages: list[Message]) -> None:
        """Another runtime in this one's place is heard: look who owns it. Our own word: the broker is there."""
        for message in messages:
            with contextlib.suppress(ValueError):
                other = envelopes.decode_announcement(message.payload)
                place = Partition(other.partition, other.partitions)
                if other.epoch != self.epoch and (place == self._partition or place.count != self._partition.count):
                    self._disturbed.set()
                elif other.epoch == self.epoch:
                    self._presence.confirm()

    def _rewritten(self, messages: list[Message]) -> None:
        """Somebody has changed stored state beside us (`zocket actors delete`, `restore`)."""
        for message in messages:
            with contextlib.suppress(ValueError):
                named = envelopes.decode_rewritten(message.payload)
                self._host.reread(named.actor, named.actor_id)

    async def _supervise(self) -> None:
        while True:
            await self._disturbed.wait()
            self._disturbed.clear()
            delay_s = RETRY_FIRST_S
            while True:
                try:
                    await self._recover()
                    break
                except Unavailable as error:
                    self._log.warning("the consumers cannot be taken now: %s", error.message)
                except Superseded as error:
                    await self._stand_down(error)
                    return
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MOST_S)

    async def _recover(self) -> None:
        doubt = self._outbox.doubt
        if not self._incomplete:
            await self._confirm()
            self._outbox.release(doubt)
            return
        await self._ensure_streams()
        await self._take_consumers()
        if self._shown != self._connection:
            self._shown = self._connection
            self._host.show_all()  # patches that were on their way when the connection ended are lost
        self._outbox.release(doubt)
        self._announce()
        self._log.info("the consumers are ours again")

    async def _stand_down(self, reason: Superseded) -> None:
        """Leaves everything to the new owner: it gets what is unacknowledged, and nothing of ours may mix with it."""
        self._log.warning("superseded: %s", reason.message, extra={"epoch": self.epoch})
        self._serving = False
        self._outbox.mute()
        self._intake.forget()
        self._correspondence.forget()
        self._suspects.stop()
        try:
            await self._marks.stand_down()
        except Unavailable as error:
            self._log.warning("the new owner will take this runtime for dead: %s", error.message)
        self._end(reason)
        await self._close_subscriptions()
        await self._host.abort()  # what still runs here runs again there

    async def abort(self) -> None:
        """Ends as a killed process does: nothing is finished, settled, sent or cleaned up.

        For tests of what follows then.
        """
        self._serving = False
        self._outbox.mute()
        self._intake.forget()
        self._correspondence.forget()
        self._suspects.stop()
        self._end(Unavailable("the runtime was aborted"))
        await self._close_subscriptions()
        await self._host.abort()

    @property
    def pending(self) -> int:
        """Requests and hooks that are not finished."""
        return self._host.pending

    def _end(self, failure: ZocketError) -> None:
        self._stop_calls()
        self._failure = self._failure or failure
        self._stopped.set()

    def _stop_calls(self) -> None:
        """This process's own code calls here no more."""
        with contextlib.suppress(ValueError):
            self._invokers.remove(self._invoker)

    def _reach(self, place: str) -> None:
        if self._crashpoints is not None:
            self._crashpoints.reach(place)

    # -- while it serves -----------------------------------------------------------------------------------------

    def _announce(self) -> None:
        if self._serving and not self._outbox.held:
            self._announcement.rank = self._ownership.rank
            payload = envelopes.encode(self._announcement)
            self._broker.send([BrokerMessage(subjects.announcement(self.scope), payload)])

    def _sweep(self) -> None:
        self._intake.sweep()
        self._controls.sweep()
        if self._presence.in_doubt:
            self._announce()

    async def _repeat(self, every_s: float, action: Callable[[], None]) -> None:
        while True:
            await self._clock.sleep(every_s)
            action()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._task_done)
        self._tasks.append(task)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        """A loop of ours that fails must not leave a runtime that only looks alive."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("the runtime cannot go on", exc_info=error)
            self._end(PlatformError(f"the runtime cannot go on: {type(error).__name__}"))

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("serving", "1 while this runtime owns its project.", "gauge", int(self.serving))
        yield Sample("take_overs", "Consumers taken, at boot and again.", "counter", self._take_overs)
        yield Sample("outbound_messages", "Messages sent to gateways.", "counter", self._outbox.messages)
        yield Sample("outbound_bytes", "Bytes sent to gateways.", "counter", self._outbox.bytes)
        yield from self._intake.samples()
        yield from self._presence.samples()
        yield from self._suspects.samples()
        yield from self._correspondence.samples()
        yield from self._host.samples()

    # -- stop ----------------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        served, self._serving = self._serving, False
        self._stop_calls()
        await self._close_subscriptions()
        if served and await self._say_leaving():
            self._reach("in_drain")
            self._host.timing.stop()
            await self._host.drain(self._drain_timeout_s)
        self._suspects.stop()
        await self._host.aclose(HOOKS_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._forget_connection()
        self._outbox.release(self._outbox.doubt)
        finished = self._intake.partly_finished()
        returned = self._intake.give_back()
        if returned:
            self._log.warning("given back to the next runtime", extra={"messages": returned})
        if self._failure is None:
            await self._leave(finished)
        self._log.info("runtime stopped", extra={"epoch": self.epoch})

    async def _say_leaving(self) -> bool:
        """Lets a successor wait for what is finished here; False if there is one already, which has it all."""
        try:
            await self._ownership.leave(self._drain_timeout_s + HOOKS_TIMEOUT_S + FLUSH_TIMEOUT_S)
        except Superseded as error:
            await self._stand_down(error)
            return False
        except Unavailable as error:
            self._log.warning("a successor will not wait for what is finished here: %s", error.message)
        return True

    async def _leave(self, finished: list[int]) -> None:
        """Lets an existing runtime follow: without a successor neither the record nor the consumers stay."""
        try:
            await self._broker.drain(FLUSH_TIMEOUT_S)
            if not await self._ownership.is_ours():
                self._log.info("a successor has taken over")
                return
            await self._marks.take_back(finished)
            consumers = self._consumers.values()
            await asyncio.gather(*(self._broker.delete_consumer(spec.stream, spec.name) for spec in consumers))
            await self._ownership.release()
        except Unavailable as error:
            self._log.warning("the consumers stay behind: %s", error.message)

    async def _close_subscriptions(self) -> None:
        open_ones = [*self._pushes.values(), *self._subscriptions]
        self._pushes.clear()
        self._subscriptions.clear()
        for subscription in open_ones:
            await subscription.aclose()


def _source(life: str) -> str:
    """How messages of this life of the stream of requests are named."""
    return f"{subjects.INBOUND_STREAM}:{life}"


class _Taking:
    """Consumers that were taken together: over which connection, and of which life of the stream.

    Attributes:
        names: of their actor types.
        source: how the life is named in positions.
        waiting: messages that came before it was certain that the stream still lived that life; None afterwards.
    """

    __slots__ = ("connection", "life", "names", "source", "waiting")

    def __init__(self, connection: int, life: str) -> None:
        self.connection = connection
        self.life = life
        self.source = _source(life)
        self.names: set[str] = set()
        self.waiting: list[Delivered] | None = []

    def certain(self) -> list[Delivered]:
        """It is; the messages that waited."""
        waiting, self.waiting = self.waiting or [], None
        return waiting


async def remove_consumers(broker: Broker, scope: Scope, actor_types: Iterable[str], partitions: int) -> None:
    """Deletes the consumers of a project that was divided otherwise: they would overlap with the new ones.

    Raises:
        Unavailable: the broker is away or refuses.
    """
    for name in actor_types:
        for number in range(partitions):
            consumer = subjects.consumer(scope, name, Partition(number, partitions))
            await broker.delete_consumer(subjects.INBOUND_STREAM, consumer)


def _fitting(limits: Limits, max_payload_bytes: int) -> Limits:
    """Limits under which whatever a turn makes fits into a message: what does not is refused at the commit."""
    room = max(max_payload_bytes - ENVELOPE_BYTES, 1_024)
    return replace(
        limits,
        max_result_bytes=min(limits.max_result_bytes, room),
        max_state_bytes=min(limits.max_state_bytes, room),
    )
