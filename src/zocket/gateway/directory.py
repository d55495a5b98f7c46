"""Who serves what: the projects that have sessions here, their runtimes' epochs and actor types, by partition.

Rules: a runtime that announces itself is believed at once, and what it does not name is unknown; one that announces
nothing is known by its durable consumers; where neither tells anything a request goes out all the same, and the call's
time limit answers. Only the tokens of a subject say whose announcement it is.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.broker.port import Message
from zocket.errors import Unavailable
from zocket.gateway.dropped import DroppedAnswers
from zocket.ids import Partition
from zocket.protocol import envelopes, subjects
from zocket.settings import MAX_PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.broker.port import Broker
    from zocket.clock import Clock
    from zocket.gateway.session import GatewaySession
    from zocket.ids import Scope
    from zocket.protocol.frames import Request

_PARTITION_SUFFIX: Final = re.compile(r"-[0-9]+\Z")
"""Of the consumers of a divided project."""
_log: Final = logging.getLogger("zocket.gateway")

LOOK_UP_EVERY_S: Final = 3.0
"""Shortest time between two listings of the consumers, however many unknown types are asked for."""
DISCOVERY_WAIT_S: Final = 1.0
"""A runtime that is there answers a discovery within this; one that answers later has just come up."""
MAX_DOUBTFUL: Final = 4_096
"""Requests of a project that wait for a listing; what goes out beyond them is answered by its time limit."""
PAST_EPOCHS: Final = 16
"""Superseded epochs that are remembered a partition, so that a runtime that does not know it yet changes nothing."""
SILENT_AFTER_S: Final = 12.0
"""An epoch that was not announced for so long, twice in a row, does not stand in the way of a superseded one: what came
last when two runtimes announced themselves at the same moment need not be the one that stays."""


class Reign:
    """A runtime that announced itself for a partition.

    Attributes:
        actor_types: what it serves.
        heard_at: when it was heard last (monotonic seconds).
        inbound, rank: as in its announcement.
    """

    __slots__ = ("actor_types", "epoch", "heard_at", "inbound", "rank")

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.actor_types: frozenset[str] = frozenset()
        self.heard_at = 0.0
        self.inbound = ""
        self.rank = 0

    def came_before(self, other: envelopes.Announcement) -> bool | None:
        """Whether the other one took over later; None where their ranks do not tell."""
        if not (self.rank > 0 < other.rank and self.inbound == other.inbound):
            return None
        return self.rank < other.rank


class Project:
    """One scope as the gateway sees it.

    Attributes:
        key: both ids of the scope, as they stand in a subject.
        wire_scope: the scope as it stands in an envelope.
        inbound: front part of its inbound subjects.
        sessions: its open sessions by id.
        reigns: by partition, whoever announced itself last; empty while nobody did.
        epochs: of the reigns; empty while one of a partition is missing.
        partitions: that the project is divided into, as its runtimes say.
        actor_types: what is certainly served; complete if there is a reign.
        doubtful: requests that went out without knowing whether anybody serves their type.
        past_epochs: superseded ones, oldest first, each with the partition that it served.
        dropped: answers of superseded runtimes.
        takes_controls: whether its runtimes hear that calls are cancelled.
        takes_bursts: whether its runtimes take several requests to an instance in one message.
        mixed: of how many partitions of the stream they may be to several instances of a type in one; 0: of none.
        resumes: whether clients may go on with dropped sessions; None while no runtime was heard.
        asked_at: when its runtimes were last asked to announce themselves (monotonic seconds).
        fields: for the log.
    """

    __slots__ = (
        "actor_types",
        "asked_at",
        "doubtful",
        "dropped",
        "epochs",
        "fields",
        "inbound",
        "key",
        "mixed",
        "partitions",
        "past_epochs",
        "reigns",
        "resumes",
        "scope",
        "sessions",
        "takes_bursts",
        "takes_controls",
        "wire_scope",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.key = (scope.workspace_id, scope.project_id)
        self.inbound = subjects.inbound_prefix(scope)
        self.sessions: dict[str, GatewaySession] = {}
        self.reigns: dict[int, Reign] = {}
        self.epochs: frozenset[str] = frozenset()
        self.partitions = 1
        self.takes_bursts = False
        self.takes_controls = False
        self.mixed = 0
        self.resumes: bool | None = None
        self.actor_types: frozenset[str] = frozenset()
        self.doubtful: list[tuple[GatewaySession, Request]] = []
        self.past_epochs: dict[str, int] = {}
        self.dropped = DroppedAnswers()
        self.asked_at = 0.0
        self.wire_scope = envelopes.wire_scope(scope)
        self.fields = {"workspace": scope.workspace_id, "project": scope.project_id}

    def row(self, subject: str, request: Request) -> str:
        """What requests may be in one message with this one to `subject`, see `Bursts`."""
        if self.mixed == 0:
            return subject
        if self.mixed == 1:
            return self.inbound + request.actor
        number = subjects.partition_of_instance(request.actor, request.actor_id, self.mixed)
        return f"{self.inbound}{request.actor}.{number}"

    def note_epochs(self) -> None:
        """A runtime took its place among `reigns`."""
        complete = len(self.reigns) == self.partitions
        self.epochs = frozenset(reign.epoch for reign in self.reigns.values()) if complete else frozenset()

    def supersede(self, epoch: str, partition: int) -> None:
        """What still comes from this one counts no more."""
        self.past_epochs[epoch] = partition
        while len(self.past_epochs) > PAST_EPOCHS * self.partitions:
            del self.past_epochs[next(iter(self.past_epochs))]


class Directory:
    """The projects with sessions, by scope."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        restarted: Callable[[Project, Partition], None],
        look_up_wanted: Callable[[], None],
        inbound_seen: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Callbacks.

        Args:
            broker: to ask with.
            clock: measures how old an answer is.
            restarted: called with a project and the partition that has a new runtime, which knows no subscriptions.
            look_up_wanted: called when somebody should await `look_up`.
            inbound_seen: called with the life of the stream of requests that a runtime reads.
        """
        self._broker = broker
        self._clock = clock
        self._restarted = restarted
        self._look_up_wanted = look_up_wanted
        self._inbound_seen = inbound_seen
        self._projects: dict[tuple[str, str], Project] = {}
        self._consumers: frozenset[str] = frozenset()
        self._looked_up_at = float("-inf")

    def find(self, workspace_id: str, project_id: str) -> Project | None:
        """The project, if it has a session here."""
        return self._projects.get((workspace_id, project_id))

    def join(self, scope: Scope) -> Project:
        """The project of a new session; its runtime is asked to announce itself if it is the first one."""
        project = self._projects.get((scope.workspace_id, scope.project_id))
        if project is None:
            project = Project(scope)
            self._projects[project.key] = project
            self.discover([project])
        return project

    def leave(self, project: Project) -> None:
        """A session ended; a project without sessions is forgotten."""
        if not project.sessions:
            self._projects.pop(project.key, None)

    def projects(self) -> list[Project]:
        """Every project with a session."""
        return list(self._projects.values())

    def discover(self, projects: Iterable[Project]) -> None:
        """Asks the runtimes of the projects to announce themselves."""
        now = self._clock.now()
        asked = []
        for project in projects:
            project.asked_at = now
            asked.append(Message(subjects.discovery(project.scope), b"{}"))
        self._broker.send(asked)

    def announced(self, messages: list[Message]) -> None:
        """Takes note of announcements."""
        for message in messages:
            _, _, workspace_id, project_id = message.subject.split(".")
            project = self.find(workspace_id, project_id)
            if project is None:
                continue
            try:
                announcement = envelopes.decode_announcement(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                _log.warning("an announcement cannot be read", extra=project.fields)
                continue
            place = Partition(announcement.partition, announcement.partitions)
            if announcement.scope == project.wire_scope and 0 <= place.number < place.count <= MAX_PARTITIONS:
                self._note(project, place, announcement)

    def _note(self, project: Project, place: Partition, announcement: envelopes.Announcement) -> None:
        now = self._clock.now()
        reign = project.reigns.get(place.number)
        if reign is not None and reign.epoch != announcement.epoch and now - reign.heard_at < SILENT_AFTER_S:
            is_later = reign.came_before(announcement)
            if is_later is None:
                is_later = announcement.epoch not in project.past_epochs
            if not is_later:
                project.supersede(announcement.epoch, place.number)
                return
        project.past_epochs.pop(announcement.epoch, None)
        if announcement.inbound:
            self._inbound_seen(announcement.inbound)
        if place.count != project.partitions:
            for number, earlier in project.reigns.items():
                project.supersede(earlier.epoch, number)
            project.reigns.clear()
            project.partitions, reign = place.count, None
            project.asked_at = float("-inf")  # every runtime to be heard took over from one of them
        is_new = reign is None or reign.epoch != announcement.epoch
        has_lost = is_new and (reign is not None or now - project.asked_at > DISCOVERY_WAIT_S)
        if reign is not None and is_new:
            project.supersede(reign.epoch, place.number)
        if reign is None or is_new:
            _log.info("the runtime has epoch %s", announcement.epoch, extra=project.fields)
            project.reigns[place.number] = reign = Reign(announcement.epoch)
            project.note_epochs()
        reign.heard_at = now
        reign.inbound, reign.rank = announcement.inbound, announcement.rank
        reign.actor_types = frozenset(announcement.actor_types)
        project.takes_bursts = announcement.bursts
        project.takes_controls = announcement.controls
        project.mixed = announcement.mixed
        begins, project.resumes = announcement.grace and not project.resumes, announcement.grace
        if begins:
            for session in list(project.sessions.values()):
                session.welcome()
        project.actor_types = frozenset(name for item in project.reigns.values() for name in item.actor_types)
        if has_lost:
            self._restarted(project, place)
        self._settle_doubts(project)

    def serves(self, session: GatewaySession, request: Request) -> bool:
        """Whether a request whose type is not in `actor_types` may go out; it may be answered a little later still."""
        project = session.project
        if project.reigns:
            return False
        if self._is_consumed(project, request.actor):
            return True
        if self._clock.now() - self._looked_up_at < LOOK_UP_EVERY_S:
            return not self._has_consumers(project)
        if not project.doubtful:
            self._look_up_wanted()
        if len(project.doubtful) < MAX_DOUBTFUL:
            project.doubtful.append((session, request))
        return True

    async def look_up(self) -> None:
        """Lists the durable consumers, and answers the doubtful requests that nobody will serve."""
        if not any(project.doubtful for project in self._projects.values()):
            return
        try:
            names = await self._broker.consumer_names(subjects.INBOUND_STREAM)
            self._consumers = frozenset(names) | {_PARTITION_SUFFIX.sub("", name) for name in names}
        except Unavailable as error:
            _log.warning("the consumers cannot be listed: %s", error.message)
            self._consumers = frozenset()
        self._looked_up_at = self._clock.now()
        for project in self.projects():
            self._settle_doubts(project)

    def _settle_doubts(self, project: Project) -> None:
        doubtful, project.doubtful = project.doubtful, []
        known_by_consumers = not project.reigns
        if known_by_consumers and not self._has_consumers(project):
            return
        for session, request in doubtful:
            known = request.actor in project.actor_types
            if not known and not (known_by_consumers and self._is_consumed(project, request.actor)):
                session.refuse_unknown(request)

    def _is_consumed(self, project: Project, actor: str) -> bool:
        if subjects.consumer(project.scope, actor) not in self._consumers:
            return False
        project.actor_types |= {actor}
        return True

    def _has_consumers(self, project: Project) -> bool:
        prefix = subjects.consumer(project.scope, "")
        return any(name.startswith(prefix) for name in self._consumers)
