"""Asks guards: whether a session may be introduced, call, or subscribe.

Rules: who is refused is answered with the guard's error, and not known to the instance if it was not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.core import Access
from zocket.host.resident import Hook, Withdrawn
from zocket.protocol.frames import EventSub, StateSub

if TYPE_CHECKING:
    from zocket.core.guards import AccessKind
    from zocket.host.host import Host
    from zocket.host.resident import Piece, Resident
    from zocket.host.sessions import Sessions
    from zocket.host.workers import Worker
    from zocket.protocol.frames import Request


class Admission:
    """The guards of a host's instances.

    Args:
        host: answers who is refused.
        sessions: forgets who is refused.
        timeout_s: time limit of one question.
    """

    def __init__(self, host: Host, sessions: Sessions, timeout_s: float) -> None:
        self._host = host
        self._sessions = sessions
        self._timeout_s = timeout_s

    async def may_subscribe(self, resident: Resident, worker: Worker, request: Request, piece: Piece) -> bool:
        """Whether a subscription may come about; if not, it has been answered. To end one is always allowed."""
        if resident.failure is not None or not isinstance(request, StateSub | EventSub):
            return True
        error = await self._refusal(resident, worker, "state:sub" if type(request) is StateSub else "event:sub", piece)
        if error is not None:
            self._host.refuse(piece[0], request, piece[2], error)
        return error is None

    async def may_call(self, resident: Resident, worker: Worker, piece: Piece) -> bool:
        """Whether a call of a session that was not introduced, since it has ended meanwhile, would have been let in.

        If not, it has been answered and is finished, or will be when its answer is stored.
        """
        link = piece[0]
        assert link.session is not None
        if not resident.instance.definition.guards or resident.instance.sessions.get(link.session.id) is link:
            return True
        error = await self._refusal(resident, worker, "connect", piece)
        if error is not None:
            self._answer(resident, piece, error)
        return error is None

    async def may_connect(self, resident: Resident, worker: Worker, piece: Piece) -> bool:
        """Whether the session may be introduced.

        If not, the instance forgets it; the request that it came with is answered with the error.
        """
        if not resident.instance.definition.guards or resident.failure is not None:
            return True
        error = await self._refusal(resident, worker, "connect", piece)
        if error is None:
            return True
        link, mailbox = piece[0], resident.mailbox
        self._sessions.turn_away(resident, link)
        if mailbox and mailbox[0][0] is link and not isinstance(mailbox[0][1], Hook | Withdrawn):
            self._answer(resident, mailbox.popleft(), error)
        return False

    async def _refusal(
        self, resident: Resident, worker: Worker, kind: AccessKind, piece: Piece
    ) -> BaseException | None:
        """Why a guard does not let the session do this; None if all do."""
        instance = resident.instance
        worker.begin(instance, kind, self._timeout_s)
        try:
            await instance.admit(Access(instance, kind, piece[0].caller, piece[2]))
        except BaseException as error:  # noqa: BLE001 — border: a developer's guard
            self._host.turns.end(worker)
            self._host.reraise_if_stopping(error)
            return error
        self._host.turns.end(worker)
        return None

    def _answer(self, resident: Resident, piece: Piece, error: BaseException) -> None:
        link, request, request_id = piece[:3]
        if self._host.refuse(link, request, request_id, error, resident, piece):  # type: ignore[arg-type]
            self._host.finish(piece)
