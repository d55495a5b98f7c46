"""Definitions from classes: what an app offers on the wire, found and checked once, when the `App` is made.

Rules: everything that can be wrong with a class is a `DefinitionError` here, naming class and attribute, never a
surprise at the first call. Wire names are decided here (`rename`), nowhere else.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import typing_extensions

from zocket.core.actor import METHOD_MARK, Actor, Event, EventOf, MethodOptions
from zocket.core.beside import never_waits
from zocket.core.cron import CRON_MARK
from zocket.core.masks import HIDDEN, Masks
from zocket.core.migration import bring_up, migrations_of
from zocket.core.privacy import find_private
from zocket.core.redaction import PublicSchema, encode_public, public_schema
from zocket.core.schema import InputSchema, Issues, Parameter, Schema, SchemaMismatch
from zocket.core.streaming import chunk_annotation, drained, is_iterator
from zocket.core.views import VIEW_MARK, ViewDefinition
from zocket.errors import (
    DefinitionError,
    InvalidId,
    StateValueError,
    StoredStateError,
    UsageError,
    ValidationFailed,
)
from zocket.ids import check_actor_type
from zocket.state import Document, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from zocket.core.actor import Middleware
    from zocket.core.cron import CronRule
    from zocket.core.guards import Guard

Rename = Literal["camel"] | None

DURABILITIES: Final = ("memory", "file", "sync")
HOOKS: Final = ("on_activate", "on_connect", "on_drop", "on_resume", "on_disconnect", "on_deactivate")
SESSION_HOOKS: Final = frozenset({"on_connect", "on_disconnect"})
MAX_GRACE_S: Final = 3_600.0
"""Of `Actor.grace`: every session that is away is kept in memory for so long."""
RESERVED_NAMES: Final = frozenset(dir(Actor)) | {"then"}
"""Names that a method may not take; `then` would make a JavaScript handle look like a promise."""


def wire_name(name: str, rename: Rename) -> str:
    """A Python name as it is on the wire."""
    if rename is None:
        return name
    return re.sub(r"(?<=[^_])_+([^_])", lambda match: match[1].upper(), name)


class MethodDefinition:
    """One method: its wire name, and how its input and result are written.

    Attributes:
        takes_input: whether it has parameters.
        encode_result: the JSON of a handler's result, None for a method annotated `-> None`. It raises StateValueError
            for a result that JSON cannot hold, or that is not what the annotation says.
        function: the handler; of a method that yields, one that sends the chunks.
        beside: whether it runs beside the turns of its instance; `query` if it only reads; `never_waits` if it does so
            in one stretch.
        stream: whether it yields chunks; its result is nothing.
        special: whether it is more than an ordinary turn.
    """

    __slots__ = (
        "beside",
        "chunk",
        "encode_result",
        "function",
        "input",
        "label",
        "name",
        "never_waits",
        "publish_every_s",
        "python_name",
        "query",
        "result",
        "signature",
        "special",
        "stream",
        "takes_input",
        "timeout_s",
        "void",
    )

    def __init__(self, label: str, name: str, function: Callable[..., Any], hints: dict[str, Any]) -> None:
        options: MethodOptions | None = getattr(function, METHOD_MARK, None)
        self.label = label
        self.name = name
        self.python_name = function.__name__
        self.function = function
        self.stream = inspect.isasyncgenfunction(function)
        self.timeout_s = None if options is None else options.timeout_s
        self.publish_every_s = None if options is None else _seconds(f"{label}: publish_every", options.publish_every_s)
        self.beside = options is not None and options.beside
        self.query = options is not None and options.query
        self.never_waits = self.beside and never_waits(function)
        if self.beside and self.publish_every_s is not None:
            raise DefinitionError(f"{label}: what runs beside a turn changes nothing, so there is nothing to publish")
        self.special = self.beside or self.stream or self.publish_every_s is not None
        self.signature = inspect.signature(function)
        self.input = InputSchema(_parameters(label, self.signature, hints))
        returned = hints.get("return", Any)
        self.chunk: Schema[Any] | None = None
        if self.stream:
            self.function = drained(self, function)
            chunk, returned = chunk_annotation(label, returned), type(None)
            self.chunk = None if chunk is Any else public_schema(chunk)
        elif is_iterator(returned):
            raise DefinitionError(f"{label}: a method that is annotated as an iterator has to `yield`")
        self.void = returned is type(None)
        self.result: Schema[Any] | None = None if returned is Any or self.void else public_schema(returned)
        self.takes_input = bool(self.input.parameters)
        self.encode_result: Callable[[Any], bytes | None] = (
            _nothing if self.void else encode_public if self.result is None else self.result.encode
        )

    def decode_input(self, raw: Any) -> dict[str, Any]:
        """The keyword arguments of a call.

        Raises:
            ValidationFailed: the input does not fit the signature.
        """
        try:
            return self.input.decode(raw)
        except SchemaMismatch as mismatch:
            raise validation_failed(self.name, mismatch.issues) from mismatch

    def encode_chunk(self, value: Any) -> bytes:
        """The JSON of what a method yielded.

        Raises:
            StateValueError: JSON cannot hold it, or it is not what the annotation says.
        """
        if self.chunk is None:
            return encode_public(value)
        if not self.chunk.check(value):
            raise StateValueError(f"{self.label}: yields {self.chunk.annotation!r}, not {type(value).__name__}")
        return self.chunk.encode(value)

    def encode_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
        """The JSON of `input` for a call as Python makes it.

        Raises:
            TypeError: the arguments do not fit the signature.
            StateValueError: JSON cannot hold one of them.
        """
        try:
            found = self.signature.bind(None, *args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.label}() {error}") from None
        found.pop(next(iter(self.signature.parameters)))
        return self.input.encode(found)

    def decode_result(self, raw: Any) -> Any:
        """The value of a result's JSON (None: there is none).

        Raises:
            SchemaMismatch: the server sent something else than the annotation says.
        """
        if self.void or raw is None:
            return None
        return (self.result or _ANYTHING).decode(raw)

    def decode_chunk(self, raw: Any) -> Any:
        """The value of a chunk's JSON; errors as of `decode_result`."""
        return (self.chunk or _ANYTHING).decode(raw)


