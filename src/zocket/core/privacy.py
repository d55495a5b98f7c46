"""`Private[…]`: fields that are stored and that no client sees, found from annotations, or from the classes of values.

Rules: whoever cannot be sure hides: the members of a union are hidden together, a class is hidden with its subclasses;
a private field needs a default, which is what a typed client reads in its place.
"""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import msgspec
import typing_extensions
from pydantic import BaseModel, RootModel
from pydantic_core import PydanticOmit

from zocket.core.fields import (
    QUALIFIERS,
    UNIONS,
    Field,
    bind,
    bindings_of,
    fields_of,
    is_open,
    is_record,
    memo_key,
    subclasses_of,
    substituted,
    value_of,
)
from zocket.core.masks import HIDDEN, Mask, Masks, pruned
from zocket.errors import DefinitionError
from zocket.state.kinds import DISCOVERERS, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


class PrivateMark:
    """What `Private[…]` puts into an annotation."""

    __slots__ = ()

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        """Leaves the field out of a JSON Schema of what is written."""
        if handler.mode == "serialization":
            raise PydanticOmit
        return handler(schema)

    def __repr__(self) -> str:
        return "Private"


Private = Annotated[T, PrivateMark()]
"""`hand: Private[list[Card]] = []`: a field that is stored, and never leaves towards a client.

It is a field of a Pydantic model, msgspec Struct, dataclass or TypedDict, with a default, and has the type `T` for
type checkers.
"""


class Findings(NamedTuple):
    """What an annotation hides.

    Attributes:
        masks: below the place that it annotates.
        open: whether `Any` or the like is in it, so that values have to say what they hide.
    """

    masks: Masks
    open: bool


def find_private(annotation: Any, *, is_state: bool = False, decoded: bool = True) -> Findings:
    """What an annotation hides of what is written by it.

    Of a state, what lies below `Any` is hidden by name: that of any private field which the state has elsewhere.
    `decoded` if clients make objects of it: then a private field needs a default.

    Raises:
        DefinitionError: a private field has no default, or `Private` marks something else than a field.
    """
    finder = _Finder(is_state=is_state, strict=decoded)
    masks = finder.masks_of(annotation, {})
    if masks is HIDDEN:
        raise DefinitionError(f"Private marks a field of a model, {annotation!r} is none")
    finder.anywhere.items = (finder.anywhere,)
    masks = pruned(masks)
    if is_state:
        _declared.update(finder.private_classes)
    return Findings(masks, finder.open)


class _Finder:
    """Walks annotations; every record is walked once, so that recursive types end in themselves."""

    def __init__(self, *, is_state: bool, strict: bool) -> None:
        self.is_state = is_state
        self.strict = strict
        self.open = False
        self.anywhere = Mask()
        self.private_classes: set[type] = set()
        self._known: dict[Any, Mask] = {}
        self._inside: _Finder | None = None

    def masks_of(self, annotation: Any, bound: Mapping[Any, Any]) -> Masks:
        """What is hidden below a place with this annotation; `bound` are the values of type variables."""
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Annotated:
            if any(isinstance(item, PrivateMark) for item in arguments[1:]):
                return self._mark(arguments[0], bound)
            return self.masks_of(arguments[0], bound)
        if origin in QUALIFIERS:
            return self.masks_of(arguments[0], bound)
        if origin in UNIONS:
            return self._together(arguments, bound)
        if isinstance(annotation, (typing.TypeVar, typing_extensions.TypeVar)):
            return self.masks_of(bound[annotation], {}) if annotation in bound else self._unknown()
        plain = origin or annotation
        if isinstance(plain, typing_extensions.TypeAliasType):
            return self._alias(plain, bind(plain.__type_params__, arguments, bound))
        if isinstance(annotation, typing.NewType):
            return self.masks_of(annotation.__supertype__, bound)
        if isinstance(annotation, dataclasses.InitVar):
            return ()
        if is_record(plain):
            return self._record(plain, tuple(substituted(item, bound) for item in arguments))
        if origin is typing.Literal:
            return ()
        if not arguments:
            return self._unknown() if is_open(plain) else ()
        items = self._together(arguments, bound)
        if items is HIDDEN:
            raise DefinitionError(f"Private marks a field of a model, not what is in {annotation!r}")
        return (Mask(items=items),) if items else ()

    def _mark(self, annotation: Any, bound: Mapping[Any, Any]) -> Masks:
        """All of it is private; the classes in it are known nevertheless."""
        if self._inside is None:
            self._inside = _Finder(is_state=self.is_state, strict=False)
            self._inside._inside = self._inside  # noqa: SLF001 — of the same class
            self._inside.private_classes = self.private_classes
        self._inside.masks_of(annotation, bound)
        return HIDDEN

    def _unknown(self) -> Masks:
        self.open = True
        return (self.anywhere,) if self.is_state else ()

    def _together(self, annotations: Iterable[Any], bound: Mapping[Any, Any]) -> Masks:
        parts = [self.masks_of(annotation, bound) for annotation in annotations]
        return HIDDEN if HIDDEN in parts else tuple(mask for masks in parts for mask in masks)

    def _alias(self, alias: Any, bound: Mapping[Any, Any]) -> Masks:
        key = memo_key(alias, tuple(bound.values()))
        if key not in self._known:
            mask = self._known[key] = Mask()
            found = self.masks_of(value_of(alias), bound)
            if found is HIDDEN:
                return HIDDEN
            for part in found:
                mask.items += part.items
                for name, masks in part.names.items():
                    mask.hide(name, masks)
        return (self._known[key],)

    def _record(self, cls: Any, arguments: tuple[Any, ...]) -> Masks:
        if issubclass(cls, RootModel):
            return self.masks_of(next(iter(fields_of(cls))).annotation, {})
        key = memo_key(cls, arguments)
        if key not in self._known:
            mask = self._known[key] = Mask()
            self._add_fields(mask, cls, arguments, decoded=self.strict)
            for derived in subclasses_of(cls):
                self._add_fields(mask, derived, (), decoded=False)
        return (self._known[key],)

    def _add_fields(self, mask: Mask, cls: Any, arguments: tuple[Any, ...], *, decoded: bool) -> None:
        """Adds what the fields of a class hide; `decoded` if a client makes objects of it."""
        bound = bindings_of(cls, arguments, {})
        as_array = issubclass(cls, tuple) or (issubclass(cls, msgspec.Struct) and cls.__struct_config__.array_like)
        if issubclass(cls, BaseModel) and cls.model_config.get("extra") == "allow":
            mask.items += self._unknown()
        for field in fields_of(cls):
            masks = self.masks_of(field.annotation, bound)
            if masks is HIDDEN:
                if as_array:
                    raise DefinitionError(
                        f"{cls.__name__}.{field.attribute}: an array cannot leave out what is private"
                    )
                if field.required and decoded:
                    raise DefinitionError(
                        f"{cls.__name__}.{field.attribute}: a private field needs a default, which clients read in its "
                        "place"
                    )
                self._note_private(cls, field)
            if as_array:
                mask.items += masks
            else:
                for name in field.names:
                    mask.hide(name, masks)

    def _note_private(self, cls: type, field: Field) -> None:
        self.private_classes.add(cls)
        for name in field.names:
            self.anywhere.hide(name, HIDDEN)


