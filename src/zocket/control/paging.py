"""Lists in pages: `{items, next}`, asked for with `?limit=` and `?after=<next>`.

Rules: the order is a time and then an id, so that equal times do not lose or repeat an item; a cursor is opaque, and
one that nobody gave out is refused.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from fastapi import Query
from sqlalchemy import tuple_

from zocket.control.schemas import Body
from zocket.errors import CallerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstrumentedAttribute

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
MAX_CURSOR_CHARS: Final = 400

View = TypeVar("View")


class Page(Body, Generic[View]):
    """A part of a list; `next` continues it, or is null at its end."""

    items: list[View]
    next: str | None = None


class Paging(NamedTuple):
    """Which part of a list is asked for."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None


def paging(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most")] = DEFAULT_LIMIT,
    after: Annotated[str | None, Query(max_length=MAX_CURSOR_CHARS, description="`next` of the page before")] = None,
) -> Paging:
    """The dependency of every list."""
    return Paging(limit, after)


async def read_page(
    session: AsyncSession,
    query: Select[*tuple[Any, ...]],
    asked: Paging,
    view: Callable[[Any], View],
    *,
    at: InstrumentedAttribute[int],
    key: InstrumentedAttribute[str],
    newest_first: bool = False,
) -> Page[View]:
    """One page of a query.

    Args:
        session: an open transaction.
        query: everything that the caller may see, in no order.
        asked: which part.
        view: how a row is shown.
        at: column of the time that orders the list; must be one of the query's.
        key: column that tells rows of one time apart; must be one of the query's.
        newest_first: the other way round.

    Raises:
        CallerError: the cursor is none of this list.
    """
    order = tuple_(at, key)
    if asked.after is not None:
        last = tuple_(*_parse(asked.after))
        query = query.where(order < last if newest_first else order > last)
    columns = (at.desc(), key.desc()) if newest_first else (at.asc(), key.asc())
    query = query.add_columns(at, key).order_by(*columns).limit(asked.limit + 1)
    rows: Sequence[Any] = (await session.execute(query)).all()
    shown = rows[: asked.limit]
    following = _cursor(shown[-1][-2], shown[-1][-1]) if len(rows) > asked.limit else None
    return Page(items=[view(row) for row in shown], next=following)


def _cursor(at: int, key: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((at, key))).rstrip(b"=").decode()


def _parse(cursor: str) -> tuple[int, str]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        at, key = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=tuple[int, str])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise CallerError("after: not a cursor of this list") from error
    if "\0" in key or not -(2**63) <= at < 2**63:
        raise CallerError("after: not a cursor of this list")
    return at, key
