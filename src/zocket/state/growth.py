"""Text that has grown: the operations of a commit by what was added, and by the whole texts.

Rules: both lists mean the same and have their operations in the same order; the added text is encoded when the commit
is made, a whole text only for those who ask. `append` is no operation of RFC 6902: only who announced it is sent it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_CHARS: Final = 256
"""Of a text that is told by what is added to it. The frame around a shorter one is about as long as the text, so that
little is saved for the microsecond that telling it takes."""

_text: Final = msgspec.json.Encoder().encode


class Grown(msgspec.Struct, frozen=True, gc=False):
    """One text that begins with what it was.

    Attributes:
        path: pointer to it.
        append: the operation that says what was added.
        text: what it is, or the JSON of that.
    """

    path: str
    append: bytes
    text: str | bytes


class Growth:
    """Operations of which at least one is a grown text.

    Attributes:
        short: a JSON array that says `append` of what was added.
    """

    __slots__ = ("parts", "short")

    def __init__(self, parts: Sequence[bytes | Grown]) -> None:
        self.parts = parts
        self.short = _array([part if type(part) is bytes else part.append for part in parts])  # type: ignore[union-attr]

    def __len__(self) -> int:
        """Bytes of `short`: the document has not grown by more."""
        return len(self.short)

    def whole(self) -> bytes:
        """A JSON array of RFC 6902 operations, which says `replace` by the whole texts."""
        return _array([part if isinstance(part, bytes) else _replace(part) for part in self.parts])


Operations = bytes | Growth
"""The changes of a commit: a JSON array of RFC 6902 operations, or two of them if a text has grown."""


def operations_of(parts: Sequence[bytes | Grown]) -> Operations:
    """The operations that these are."""
    if any(isinstance(part, Grown) for part in parts):
        return Growth(parts)
    return _array(parts)  # type: ignore[arg-type]


def has_grown(old: Any, new: Any) -> bool:
    """Tell whether a value is a text that begins with the old one, and that one is long enough to be left out."""
    return type(new) is str and type(old) is str and MIN_CHARS <= len(old) < len(new) and new.startswith(old)


def grown(path: str, old: str, new: str) -> Grown:
    """The operation for a text that `has_grown`."""
    return Grown(path, _append(path, _text(new[len(old) :])), new)


def grown_json(path: str, old: bytes, new: bytes) -> Grown | None:
    """The operation between two texts as JSON; None if they are none, or the first is short or no beginning.

    The JSON of a text without its closing quote ends with a whole character or escape, so what follows is text.
    """
    if old[:1] != b'"' or len(old) < MIN_CHARS + 2 or not new.startswith(old[:-1]):
        return None
    return Grown(path, _append(path, b'"' + new[len(old) - 1 :]), new)


def _append(path: str, added: bytes) -> bytes:
    return b'{"op":"append","path":%b,"value":%b}' % (_text(path), added)


def _replace(part: Grown) -> bytes:
    value = _text(part.text) if isinstance(part.text, str) else part.text
    return b'{"op":"replace","path":%b,"value":%b}' % (_text(part.path), value)


def _array(operations: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(operations)