# -- values ----------------------------------------------------------------------------------------------------------

_SCALARS: Final = frozenset({str, int, float, bool, type(None), bytes})
_ARRAYS: Final = (list, tuple, set, frozenset, deque)

_of_class: WeakKeyDictionary[type, tuple[Masks, tuple[Field, ...]]] = WeakKeyDictionary()
"""What the annotations of a class hide, and the fields to look into; none if the annotations say it all."""


def masks_of_value(value: Any) -> Masks:
    """What is hidden below a value that says so itself, by the classes that are in it.

    Raises:
        DefinitionError: a class in it marks something else than a field.
    """
    cls = type(value)
    if cls in _SCALARS:
        return ()
    if cls is dict:
        return _members_masks(value)
    if cls is list:
        return _elements_masks(value)
    if isinstance(value, RootModel):
        return masks_of_value(value.root)
    cls = value.__class__  # of a tracked value the developer's own
    if is_record(cls) and not issubclass(cls, tuple):
        return _record_masks(cls, value)
    if isinstance(value, Mapping):
        return _members_masks(value)
    return _elements_masks(value) if isinstance(value, _ARRAYS) else ()


def _members_masks(value: Mapping[Any, Any]) -> Masks:
    names: dict[str, Masks] = {}
    for key, part in value.items():
        if type(part) not in _SCALARS and (masks := masks_of_value(part)):
            names[str(key.value if isinstance(key, enum.Enum) else key)] = masks
    return (Mask(names),) if names else ()


def _elements_masks(value: Iterable[Any]) -> Masks:
    names: dict[str, Masks] = {}
    for index, part in enumerate(value):
        if type(part) not in _SCALARS and (masks := masks_of_value(part)):
            names[str(index)] = masks
    return (Mask(names),) if names else ()


def _record_masks(cls: type, value: Any) -> Masks:
    found = _of_class.get(cls)
    if found is None:
        finder = _Finder(is_state=False, strict=False)
        masks = pruned(finder.masks_of(cls, {}))
        found = _of_class[cls] = masks, tuple(fields_of(cls)) if finder.open else ()
    masks, fields = found
    if fields:
        parts = {name: getattr(value, field.attribute, None) for field in fields for name in field.names}
        masks += _members_masks(parts | (getattr(value, "__pydantic_extra__", None) or {}))
    return masks


# -- classes that a state's annotation does not name -----------------------------------------------------------------

_declared: WeakSet[type] = WeakSet()
"""Classes with private fields that the annotation of some state names."""


def _refuse_undeclared(cls: type) -> None:
    """Asked about each class that a state holds for the first time: what nobody declared would not be hidden."""
    if cls in _declared or not is_record(cls):
        return
    try:
        private = [field.attribute for field in fields_of(cls) if _is_private(field.annotation)]
    except DefinitionError:
        return
    if private:
        raise Refusal(
            f"{cls.__qualname__} has private fields ({', '.join(private)}): a state can only hold it where the "
            "annotation names it"
        )


def _is_private(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (*UNIONS, *QUALIFIERS):
        return any(map(_is_private, typing.get_args(annotation)))
    return typing.get_origin(annotation) is Annotated and any(
        isinstance(item, PrivateMark) for item in typing.get_args(annotation)[1:]
    )


DISCOVERERS.insert(0, _refuse_undeclared)
