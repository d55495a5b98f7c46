"""A Python module of a contract: what `zocket gen python` writes, for a team that has not the server's code.

Rules: the module needs `zocket[client]` and Pydantic only; its classes type handles, they cannot be served; what a
caller does not set is not sent, so the server's own defaults hold.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from zocket.contract.naming import Names, name_actors, name_definitions
from zocket.contract.python_types import INDENT, RESERVED, Annotations, default_text, docstring, is_record, is_usable
from zocket.contract.walking import references, target_of
from zocket.core.definition import RESERVED_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zocket.contract.form import ActorContract, Contract, MethodContract, Schema

HEAD: Final = '''\
"""Typed client of an app: `client.actor(CLASS, "id")` gives a handle.

Made by `zocket gen python`; changes here are lost. What a caller leaves out is not sent: the server's default holds.
"""

from __future__ import annotations

'''
_IMPORTS: Final = (
    ("base64", ("b64decode", "b64encode")),
    ("datetime", ("date", "datetime", "time", "timedelta")),
    ("decimal", ("Decimal",)),
    ("typing", ("Annotated", "Any", "ClassVar", "Literal")),
    ("uuid", ("UUID",)),
)
_FURTHER: Final = (
    (
        "pydantic",
        (
            "BaseModel",
            "BeforeValidator",
            "ConfigDict",
            "Field",
            "PlainSerializer",
            "SerializerFunctionWrapHandler",
            "WrapSerializer",
            "model_serializer",
        ),
    ),
    ("zocket", ("Actor", "App", "Event", "method")),
)
_DEFAULT: Final = '''\
DEFAULT: Any = None
"""Stands for a default that the server chooses."""
'''
_ABSENT: Final = '''\
Absent = WrapSerializer(lambda value, write: None if value is None else write(value))
"""Marks a field that is not there unless it is set."""
'''
_BASE64: Final = """\
Base64 = Annotated[
    bytes,
    BeforeValidator(lambda value: b64decode(value) if isinstance(value, str) else value),
    PlainSerializer(lambda value: b64encode(value).decode(), return_type=str, when_used="json"),
]
"""
_MODEL: Final = '''\
class Model(BaseModel):
    """Base of the models."""

    model_config = ConfigDict(populate_by_name=True)
'''
_PARTIAL_MODEL: Final = '''\
class PartialModel(Model):
    """Base of models whose fields may be absent: those that were not set are not written."""

    may_be_absent: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        fields = type(self).model_fields
        for name in self.may_be_absent - self.model_fields_set:
            if getattr(self, name) == fields[name].get_default(call_default_factory=True):
                written.pop(name, None)
                written.pop(fields[name].alias or name, None)
        return written
'''
_HELPERS: Final = (
    ("DEFAULT", _DEFAULT),
    ("Absent]", _ABSENT),
    ("Base64", _BASE64),
    ("Model):", _MODEL),
    ("(PartialModel)", _PARTIAL_MODEL),
)
"""What of a module is only there if it is used."""


def python(contract: Contract) -> str:
    """The module of a contract, as text."""
    names = Names(RESERVED)
    definitions = name_definitions(contract, names)
    actors = name_actors(contract, names)
    annotations = Annotations(names, definitions)
    models = {name: item for name, item in contract.definitions.items() if is_record(item)}
    aliases = _ordered({name: item for name, item in contract.definitions.items() if name not in models})
    blocks = [annotations.model(definitions[name], item) for name, item in models.items() if isinstance(item, dict)]
    described = [f"{definitions[name]} = {annotations.of(item, definitions[name])}\n" for name, item in aliases.items()]
    by_name = {name: contract.actors[wire] for wire, name in actors.items()}
    classes = [_Class(name, actor, annotations, contract).text() for name, actor in by_name.items()]
    entries = ", ".join(f"{json.dumps(wire)}: {name}" for wire, name in actors.items())
    tail = f"app = App(actors={{{entries}}})\n"
    body = "\n\n".join(filter(None, (*blocks, *annotations.models, "\n".join(described), *classes, tail)))
    helpers = [text for name, text in _HELPERS if name in body]
    body = "\n\n".join((*helpers, body))
    return f"{HEAD}{_imports(_IMPORTS, body)}\n{_imports(_FURTHER, body)}\n\n{body}"


def _imports(groups: Iterable[tuple[str, tuple[str, ...]]], body: str) -> str:
    """The imports that a module needs."""
    lines = []
    for module, names in groups:
        used = [name for name in names if re.search(rf"\b{name}\b", body)]
        if used:
            lines.append(f"from {module} import {', '.join(used)}\n")
    return "".join(lines)


def _ordered(aliases: Mapping[str, Schema]) -> dict[str, Schema]:
    """Each alias behind those that it names; one that comes back to itself may be anything."""
    found: dict[str, Schema] = {}

    def add(name: str, above: frozenset[str]) -> None:
        for other in sorted(references(aliases[name]) & aliases.keys()):
            if other in above or other == name:
                found[other] = {}
            elif other not in found:
                add(other, above | {name})
        found.setdefault(name, aliases[name])

    for name in aliases:
        if name not in found:
            add(name, frozenset())
    return found


class _Class:
    """One actor class."""

    def __init__(self, name: str, actor: ActorContract, annotations: Annotations, contract: Contract) -> None:
        self._name = name
        self._actor = actor
        self._annotations = annotations
        self._contract = contract

    def text(self) -> str:
        state = self._annotations.of(self._actor.state, f"{self._name}State")
        if state == "Any":
            state = "dict[str, Any]"
        head = "\n".join([f"class {self._name}(Actor[{state}]):", *docstring(self._actor.description)])
        parts = []
        events = [self._event(wire, event.payload) for wire, event in self._actor.events.items()]
        if events:
            parts.append("\n".join(events))
        if "[" not in state:
            lines = ["@classmethod", f"def initial_state(cls) -> {state}:", f"{INDENT}return {state}.model_construct()"]
            parts.append("\n".join(INDENT + line for line in lines))
        parts += [self._method(wire, item) for wire, item in self._actor.methods.items()]
        return head + "\n" + "\n\n".join(parts or [f"{INDENT}pass"]) + "\n"

    def _event(self, wire: str, payload: Schema) -> str:
        if not _can_be_named(wire):
            return f'{INDENT}# {json.dumps(wire)} cannot be an attribute: client.events(client.dynamic(…), "…")'
        kind = self._annotations.of(payload, f"{self._name}{wire[:1].upper()}{wire[1:]}")
        is_class = kind.isidentifier() and kind not in ("Any", "None")
        return f"{INDENT}{wire} = {f'Event({kind})' if is_class and self._is_model(payload) else f'Event[{kind}]()'}"

    def _is_model(self, schema: Schema) -> bool:
        target = target_of(schema)
        return is_record(self._contract.definitions.get(target, {}) if target is not None else schema)

    def _method(self, wire: str, method: MethodContract) -> str:
        if method.stream or not _can_be_named(wire):
            reason = "is a stream" if method.stream else "cannot be an attribute"
            return f"{INDENT}# {json.dumps(wire)} {reason}: client.dynamic(…) has it"
        hint = f"{self._name}{wire[:1].upper()}{wire[1:]}"
        void = method.result is UNSET
        result = "None" if void else self._annotations.of(method.result, f"{hint}Result")  # type: ignore[arg-type]
        lines = [
            "@method",
            f"async def {wire}({', '.join(['self', *self._parameters(method, hint)])}) -> {result}:",
            *docstring(method.description)[:-1],
            f"{INDENT}raise NotImplementedError",
        ]
        return "\n".join(f"{INDENT}{line}" if line else "" for line in lines)

    def _parameters(self, method: MethodContract, hint: str) -> list[str]:
        given = method.input
        if isinstance(given, bool) or target_of(given) is not None or given.get("type") != "object":
            return [f"input: {self._annotations.of(given, f'{hint}Input')}"]
        properties = given.get("properties", {})
        if not all(is_usable(name) and name != "self" for name in properties):
            return [f"input: {self._annotations.of(given, f'{hint}Input')}"]
        required = set(given.get("required", ()))
        found = ["*"] if properties else []
        for name, item in properties.items():
            kind = self._annotations.of(item, f"{hint}{name[:1].upper()}{name[1:]}")
            default = "" if name in required else f" = {default_text(item, kind) or 'DEFAULT'}"
            found.append(f"{name}: {kind}{default}")
        return found


def _can_be_named(wire: str) -> bool:
    return is_usable(wire) and wire not in RESERVED_NAMES
