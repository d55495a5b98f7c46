"""Sends the changes of a commit to the subscribers of a state, each in the form that it takes.

Rules: every subscriber gets the same versions; each form is made at most once a broadcast, and only if somebody gets
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.protocol import frames

if TYPE_CHECKING:
    from zocket.host.history import History
    from zocket.host.link import Link, Outlet, Watchers
    from zocket.protocol.frames import StateSub
    from zocket.state import Operations


def send_patch(outlet: Outlet, watchers: Watchers, address: bytes, history: History, operations: Operations) -> None:
    """Takes the operations down and gives them to every subscriber; who did not announce `append` gets `replace`."""
    if isinstance(operations, bytes):
        version = history.add(operations)
        if watchers.links:
            outlet.broadcast(watchers, frames.patch(address, operations, version))
        return
    version = history.add(operations.short, appends=True)
    appending, others = watchers.parts()
    if appending.links:
        outlet.broadcast(appending, frames.patch(address, operations.short, version))
    if others.links:
        outlet.broadcast(others, frames.patch(address, operations.whole(), version))


def send_missing(link: Link, request: StateSub, address: bytes, history: History) -> bool:
    """Answers a subscription with the patches since the client's version; False if it needs a snapshot."""
    missing = history.missing(request.version(), appends=request.appends)
    if missing is None:
        return False
    for operations, version in missing or [(b"[]", history.version())]:
        link.send(frames.patch(address, operations, version))
    return True
