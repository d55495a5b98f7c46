# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""A document: the state of one instance, changed by ordinary Python and told to others as patches.

A turn is opened, the state is changed, the turn is committed (its changes come back as RFC 6902 operations) or rolled
back (the state is what it was). All work is proportional to what a turn changed, never to the size of the state,
except for snapshots, which are cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from zocket.errors import TooLarge, UsageError
from zocket.state.adopt import Settlement, adopt_root
from zocket.state.committed import Committed, ComputedFields
from zocket.state.emission import Emission, encoded, whole_difference
from zocket.state.encoding import encode_checked
from zocket.state.journal import TRACKED, Journal
from zocket.state.kinds import Untracker
from zocket.state.positions import Position, root_position
from zocket.state.quick import quick_commit

if TYPE_CHECKING:
    from zocket.state.growth import Operations

S = TypeVar("S")

SLACK_BYTES: Final = 4_096
"""Of an estimated size, besides twice the state: small states are not measured at every change."""


def read_only(owner: str) -> str:
    """How the owner of a state that nothing can write to is named in messages."""
    return f"{owner} (only to be read here)"


class Document(Generic[S]):
    """Tracked state.

    Args:
        initial: a Pydantic model, msgspec Struct, dataclass, dict or list. It is copied into tracked parts; the object
            itself is left alone.
        max_bytes: a commit that makes the state larger than this raises TooLarge; None for no limit.
        owner: whose state it is (`actor/id`), for messages.

    Attributes:
        size: estimated bytes of the committed state as JSON: not less than it has, and at most twice what it had since
            it was measured and `SLACK_BYTES`; 0 without `max_bytes`. A snapshot measures it, and so does a commit when
            the patches since the last time have outgrown it.
        state: the tracked root; reads like the plain value that it was made of.

    Raises:
        StateValueError: the initial value holds what JSON cannot; the message has the pointer to it.
    """

    __slots__ = (
        "_committed",
        "_journal",
        "_max_bytes",
        "_measure_above",
        "_opaque",
        "_position",
        "_snapshot",
        "size",
        "state",
    )

    def __init__(self, initial: S, *, max_bytes: int | None = None, owner: str = "") -> None:
        self._journal = Journal(owner)
        self._max_bytes = max_bytes
        self._snapshot: bytes | None = None
        self._committed: Document[S] | None = None
        self._measure_above = 0
        self.size = 0
        self.state: S
        self._adopt(initial)

    def _adopt(self, initial: Any) -> None:
        journal = Journal(self._journal.owner)
        self.state = adopt_root(initial, journal)
        self._journal = journal
        kind = TRACKED[type(self.state)]
        self._position: Position = root_position(getattr(kind, "cls", dict))
        self._opaque = type(self._position) is Position or getattr(kind, "opaque", False)
        journal.special = journal.special or self._opaque
        self._snapshot = self._committed = None
        if self._max_bytes is not None:
            self._measured(len(self._encode(self.state)), self._max_bytes)

    def _measured(self, size: int, max_bytes: int) -> None:
        self.size = size
        self._measure_above = min(2 * size + SLACK_BYTES, max_bytes)

    @property
    def owner(self) -> str:
        """Whose state it is."""
        return self._journal.owner

    @property
    def in_turn(self) -> bool:
        """Whether a turn is open."""
        return self._journal.open

    def begin(self) -> None:
        """Open a turn; raises UsageError if one is open."""
        journal = self._journal
        if journal.open:
            raise UsageError("A turn of this state is already open")
        journal.open = True

    def commit(self) -> Operations | None:
        """End the turn and return its changes as a JSON array of RFC 6902 operations, None if nothing changed.

        Where a text of at least `growth.MIN_CHARS` has grown, it is a `Growth`: by the increment, or as that array.

        Raises:
            StateValueError: a value that was placed into the state holds what JSON cannot. The turn stays
                open: roll it back.
            TooLarge: the state would be larger than `max_bytes`. The turn stays open: roll it back.
        """
        journal = self._journal
        if not journal.open:
            raise UsageError("No turn of this state is open")
        touched = journal.touched
        if not touched:
            journal.open = False
            if journal.undo:
                journal.close()
            return None
        self._committed = None
        patches: Any = False if journal.special else quick_commit(journal, self._position)
        if patches is False:
            journal.places.clear()
            patches = self._commit(journal)
        elif patches is not None:
            size = self.size + len(patches)
            if size <= self._measure_above:
                self.size = size
                self._snapshot = None
            else:
                self._grow(patches)
        for node in touched:
            set_changes = TRACKED[type(node)].set_changes
            set_changes(node, None)
        journal.touched = []
        journal.open = False
        if journal.orders or journal.undo:
            journal.close()
        return patches  # type: ignore[no-any-return]

    def _commit(self, journal: Journal) -> Operations | None:
        """Settle and emit a turn of any kind."""
        old = self.snapshot() if self._opaque else b""
        computed = ComputedFields(journal) if journal.computed else None
        settlement = Settlement(journal)
        try:
            settled = settlement.run()
            if self._opaque:
                ops = whole_difference(old, self._encode(self.state))
            else:
                emission = Emission(self.state, self._position, settlement)
                emission.run(settled)
                if computed is not None:
                    computed.emit(emission)
                ops = emission.ops
            patches = encoded(ops)
            if patches is not None:
                self._grow(patches)
        except BaseException:
            settlement.undo()
            raise
        if computed is not None:
            computed.keep()
        return patches

    def _grow(self, patches: Operations) -> None:
        """Note that patches were made; raises TooLarge if the state may not grow by them."""
        if self._max_bytes is not None:
            size = self.size + len(patches)
            if size <= self._measure_above:
                self.size = size
            else:
                size = len(self._encode(self.state))
                if size > self._max_bytes:
                    raise TooLarge(f"The state would have {size} bytes, {self._max_bytes} are allowed")
                self._measured(size, self._max_bytes)
        self._snapshot = None

    def rollback(self) -> None:
        """End the turn and make the state exactly what it was when the turn began."""
        journal = self._journal
        if not journal.open:
            raise UsageError("No turn of this state is open")
        for node in journal.touched:
            kind = TRACKED[type(node)]
            kind.restore(node, node._zc)
            kind.set_changes(node, None)
        for restore, value in reversed(journal.undo):
            restore(value)
        journal.close()

    def snapshot(self) -> bytes:
        """Return the JSON of the committed state, also while a turn is open; cached until a commit changes it."""
        if self._snapshot is None:
            root = self.state
            if self._journal.touched:
                root = Committed(self._journal).copy(root)
            self._snapshot = self._encode(root)
            if self._max_bytes is not None:
                self._measured(len(self._snapshot), self._max_bytes)
        return self._snapshot

    def committed(self) -> Document[S]:
        """Return a copy of the committed state that nothing can write to, also while a turn is open.

        Copied until a commit changes it; one copy is shared by all who ask. It costs the whole state.
        """
        if self._committed is None:
            root = self.state
            if self._journal.touched:
                root = Committed(self._journal).copy(root)
            self._committed = Document(Untracker()(root), owner=read_only(self.owner))
        return self._committed

    def _encode(self, root: Any) -> bytes:
        return encode_checked(self._position.encode, Untracker()(root) if self._journal.plain else root)

    def replace(self, initial: S) -> None:
        """Adopt another root, outside a turn; parts of the old one become stale."""
        if self._journal.open:
            raise UsageError("The state cannot be replaced while a turn is open")
        self._adopt(initial)
