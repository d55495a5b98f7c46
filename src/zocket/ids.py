"""Typed identifiers, and the encoding of an actor id into one NATS subject token.

Rules: no byte that a client chose changes the tenant, type or verb of a subject; plain ids are used as they are; no two
ids share a token (spec: subjects and envelopes). Limits are checked here, once, before anything is published.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final, NewType

from zocket.errors import InvalidId, SettingsError

ActorType = NewType("ActorType", str)
ActorId = NewType("ActorId", str)
SessionId = NewType("SessionId", str)

MAX_ACTOR_ID_CHARS: Final = 256
"""Characters of an actor id. Longer ids would near the control line limit of a NATS server once they are encoded."""
MAX_ACTOR_ID_BYTES: Final = 512
"""UTF-8 bytes of an actor id; three times that as a token stays below the server's 4 kB control line."""

_ACTOR_TYPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_SCOPE_PART: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_PLAIN_ID: Final = re.compile(r"[!-#&-)+-\-/-=?-~][!-$&-)+-\-/-=?-~]*\Z")
_TOKEN_BYTES: Final = frozenset(range(0x21, 0x7F)) - frozenset(b".*>%")


@dataclass(frozen=True, slots=True)
class Scope:
    """The tenant: a workspace and a project in it, both safe as subject tokens.

    Raises:
        SettingsError: one of the two is no token of 1-64 letters, digits, `_` or `-`.
    """

    workspace_id: str
    project_id: str

    def __post_init__(self) -> None:
        for name, value in (("workspace id", self.workspace_id), ("project id", self.project_id)):
            if not _SCOPE_PART.match(value):
                raise SettingsError(f"{name}: expected 1-64 letters, digits, '_' or '-', got {value!r}")


@dataclass(frozen=True, slots=True)
class Partition:
    """One share of a project's instances, of `count` shares numbered from 0."""

    number: int
    count: int


WHOLE: Final = Partition(0, 1)
"""Of a project that is not divided."""


def check_actor_type(name: str) -> ActorType:
    """The name as an actor type.

    Raises:
        InvalidId: it does not match `[A-Za-z_][A-Za-z0-9_-]{0,63}`.
    """
    if not _ACTOR_TYPE.match(name):
        raise InvalidId(
            f"actor type: expected a letter or '_' and up to 63 letters, digits, '_' or '-', got {name[:80]!r}"
        )
    return ActorType(name)


def check_actor_id(actor_id: str) -> ActorId:
    """The text as an actor id.

    Raises:
        InvalidId: it is empty, longer than 256 characters or 512 bytes, or no valid Unicode.
    """
    if not actor_id:
        raise InvalidId("actor id: may not be empty")
    if len(actor_id) > MAX_ACTOR_ID_CHARS:
        raise InvalidId(f"actor id: {len(actor_id)} characters, the limit is {MAX_ACTOR_ID_CHARS}")
    try:
        size = len(actor_id) if actor_id.isascii() else len(actor_id.encode())
    except UnicodeEncodeError as error:
        raise InvalidId("actor id: not valid Unicode (a lone surrogate)") from error
    if size > MAX_ACTOR_ID_BYTES:
        raise InvalidId(f"actor id: {size} bytes in UTF-8, the limit is {MAX_ACTOR_ID_BYTES}")
    return ActorId(actor_id)


def actor_id_token(actor_id: str) -> str:
    """The subject token of an actor id: bytes 0x21-0x7E except `. * > %` stay, the rest (a leading `$`) is `%XX`."""
    if _PLAIN_ID.match(actor_id):
        return actor_id
    raw = actor_id.encode()
    token = "".join(chr(byte) if byte in _TOKEN_BYTES else f"%{byte:02X}" for byte in raw)
    return "%24" + token[1:] if token.startswith("$") else token


def new_session_id() -> SessionId:
    """A session id that nobody can guess: 96 random bits."""
    return SessionId("s_" + secrets.token_hex(12))


def new_epoch() -> str:
    """Names one life of a runtime; compared for equality only."""
    return "e_" + secrets.token_hex(6)
