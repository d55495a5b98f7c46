"""An instance as the host keeps it: its mailbox, its subscribers, and the pieces that lie in the mailbox."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from zocket.core import INSTANCE
from zocket.host.link import Audience, Link, Watchers
from zocket.host.viewers import Viewers
from zocket.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.core import Caller, Instance, MethodDefinition
    from zocket.errors import ZocketError
    from zocket.host.answers import AnswerTable
    from zocket.host.counts import TypeCounts
    from zocket.host.history import History
    from zocket.host.keeper import Keeper
    from zocket.host.store import Position
    from zocket.host.timing import Tick
    from zocket.host.workers import Worker
    from zocket.protocol.frames import Request, Rpc
    from zocket.state import Document

Piece = tuple[Link, "Request | Hook | Withdrawn", str, "Callable[[], None] | None", float, "Position | None"]
"""Of a mailbox: whose it is, what is asked, the request id, what is called when it is finished, when it arrived, and
where its message stands in its stream (None: it cannot be delivered twice)."""


class Hook:
    """A hook as a piece of a mailbox."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Withdrawn:
    """A call that was cancelled before its turn; it keeps its place in the mailbox."""

    __slots__ = ("call",)

    def __init__(self, call: Rpc) -> None:
        self.call = call


ACTIVATE: Final = Hook("on_activate")
CONNECT: Final = Hook("on_connect")
DROP: Final = Hook("on_drop")
RESUME: Final = Hook("on_resume")
DISCONNECT: Final = Hook("on_disconnect")
DEACTIVATE: Final = Hook("on_deactivate")
EVICT: Final = Hook("on_deactivate")
"""The same hook of an instance that leaves because it is idle, or makes room."""
NOTHING: Final = Hook("")
"""No hook: a call that was cancelled before its turn came, or a record that is written again."""


FLUSH: Final = Hook("flush")
"""No hook, but a part of a turn on its way to the store; never in a mailbox."""


_SESSION_HOOKS: Final = (CONNECT, DROP, RESUME, DISCONNECT)


def changes_sessions(request: Request | Hook | Withdrawn) -> bool:
    """Whether a piece changes what the record of a durable instance says of a session."""
    return type(request) is Hook and request in _SESSION_HOOKS


class _Nobody(Link):
    """The link of hooks that no session causes."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None)
        self.caller = INSTANCE

    def send(self, frame: bytes) -> None:
        """See `Link.send`; there is nobody to get it."""


NOBODY: Final = _Nobody()


class Absent(Link):
    """A session that stored state knows, and that has sent nothing to the instance since it was loaded."""

    __slots__ = ()

    def send(self, frame: bytes) -> None:
        """See `Link.send`; it has subscribed to nothing here."""


class _Idle(deque[Piece]):
    """Takes nothing: whoever puts something into a mailbox opens it first."""

    def append(self, piece: Piece) -> None:
        raise AssertionError("a mailbox was not opened")

    appendleft = append
    extendleft = append  # type: ignore[assignment]


IDLE: Final[deque[Piece]] = _Idle()
"""The mailbox of every instance in memory that has nothing to do: an empty deque takes 760 bytes."""
MAX_SPARE: Final = 64
"""Mailboxes that are kept for the next instances that get something to do."""
_spare: Final[list[deque[Piece]]] = []


class Resident:
    """An instance with its mailbox and subscribers.

    Attributes:
        mailbox: what waits; `IDLE` until `open_mailbox`.
        active: `on_activate` is over, for a durable instance its state is here, and its eviction has not begun.
        scheduled: it is in the pool's queue, or being served.
        history: versions of the state, from the first state subscription on.
        keeper: of a durable instance.
        beside: methods that run beside its turns, by name.
        stored: the stored state that `beside` methods read, and its JSON.
        worker: serves it, or did so last.
        flushes: of the turn in progress, for which its handler waits.
        answered: calls with an idempotency key, from the first one on; a durable instance's are its keeper's.
        failure: why a durable instance cannot be used; its requests are answered with it.
        failed_until: when that may be over; never by default.
        used: when it was last served, on the clock's `now()`.
        size: of its state, as it counts towards the limit of memory.
        gone: it has left memory.
        ticks: its running timers, from the first one on.
        unused: what is served now is no use of it: a timer of its own.
        views: its watchers by what they see, of a class with a view.
    """

    __slots__ = (
        "active",
        "address",
        "answered",
        "beside",
        "counts",
        "events",
        "failed_until",
        "failure",
        "flushes",
        "gone",
        "history",
        "instance",
        "keeper",
        "mailbox",
        "scheduled",
        "size",
        "stored",
        "ticks",
        "unused",
        "used",
        "views",
        "watchers",
        "worker",
    )

    def __init__(self, instance: Instance, counts: TypeCounts, now: float) -> None:
        self.instance = instance
        self.counts = counts
        self.address = frames.address(instance.definition.name, instance.actor_id)
        self.mailbox = IDLE
        self.views = None if instance.definition.view is None else Viewers()
        self.watchers = Watchers() if self.views is None else self.views
        self.events = Audience()
        self.history: History | None = None
        self.keeper: Keeper | None = None
        self.beside: dict[str, MethodDefinition] = instance.definition.beside
        self.stored: tuple[bytes, Document[Any]] | None = None
        self.worker: Worker | None = None
        self.flushes: list[asyncio.Future[bool]] | None = None
        self.answered: AnswerTable | None = None
        self.failure: ZocketError | None = None
        self.failed_until = math.inf
        self.scheduled = False
        self.active = False
        self.used = now
        self.size = 0
        self.gone = False
        self.ticks: dict[object, Tick] | None = None
        self.unused = False

    def open_mailbox(self) -> deque[Piece]:
        """The mailbox, for something to be put there."""
        if self.mailbox is IDLE:
            self.mailbox = _spare.pop() if _spare else deque()
        return self.mailbox

    def close_mailbox(self) -> None:
        """Nobody holds the mailbox, and it is empty."""
        if self.mailbox is not IDLE and len(_spare) < MAX_SPARE:
            _spare.append(self.mailbox)
        self.mailbox = IDLE


class CallLink(Link):
    """The link of a call that this process makes itself.

    Attributes:
        frame: resolves to the frame that answers the call, or to None if the caller gave up.
        answered: whether the answer has come.
    """

    __slots__ = ("answered", "frame")

    def __init__(self, caller: Caller) -> None:
        super().__init__(None)
        self.caller = caller
        self.answered = False
        self.frame: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        self.answered = True
        if not self.frame.done():
            self.frame.set_result(frame)

    def give_up(self) -> None:
        """The time limit of the call is over, or the turn that makes it."""
        if not self.frame.done():
            self.frame.set_result(None)
