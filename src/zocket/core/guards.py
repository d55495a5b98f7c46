"""Guards: who may do what, decided in one chain before anything runs.

Rules: a guard allows by returning and refuses by raising; the app's guards are asked first, then the actor's; the state
that a guard sees is the committed one, and it cannot change it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal

from typing_extensions import TypeVar

from zocket.errors import NoSessionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zocket.core.instance import Instance
    from zocket.core.session import Caller, Session

S = TypeVar("S", default=Any)

AccessKind = Literal["connect", "rpc", "state:sub", "event:sub", "timer"]
"""What somebody is about to do: be known to an instance for the first time, call, subscribe; or a timer fires."""

NO_ARGUMENTS: Final[Mapping[str, Any]] = {}


class Access(Generic[S]):
    """What a guard decides about.

    Attributes:
        kind: what is about to happen.
        actor: wire name of the actor type.
        actor_id: which instance.
        method: wire name of the method, "" where none is called.
        arguments: its validated keyword arguments; empty where none is called.
        caller: who causes it.
        request_id: finds the log lines.
    """

    __slots__ = ("_instance", "actor", "actor_id", "arguments", "caller", "kind", "method", "request_id")

    def __init__(
        self,
        instance: Instance,
        kind: AccessKind,
        caller: Caller,
        request_id: str,
        method: str = "",
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
    ) -> None:
        self._instance = instance
        self.kind = kind
        self.actor = instance.definition.name
        self.actor_id = instance.actor_id
        self.method = method
        self.arguments = arguments
        self.caller = caller
        self.request_id = request_id

    @property
    def state(self) -> S:
        """The committed state of the instance. A change raises StaleReferenceError."""
        state: S = self._instance.document.state
        return state

    @property
    def session(self) -> Session:
        """The client session that asks.

        Raises:
            NoSessionError: no client asks: server code, another actor, a timer.
        """
        if self.caller.session is None:
            raise NoSessionError(
                f"{self.actor}: no client session asks here (the caller is {self.caller.kind}); "
                "look at access.caller first"
            )
        return self.caller.session


Guard = Callable[[Access[Any]], Awaitable[None] | None]
"""`async def members_only(access: Access[RoomState]) -> None`, or a plain `def`. What it raises is the caller's error:
`ActorError("members only", code="forbidden")`."""


async def ask(guards: tuple[Guard, ...], access: Access[Any]) -> None:
    """Returns if every guard allows it.

    Raises:
        BaseException: what the first guard that refuses raised.
    """
    for guard in guards:
        answer = guard(access)
        if inspect.isawaitable(answer):
            await answer
