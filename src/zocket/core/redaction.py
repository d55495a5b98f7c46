"""Takes what is private out of JSON before it leaves: out of values, patches and schemas.

Rules: what is kept stays the bytes that it was; what has no private part is not parsed; a change of which nothing is
kept is still a change.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from zocket.core.masks import HIDDEN, Masks, below
from zocket.core.privacy import find_private, masks_of_value
from zocket.core.schema import Schema
from zocket.state import encode, pointer

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

UNSEEN: Final = b"[]"
"""Operations of a change that no client may see: it is stored, and makes no version."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_write: Final = msgspec.json.Encoder().encode


class _Operation(msgspec.Struct):
    op: str
    path: str
    value: msgspec.Raw = msgspec.Raw(b"")


_operation: Final = msgspec.json.Decoder(_Operation).decode


def redact(data: bytes, masks: Masks) -> bytes:
    """JSON without what is hidden in it; `null` if that is all of it."""
    if masks is HIDDEN:
        return b"null"
    match data.lstrip()[:1]:
        case b"{":
            members = _members(data)
            for name in list(members):
                found = below(masks, name)
                if found is HIDDEN:
                    del members[name]
                elif found:
                    members[name] = msgspec.Raw(redact(bytes(members[name]), found))
            return _write(members)
        case b"[":
            elements = _elements(data)
            for index, element in enumerate(elements):
                found = below(masks, str(index))
                if found:
                    elements[index] = msgspec.Raw(redact(bytes(element), found))
            return _write(elements)
        case _:
            return data


def redact_operations(operations: bytes, masks: Masks) -> bytes:
    """RFC 6902 operations of a document without those on hidden parts; `UNSEEN` if none are left."""
    if masks is HIDDEN:
        return UNSEEN
    kept = [part for raw in _elements(operations) if (part := _redact_operation(bytes(raw), masks)) is not None]
    return b"[%b]" % b",".join(kept)


def _redact_operation(raw: bytes, masks: Masks) -> bytes | None:
    operation = _operation(raw)
    for token in pointer.parse(operation.path):
        masks = below(masks, token)
        if masks is HIDDEN:
            return None
        if not masks:
            return raw
    if memoryview(operation.value):
        operation.value = msgspec.Raw(redact(bytes(operation.value), masks))
        return _write(operation)
    return raw


class PublicSchema(Schema[T]):
    """A schema of what leaves towards clients: `encode` leaves out what is private."""

    __slots__ = ("_masks", "_open")

    def __init__(self, annotation: Any, masks: Masks, *, is_open: bool) -> None:
        super().__init__(annotation)
        self._masks = masks
        self._open = is_open

    def encode(self, value: T) -> bytes:
        """See `Schema.encode`."""
        data = super().encode(value)
        masks = self._masks + masks_of_value(value) if self._open else self._masks
        return redact(data, masks) if masks else data

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of what is written."""
        if self._adapter is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a default that JSON cannot hold is left out
                schema = self._adapter.json_schema(mode="serialization", by_alias=True)
        else:
            schema = super().json_schema()
        redact_schema(schema, self._masks)
        return schema


def public_schema(annotation: Any) -> Schema[Any]:
    """The schema of what is written by an annotation.

    Raises:
        DefinitionError: as of `Schema` and `find_private`.
    """
    schema: Schema[Any] = Schema(annotation)  # first: it says best what is wrong with an annotation
    masks, is_open = find_private(annotation)
    return PublicSchema(annotation, masks, is_open=is_open) if masks or is_open else schema


def encode_public(value: Any) -> bytes:
    """As `state.encode`, without what is private by the classes of the value."""
    data = encode(value)
    masks = masks_of_value(value)
    return redact(data, masks) if masks else data


def redact_schema(schema: dict[str, Any], masks: Masks) -> None:
    """Takes hidden members out of a JSON Schema, its definitions included, and out of its defaults."""
    definitions = schema.get("$defs", {})
    seen: set[tuple[int, Masks]] = set()

    def visit(part: Any, masks: Masks) -> None:
        if not isinstance(part, dict) or not masks or (id(part), masks) in seen:
            return
        seen.add((id(part), masks))
        for key in ("default", "examples", "const"):
            if key in part:
                part[key] = msgspec.json.decode(redact(_write(part[key]), masks))
        if "$ref" in part:
            visit(definitions.get(part["$ref"].rpartition("/")[2]), masks)
        properties = part.get("properties", {})
        for name in list(properties):
            found = below(masks, name)
            if found is HIDDEN:
                del properties[name]
                part["required"] = [item for item in part.get("required", ()) if item != name]
            else:
                visit(properties[name], found)
        for word in ("anyOf", "oneOf", "allOf"):
            _each(part.get(word, ()), lambda item: visit(item, masks))
        everything = below(masks, "*")
        for word in ("items", "additionalProperties"):
            visit(part.get(word), everything)
        _each(part.get("prefixItems", ()), lambda item: visit(item, everything))

    visit(schema, masks)


def _each(parts: Iterable[Any], visit: Any) -> None:
    for part in parts:
        visit(part)
