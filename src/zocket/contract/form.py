"""The form of a contract: what is in the document, as docs/contracts.md describes it.

Rules: fields are only added, and what this version does not know is ignored, so a contract outlives the version that
made it; another number in `zocketContract` is another form and refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.contract.walking import reachable

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
"""Number of the form; `zocketContract` of each document."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest document that is taken; one of a hundred actors has a tenth of it."""

Schema = dict[str, Any] | bool
"""A JSON Schema."""


class MethodContract(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """A method.

    Attributes:
        input: schema of the `input` object.
        input_required: whether a call without an input is refused.
        result: schema of the result, of each one for a stream; unset for a method that answers nothing.
        stream: its results come one after the other.
        query: it changes nothing.
    """

    description: str = ""
    input: Schema
    input_required: bool
    result: Schema | msgspec.UnsetType = msgspec.UNSET
    stream: bool = False
    query: bool = False


class EventContract(msgspec.Struct, frozen=True):
    """An event."""

    payload: Schema


class ActorContract(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """An actor type; `title` is the name of its class, `state_version` that of its stored state."""

    title: str = ""
    description: str = ""
    state_version: int = 1
    state: Schema
    methods: dict[str, MethodContract]
    events: dict[str, EventContract]


class Contract(
    msgspec.Struct,
    rename={"form": "zocketContract", "dialect": "jsonSchemaDialect", "definitions": "$defs"},
    frozen=True,
    kw_only=True,
):
    """Everything that clients of an app can name. Schemas refer to `definitions` as `#/$defs/NAME`."""

    form: int = FORMAT
    dialect: str = DIALECT
    actors: dict[str, ActorContract]
    definitions: dict[str, Schema] = {}

    def encode(self) -> bytes:
        """The document, in the fewest bytes."""
        return msgspec.json.encode(self)

    def text(self) -> str:
        """The document for people, and for files under version control."""
        return msgspec.json.format(self.encode(), indent=2).decode() + "\n"


class NoContract(ValueError):
    """A document is none, or of a form that this version does not know."""


class _Form(msgspec.Struct):
    form: int = msgspec.field(name="zocketContract")


def decode_contract(content: bytes) -> Contract:
    """A contract that came from elsewhere.

    Raises:
        NoContract: it is none; the message says why.
    """
    if len(content) > MAX_BYTES:
        raise NoContract(f"it has {len(content)} bytes, the limit is {MAX_BYTES}")
    try:
        form = msgspec.json.decode(content, type=_Form).form
        if form != FORMAT:
            raise NoContract(f"its form is {form}, this version of zocket knows {FORMAT}")
        contract = msgspec.json.decode(content, type=Contract)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoContract(str(error)) from error
    return contract


def with_definitions(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A schema that stands by itself: with the definitions that it refers to, through others too."""
    needed = reachable(schema, definitions)
    if not needed or isinstance(schema, bool):
        return schema
    return {**schema, "$defs": {name: definitions[name] for name in sorted(needed) if name in definitions}}


def takes_nothing(method: MethodContract) -> bool:
    """Whether the method has no parameters."""
    given = method.input
    return isinstance(given, dict) and "$ref" not in given and given.get("properties") == {}
