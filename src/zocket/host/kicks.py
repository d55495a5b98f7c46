"""Carries out kicks: the session is told, leaves the instance, and nothing that it had waiting there runs.

Rules: of one stay of a session `on_disconnect` runs at most once, and only if its `on_connect` ran; it is the
instance's next turn, so a session that comes back is introduced after it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zocket.errors import KICKED, ActorError
from zocket.host.resident import CONNECT, Hook, Withdrawn
from zocket.protocol import frames
from zocket.protocol.frames import Rpc

if TYPE_CHECKING:
    from zocket.core import Kick
    from zocket.host.host import Host
    from zocket.host.link import Link
    from zocket.host.resident import Piece, Resident
    from zocket.host.running import Running


def kick(host: Host, running: Running, resident: Resident, order: Kick) -> None:
    """Parts with the session, unless it has left or is leaving."""
    link = resident.instance.sessions.get(order.session_id)
    if link is None:
        return
    introduced = not any(piece[0] is link and piece[1] is CONNECT for piece in resident.mailbox)
    if not host.sessions.part_with(resident, link, introduced=introduced):
        return
    for piece in _take(resident, link):
        request = piece[1]
        if isinstance(request, Withdrawn):
            finished = running.leave_out(resident, request.call, piece)
        else:
            finished = type(request) is not Rpc or host.refuse(link, request, piece[2], _error(order), resident, piece)
        if finished:
            host.finish(piece)
    instance = resident.instance
    frame = frames.problem(_error(order), instance.definition.name, instance.actor_id)
    if order.close:
        asyncio.get_running_loop().call_soon(link.dismiss, frame)  # after the answer, if it kicked itself
    else:
        link.refuse(frame)


def _take(resident: Resident, link: Link) -> list[Piece]:
    """What the link has waiting, its end aside, out of the mailbox."""
    taken: list[Piece] = []
    kept: list[Piece] = []
    for piece in resident.mailbox:
        is_its = piece[0] is link and (piece[1] is CONNECT or not isinstance(piece[1], Hook))
        (taken if is_its else kept).append(piece)
    resident.mailbox.clear()
    resident.mailbox.extend(kept)
    return taken


def _error(order: Kick) -> ActorError:
    return ActorError(order.reason or "kicked by the actor", code=KICKED)
