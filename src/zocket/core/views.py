"""Views: what the subscribers of an actor see instead of its state, computed for each audience.

Rules: a view is given the key of its audience and nothing else of the sessions in it, so that it cannot tell one what
another may not see; it reads the committed state and changes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from zocket.core.redaction import public_schema
from zocket.errors import DefinitionError

if TYPE_CHECKING:
    from zocket.core.actor import Actor
    from zocket.core.session import Session

A = TypeVar("A")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

VIEW_MARK: Final = "__zocket_view__"
"""Attribute of a function that `@view` was put on: its `ViewOptions`."""


class ViewOptions:
    """What `@view(…)` was given."""

    __slots__ = ("key",)

    def __init__(self, key: Callable[[Session], Hashable] | None) -> None:
        self.key = key


@overload
def view(function: Callable[[A], V], /) -> Callable[[A], V]: ...
@overload
def view(*, key: Callable[[Session], K]) -> Callable[[Callable[[A, K], V]], Callable[[A, K], V]]: ...
def view(function: Any = None, /, *, key: Any = None) -> Any:
    """Makes a `def` of an actor what its subscribers see instead of the state.

    Args:
        function: the method itself, for the form without parentheses: one view for everybody.
        key: gives the audience of a session: `key=lambda session: session.user_id`. Sessions with equal keys see the
            same, and the method is given the key.
    """

    def mark(target: Any) -> Any:
        setattr(target, VIEW_MARK, ViewOptions(key))
        return target

    return mark if function is None else mark(function)


class ViewDefinition:
    """The view of a class.

    Attributes:
        label: `Class.method`, for messages.
        python_name: of the method.
        schema: of what it returns.
    """

    __slots__ = ("_function", "_key", "label", "python_name", "schema")

    def __init__(
        self, label: str, function: Any, options: ViewOptions, hints_of: Callable[[Any], dict[str, Any]]
    ) -> None:
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            raise DefinitionError(f"{label}: a view is written as a plain `def`")
        expected = 1 if options.key is None else 2
        if len(inspect.signature(function).parameters) != expected:
            form = "takes only self" if options.key is None else "takes self and the key of its audience"
            raise DefinitionError(f"{label}: a view {form}")
        hints = hints_of(function)
        if hints.get("return", type(None)) is type(None):
            raise DefinitionError(f"{label}: a view needs a return annotation, which is what its subscribers get")
        self.label = label
        self.python_name = function.__name__
        self.schema = public_schema(hints["return"])
        self._function = function
        self._key = options.key

    def key_of(self, session: Session) -> Hashable:
        """The audience of a session; None where everybody sees the same.

        Raises:
            BaseException: whatever `key=` raised.
        """
        return None if self._key is None else self._key(session)

    def show(self, actor: Actor[Any, Any], key: Hashable) -> bytes:
        """The JSON of what an audience sees.

        Raises:
            StateValueError: JSON cannot hold it, or it is not what the annotation says.
            BaseException: whatever the method raised.
        """
        return self.schema.encode(self._function(actor) if self._key is None else self._function(actor, key))
