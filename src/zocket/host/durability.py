"""Durable instances of a host: loading, releasing what is stored, and what to do when a save goes wrong.

Rules: what the store says counts; turns that it does not have run again in their order, or fail with an error; a turn
of an instance that another process owns now leaves nothing behind. A full store fails the turns that it does not take;
an instance that it did not let start is tried again by a later request.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from zocket.core import Session
from zocket.errors import Overloaded, PlatformError, StoredStateError, TooLarge, Unavailable
from zocket.host.flushing import give_up_flushes
from zocket.host.keeper import Keeper
from zocket.host.resident import ACTIVATE, FLUSH, NOTHING, Absent
from zocket.ids import new_epoch
from zocket.protocol import frames
from zocket.protocol.frames import Rpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.clock import Clock
    from zocket.errors import ZocketError
    from zocket.host.host import Host
    from zocket.host.keeper import Outcome
    from zocket.host.resident import Piece, Resident
    from zocket.host.store import Position, StateStore

RETURN_WITHIN_S: Final = 6.0
"""Time for a session that stored state knows to show itself after a load: as long as a gateway may be silent."""
FULL_AGAIN_S: Final = 1.0
"""How long an instance that a full store did not let start answers `overloaded` before it is tried again."""

log = logging.getLogger("zocket.host")


class Durability:
    """The durable side of a host.

    Args:
        host: runs the turns.
        store: keeps the records; None if no actor is durable.
        clock: pauses between attempts.
        owns: whether this process still owns its instances; None where it always does.
    """

    def __init__(
        self, host: Host, store: StateStore | None, *, clock: Clock, owns: Callable[[], Awaitable[bool]] | None
    ) -> None:
        self._host = host
        self._store = store
        self._clock = clock
        self._owns = owns
        self._writer = new_epoch()

    def keep(self, resident: Resident) -> None:
        """From now on the resident's turns leave when they are stored."""
        assert self._store is not None
        resident.keeper = Keeper(
            resident.instance,
            self._store,
            self._writer,
            self._clock,
            self._host.timing.wheel,
            release=partial(self._release, resident),
            troubled=partial(self._troubled, resident),
        )

    def _troubled(self, resident: Resident) -> None:
        give_up_flushes(resident)
        self._host.schedule(resident)

    async def may_go_on(self, resident: Resident, keeper: Keeper) -> bool:
        """Whether a further turn may run now; first settles what went wrong with the store."""
        if keeper.trouble is not None:
            keeper.recovering = True
            try:
                await self._recover(resident, keeper)
            finally:
                keeper.recovering = False
        if resident.failure is not None and self._clock.now() >= resident.failed_until:
            resident.failure = None
            self._host.activate_again(resident)
        return bool(resident.mailbox) and not keeper.full

    async def load(self, resident: Resident, keeper: Keeper) -> bool:
        """The instance's state is here afterwards, or `resident.failure` says why it cannot be used.

        False if another process owns the instance, and nothing of it is here any more.
        """
        resident.failure = None
        try:
            await keeper.activate()
        except StoredStateError as error:
            log.error("stored state cannot be used: %s", error.message, extra=fields(resident))
            resident.failure = error
        except Overloaded as error:
            self._fail_for_a_while(resident, error)
        if keeper.shared and not await self._is_ours():
            self._give_up(resident, 1)
            return False
        resident.history = keeper.history
        if keeper.sessions and keeps_sessions(resident):
            self._await_return(resident, keeper)
        if resident.failure is None:
            self._host.subscriptions.show(resident)  # nobody watches, unless it starts again
            self._host.tells.hand_over(resident)
        return True

    async def _is_ours(self) -> bool:
        """Asked also after an instance was fenced off: else one that is not the owner would take it away unseen."""
        return self._owns is None or await self._owns()

    def _give_up(self, resident: Resident, pieces: int) -> None:
        log.warning("another process owns the instance", extra=fields(resident))
        held = 0 if resident.keeper is None or resident.keeper.unsent is None else resident.keeper.unsent.holding
        self._host.abandon(resident, pieces + held)

    def _await_return(self, resident: Resident, keeper: Keeper) -> None:
        """The sessions that the state knows are known again, without `on_connect`, and end soon if they stay silent.

        Of those that were away the grace goes on; they, too, have the time to show themselves.
        """
        absent = {session_id: Absent(Session(session_id, user_id)) for session_id, user_id in keeper.sessions.items()}
        for session_id, link in absent.items():
            self._host.sessions.remember(resident, session_id, link)
        grace_s = resident.instance.definition.grace_s or 0.0
        for session_id, until in keeper.away.items():
            if session_id in absent:
                left_s = min(until - self._clock.wall(), grace_s)
                self._host.sessions.grace.wait(resident, absent.pop(session_id), max(left_s, RETURN_WITHIN_S))
        self._clock.call_later(RETURN_WITHIN_S, partial(self._host.sessions.end_absent, resident, absent))

    def _fail_for_a_while(self, resident: Resident, error: Overloaded) -> None:
        log.warning("an instance cannot start: %s", error.message, extra=fields(resident))
        resident.failure = error
        resident.failed_until = self._clock.now() + FULL_AGAIN_S

    def _release(self, resident: Resident, outcomes: list[Outcome]) -> None:
        """These turns are stored: their effects and answers leave, in order."""
        keeper = resident.keeper
        assert keeper is not None
        for piece, effects, answer, _ in outcomes:
            self._host.publish(resident, effects)
            if answer is not None:
                piece[0].answer(piece[1].id, answer, kept=True)  # type: ignore[union-attr]
            if not effects[3] or keeper.unsent is None or not keeper.unsent.hold(piece, effects[3]):
                self._host.finish(piece)
        self._finish_freed(keeper)
        if keeper.unshown and keeper.trouble is None:
            self._show(resident, keeper)
        if resident.mailbox:
            self._host.schedule(resident)

    def _finish_freed(self, keeper: Keeper) -> None:
        """Finishes what waited for one-way calls that are not in the record any more."""
        if keeper.unsent is not None:
            for piece in keeper.unsent.freed():
                self._host.finish(piece)

    def _show(self, resident: Resident, keeper: Keeper) -> None:
        keeper.unshown = False
        self._host.subscriptions.show(resident)

    async def _recover(self, resident: Resident, keeper: Keeper) -> None:
        """A save went wrong: what the store says counts; turns that it does not have run again, or fail."""
        trouble, single, known = keeper.trouble, not keeper.careful, keeper.sources
        attempted, later = keeper.take()
        lost = [*attempted, *later]
        try:
            record, stored = await keeper.reload()
            moved, resident.history = resident.history is not keeper.history, keeper.history
            if stored:
                self._release(resident, attempted)
                lost = later
            foreign = not keeper.written_by_us(record)
            if foreign and not await self._is_ours():
                self._give_up(resident, len(lost))
                return
            await keeper.fence(record)
            if foreign and not await self._is_ours():
                self._give_up(resident, len(lost))
                return
            if moved or keeper.unshown:
                self._show(resident, keeper)
            self._host.tells.hand_over(resident)
            self._finish_freed(keeper)
            if foreign and (newer := keeper.sources - known):
                lost = self._refuse_overtaken(resident, lost, newer)
        except StoredStateError as error:
            resident.failure = error
        except Overloaded as error:
            self._fail_for_a_while(resident, error)
        lost = self._without_flushes(lost)
        if isinstance(trouble, Overloaded):
            log.warning("the store is full: %s", trouble.message, extra=fields(resident))
            if any(outcome.piece[1] is ACTIVATE for outcome in lost):
                self._fail_for_a_while(resident, trouble)
            for outcome in lost:
                self._fail(resident, outcome, trouble)
            lost = []
        elif isinstance(trouble, TooLarge):
            if lost and not single:
                failed, *lost = lost
                self._fail(resident, failed, trouble)
            keeper.careful = len(lost) + 1
        for outcome in lost:
            if outcome.piece[1] is NOTHING:
                self._host.finish(outcome.piece)  # a record that was only written again: whoever needs that asks again
        again = (outcome.piece for outcome in reversed(lost) if outcome.piece[1] is not NOTHING)
        resident.open_mailbox().extendleft(again)

    def _without_flushes(self, lost: list[Outcome]) -> list[Outcome]:
        """Parts of turns do not run again by themselves; the call that they are of comes after them."""
        for outcome in lost:
            if outcome.piece[1] is FLUSH:
                self._host.finish(outcome.piece)
        return [outcome for outcome in lost if outcome.piece[1] is not FLUSH]

    def _refuse_overtaken(self, resident: Resident, lost: list[Outcome], newer: frozenset[str]) -> list[Outcome]:
        """Calls of a stream that was lost, while another owner has taken some of its next life: their turn is over.

        That owner never got them, so run now they would change the order of their callers.

        Returns:
            What is left of `lost`.
        """

        def is_overtaken(piece: Piece) -> bool:
            return type(piece[1]) is Rpc and piece[5] is not None and piece[5].source not in newer

        error = Unavailable("the call was lost on its way, with the stream that carried it")
        overtaken = [outcome.piece for outcome in lost if is_overtaken(outcome.piece)]
        overtaken += [piece for piece in resident.mailbox if is_overtaken(piece)]
        kept = [piece for piece in resident.mailbox if not is_overtaken(piece)]
        resident.mailbox.clear()
        resident.mailbox.extend(kept)
        for piece in overtaken:
            self._host.refuse(piece[0], piece[1], piece[2], error)  # type: ignore[arg-type]
            self._host.finish(piece)
        return [outcome for outcome in lost if not is_overtaken(outcome.piece)]

    def _fail(self, resident: Resident, outcome: Outcome, error: ZocketError) -> None:
        """A turn whose state the store does not take."""
        link, request, request_id = outcome.piece[:3]
        if type(request) is Rpc:
            self._host.refuse(link, request, request_id, error)
        else:
            log.error("a hook's state was refused: %s", error.message, extra=fields(resident))
        self._host.finish(outcome.piece)


def keeps_sessions(resident: Resident) -> bool:
    """Whether the instance's record names the sessions that its state knows."""
    definition = resident.instance.definition
    return resident.keeper is not None and resident.failure is None and definition.keeps_sessions


def repeat(keeper: Keeper, piece: Piece, position: Position) -> bool:
    """A call that is in the state already was delivered again: its answer goes out again.

    Returns:
        Whether it is finished; not yet, if something that it has told may still have to leave.
    """
    link, request, request_id = piece[:3]
    assert type(request) is Rpc
    answer = keeper.answer_of(position)
    if answer is None:
        gone = PlatformError("the call took effect; its answer is gone", code="repeated", request_id=request_id)
        answer = frames.failure(request.id, gone)
    link.answer(request.id, answer, kept=True)
    return keeper.unsent is None or not keeper.unsent.hold(piece)


def fields(resident: Resident) -> dict[str, str]:
    """Log fields of an instance."""
    return {"actor": resident.instance.definition.name, "actor_id": resident.instance.actor_id}
