"""Annotations as schemas: JSON to values and values to JSON, whatever a developer models with.

Rules: Pydantic decides wherever a Pydantic type or a constraint of its kind is involved; everything else (msgspec
Structs, dataclasses, TypedDicts, plain types) goes through msgspec, which is several times faster. Both are strict
about plain JSON types: the text "5" is no int. Values leave by serialization aliases.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
import warnings
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, NamedTuple, NotRequired, TypeVar

import msgspec
import typing_extensions
from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from zocket.errors import DefinitionError, StateValueError
from zocket.state import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

Issues = list[dict[str, Any]]
"""What is wrong with a value: `{"path": […], "message": …, "code": …}` each; never the value itself."""


class SchemaMismatch(Exception):
    """A value does not fit its annotation."""

    def __init__(self, issues: Issues) -> None:
        super().__init__(json.dumps(issues))
        self.issues = issues


_UNIONS: Final = (typing.Union, types.UnionType)
_OPEN: Final = (Any, object)


def is_native(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether msgspec alone understands the annotation completely: no Pydantic type and no constraint of its kind."""
    if annotation in _OPEN or annotation is None or annotation in seen:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return all(isinstance(item, msgspec.Meta) for item in arguments[1:]) and is_native(arguments[0], seen)
    if origin is typing.Literal:
        return True
    if origin is not None and not (origin in _UNIONS or _is_record(origin)):
        return origin.__module__ in ("builtins", "collections.abc", "collections") and all(
            is_native(item, seen) for item in arguments if item is not Ellipsis
        )
    if origin in _UNIONS:
        return all(is_native(item, seen) for item in arguments)
    if origin is None and isinstance(annotation, type):
        return _is_native_class(annotation, seen | {annotation})
    return False


_PLAIN: Final = frozenset({str, int, float, bool, type(None), bytes, bytearray, list, dict, set, frozenset, tuple})


def _is_native_class(cls: type, seen: frozenset[Any]) -> bool:
    if cls in _PLAIN or issubclass(cls, (msgspec.Struct, enum.Enum)) or cls is msgspec.Raw:
        return True
    if cls.__module__ in ("datetime", "uuid", "decimal"):
        return True
    if _is_record(cls) and not hasattr(cls, "__pydantic_validator__"):
        hints = typing_extensions.get_type_hints(cls, include_extras=True)
        return all(is_native(_unwrap_qualifier(hint), seen) for hint in hints.values())
    return False


