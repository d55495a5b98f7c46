"""What an actor reaches other actors by: `self.actors`, as its code sees it.

Rules: a call is typed as the class that it goes to, a one-way call as the method; the host carries them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.core.actor import Actor

A = TypeVar("A", bound="Actor[Any, Any]")
P = ParamSpec("P")


class Actors(Protocol):
    """The other actors of the app, as one instance reaches them."""

    def get(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """A handle of another instance, typed as its class: `await self.actors.get(Room, "archive").post(text="…")`.

        The caller's turn waits for the answer, for as long as its own time limit. A call that would wait for itself is
        refused at once. Inside the method `self.caller.kind` is `actor`. A method that yields is iterated over; each of
        its chunks lets the time limit begin anew, and leaving the loop cancels the call.

        Args:
            cls: its actor class.
            actor_id: which instance.
            name: its name in this app, if the class has several.

        Raises:
            UsageError: the class is not in this app; or (when a call is awaited) no turn of this instance runs.
            InvalidId: the id is empty or too long.
            ActorError: (when a call is awaited) the method failed, code and data as it raised them; or the call was not
                carried (`unavailable`, `overloaded`, `too_large`).
            CallCycle: (when a call is awaited) the called instance waits, itself or through others, for this one.
            Cancelled: (when a call is awaited) the turn that made it is over.
        """

    def tell(self, method: Callable[P, Awaitable[Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Calls a method one-way: `self.actors.tell(self.actors.get(Room, "archive").post, text="…")`.

        It leaves when the turn has committed, and not at all if the turn fails. Those of one instance to another one
        arrive in the order they were told in. Nobody waits for them: what the method raises is logged and counted.

        Args:
            method: of a handle that `get` gave.
            args: of the method.
            kwargs: of the method.

        Raises:
            UsageError: no turn of this instance runs, or `method` is not of such a handle.
            TypeError: the arguments do not fit the method.
            TooLarge: they are larger than a result may be.
            Overloaded: the turn has told more than 1,000 already, or as many of this instance wait to leave.
        """
