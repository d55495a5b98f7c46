"""Handles of remote actors: what looks like the actor, and turns a method call into a call over the wire.

Rules: a handle is no instance of the actor's class; only its methods are there, everything else raises a `HandleError`
that says what to do instead. Handles hold nothing, cost nothing, and are equal if they mean the same instance through
the same client.
"""

from __future__ import annotations

import difflib
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

import msgspec

from zocket.core.actor import Actor, EventOf
from zocket.core.definition import HOOKS
from zocket.core.schema import SchemaMismatch
from zocket.errors import AnswerMismatch, HandleError
from zocket.ids import check_actor_id, check_actor_type
from zocket.protocol.client_session import Instance, decode_plain
from zocket.state import encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from zocket.core.definition import ActorDefinition, MethodDefinition

V = TypeVar("V")
R = TypeVar("R")


class Invoker(Protocol):
    """Carries a call to its actor."""

    async def invoke(self, instance: Instance, method: str, value: bytes | None, /) -> bytes | None:
        """The JSON of the result of a method, by its wire name and the JSON of its input.

        Raises:
            ZocketError: the call failed.
        """

    def stream(self, instance: Instance, method: str, value: bytes | None, /) -> AsyncGenerator[bytes, None]:
        """The JSON of each chunk of a method that yields; errors as of `invoke`, while iterating."""


class _Handle:
    """What typed and dynamic handles share; no public name, since every name may be a method."""

    __slots__ = ("_instance", "_invoker")

    _invoker: Invoker
    _instance: Instance

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Handle) or type(other) is not type(self):
            return NotImplemented
        return self._invoker is other._invoker and self._instance == other._instance

    def __hash__(self) -> int:
        return hash((id(self._invoker), self._instance))

    def __copy__(self) -> _Handle:
        return self

    def __deepcopy__(self, memo: object) -> _Handle:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise HandleError(f"{self!r}: {name} cannot be set, the actor lives on the server; change it in a method")

    def __delattr__(self, name: str) -> NoReturn:
        raise HandleError(f"{self!r}: {name} cannot be deleted, the actor lives on the server")