def _is_record(cls: Any) -> bool:
    return isinstance(cls, type) and (
        dataclasses.is_dataclass(cls)
        or typing_extensions.is_typeddict(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


def _unwrap_qualifier(hint: Any) -> Any:
    """`Required[X]`, `NotRequired[X]`, `ReadOnly[X]`, `ClassVar[X]` as X."""
    qualifiers = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)
    if typing.get_origin(hint) in (*qualifiers, typing.ClassVar):
        return _unwrap_qualifier(typing.get_args(hint)[0])
    return hint


def is_model(annotation: Any) -> bool:
    """Whether the annotation is a record: a Pydantic model, Struct, dataclass or TypedDict (or one of them generic)."""
    cls = typing.get_origin(annotation) or annotation
    if cls is Annotated:
        return is_model(typing.get_args(annotation)[0])
    if cls in _UNIONS:
        return all(is_model(item) for item in typing.get_args(annotation))
    return isinstance(cls, type) and (issubclass(cls, (BaseModel, msgspec.Struct)) or _is_record(cls))


class Schema(Generic[T]):
    """One annotation: `decode` JSON to a value, `encode` a value to JSON, `check` a value's type.

    Attributes:
        encode: the JSON of a value. It raises StateValueError if JSON cannot hold the value, or it is not what the
            annotation says.

    Raises:
        DefinitionError: neither Pydantic nor msgspec can make sense of the annotation.
    """

    __slots__ = ("_adapter", "_class", "_decoder", "annotation", "encode", "native")

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.native = is_native(annotation)
        self._class = annotation if isinstance(annotation, type) and not typing.get_args(annotation) else None
        self._adapter: TypeAdapter[Any] | None = None
        self._decoder: msgspec.json.Decoder[Any] | None = None
        try:
            if self.native:
                self._decoder = msgspec.json.Decoder(annotation)
            else:
                self._adapter = TypeAdapter(annotation)
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError, NameError, ValueError) as error:
            raise DefinitionError(f"{annotation!r} cannot be used as a schema: {error}") from error
        self.encode: Callable[[T], bytes] = encode if self.native else self._encode

    def decode(self, raw: bytes | msgspec.Raw) -> T:
        """The value.

        Raises:
            SchemaMismatch: the JSON does not fit the annotation, or is no JSON.
        """
        try:
            if self._decoder is not None:
                return self._decoder.decode(raw)  # type: ignore[no-any-return]
            assert self._adapter is not None
            return self._adapter.validate_json(bytes(raw))  # type: ignore[no-any-return]
        except ValidationError as error:
            raise SchemaMismatch(pydantic_issues(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SchemaMismatch(msgspec_issues(error)) from error

    def _encode(self, value: T) -> bytes:
        assert self._adapter is not None
        if self._class is not None and type(value) is self._class:
            return encode(value)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return self._adapter.dump_json(value, by_alias=True)
        except (ValueError, TypeError, UserWarning) as error:
            raise StateValueError(f"cannot be written as {self.annotation!r}: {error}") from error

    def check(self, value: Any) -> bool:
        """Whether a Python value is of the annotated type; nothing is converted."""
        if self._class is not None and self._class not in _OPEN and not typing_extensions.is_typeddict(self._class):
            if self._class is float and type(value) is int:
                return True
            return isinstance(value, self._class) and not (self._class is int and type(value) is bool)
        try:
            if self._adapter is not None:
                self._adapter.validate_python(value, strict=True)
            else:
                msgspec.convert(value, self.annotation)
        except (ValidationError, msgspec.ValidationError):
            return False
        return True


def pydantic_issues(error: ValidationError, prefix: tuple[str, ...] = ()) -> Issues:
    """What Pydantic found, without the input."""
    return [
        {"path": [*prefix, *item["loc"]], "message": item["msg"], "code": item["type"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


_AT: Final = re.compile(r"(?P<message>.*?)(?: - at `(?P<path>[^`]*)`)?\Z", re.DOTALL)
_STEP: Final = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")


def msgspec_issues(error: Exception, prefix: tuple[str, ...] = ()) -> Issues:
    """What msgspec found; it stops at the first issue."""
    if isinstance(error, RecursionError):
        return [{"path": [*prefix], "message": "JSON is nested too deep", "code": "recursion"}]
    match = _AT.match(str(error))
    assert match is not None
    steps = _STEP.finditer(match["path"] or "")
    path = [step["key"] if step["key"] else _index(step["index"]) for step in steps]
    code = "invalid" if isinstance(error, msgspec.ValidationError) else "json_invalid"
    return [{"path": [*prefix, *path], "message": match["message"], "code": code}]


def _index(text: str) -> int | str:
    return int(text) if text.isdigit() else text


class Parameter(NamedTuple):
    """One parameter of a method."""

    name: str
    annotation: Any
    required: bool


def _is_absent(raw: bytes | msgspec.Raw | None) -> bool:
    return not raw or bytes(raw) == b"null"


class InputSchema:
    """The parameters of a method as the wire's `input` object.

    Each parameter is a field; a single parameter named `input` that is annotated with a model is the whole object.
    Unknown fields are ignored, as an existing server does.
    """

    __slots__ = ("_deferred", "_object", "_whole", "parameters")

    def __init__(self, parameters: list[Parameter]) -> None:
        self.parameters = parameters
        self._whole: Schema[Any] | None = None
        self._deferred: dict[str, Schema[Any]] = {}
        self._object: msgspec.json.Decoder[Any] | None = None
        if len(parameters) == 1 and parameters[0].name == "input" and is_model(parameters[0].annotation):
            self._whole = Schema(parameters[0].annotation)
        elif parameters:
            self._object = self._object_decoder(parameters)

    def _object_decoder(self, parameters: list[Parameter]) -> msgspec.json.Decoder[Any]:
        fields: dict[str, Any] = {}
        for item in parameters:
            schema: Schema[Any] = Schema(item.annotation)
            if schema.native and item.annotation is not msgspec.Raw:
                fields[item.name] = item.annotation if item.required else NotRequired[item.annotation]
            else:  # msgspec knows no required Raw in a TypedDict
                self._deferred[item.name] = schema
                fields[item.name] = NotRequired[msgspec.Raw]
        return msgspec.json.Decoder(typing_extensions.TypedDict("Input", fields))  # type: ignore[operator]

    @property
    def is_whole(self) -> bool:
        """Whether the only parameter is the whole object."""
        return self._whole is not None

    def decode(self, raw: bytes | msgspec.Raw | None) -> dict[str, Any]:
        """The keyword arguments; an absent or null `input` is the empty object.

        Raises:
            SchemaMismatch: the object does not fit the parameters.
        """
        if self._object is None and self._whole is None:
            return {}
        if self._whole is not None:
            return {"input": self._whole.decode(b"{}" if raw is None or _is_absent(raw) else raw)}
        assert self._object is not None
        try:
            arguments: dict[str, Any] = self._object.decode(raw or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if _is_absent(raw):
                return self.decode(b"{}")
            raise SchemaMismatch(msgspec_issues(error)) from error
        if self._deferred:
            self._decode_deferred(arguments)
        return arguments

    def _decode_deferred(self, arguments: dict[str, Any]) -> None:
        for item in self.parameters:
            schema = self._deferred.get(item.name)
            if schema is None:
                continue
            if item.name in arguments:
                try:
                    arguments[item.name] = schema.decode(arguments[item.name])
                except SchemaMismatch as mismatch:
                    issues = [{**issue, "path": [item.name, *issue["path"]]} for issue in mismatch.issues]
                    raise SchemaMismatch(issues) from mismatch
            elif item.required:
                message = f"Object missing required field `{item.name}`"
                raise SchemaMismatch([{"path": [], "message": message, "code": "invalid"}])

    def encode(self, arguments: Mapping[str, Any]) -> bytes | None:
        """The JSON of `input` for keyword arguments; None if there are none."""
        if self._whole is not None:
            return self._whole.encode(arguments["input"])
        if not arguments:
            return None
        parts = []
        for item in self.parameters:
            if item.name in arguments:
                schema = self._deferred.get(item.name)
                value = arguments[item.name]
                body = encode(value) if schema is None else schema.encode(value)
                parts.append(b"%b:%b" % (msgspec.json.encode(item.name), body))
        return b"{%b}" % b",".join(parts)
