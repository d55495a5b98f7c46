"""What a runtime does with messages that may have killed its predecessor: one at a time, three attempts in all.

Rules: in normal service this is out of the way (`Intake.submit` is the host's own) and nothing is written. Suspects are
the messages that were in the stream when this runtime took over from one that died, and those with a mark. A suspect is
marked before it runs; one that waits longer than a second stays marked and lets the next ones begin, except on its last
attempt, which it has for itself. Runs of reminders have their trials when no message waits for its turn. No instance
sees its messages in another order: as long as a suspect waits for its turn everything queues behind it, and a suspect
whose instance is busy with another one waits for that. A runtime that was superseded alive has not died, and says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from zocket import logs
from zocket.errors import DeadLettered, Unavailable, ZocketError
from zocket.host.progress import Progress
from zocket.host.trials import ALONE_S, MAX_ATTEMPTS, PATIENCE_S, Trials
from zocket.metrics import Sample
from zocket.protocol import subjects
from zocket.protocol.envelopes import MAX_PARTS
from zocket.protocol.frames import Rpc
from zocket.runtime.dead_letters import DeadLetter, DeadLetters
from zocket.runtime.suspect_runs import SuspectRuns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    from zocket.broker.port import Broker, Delivered
    from zocket.clock import Clock
    from zocket.host import Host, Link
    from zocket.host.store import Position
    from zocket.ids import Scope
    from zocket.protocol.frames import Request
    from zocket.runtime.intake import Intake
    from zocket.runtime.marks import Mark, Marks
    from zocket.runtime.outbox import Outbox
    from zocket.runtime.ownership import OwnerRecord

GRACE_S: Final = 2.0
"""After a takeover, how long a predecessor that lives has to say so before anything is given up."""
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 30.0
"""Between attempts to write a mark or a dead letter while the broker refuses."""


class _Waiting(NamedTuple):
    """The arguments of `Host.submit`."""

    link: Link
    request: Request
    request_id: str
    done: Callable[[], None]
    position: Position

    @property
    def instance(self) -> tuple[str, str]:
        """Whom it is for."""
        return self.request.actor, self.request.actor_id


class _Pause:
    """While this has its turn, no message is begun."""

    __slots__ = ("begun", "over")

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()


class Suspects:
    """The suspects of one runtime.

    Args:
        broker: takes dead letters.
        scope: the project.
        marks: of this runtime.
        intake: gives its messages here as long as there may be suspects.
        outbox: holds everything back while it is in doubt who owns the project.
        host: runs them.
        clock: time of everything that waits.
        spawn: runs a task of the runtime.
        deployment_id: goes into dead letters.
        process_name: the same.
    """

    def __init__(
        self,
        broker: Broker,
        scope: Scope,
        *,
        marks: Marks,
        intake: Intake,
        outbox: Outbox,
        host: Host,
        clock: Clock,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        deployment_id: str,
        process_name: str,
    ) -> None:
        self.dead_letters = DeadLetters(broker, scope)
        self._scope = scope
        self.marks = marks
        self._intake = intake
        self._outbox = outbox
        self._host = host
        self._clock = clock
        self._spawn = spawn
        self.deployment_id = deployment_id
        self.process_name = process_name
        self._source = ""
        self._last = 0
        self._predecessor: OwnerRecord | None = None
        self._taken_s = 0.0
        self._unseen: set[str] = set()
        self._queue: deque[_Waiting | _Pause] = deque()
        self._busy = False
        self._running: set[int] = set()
        self._behind: dict[tuple[str, str], deque[_Waiting]] = {}
        self._given_up: set[int] = set()
        self._wake = asyncio.Event()
        self._progress = Progress(clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._buried = 0
        self.log = logs.bound("zocket.runtime", workspace=scope.workspace_id, project=scope.project_id)

    def take_over(
        self, predecessor: OwnerRecord | None, source: str, last_sequence: int, actor_types: Iterable[str]
    ) -> None:
        """Called after the claim, before the first message and reminder: from here on suspects are run with care.

        Args:
            predecessor: the owner record that the claim replaced.
            source: names the present life of the stream of requests.
            last_sequence: of that stream; what came later the predecessor did not have.
            actor_types: whose messages are taken.
        """
        self._source = source
        self._last = (last_sequence + 1) * MAX_PARTS - 1
        self._predecessor = predecessor
        self._taken_s = self._clock.now()
        if self.has_died() or self.marks.sequences:
            self._unseen = set(actor_types)
            self._watch()
        if self.has_died() or self.marks.has_runs:
            suspicion, timing = SuspectRuns(self, self._clock.wall()), self._host.timing
            timing.trials = Trials(suspicion, self._clock, wake=timing.wake, spawn=self._begin_task)
            self._begin_task(timing.trials.watch())

    def _begin_task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._spawn(work)
        self._tasks.append(task)
        return task

    def _watch(self) -> None:
        """Messages come here from now on, until no suspect is left."""
        if self._intake.submit != self.submit:
            self._intake.submit = self.submit
            self._begin_task(self._run())

    def has_died(self) -> bool:
        """Whether the predecessor ended without a word, as far as is known."""
        owner = self._predecessor
        return owner is not None and not owner.leaving_s and not self.marks.has_stood_down(owner.epoch)

    def _is_suspect(self, position: Position) -> bool:
        if position.source != self._source:
            return False
        return position.sequence in self.marks.sequences or (position.sequence <= self._last and self.has_died())

    def submit(
        self,
        link: Link,
        request: Request,
        request_id: str,
        done: Callable[[], None] | None = None,
        position: Position | None = None,
    ) -> None:
        """Takes one request in place of `Host.submit`, to which it goes in its turn."""
        assert position is not None
        assert done is not None
        if request.actor in self._unseen and (position.source != self._source or position.sequence > self._last):
            # A consumer delivers in order: of this type all that were there at the takeover have come.
            self._unseen.discard(request.actor)
            self._wake.set()
        if self._busy or self._queue or self._running or self._is_suspect(position):
            self._queue.append(_Waiting(link, request, request_id, done, position))
            self._wake.set()
        else:
            self._host.submit(link, request, request_id, done, position)

    @property
    def busy(self) -> bool:
        """Whether a message has its turn, or something is alone."""
        return self._busy or bool(self._queue)

    async def wait_quiet(self) -> None:
        """Waits until no message waits for its turn; a suspect that has had its second may still run."""
        await self._progress.wait_until(lambda: not self.busy)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """During the block no message begins; what may have ended a process has finished before, or had its time."""
        pause = _Pause()
        self._queue.append(pause)
        self._watch()
        self._wake.set()
        await pause.begun.wait()
        try:
            yield
        finally:
            pause.over.set()

    def stop(self) -> None:
        """Begins nothing more; what waits stays with the intake."""
        for task in self._tasks:
            task.cancel()
        self._queue.clear()
        self._behind.clear()

    async def _run(self) -> None:
        while True:
            self._busy = True
            while self._queue:
                await self._next(self._queue.popleft())
            self._busy = False
            self._progress.made()
            if not self._running:
                await self._tidy()
                if self._all_seen and not self._queue:
                    break
            await self._wake.wait()
            self._wake.clear()
        self._intake.submit = self._host.submit

    @property
    def _all_seen(self) -> bool:
        """Whether no further suspect can come, and none is being given up."""
        return not self._unseen and not self._given_up

    async def _tidy(self) -> None:
        """No suspect is here now; a mark that stays although its message is gone does no harm."""
        try:
            await (self.marks.clear() if self._all_seen else self.marks.sweep())
        except Unavailable as error:
            self.log.warning("marks stay behind: %s", error.message)

    async def _next(self, waiting: _Waiting | _Pause) -> None:
        """Begins a message, gives it up, or lets it wait for a suspect that its instance is busy with."""
        if isinstance(waiting, _Pause):
            await self._wait_finished(self._running, ALONE_S)
            waiting.begun.set()
            await waiting.over.wait()
            return
        sequence, instance = waiting.position.sequence, waiting.instance
        is_suspect = self._is_suspect(waiting.position)
        behind = self._behind.get(instance)
        if behind is not None and (behind or is_suspect):
            behind.append(waiting)
            return
        if not is_suspect:
            await self._wait_certain()
            self._host.submit(*waiting)
            return
        if await self.is_spent(sequence):
            self._given_up.add(sequence)
            self._begin_task(self._give_up(waiting, 1 + self.marks.deaths(sequence)))
            return
        if self._is_last(sequence):
            await self._wait_finished(self._running, ALONE_S)
        await self.begin(sequence)
        if self.marks.deaths(sequence) >= MAX_ATTEMPTS - 1:
            self._queue.appendleft(waiting)  # learned only while it was marked
            return
        self._running.add(sequence)
        self._behind[instance] = deque()
        self._host.submit(*waiting._replace(done=partial(self._finished, waiting)))
        await self._wait_finished({sequence}, ALONE_S if self._is_last(sequence) else PATIENCE_S)

    def _is_last(self, sequence: int) -> bool:
        return self.marks.deaths(sequence) == MAX_ATTEMPTS - 2

    async def begin(self, *marks: Mark) -> None:
        """Marks messages or runs of reminders; they may run when this has returned."""
        await self.persist(partial(self.marks.begin, *marks), "what may end the process cannot be marked")
        await self._wait_certain()

    async def _wait_certain(self) -> None:
        """Another runtime may own the project now: what it will run must not begin here."""
        while self._outbox.held:
            await self._clock.sleep(RETRY_FIRST_S)

    async def is_spent(self, mark: Mark) -> bool:
        """Whether it has had its attempts; read again once everyone who lives has had time to object."""
        if self.marks.deaths(mark) < MAX_ATTEMPTS - 1:
            return False
        await self._clock.sleep(max(0.0, self._taken_s + GRACE_S - self._clock.now()))
        await self.persist(self.marks.read, "the marks cannot be read")
        return self.marks.deaths(mark) >= MAX_ATTEMPTS - 1

    def _finished(self, waiting: _Waiting) -> None:
        self._running.discard(waiting.position.sequence)
        self._queue.extendleft(reversed(self._behind.pop(waiting.instance, ())))
        self._progress.made()
        self._settle(waiting)

    def _settle(self, waiting: _Waiting) -> None:
        waiting.done()
        self.marks.finish(waiting.position.sequence)
        self._wake.set()

    async def _wait_finished(self, sequences: set[int], most_s: float) -> None:
        await self._progress.wait_until(lambda: not sequences & self._running, most_s)

    async def persist(self, action: Callable[[], Coroutine[None, None, None]], trouble: str) -> None:
        """Does it again until it succeeds."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                return await action()
            except ZocketError as error:
                self.log.warning("%s, trying again: %s", trouble, error.message)
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_MOST_S)

    async def _give_up(self, waiting: _Waiting, attempts: int) -> None:
        """Puts the message aside, and then tells its caller; it keeps its mark until that is done."""
        request, request_id, position = waiting.request, waiting.request_id, waiting.position
        letter = self._letter(request, *self._intake.message(position), attempts)
        self.log.error(
            "a message is given up: %s",
            letter.cause,
            extra={
                "actor": request.actor,
                "actor_id": request.actor_id,
                "method": letter.method or type(request).__name__,
                "request": request_id,
            },
        )
        message_id = f"{position.source}:{position.sequence}:dead"
        await self.persist(partial(self.dead_letters.add, letter, message_id), "a dead letter cannot be stored")
        self._buried += 1
        refusal = DeadLettered(f"given up: its process ended {attempts} times while it was in progress")
        self._host.refuse(waiting.link, request, request_id, refusal)
        self._given_up.discard(position.sequence)
        self._settle(waiting)

    def wall_ms(self) -> int:
        """The time of day, in milliseconds since the epoch."""
        return int(self._clock.wall() * 1000)

    def cause(self, attempts: int) -> str:
        """Why something is given up, for a person."""
        last = "" if self._predecessor is None else f"; the last one was {self._predecessor.process}"
        return f"its process ended {attempts} times while it was in progress{last}"

    def _letter(self, request: Request, delivered: Delivered, envelope: bytes, attempts: int) -> DeadLetter:
        return DeadLetter(
            actor=request.actor,
            actor_id=request.actor_id,
            method=request.method if type(request) is Rpc else None,
            cause=self.cause(attempts),
            attempts=attempts,
            at=self.wall_ms(),
            sequence=delivered.sequence,
            subject=subjects.inbound(self._scope, request.actor, request.actor_id),
            deployment=self.deployment_id,
            process=self.process_name,
            envelope=msgspec.Raw(envelope),
        )

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("dead_letters", "Messages given up since they ended their process.", "counter", self._buried)
