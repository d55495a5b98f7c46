"""Records and their fields, as annotations describe them: Pydantic models, msgspec Structs, dataclasses, TypedDicts.

Rules: a field has every name that an encoder may write it by; type variables are followed through generic bases.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typing_extensions
from pydantic import BaseModel

from zocket.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Field(NamedTuple):
    """One field.

    Attributes:
        attribute: its name in Python.
        names: its names in JSON, one or several.
        annotation: with its qualifiers and marks.
        required: whether it has no default.
    """

    attribute: str
    names: frozenset[str]
    annotation: Any
    required: bool


UNIONS: Final = (typing.Union, types.UnionType)
"""Origins of a union."""
QUALIFIERS: Final = (
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
    typing.ClassVar,
    typing.Final,
)
"""Origins of what stands around a field's type."""
_BASES: Final = (BaseModel, msgspec.Struct)
_LEAVES: Final = (str, int, float, complex, bytes, bytearray, type(None), enum.Enum)
_LEAF_MODULES: Final = frozenset({"datetime", "decimal", "ipaddress", "pathlib", "pydantic.networks", "re", "uuid"})


def is_open(annotation: Any) -> bool:
    """Whether an annotation without arguments does not say what lies there: `Any`, `list`, an abstract class."""
    if isinstance(annotation, type):
        return not issubclass(annotation, _LEAVES) and annotation.__module__ not in _LEAF_MODULES
    return annotation is Any or isinstance(annotation, str | typing.ForwardRef)


def is_record(cls: Any) -> bool:
    """Whether a class has fields of its own."""
    if not isinstance(cls, type) or cls in _BASES:
        return False
    return (
        issubclass(cls, (BaseModel, msgspec.Struct))
        or dataclasses.is_dataclass(cls)
        or typing_extensions.is_typeddict(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


def fields_of(cls: Any) -> Iterator[Field]:
    """The fields of a record, with every name that an encoder may write them by."""
    described = getattr(cls, "__pydantic_fields__", None)
    if described is not None:
        for name, info in described.items():
            names = frozenset({name, info.alias or name, info.serialization_alias or name})
            annotation = info.annotation
            for mark in info.metadata:
                annotation = Annotated[annotation, mark]
            yield Field(name, names, annotation, info.is_required())
        for name, computed in cls.__pydantic_decorators__.computed_fields.items():
            names = frozenset({name, computed.info.alias or name})
            yield Field(name, names, computed.info.return_type, required=False)
        return
    try:
        hints = typing_extensions.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"{cls.__name__}: an annotation cannot be resolved ({error})") from error
    required = _required(cls, hints)
    written = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)) if _is_struct(cls) else {}
    for name, hint in hints.items():
        yield Field(name, frozenset({name, written.get(name, name)}), hint, name in required)


def _is_struct(cls: type) -> bool:
    return issubclass(cls, msgspec.Struct)


def _required(cls: Any, hints: Mapping[str, Any]) -> frozenset[str]:
    if typing_extensions.is_typeddict(cls):
        # `__required_keys__` takes no notice of a qualifier in an annotation that is text.
        optional = {name for name, hint in hints.items() if typing.get_origin(hint) is typing_extensions.NotRequired}
        return frozenset(cls.__required_keys__) - optional
    if _is_struct(cls):
        return frozenset(field.name for field in msgspec.structs.fields(cls) if field.required)
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return frozenset(
            field.name
            for field in dataclasses.fields(cls)
            if field.default is missing and field.default_factory is missing
        )
    return frozenset()


def value_of(alias: Any) -> Any:
    """What an alias stands for; where it refers to itself it may be text."""
    value = alias.__value__
    if not isinstance(value, str):
        return value
    try:
        return eval(value, vars(sys.modules[alias.__module__]))  # noqa: S307 — the developer's own annotation
    except NameError as error:
        raise DefinitionError(f"{alias.__name__}: its type cannot be resolved ({error})") from error


def subclasses_of(cls: type) -> Iterator[type]:
    """The subclasses of a record that declare fields of their own."""
    if typing_extensions.is_typeddict(cls):
        return
    found: list[type] = type.__subclasses__(cls)
    for derived in found:
        if vars(derived).get("__annotations__"):
            yield derived
        yield from subclasses_of(derived)


def bindings_of(cls: Any, arguments: tuple[Any, ...], bound: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values of the type variables in the fields of a class, those of its generic bases too.

    A variable that stands for several types (one in a base, another in the class) stands for their union.
    """
    found = bind(getattr(cls, "__parameters__", ()), arguments, bound)
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and origin is not object:
            for name, value in bindings_of(origin, typing.get_args(base), found).items():
                found[name] = typing.Union[found[name], value] if name in found else value  # noqa: UP007 — made of values
    return found


def bind(parameters: Iterable[Any], arguments: Iterable[Any], bound: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values of type variables; those in the arguments have theirs by `bound`."""
    return {name: substituted(value, bound) for name, value in zip(parameters, arguments, strict=False)}


def substituted(annotation: Any, bound: Mapping[Any, Any]) -> Any:
    """The annotation with the values of its type variables; `Any` for one that has none."""
    if isinstance(annotation, typing.TypeVar):
        return bound.get(annotation, Any)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or isinstance(annotation, type):
        return annotation
    return annotation[tuple(bound.get(name, Any) for name in parameters)]


def memo_key(cls: Any, arguments: tuple[Any, ...]) -> Any:
    """Tells one use of a generic class from another."""
    try:
        hash(arguments)
    except TypeError:
        return cls, repr(arguments)
    return cls, arguments
