"""Methods that yield: `async def words(self) -> AsyncIterator[str]: yield …` as one turn that sends its chunks.

Rules: a chunk is written by the method's annotation before it leaves; the generator goes on when its chunk has been
taken; however the turn ends, the generator is closed within it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from zocket.errors import DefinitionError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.core.actor import Actor
    from zocket.core.definition import MethodDefinition

_ITERATORS: Final = frozenset({AsyncGenerator, AsyncIterable, AsyncIterator})


def is_iterator(annotation: Any) -> bool:
    """Whether a return annotation says that a method yields."""
    return (get_origin(annotation) or annotation) in _ITERATORS


def chunk_annotation(label: str, returned: Any) -> Any:
    """The type of the chunks of a method that yields.

    Raises:
        DefinitionError: the method is annotated otherwise.
    """
    if returned is Any:
        return Any
    if not is_iterator(returned):
        raise DefinitionError(f"{label}: a method that yields is annotated `-> AsyncIterator[…]`")
    return next(iter(get_args(returned)), Any)


def drained(method: MethodDefinition, generator: Callable[..., AsyncGenerator[Any]]) -> Callable[..., Awaitable[None]]:
    """The generator as a handler: it sends every chunk, and returns nothing."""

    @wraps(generator)
    async def run(actor: Actor[Any, Any], **arguments: Any) -> None:
        instance = actor._instance  # noqa: SLF001 — the two are one thing seen from two sides
        limit = instance.max_result_bytes
        async with aclosing(generator(actor, **arguments)) as chunks:
            async for value in chunks:
                chunk = method.encode_chunk(value)
                if limit is not None and len(chunk) > limit:
                    raise TooLarge(f"{method.name}: a chunk of {len(chunk)} bytes, the limit is {limit}")
                if instance.send_chunk is not None:
                    await instance.send_chunk(chunk)

    return run
