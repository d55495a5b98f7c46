"""How the partitions of a project are shared among its replicas.

Rules: pure; whoever knows the same comes to the same shares. Shares differ by one at most. What is held stays where it
is as long as that holds, and only what is free is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class Member:
    """A replica as the others know it.

    Attributes:
        name: unique for one life of its process.
        held: numbers of the partitions that it serves or is taking.
        heard_at: when it was heard last, in seconds.
        leaving: it gets no share any more, and releases what it holds.
        listening: it is about to take its share; what is free is left for it, and nothing is released to it yet.
    """

    name: str
    held: frozenset[int]
    heard_at: float
    leaving: bool = False
    listening: bool = False


def shares(me: Member, others: list[Member], count: int) -> tuple[list[int], list[int]]:
    """The numbers that `me` has to take, and those that it has to let go, of `count` partitions."""
    members = [me, *others]
    staying = sorted(
        (member for member in members if not member.leaving), key=lambda item: (-len(item.held), item.name)
    )
    if me.leaving:
        return [], sorted(me.held)
    surplus = len(me.held) - _quotas([member for member in staying if not member.listening], count).get(me.name, 0)
    if surplus > 0:
        return [], sorted(me.held)[-surplus:]
    quotas = _quotas(staying, count)
    free = iter(sorted(set(range(count)).difference(*(member.held for member in members))))
    for member in staying:
        wanted = list(islice(free, max(0, quotas[member.name] - len(member.held))))
        if member is me:
            return wanted, []
    raise AssertionError("`me` stays, so it is among them")


def _quotas(members: list[Member], count: int) -> dict[str, int]:
    """How many partitions each of these holds, in the end."""
    base, more = divmod(count, len(members) or 1)
    return {member.name: base + (place < more) for place, member in enumerate(members)}
