"""A call that runs beside the turns of its instance: an actor object of its own, on a state that cannot be written.

Rules: what it reads is one committed state from its beginning to its end, whatever it waits for; it is in no turn, so
it changes, emits and orders nothing; plain attributes of the actor are copied to it, and what it sets stays with it.
"""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING, Any, Final

from zocket.core.actor import Call
from zocket.core.guards import Access
from zocket.core.instance import Instance
from zocket.errors import TooLarge, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.core.actor import Actor
    from zocket.core.definition import MethodDefinition
    from zocket.core.session import Caller
    from zocket.state import Document


_WAITING: Final = frozenset({"GET_AWAITABLE", "GET_ANEXT", "YIELD_VALUE"})
"""What `await`, `async for`, `async with` and `yield` are compiled to."""


def never_waits(function: Callable[..., Any]) -> bool:
    """Whether a coroutine function runs to its end in one stretch, whatever it is given."""
    return all(instruction.opname not in _WAITING for instruction in dis.get_instructions(function))


class Beside(Instance):
    """One call beside an instance.

    Args:
        instance: in whose name it runs.
        document: a committed state; no turn of it is opened as long as the call runs.
        caller: who calls.
        request_id: of the call.
        stop: cancels the call whose turn is in progress, and tells whether there was one; None for a query.
    """

    __slots__ = ("_beside", "_stop")

    def __init__(
        self,
        instance: Instance,
        document: Document[Any],
        caller: Caller,
        request_id: str,
        stop: Callable[[], bool] | None,
    ) -> None:
        self._beside = instance
        self._stop = stop
        super().__init__(
            instance.definition, instance.actor_id, max_result_bytes=instance.max_result_bytes, document=document
        )
        self.sessions = instance.sessions
        self.caller = caller
        self.request_id = request_id

    def _new_actor(self) -> Actor[Any, Any]:
        actor: Actor[Any, Any] = self.definition.cls.__new__(self.definition.cls)
        vars(actor).update(vars(self._beside.actor))
        actor._instance = self  # noqa: SLF001 — the two are one thing seen from two sides
        return actor

    def cancel_running(self) -> bool:
        """See `Actor.cancel_running`."""
        if self._stop is None:
            raise UsageError(f"{self.definition.cls.__name__}: a query only reads; use @method(beside=True) to cancel")
        return self._stop()

    async def run(self, method: MethodDefinition, raw: Any) -> bytes | None:
        """The JSON of the result, None for none.

        Raises:
            ValidationFailed: the input does not fit; nothing ran, and no guard was asked.
            TooLarge: the result is over its limit.
            BaseException: whatever a guard, middleware or the handler raised, or why the host ended it.
        """
        arguments = method.decode_input(raw)
        if self.definition.guards:
            await self.admit(Access(self, "rpc", self.caller, self.request_id, method.name, arguments))
        try:
            if self.definition.middleware:
                value = await self._through(Call(self, method.name, arguments), method, 0)
            else:
                value = await method.function(self.actor, **arguments)
            result = method.encode_result(value)
        except BaseException as error:
            if self.abandoned is not None and error is not self.abandoned:
                raise self.abandoned from error
            raise
        if self.abandoned is not None:
            raise self.abandoned
        if result is not None and self.max_result_bytes is not None and len(result) > self.max_result_bytes:
            raise TooLarge(f"{method.name}: a result of {len(result)} bytes, the limit is {self.max_result_bytes}")
        return result
