"""What one instance answered to calls with an idempotency key, so that a retry gets the same answer and runs nothing.

Rules: a key belongs to its user, its instance, and one method with one input; a key outlives its answer (what is too
large to keep is forgotten, that the call was answered is not); the oldest go first. An instance that never gets a key
has no table. No clock: the time of day is handed in.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from zocket.errors import PASSING, IdempotencyMismatch, PlatformError

if TYPE_CHECKING:
    from zocket.core import Caller
    from zocket.errors import ZocketError
    from zocket.host.resident import Resident
    from zocket.protocol.frames import Rpc

MAX_KEYS: Final = 256
"""Keys of one instance; with a durable one each commit writes them all, at about 90 bytes a key."""
MAX_ANSWERS_BYTES: Final = 64 * 1024
"""Answers of one instance; beyond it the oldest keys keep no answer, and their retries are told `repeated`."""
KEPT_S: Final = 600
"""Seconds after its answer at which a key is forgotten: longer than any client tries on its own."""

GONE: Final = msgspec.Raw(b"null")
"""In place of an answer that is not kept; an outcome is an object."""


class CallKey(NamedTuple):
    """A call with an idempotency key.

    Attributes:
        name: of the call, the same over its retries; unlike that of any other user or instance.
        fingerprint: of its method and its input, byte for byte.
    """

    name: str
    fingerprint: str


class Answered(msgspec.Struct, array_like=True):
    """One call as the table keeps it.

    Attributes:
        fingerprint: of its method and input.
        at_s: when it was answered, seconds since the epoch.
        outcome: as `frames.outcome_of` gives it, or `GONE`.
    """

    fingerprint: str
    at_s: int
    outcome: msgspec.Raw


class AnswerTable:
    """The answered calls of one instance.

    Attributes:
        kept: by the call's name, oldest first; what a durable instance stores.
    """

    __slots__ = ("_bytes", "kept")

    def __init__(self, kept: dict[str, Answered] | None = None) -> None:
        self.kept = kept or {}
        self._bytes = sum(_size(answered) for answered in self.kept.values())

    def recall(self, key: CallKey, now_s: float) -> bytes | ZocketError | None:
        """The outcome of a call that was answered, or the error that stands for it; None for a call that is new."""
        answered = self.kept.get(key.name)
        if answered is None or answered.at_s + KEPT_S <= now_s:
            return None
        if answered.fingerprint != key.fingerprint:
            return IdempotencyMismatch("the idempotency key was used for another method or another input")
        if not _size(answered):
            return PlatformError("the call was answered before; its answer is gone", code="repeated")
        return bytes(answered.outcome)

    def add(self, key: CallKey, outcome: bytes, now_s: float) -> None:
        """Takes down an answer, and forgets what is over the bounds or too old."""
        self._forget(key.name)
        kept = GONE if len(outcome) > MAX_ANSWERS_BYTES else msgspec.Raw(outcome)
        self.kept[key.name] = answered = Answered(key.fingerprint, int(now_s), kept)
        self._bytes += _size(answered)
        while len(self.kept) > MAX_KEYS or next(iter(self.kept.values())).at_s + KEPT_S <= now_s:
            self._forget(next(iter(self.kept)))
        if self._bytes > MAX_ANSWERS_BYTES:
            self._shrink()

    def _forget(self, name: str) -> None:
        answered = self.kept.pop(name, None)
        if answered is not None:
            self._bytes -= _size(answered)

    def _shrink(self) -> None:
        for answered in self.kept.values():
            self._bytes -= _size(answered)
            answered.outcome = GONE
            if self._bytes <= MAX_ANSWERS_BYTES:
                return


def call_key(request: Rpc, caller: Caller) -> CallKey:
    """The key of a call that has one; sessions without a user share their keys, an actor shares its with nobody."""
    user = None if caller.session is None else caller.session.user_id
    owner = (caller.actor, caller.actor_id) if caller.kind == "actor" else user
    name = msgspec.json.encode((request.actor, request.actor_id, owner, request.idempotency_key))
    what = msgspec.json.encode(request.method) + bytes(request.input)
    return CallKey("k_" + blake2b(name, digest_size=16).hexdigest(), blake2b(what, digest_size=8).hexdigest())


def table_of(resident: Resident) -> AnswerTable:
    """The table of an instance; made with its first key."""
    holder = resident if resident.keeper is None else resident.keeper
    if holder.answered is None:
        holder.answered = AnswerTable()
    return holder.answered


def is_final(error: BaseException, code: str) -> bool:
    """Whether an error is the answer of its call: the platform's own errors, and those that pass, are none."""
    return not isinstance(error, PlatformError) and code not in PASSING


def _size(answered: Answered) -> int:
    return 0 if answered.outcome == GONE else len(memoryview(answered.outcome))
