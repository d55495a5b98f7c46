"""What a client is subscribed to: the events of an instance (`Feed`), or its state (`Replica`).

Rules: a replica keeps what came as it came and works on it when somebody takes the state; values that it gave out are
never changed; after a patch that does not fit it has no state until the next snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import msgspec

from zocket.errors import PatchError
from zocket.state.patch import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.protocol.frames import Since

T = TypeVar("T")

_NOT_DECODED: Final = object()

MAX_WAITING_PATCHES: Final = 256
"""Patches that a replica keeps unapplied, so that what waits for a reader stays small."""
MAX_WAITING_PATCH_BYTES: Final = 1024 * 1024
"""The same bound in bytes."""

decode_plain: Final[Callable[[bytes | msgspec.Raw], Any]] = msgspec.json.Decoder().decode
"""JSON to plain values."""
_decode_patch: Final = msgspec.json.Decoder(list[Any]).decode


class Instance(NamedTuple):
    """Address of an actor instance."""

    actor: str
    actor_id: str

    def __str__(self) -> str:
        return f"{self.actor}/{self.actor_id}"


class Feed:
    """The subscription to all events of one instance, shared by its consumers."""

    __slots__ = ("consumers", "instance")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.consumers = 0


class Replica:
    """The state of one instance, shared by its consumers.

    What comes is kept as it came, and worked on when somebody takes the state: so a reader who takes every tenth state
    pays for a tenth of the copies that a patch makes of the containers which it touches.

    Attributes:
        version: grows with every change; 0 before the first snapshot.
        live: a snapshot, or the patches that were missing, came over the present connection: the state is the newest
            that the server sent.
        since: the server's name for the state, or None if the server gives none, or the state is not known.
    """

    __slots__ = (
        "_broken",
        "_decoded",
        "_json",
        "_patches",
        "_patches_bytes",
        "_plain",
        "consumers",
        "instance",
        "live",
        "since",
        "version",
    )

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.consumers = 0
        self.version = 0
        self.live = False
        self.since: Since | None = None
        self._json: bytes | None = None
        self._plain: Any = _NOT_DECODED
        self._decoded: dict[Callable[[bytes], Any], Any] = {}
        self._patches: list[bytes] = []
        self._patches_bytes = 0
        self._broken = False

    def plain(self) -> Any:
        """The state as plain JSON values. Not to be changed: the next version shares its untouched parts.

        Raises:
            PatchError: a patch did not fit; there is no state until the next snapshot.
            msgspec.DecodeError: the snapshot was no JSON.
        """
        if self._patches or self._broken:
            self._apply()
        if self._plain is _NOT_DECODED:
            self._plain = decode_plain(self._json or b"null")
        return self._plain

    def json(self) -> bytes:
        """The state as JSON text; errors as of `plain`."""
        if self._json is None or self._patches or self._broken:
            self._json = msgspec.json.encode(self.plain())
        return self._json

    def decoded(self, decode: Callable[[bytes], T]) -> T:
        """The state as `decode` makes it of its JSON; made once a version, and shared by those who ask alike.

        Raises:
            PatchError: as of `plain`.
            Exception: whatever `decode` raises.
        """
        if decode is decode_plain:
            return cast("T", self.plain())
        if decode not in self._decoded:
            self._decoded[decode] = decode(self.json())
        return cast("T", self._decoded[decode])

    def replace(self, state: bytes, since: Since | None = None) -> None:
        """A snapshot."""
        self.since = since
        self._json, self._plain = state, _NOT_DECODED
        self._decoded.clear()
        self._patches.clear()
        self._patches_bytes = 0
        self._broken = False
        self.live = True
        self.version += 1

    def patch(self, operations: bytes) -> None:
        """The operations of one committed handler run.

        Raises:
            PatchError: so many patches waited that they were applied now, and one did not fit.
        """
        self._decoded.clear()
        self._patches.append(operations)
        self._patches_bytes += len(operations)
        self.version += 1
        if len(self._patches) >= MAX_WAITING_PATCHES or self._patches_bytes > MAX_WAITING_PATCH_BYTES:
            self.plain()

    def _apply(self) -> None:
        patches, self._patches, self._patches_bytes = self._patches, [], 0
        if self._broken:
            raise PatchError("a patch before this one did not fit")
        self._broken = True
        since, self.since = self.since, None
        try:
            before = decode_plain(self._json or b"null") if self._plain is _NOT_DECODED else self._plain
            self._plain = apply(before, [operation for raw in patches for operation in _decode_patch(raw)])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PatchError(str(error)) from error
        self._broken = False
        self.since = since
        self._json = None