class ActorHandle(_Handle):
    """A typed handle: the methods of the actor's class, by their Python names."""

    __slots__ = ("_definition",)

    _definition: ActorDefinition

    def __init__(self, invoker: Invoker, definition: ActorDefinition, actor_id: str) -> None:
        object.__setattr__(self, "_invoker", invoker)
        object.__setattr__(self, "_definition", definition)
        object.__setattr__(self, "_instance", Instance(definition.name, check_actor_id(actor_id)))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._definition.method_of(name)
        if method is None:
            raise HandleError(f"{self!r}: {_advice(self._definition, name)}")
        return partial(self._iterate if method.stream else self._call, method)

    def __dir__(self) -> list[str]:
        return ["id", *(method.python_name for method in self._definition.methods.values())]

    def __repr__(self) -> str:
        return f"<{self._definition.cls.__name__} handle {self._instance}>"

    @property
    def id(self) -> str:
        """The id of the instance."""
        return self._instance.actor_id

    def _call(self, method: MethodDefinition, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Wrong arguments raise here, as with any function; everything else where the call is awaited."""
        return self._answer(method, method.encode_arguments(args, kwargs))

    def _iterate(self, method: MethodDefinition, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """As `_call`, for a method that yields."""
        return self._chunks(method, method.encode_arguments(args, kwargs))

    async def _chunks(self, method: MethodDefinition, value: bytes | None) -> AsyncGenerator[Any, None]:
        what = f"a chunk of {self._instance}.{method.name}"
        async with aclosing(self._invoker.stream(self._instance, method.name, value)) as chunks:
            async for chunk in chunks:
                yield fitting(what, method.decode_chunk, chunk)

    async def _answer(self, method: MethodDefinition, value: bytes | None) -> Any:
        raw = await self._invoker.invoke(self._instance, method.name, value)
        return fitting(f"the result of {self._instance}.{method.name}", method.decode_result, raw)


class DynamicHandle(_Handle):
    """A handle without the server's classes: any attribute is a method, its keyword arguments are the wire's `input`.

    Results are plain JSON values. `call` takes names that are no attributes, `stream` is for methods that yield.
    """

    __slots__ = ()

    def __init__(self, invoker: Invoker, actor: str, actor_id: str) -> None:
        object.__setattr__(self, "_invoker", invoker)
        object.__setattr__(self, "_instance", Instance(check_actor_type(actor), check_actor_id(actor_id)))

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self.call, name)

    def __repr__(self) -> str:
        return f"<dynamic handle {self._instance}>"

    @property
    def id(self) -> str:
        """The id of the instance."""
        return self._instance.actor_id

    def call(self, method: str, /, **input: Any) -> Coroutine[Any, Any, Any]:  # noqa: A002 — the wire's name for it
        """Calls a method by its wire name.

        Raises:
            StateValueError: JSON cannot hold the input.
        """
        return self._answer(method, encode(input) if input else None)

    def stream(self, method: str, /, **input: Any) -> AsyncGenerator[Any, None]:  # noqa: A002 — as of `call`
        """Calls a method that yields by its wire name: `async for chunk in handle.stream("words")`.

        Raises:
            StateValueError: JSON cannot hold the input.
        """
        return self._chunks(method, encode(input) if input else None)

    async def _chunks(self, method: str, value: bytes | None) -> AsyncGenerator[Any, None]:
        what = f"a chunk of {self._instance}.{method}"
        async with aclosing(self._invoker.stream(self._instance, method, value)) as chunks:
            async for chunk in chunks:
                yield fitting(what, decode_plain, chunk)

    async def _answer(self, method: str, value: bytes | None) -> Any:
        raw = await self._invoker.invoke(self._instance, method, value)
        return None if raw is None else fitting(f"the result of {self._instance}.{method}", decode_plain, raw)


def instance_of(handle: ActorHandle | DynamicHandle) -> Instance:
    """The address that a handle means."""
    return handle._instance  # noqa: SLF001 — a handle has no public names of its own


def invoker_of(handle: ActorHandle | DynamicHandle) -> Invoker:
    """Who carries the calls of a handle."""
    return handle._invoker  # noqa: SLF001


def definition_of(handle: ActorHandle) -> ActorDefinition:
    """The definition that a typed handle goes by."""
    return handle._definition  # noqa: SLF001


def target_of(method: object) -> tuple[ActorHandle, MethodDefinition] | None:
    """The typed handle and the method that `handle.method` means; None for anything else."""
    if isinstance(method, partial) and isinstance(handle := getattr(method.func, "__self__", None), ActorHandle):
        return handle, method.args[0]
    return None


def fitting(what: str, decode: Callable[[V], R], raw: V) -> R:
    """What `decode` makes of a server's JSON.

    Raises:
        AnswerMismatch: it does not fit; the data are the issues.
    """
    try:
        return decode(raw)
    except SchemaMismatch as mismatch:
        raise AnswerMismatch(
            f"{what} does not fit the class that is used here: {mismatch}", data=mismatch.issues
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerMismatch(f"{what} is no valid JSON: {error}") from error


_ADVICE: Final = {
    "state": "the state lives on the server; watch it by `client.state(handle)`",
    "session": "self.session is only there inside the actor; the id of this connection is client.id",
    **dict.fromkeys(HOOKS, "hooks are run by the server and cannot be called"),
}
"""What to do instead, by the name that was asked for."""


def _advice(definition: ActorDefinition, name: str) -> str:
    if name in _ADVICE:
        return _ADVICE[name]
    cls = definition.cls
    if isinstance(getattr(cls, name, None), EventOf):
        return f"{name} is an event; hear it by `client.events(handle, {cls.__name__}.{name})`"
    if hasattr(Actor, name):
        return f"{name} is only there inside the actor"
    if hasattr(cls, name):
        return f"{name} cannot be called from afar; only an `async def` with @method can"
    known = sorted(method.python_name for method in definition.methods.values())
    close = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"{cls.__name__} has no method {name}{meant}; it has {', '.join(known) or 'none'}"
