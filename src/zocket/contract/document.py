"""The contract of an app: one JSON document of everything that its clients can name.

Rules: the same definition gives the same document; actors, methods and events stand in the order of the source,
named schemas in that of their names; what a client cannot see (durability, middleware, hooks, private fields, the state
behind a view) is not in it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from zocket.contract.form import ActorContract, Contract, EventContract, MethodContract, Schema
from zocket.contract.schemas import Schemas
from zocket.contract.walking import Document, resolved
from zocket.core.redaction import public_schema
from zocket.errors import StateValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.core import AppDefinition
    from zocket.core.definition import MethodDefinition
    from zocket.core.schema import Schema as Annotation


def contract_of(definition: AppDefinition) -> Contract:
    """The contract of an app.

    Schemas of results, states and events say what is written, schemas of inputs what is accepted: those may have
    private fields. No default has them.

    Raises:
        DefinitionError: `Private` marks a parameter.
    """
    methods = [method for actor in definition.actors.values() for method in actor.methods.values()]
    inputs: dict[int, list[Annotation[Any]]] = {
        id(item): [public_schema(given.annotation, decoded=False) for given in item.input.parameters]
        for item in methods
    }
    schemas = Schemas(_outputs(definition), [schema for group in inputs.values() for schema in group])
    actors = {
        name: ActorContract(
            title=actor.cls.__name__,
            description=_text(vars(actor.cls).get("__doc__")),
            state_version=actor.version,
            state=schemas.of(actor.shown, "output"),
            methods={item.name: _method(item, inputs[id(item)], schemas) for item in actor.methods.values()},
            events={event.name: EventContract(schemas.of(event.schema, "output")) for event in actor.events.values()},
        )
        for name, actor in definition.actors.items()
    }
    return Contract(actors=actors, definitions=dict(sorted(schemas.definitions.items())))


def _outputs(definition: AppDefinition) -> Iterator[Annotation[Any]]:
    for actor in definition.actors.values():
        yield actor.shown
        answers = (method.chunk if method.stream else method.result for method in actor.methods.values())
        yield from (schema for schema in answers if schema is not None)
        yield from (event.schema for event in actor.events.values())


def _method(method: MethodDefinition, inputs: list[Annotation[Any]], schemas: Schemas) -> MethodContract:
    result: Schema | msgspec.UnsetType = {}
    answer = method.chunk if method.stream else method.result
    if method.void and not method.stream:
        result = msgspec.UNSET
    elif answer is not None:
        result = schemas.of(answer, "output")
    given = _input(method, inputs, schemas)
    return MethodContract(
        description=_text(method.function.__doc__),
        input=given,
        input_required=_refuses_empty(given, schemas.definitions),
        result=result,
        stream=method.stream,
        query=method.query,
    )


def _input(method: MethodDefinition, inputs: list[Annotation[Any]], schemas: Schemas) -> Document:
    if method.input.is_whole:
        return schemas.of(inputs[0], "input")
    properties, required = {}, []
    for item, schema in zip(method.input.parameters, inputs, strict=True):
        properties[item.name] = schemas.of(schema, "input")
        if item.required:
            required.append(item.name)
        else:
            properties[item.name] = properties[item.name] | _default(
                schema, method.signature.parameters[item.name].default
            )
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _refuses_empty(schema: Document, definitions: dict[str, Document]) -> bool:
    """Whether the empty object, which an absent input stands for, is refused."""
    schema = resolved(schema, definitions)
    if "anyOf" in schema or "oneOf" in schema:
        return all(_refuses_empty(item, definitions) for item in (*schema.get("anyOf", ()), *schema.get("oneOf", ())))
    return bool(schema.get("required"))


def _default(schema: Annotation[Any], value: Any) -> Document:
    """A parameter's default, where JSON can hold it."""
    try:
        return {"default": msgspec.json.decode(schema.encode(value))}
    except (StateValueError, msgspec.DecodeError):
        return {}


def _text(doc: str | None) -> str:
    return inspect.cleandoc(doc or "")
