"""What must hold of the calls, the ledgers and the views; and what came of it, counted.

Rules, by what a ledger's final log is compared with:

- lost: a call that was answered `ok` stands exactly at the place that its answer named; one answered `repeated` (it
  took effect, its answer is gone) stands somewhere.
- doubled: no call stands twice, in whatever ledgers; also not one that was never answered. A call is sent once, so a
  second entry can only come from the platform.
- order: of two calls of one caller to one ledger, the earlier one stands first if both were sent on one socket, or if
  the earlier one was answered before the later one was sent.
- refused: a call that was answered `overloaded` stands nowhere.
- answered: each call has an outcome in time, and one that is known to the product; none is answered twice.
- replicas: after quiet each watcher has the ledger's log; and no watcher ever saw what a later view or the final log
  does not begin with.

A ledger's log is complete (a fresh ledger replaces it after some hundred calls), so nothing is inferred.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaosrun.load import Call

KNOWN_OUTCOMES: Final = ("ok", "repeated", "unavailable", "timeout", "overloaded", "lost")
UNKNOWN: Final = ("unavailable", "timeout", "lost")
"""Outcomes that leave open whether the call takes effect."""


@dataclass
class Verdict:
    """Counts, and in `violations` what was broken, in words."""

    calls: int = 0
    accepted: int = 0
    unknown: int = 0
    unknown_applied: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def judge(calls: Sequence[Call], logs: Mapping[str, Sequence[str]]) -> Verdict:
    """The verdict on calls, with the final log of each ledger."""
    verdict = Verdict(calls=len(calls), outcomes=Counter(call.outcome for call in calls))
    places: dict[str, tuple[str, int]] = {}
    known = {call.name: call for call in calls}
    for ledger, log in logs.items():
        for place, name in enumerate(log, 1):
            if name in places:
                verdict.doubled += 1
                verdict.violations.append(f"doubled: {name} in {ledger} at {place} and in {places[name]}")
            places[name] = ledger, place
            if name not in known or known[name].ledger != ledger:
                verdict.violations.append(f"invented: {ledger} has {name}, which was not sent there")
    for call in calls:
        _judge_call(call, places.get(call.name), verdict)
    _judge_order(calls, places, verdict)
    return verdict


def _judge_call(call: Call, found: tuple[str, int] | None, verdict: Verdict) -> None:
    what = f"{call.name} in {call.ledger}, answered {call.outcome or 'never'}"
    if call.outcome not in KNOWN_OUTCOMES:
        verdict.violations.append(f"no proper answer: {what}")
    if found is not None or call.outcome in ("ok", "repeated"):
        verdict.accepted += 1
    if call.outcome in UNKNOWN:
        verdict.unknown += 1
        verdict.unknown_applied += found is not None
    elif call.outcome == "overloaded" and found is not None:
        verdict.violations.append(f"refused and applied: {what}")
    elif call.outcome in ("ok", "repeated") and found is None:
        verdict.lost += 1
        verdict.violations.append(f"lost: {what} {call.place}")
    elif call.outcome == "ok" and found != (call.ledger, call.place):
        verdict.disordered += 1
        verdict.violations.append(f"moved: {what} {call.place}, and stands at {found}")


def _judge_order(calls: Sequence[Call], places: Mapping[str, tuple[str, int]], verdict: Verdict) -> None:
    """Calls stand in `calls` in the order in which each caller sent them."""
    by_lane: dict[tuple[str, str], list[tuple[int, Call]]] = {}
    for call in calls:
        if call.name in places:
            by_lane.setdefault((call.caller, call.ledger), []).append((places[call.name][1], call))
    for lane in by_lane.values():
        for index, (place, call) in enumerate(lane):
            for later_place, later in lane[index + 1 :]:
                bound = call.session == later.session or (call.outcome == "ok" and call.ended_at <= later.sent_at)
                if bound and later_place < place:
                    verdict.disordered += 1
                    verdict.violations.append(f"order: {later.name} stands before {call.name} in {call.ledger}")


def outage_s(calls: Sequence[Call], began: float, ended: float) -> dict[str, float]:
    """By ledger: the longest time without an answered call, if some of it was between two moments.

    What lies before the first moment does not count. How often a ledger is called anyway is in it.
    """
    answered: dict[str, list[float]] = {}
    for call in calls:
        if call.outcome == "ok":
            answered.setdefault(call.ledger, []).append(call.ended_at)
    longest: dict[str, float] = {}
    for ledger, moments in answered.items():
        moments.sort()
        gaps = [end - max(start, began) for start, end in pairwise(moments) if end > began and start < ended]
        if gaps:
            longest[ledger] = max(gaps)
    return longest
