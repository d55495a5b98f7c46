"""Takes what is private out of JSON before it leaves: out of values, patches and schemas.

Rules: what is kept stays the bytes that it was; what has no private part is not parsed; a change of which nothing is
kept is still a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from zocket.core.masks import HIDDEN, Masks, below
from zocket.core.privacy import find_private, masks_of_value
from zocket.core.schema import Schema
from zocket.state import Grown, encode, operations_of, pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state import Operations

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


def redact_operations(operations: Operations, masks: Masks) -> Operations:
    """Operations of a document without those on hidden parts; `UNSEEN` if none are left."""
    if masks is HIDDEN:
        return UNSEEN
    parts = map(bytes, _elements(operations)) if isinstance(operations, bytes) else operations.parts
    return operations_of([kept for part in parts if (kept := _redact_operation(part, masks)) is not None])


def _redact_operation(raw: bytes | Grown, masks: Masks) -> bytes | Grown | None:
    operation = _operation(raw) if isinstance(raw, bytes) else raw
    for token in pointer.parse(operation.path):
        masks = below(masks, token)
        if masks is HIDDEN:
            return None
        if not masks:
            return raw
    if isinstance(operation, _Operation) and memoryview(operation.value):
        operation.value = msgspec.Raw(redact(bytes(operation.value), masks))
        return _write(operation)
    return raw


class PublicSchema(Schema[T]):
    """A schema of what leaves towards clients: `encode` leaves out what is private.

    Attributes:
        masks: what the annotation hides.
    """

    __slots__ = ("_encode_whole", "_open", "masks")

    def __init__(self, annotation: Any, masks: Masks, *, is_open: bool) -> None:
        super().__init__(annotation)
        self.masks = masks
        self._open = is_open
        self._encode_whole = self.encode
        self.encode = self._encode_public

    def _encode_public(self, value: T) -> bytes:
        data = self._encode_whole(value)
        masks = self.masks + masks_of_value(value) if self._open else self.masks
        return redact(data, masks) if masks else data


def public_schema(annotation: Any, *, decoded: bool = True) -> Schema[Any]:
    """The schema of what is written by an annotation; `decoded` as of `find_private`.

    Raises:
        DefinitionError: as of `Schema` and `find_private`.
    """
    schema: Schema[Any] = Schema(annotation)  # first: it says best what is wrong with an annotation
    masks, is_open = find_private(annotation, decoded=decoded)
    return PublicSchema(annotation, masks, is_open=is_open) if masks or is_open else schema


def encode_public(value: Any) -> bytes:
    """As `state.encode`, without what is private by the classes of the value."""
    data = encode(value)
    masks = masks_of_value(value)
    return redact(data, masks) if masks else data


def without_private(value: Any, plain: Callable[[Any], Any]) -> Any:
    """What `plain` gives; of a value that has private parts by its classes, its JSON without them."""
    masks = masks_of_value(value)
    return msgspec.json.decode(redact(encode(value), masks)) if masks else plain(value)


def redact_schema(schema: dict[str, Any], masks: Masks, *, keep_names: bool = False) -> None:
    """Takes hidden members out of a JSON Schema, its definitions included, and out of its defaults.

    With `keep_names` only out of its defaults.
    """
    definitions = schema.get("$defs", {})
    seen: set[tuple[int, Masks]] = set()

    def visit(part: Any, masks: Masks) -> None:
        if not isinstance(part, dict) or not masks or (id(part), masks) in seen:
            return
        seen.add((id(part), masks))
        for key in ("default", "const"):
            if key in part:
                part[key] = msgspec.json.decode(redact(_write(part[key]), masks))
        if "examples" in part:
            part["examples"] = [msgspec.json.decode(redact(_write(item), masks)) for item in part["examples"]]
        if "$ref" in part:
            visit(definitions.get(part["$ref"].rpartition("/")[2]), masks)
        properties = part.get("properties", {})
        for name in list(properties):
            found = below(masks, name)
            if found is HIDDEN and keep_names:
                properties[name].pop("default", None)
            elif found is HIDDEN:
                del properties[name]
                _drop_required(part, name)
            else:
                visit(properties[name], found)
        for word in ("anyOf", "oneOf", "allOf"):
            _each(part.get(word, ()), lambda item: visit(item, masks))
        everything = below(masks, "*")
        for word in ("items", "additionalProperties"):
            visit(part.get(word), everything)
        _each(part.get("prefixItems", ()), lambda item: visit(item, everything))
        _each(part.get("patternProperties", {}).values(), lambda item: visit(item, everything))

    visit(schema, masks)


def _drop_required(schema: dict[str, Any], name: str) -> None:
    if name in schema.get("required", ()):
        schema["required"] = [item for item in schema["required"] if item != name]
        if not schema["required"]:
            del schema["required"]


def _each(parts: Iterable[Any], visit: Any) -> None:
    for part in parts:
        visit(part)