_ANYTHING: Final[Schema[Any]] = Schema(Any)


def _nothing(_: Any) -> None:
    """The JSON of no result."""


def validation_failed(method: str, issues: Issues) -> ValidationFailed:
    """The error that a caller sees, with the issues as JSON in its text and as its data."""
    return ValidationFailed(method, encode(issues).decode(), data=issues)


def _parameters(label: str, signature: inspect.Signature, hints: dict[str, Any]) -> list[Parameter]:
    found = []
    for item in list(signature.parameters.values())[1:]:
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD, item.POSITIONAL_ONLY):
            raise DefinitionError(
                f"{label}: parameter {item.name} has no name on the wire (*args, **kwargs and / cannot be used)"
            )
        if item.name not in hints:
            raise DefinitionError(f"{label}: parameter {item.name} has no annotation, so its input cannot be validated")
        found.append(Parameter(item.name, hints[item.name], item.default is inspect.Parameter.empty))
    return found


class EventDefinition:
    """One event: its wire name and payload schema."""

    __slots__ = ("_event", "attribute", "name", "name_json", "schema")

    def __init__(self, name: str, event: Event[Any], annotation: Any) -> None:
        self._event = event
        self.attribute = event.attribute
        self.name = name
        self.name_json = encode(name)
        self.schema: Schema[Any] = public_schema(annotation)

    def encode(self, payload: Any) -> bytes:
        """See `Event.encode`."""
        return self._event.encode(self, payload)

    def decode(self, raw: Any) -> Any:
        """The payload.

        Raises:
            SchemaMismatch: the JSON is not of the event's type.
        """
        return self.schema.decode(raw)


