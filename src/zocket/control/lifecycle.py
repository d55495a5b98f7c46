"""The life of a deployment as a table: what happens to it, in which state, and what becomes of it then.

Rules: `(status, event) → status`; a pair that is not in the table is an error that names both, so nothing becomes
active by accident. Whoever reads knows no database and no clock.

`stored → starting → smoke → active`, or `failed`; an active one becomes `superseded` by a later one or `rolled_back` to
an earlier one, and is `restore`d if its successor turns out not to serve.
"""

from __future__ import annotations

from typing import Final, Literal

from zocket.control.failures import Taken

Status = Literal["stored", "starting", "smoke", "active", "failed", "superseded", "rolled_back"]
Event = Literal["start", "smoke", "standby", "ready", "fail", "crash", "supersede", "roll_back", "restore"]

PENDING: Final[frozenset[str]] = frozenset({"stored", "starting", "smoke"})
"""Nobody knows yet what becomes of it."""
COMING: Final[frozenset[str]] = frozenset({"starting", "smoke"})
"""An orchestrated runtime is on its way."""

_TABLE: Final[dict[tuple[str, Event], Status]] = {
    # On the way up. A runtime that knows no standby says `ready` at once, and so does one that nobody here started.
    ("stored", "start"): "starting",
    ("stored", "ready"): "active",
    ("stored", "fail"): "failed",
    ("starting", "smoke"): "smoke",
    ("starting", "standby"): "smoke",
    ("starting", "ready"): "active",
    ("starting", "fail"): "failed",
    ("smoke", "smoke"): "smoke",
    ("smoke", "standby"): "smoke",
    ("smoke", "ready"): "active",
    ("smoke", "fail"): "failed",
    # While it serves: its runtime may stand by as a spare, crash, and come back.
    ("active", "smoke"): "active",
    ("active", "standby"): "active",
    ("active", "ready"): "active",
    ("active", "crash"): "active",
    ("active", "fail"): "failed",
    ("active", "supersede"): "superseded",
    ("active", "roll_back"): "rolled_back",
    # A spare of the one that serves now; a rollback starts it again.
    ("superseded", "smoke"): "superseded",
    ("superseded", "standby"): "superseded",
    ("superseded", "fail"): "superseded",
    ("superseded", "crash"): "superseded",
    ("superseded", "ready"): "active",
    ("superseded", "restore"): "active",
    ("superseded", "start"): "starting",
    ("rolled_back", "smoke"): "rolled_back",
    ("rolled_back", "standby"): "rolled_back",
    ("rolled_back", "fail"): "rolled_back",
    ("rolled_back", "crash"): "rolled_back",
    ("rolled_back", "ready"): "active",
    ("rolled_back", "restore"): "active",
    ("rolled_back", "start"): "starting",
    # It failed; somebody may try it again, and a runtime that nobody here started may come up after all.
    ("failed", "fail"): "failed",
    ("failed", "ready"): "active",
    ("failed", "start"): "starting",
}


class ImpossibleStep(Taken):
    """What was asked for cannot happen to a deployment in this state."""

    default_code = "impossible_step"


def step(status: str, event: Event) -> Status:
    """What a deployment becomes.

    Raises:
        ImpossibleStep: the event cannot happen to a deployment of this status.
    """
    following = _TABLE.get((status, event))
    if following is None:
        raise ImpossibleStep(f"a deployment that is {status} cannot {event.replace('_', ' ')}")
    return following


def wire_status(status: str) -> str:
    """The name that runtimes, `zocket dev` and old tools know: `stored`, `deployed` or `failed`."""
    if status in PENDING:
        return "stored"
    return "failed" if status == "failed" else "deployed"
