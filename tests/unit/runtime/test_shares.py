"""How partitions are shared, for all fleets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zocket.runtime.shares import Member, shares


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Member], int]:
    """Replicas that hold disjoint partitions of some count; one at least stays."""
    count = draw(st.integers(1, 40))
    size = draw(st.integers(1, 8))
    owners = draw(st.lists(st.integers(-1, size - 1), min_size=count, max_size=count))
    leaving = draw(st.sets(st.integers(1, size), max_size=size - 1))
    members = [
        Member(f"r{place}", frozenset(n for n, owner in enumerate(owners) if owner == place), 0.0, place in leaving)
        for place in range(size)
    ]
    return members, count


def step(members: list[Member], count: int) -> list[Member]:
    """Everybody does what it has to, at the same moment."""
    moved = []
    for member in members:
        take, release = shares(member, [other for other in members if other is not member], count)
        assert not (take and release)
        assert set(release) <= member.held
        moved.append(Member(member.name, member.held.difference(release).union(take), 0.0, member.leaving))
    return moved


@given(fleets())
def test_no_two_replicas_take_the_same_partition_or_one_that_is_held(fleet: tuple[list[Member], int]) -> None:
    members, count = fleet
    held = {number for member in members for number in member.held}
    taken: list[int] = []
    for member in members:
        taken += shares(member, [other for other in members if other is not member], count)[0]
    assert len(taken) == len(set(taken))
    assert not held.intersection(taken)


@given(fleets())
def test_soon_every_partition_is_held_once_and_the_shares_differ_by_one_at_most(
    fleet: tuple[list[Member], int],
) -> None:
    members, count = fleet
    for _ in range(3):
        members = step(members, count)
    assert sorted(number for member in members for number in member.held) == list(range(count))
    sizes = [len(member.held) for member in members if not member.leaving]
    assert max(sizes) - min(sizes) <= 1
    assert all(not member.held for member in members if member.leaving)
    assert step(members, count) == members, "then nothing moves any more"


@given(fleets())
def test_what_is_held_within_the_share_stays(fleet: tuple[list[Member], int]) -> None:
    members, count = fleet
    after = step(members, count)
    staying = sum(not member.leaving for member in members)
    for before, now in zip(members, after, strict=True):
        if not before.leaving and len(before.held) <= count // staying:
            assert before.held <= now.held


@given(fleets(), st.integers(0, 40))
def test_one_that_listens_gets_what_is_free_and_nothing_is_released_to_it_before(
    fleet: tuple[list[Member], int], given_up: int
) -> None:
    members, count = fleet
    for _ in range(3):
        members = step(members, count)
    members[0] = Member(members[0].name, frozenset(sorted(members[0].held)[given_up:]), 0.0)
    held = frozenset(number for member in members for number in member.held)
    newcomer = Member("a newcomer", frozenset(), 0.0, listening=True)
    taken: set[int] = set()
    for member in members:
        take, release = shares(member, [newcomer, *(other for other in members if other is not member)], count)
        assert not release
        taken.update(take)
    after = Member(newcomer.name, frozenset(), 0.0)
    wanted, _ = shares(after, members, count)
    assert taken.isdisjoint(wanted), "it is left what it will take"
    assert held.isdisjoint(wanted)