class ActorDefinition:
    """One actor type of an app.

    Attributes:
        state: schema of the state, all of it.
        view: what its subscribers get instead of the state; None if they get the state.
        shown: schema of what subscribers get.
        masks: what is hidden of the state.
        grace_s: how long a session that was dropped is kept; None if it ends at once.
        keeps_sessions: whether its instances miss something when they forget a session.
    """

    def __init__(
        self,
        name: str,
        cls: type[Actor[Any, Any]],
        *,
        rename: Rename,
        middleware: Sequence[Middleware],
        guards: Sequence[Guard] = (),
    ) -> None:
        self.name = name
        self.cls = cls
        self.middleware = (*middleware, *cls.middleware)
        self.guards = (*guards, *_callables(f"{cls.__name__}.guards", cls.guards))
        self.state: Schema[Any] = Schema(_state_type(cls))
        cls.__zocket_state__ = _state_factory(cls, self.state.annotation)
        self.view = _view(cls)
        self.masks: Masks = find_private(self.state.annotation, is_state=True).masks
        self.shown = self.state
        if self.view is not None:
            self.masks, self.shown = HIDDEN, self.view.schema
        elif self.masks:
            self.shown = PublicSchema(self.state.annotation, self.masks, is_open=False)
        if cls.durability not in DURABILITIES:
            raise DefinitionError(f"{cls.__name__}.durability: expected one of {', '.join(DURABILITIES)}")
        self.durable = cls.durability != "memory"
        self.idle_after = _seconds(f"{cls.__name__}.idle_after", cls.idle_after)
        self.grace_s = _grace(cls)
        self.version = cls.version
        self.migrations = migrations_of(cls, cls.version)
        self.methods: dict[str, MethodDefinition] = {}
        self.events: dict[str, EventDefinition] = {}
        self.crons: tuple[CronRule, ...] = ()
        self._targets: dict[str, MethodDefinition] = {}
        self.hooks = frozenset(hook for hook in HOOKS if getattr(cls, hook) is not getattr(Actor, hook))
        self.keeps_sessions = self.grace_s is not None or not self.hooks.isdisjoint(SESSION_HOOKS)
        for hook in self.hooks:
            _check_hook(cls, hook)
        if self.grace_s is None and (unused := self.hooks & {"on_drop", "on_resume"}):
            raise DefinitionError(f"{cls.__name__}.{min(unused)}: runs only in a class with a `grace`")
        for attribute, value in _attributes(cls).items():
            if isinstance(value, Event):
                self._add_event(attribute, value, rename)
            elif _mark(cls, attribute) is not None:
                self._add_method(attribute, value, rename)
            self.crons += _cron_rules(cls, attribute, value)
        self.beside = {name: item for name, item in self.methods.items() if item.beside}
        self._methods_by_attribute = {item.python_name: item for item in self.methods.values()}
        self.events_by_attribute = {item.attribute: item for item in self.events.values()}
        self._check_initial_state()

    def _add_method(self, attribute: str, function: Any, rename: Rename) -> None:
        label, name = f"{self.cls.__name__}.{attribute}", wire_name(attribute, rename)
        if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
            raise DefinitionError(f"{label}: a method must be written as `async def`")
        if attribute in RESERVED_NAMES or attribute.startswith("_"):
            raise DefinitionError(f"{label}: the name is reserved; call the method something else")
        if name in self.methods:
            raise DefinitionError(f"{label}: another method is called {name} on the wire")
        if getattr(function, METHOD_MARK, None) is None:
            setattr(function, METHOD_MARK, _mark(self.cls, attribute))
        self.methods[name] = MethodDefinition(label, name, function, _hints(self.cls, label, function))

    def _add_event(self, attribute: str, event: Event[Any], rename: Rename) -> None:
        name = wire_name(attribute, rename)
        if attribute in RESERVED_NAMES or attribute.startswith("_"):
            raise DefinitionError(f"{event.label}: the name is reserved; call the event something else")
        if name in self.events:
            raise DefinitionError(f"{event.label}: another event is called {name} on the wire")
        try:
            self.events[name] = EventDefinition(name, event, event.payload_annotation)
        except DefinitionError as error:
            raise DefinitionError(f"{event.label}: {error.message}") from error

    def _check_initial_state(self) -> None:
        try:
            self.new_document(None)
        except Exception as error:  # border: a developer's state model
            raise DefinitionError(
                f"{self.cls.__name__}: its state cannot be made from defaults ({error}); give every field a default or "
                "override the classmethod initial_state"
            ) from error

    def new_document(self, max_bytes: int | None, actor_id: str = "") -> Document[Any]:
        """The state of a new instance."""
        return Document(self.cls.initial_state(), max_bytes=max_bytes, owner=f"{self.name}/{actor_id}")

    def method_of(self, attribute: str) -> MethodDefinition | None:
        """The method with this Python name."""
        return self._methods_by_attribute.get(attribute)

    def target(self, attribute: str) -> MethodDefinition:
        """What a timer or reminder may call by this Python name, a `@method` or not.

        Raises:
            DefinitionError: the class has no such `async def`, or it cannot be called with stored arguments.
        """
        found = self._methods_by_attribute.get(attribute) or self._targets.get(attribute)
        if found is None:
            label, function = f"{self.cls.__name__}.{attribute}", getattr(self.cls, attribute, None)
            if not inspect.iscoroutinefunction(function):
                raise DefinitionError(f"{label}: there is no `async def` of this name")
            hints = {name: hint for name, hint in _hints(self.cls, label, function).items() if name != "return"}
            found = self._targets[attribute] = MethodDefinition(label, attribute, function, hints)
        return found

    def restore_state(self, raw: Any, version: int) -> Any:
        """The state of a stored record, migrated to the present version.

        Raises:
            StoredStateError: it cannot be used; nothing is lost by that.
        """
        try:
            if version != self.version:
                state = bring_up(self.name, msgspec.json.decode(raw), version, self.version, self.migrations)
                raw = encode(state)
            return self.state.decode(raw)
        except SchemaMismatch as mismatch:
            issues = None if self.masks else mismatch.issues  # they name keys, and some values
            raise StoredStateError(
                f"{self.name}: the stored state does not fit {self.state.annotation!r}", data=issues
            ) from mismatch
        except StateValueError as error:
            raise StoredStateError(f"{self.name}: a migration made what JSON cannot hold: {error.message}") from error

    def decode_state(self, raw: Any) -> Any:
        """What a subscriber got: the state, its private fields as by default, or the view.

        Raises:
            SchemaMismatch: the JSON is not of its type.
        """
        return self.shown.decode(raw)


