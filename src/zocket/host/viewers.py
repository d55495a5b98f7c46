"""The subscribers of an instance whose class has a view: by audience, with what each audience was sent last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.host.history import History
from zocket.host.link import Watchers

if TYPE_CHECKING:
    from collections.abc import Hashable

    from zocket.host.link import Link


class Group:
    """The subscribers that see the same.

    Attributes:
        audience: who they are.
        shown: JSON of what they were sent last.
        history: its versions; an epoch of its own.
        source: the stored state that it was made of; None where nothing is stored.
    """

    __slots__ = ("audience", "history", "shown", "source")

    def __init__(self) -> None:
        self.audience = Watchers()
        self.shown = b""
        self.history = History()
        self.source: bytes | None = None


class Viewers(Watchers):
    """All watchers of the instance.

    Attributes:
        groups: by key; each has a member.
    """

    __slots__ = ("_keys", "groups")

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[Hashable, Group] = {}
        self._keys: dict[str, Hashable] = {}

    def join(self, session_id: str, link: Link, key: Hashable, group: Group, *, appends: bool) -> None:
        """The session belongs to this group from now on, and to no other."""
        if session_id in self._keys and self._keys[session_id] != key:
            self.discard(session_id)
        self.add(session_id, link)
        self.groups[key] = group
        self._keys[session_id] = key
        group.audience.add(session_id, link, appends=appends)

    def discard(self, session_id: str) -> None:
        """See `Audience.discard`; a group without members is forgotten."""
        super().discard(session_id)
        if session_id in self._keys:
            key = self._keys.pop(session_id)
            group = self.groups[key]
            group.audience.discard(session_id)
            if not group.audience.links:
                del self.groups[key]
