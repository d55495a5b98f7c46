"""Tells whoever listens what changed: one queue a listener, bounded.

Rules: announcing never waits; a listener that does not read is told `lagged` and nothing else is kept for it, so that
it reads everything anew. Only this process is heard: what another control plane changes is seen by asking.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

QUEUED: Final = 256
"""Changes that wait for one listener."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something of a project changed; `content` is what the API would show."""

    kind: Literal["project", "deployment", "status", "lagged"]
    project_id: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)


class Listener:
    """One queue; made by `Changes.listen`."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue(QUEUED)

    def put(self, change: Change | None) -> None:
        """Keeps a change; None ends the listening."""
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(Change("lagged"))
        self._queue.put_nowait(change)

    async def next(self, timeout_s: float) -> Change | None:
        """The next change, None at the end.

        Raises:
            TimeoutError: nothing changed in that time.
        """
        return await asyncio.wait_for(self._queue.get(), timeout_s)


class Changes:
    """Everybody who listens.

    Attributes:
        closing: set when the process ends.
    """

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self._listeners: set[Listener] = set()

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Everything that is announced during the block."""
        listener = Listener()
        if self.closing.is_set():
            listener.put(None)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def announce(self, change: Change) -> None:
        """Tells everybody."""
        for listener in self._listeners:
            listener.put(change)

    def project_changed(self, project_id: str) -> None:
        """A project is shown differently now."""
        self.announce(Change("project", project_id))

    def deployment_changed(self, project_id: str, deployment_id: str) -> None:
        """Something became of a deployment, and is written down; without its id, of which one is active."""
        if not deployment_id:
            self.project_changed(project_id)
            return
        self.announce(Change("deployment", project_id, {"deploymentId": deployment_id}))

    def runtime_changed(self, project_id: str, deployment_id: str) -> None:
        """A runtime is in another state."""
        if project_id:
            self.announce(Change("status", project_id, {"deploymentId": deployment_id}))

    def close(self) -> None:
        """The process ends: whoever listens or waits goes now."""
        self.closing.set()
        for listener in self._listeners:
            listener.put(None)