def _callables(label: str, items: Sequence[Any]) -> Sequence[Any]:
    for item in items:
        if not callable(item):
            raise DefinitionError(f"{label}: {item!r} is not callable")
    return items


def _seconds(what: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DefinitionError(f"{what}: expected seconds above 0 or None, got {value!r}")
    return float(value)


def _grace(cls: type[Actor[Any, Any]]) -> float | None:
    seconds = _seconds(f"{cls.__name__}.grace", cls.grace)
    if seconds is not None and seconds > MAX_GRACE_S:
        raise DefinitionError(f"{cls.__name__}.grace: at most {MAX_GRACE_S:g} seconds, got {cls.grace!r}")
    return seconds


def _attributes(cls: type) -> dict[str, Any]:
    """Class attributes without descriptor magic, the most derived first to be found, in order of definition."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return found


def _view(cls: type[Actor[Any, Any]]) -> ViewDefinition | None:
    """The view of a class; an override of a marked method is the view."""
    found = None
    for attribute, value in _attributes(cls).items():
        marks = (getattr(vars(base).get(attribute), VIEW_MARK, None) for base in cls.__mro__)
        mark = next((mark for mark in marks if mark is not None), None)
        if mark is not None:
            label = f"{cls.__name__}.{attribute}"
            if attribute in RESERVED_NAMES:
                raise DefinitionError(f"{label}: the name is reserved; call the view something else")
            if found is not None:
                raise DefinitionError(f"{label}: the class has a view already, {found.label}")
            found = ViewDefinition(label, value, mark, partial(_hints, cls, label))
    return found


def _cron_rules(cls: type, attribute: str, function: Any) -> tuple[CronRule, ...]:
    """The `@cron`s of an attribute."""
    rules: list[CronRule] = getattr(function, CRON_MARK, [])
    label = f"{cls.__name__}.{attribute}"
    if rules and not inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{label}: a method with @cron must be written as `async def`")
    for item in list(inspect.signature(function).parameters.values())[1:] if rules else ():
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            raise DefinitionError(f"{label}: a method with @cron takes no arguments, and {item.name} has no default")
    return tuple(rules)


def _mark(cls: type, attribute: str) -> MethodOptions | None:
    """`@method` of an attribute; an override of a marked method is a method too."""
    for base in cls.__mro__:
        mark = getattr(vars(base).get(attribute), METHOD_MARK, None)
        if mark is not None:
            return typing.cast("MethodOptions", mark)
    return None


def _check_hook(cls: type, hook: str) -> None:
    function = getattr(cls, hook)
    if not inspect.iscoroutinefunction(function) or len(inspect.signature(function).parameters) != 1:
        raise DefinitionError(f"{cls.__name__}.{hook}: a hook is written `async def {hook}(self) -> None`")


def _hints(cls: type[Actor[Any, Any]], label: str, function: Any) -> dict[str, Any]:
    try:
        return typing_extensions.get_type_hints(function, localns=cls.__zocket_namespace__, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"{label}: an annotation cannot be resolved ({error})") from error


def _state_type(cls: type[Actor[Any, Any]]) -> Any:
    """`S` of `Actor[S, …]`, found through generic bases; an empty dict where none is given."""
    for base in cls.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            origin = typing.get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, Actor):
                state = typing.get_args(generic)[0]
                if not isinstance(state, typing.TypeVar | typing_extensions.TypeVar):
                    return _resolve_state(cls, state)
    return dict[str, Any]


def _resolve_state(cls: type[Actor[Any, Any]], state: Any) -> Any:
    if not isinstance(state, typing.ForwardRef | str):
        return state
    text = state if isinstance(state, str) else state.__forward_arg__
    names = {**vars(inspect.getmodule(cls) or typing), **(cls.__zocket_namespace__ or {})}
    try:
        return eval(text, names)  # noqa: S307 — the developer's own annotation, as typing evaluates it
    except NameError as error:
        raise DefinitionError(f"{cls.__name__}: its state type cannot be resolved ({error})") from error


def _state_factory(cls: type, annotation: Any) -> Callable[[], Any]:
    factory = typing.get_origin(annotation) or annotation
    if not callable(factory):
        raise DefinitionError(f"{cls.__name__}: {annotation!r} cannot be a state; use a model, a dict or a list")
    return staticmethod(factory)


class AppDefinition:
    """All actor types of an app, by wire name.

    Attributes:
        smoke: checks a new version before it takes over; called with an invoker on a host of its own, or None.
        invokers: carry the calls of this process's own code, while something serves the app here; the last one does.
        has_grace: whether a class keeps dropped sessions, so that clients may resume theirs.
    """

    def __init__(
        self,
        actors: Mapping[str, type[Actor[Any, Any]]],
        *,
        middleware: Sequence[Middleware] = (),
        guards: Sequence[Guard] = (),
        rename: Rename = None,
    ) -> None:
        if rename not in (None, "camel"):
            raise DefinitionError(f"rename: expected None or 'camel', got {rename!r}")
        _callables("middleware", middleware)
        _callables("guards", guards)
        self.smoke: Callable[[Any], Awaitable[None]] | None = None
        self.invokers: list[Any] = []
        self.actors: dict[str, ActorDefinition] = {}
        for given, cls in actors.items():
            if not (isinstance(cls, type) and issubclass(cls, Actor)):
                raise DefinitionError(f"actors[{given!r}]: expected a subclass of Actor, got {cls!r}")
            try:
                name = check_actor_type(wire_name(given, rename))
            except InvalidId as error:
                raise DefinitionError(f"actors[{given!r}]: {error.message}") from error
            if name in self.actors:
                raise DefinitionError(f"actors[{given!r}]: another actor is called {name} on the wire")
            self.actors[name] = ActorDefinition(name, cls, rename=rename, middleware=middleware, guards=guards)
        self.has_grace = any(definition.grace_s is not None for definition in self.actors.values())
        for definition in self.actors.values():
            _known_names(definition.cls)[definition.name] = definition

    def of(self, cls: type[Actor[Any, Any]], name: str | None = None) -> ActorDefinition:
        """The definition of a class of this app.

        Args:
            cls: the actor class.
            name: its wire name, needed where the app gives the class several names.

        Raises:
            UsageError: the class is not in this app, or `name` is needed and missing or wrong.
        """
        found = [item for known, item in self.actors.items() if item.cls is cls and name in (None, known)]
        if len(found) != 1:
            advice = "several names, give name=" if found else f"not in this app ({', '.join(self.actors)})"
            raise UsageError(f"{cls.__name__}: {advice}")
        return found[0]


def _known_names(cls: type) -> dict[str, ActorDefinition]:
    """The definitions of this very class (not of its bases), kept on it so that they go with it."""
    if "__zocket_definitions__" not in vars(cls):
        cls.__zocket_definitions__ = {}  # type: ignore[attr-defined]
    return typing.cast("dict[str, ActorDefinition]", vars(cls)["__zocket_definitions__"])


def actor_definition(cls: type[Actor[Any, Any]], name: str | None = None) -> ActorDefinition:
    """The definition of a class in the app that names it.

    Args:
        cls: the actor class.
        name: its wire name, needed where apps of this process give the class several names.

    Raises:
        UsageError: the class is in no app of this process, or `name` is needed and missing or wrong.
    """
    known = _known_names(cls)
    if name is not None:
        if name in known:
            return known[name]
        return ActorDefinition(name, cls, rename=None, middleware=())
    if len(known) == 1:
        return next(iter(known.values()))
    if not known:
        raise UsageError(
            f"{cls.__name__} is in no App of this process: import the module with the App, or give its name="
        )
    raise UsageError(f"{cls.__name__} has several names ({', '.join(sorted(known))}): give name=")


def event_definition(event: EventOf[Any, Any], name: str | None = None) -> EventDefinition:
    """The definition of `ChatRoom.posted`; errors as of `actor_definition`."""
    return actor_definition(event.owner, name).events_by_attribute[event.attribute]
