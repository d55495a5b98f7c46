"""The contract of an app: one JSON document of everything that its clients can name.

Rules: the same definition gives the same document; actors, methods and events stand in the order of the source,
named schemas in that of their names; what a client cannot see (durability, middleware, hooks) is not in it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from zocket.contract.form import ActorContract, Contract, EventContract, MethodContract, Schema
from zocket.contract.schemas import Schemas
from zocket.contract.walking import Document, resolved
from zocket.core.schema import Schema as Annotation
from zocket.errors import StateValueError

if TYPE_CHECKING:
    from zocket.core import AppDefinition
    from zocket.core.definition import ActorDefinition, MethodDefinition


def contract_of(definition: AppDefinition) -> Contract:
    """The contract of an app.

    Schemas of results, states and events say what is written, schemas of inputs what is accepted.
    """
    schemas = Schemas()
    for actor in definition.actors.values():  # first, so that an output has the plain name of its class
        _describe_outputs(actor, schemas)
    actors = {name: _actor(actor, schemas) for name, actor in definition.actors.items()}
    return Contract(actors=actors, definitions=dict(sorted(schemas.definitions.items())))


def _describe_outputs(actor: ActorDefinition, schemas: Schemas) -> None:
    outputs = [actor.state, *(method.result for method in actor.methods.values())]
    outputs += [event.schema for event in actor.events.values()]
    for schema in outputs:
        if schema is not None:
            schemas.add(schema, "output")


def _actor(actor: ActorDefinition, schemas: Schemas) -> ActorContract:
    return ActorContract(
        title=actor.cls.__name__,
        description=_text(vars(actor.cls).get("__doc__")),
        state_version=actor.version,
        state=schemas.add(actor.state, "output"),
        methods={method.name: _method(method, schemas) for method in actor.methods.values()},
        events={event.name: EventContract(schemas.add(event.schema, "output")) for event in actor.events.values()},
    )


def _method(method: MethodDefinition, schemas: Schemas) -> MethodContract:
    result: Schema | msgspec.UnsetType = {}
    if method.void:
        result = msgspec.UNSET
    elif method.result is not None:
        result = schemas.add(method.result, "output")
    given = _input(method, schemas)
    return MethodContract(
        description=_text(method.function.__doc__),
        input=given,
        input_required=_refuses_empty(given, schemas.definitions),
        result=result,
    )


def _input(method: MethodDefinition, schemas: Schemas) -> Document:
    parameters = method.input.parameters
    if method.input.is_whole:
        return schemas.add(Annotation(parameters[0].annotation), "input")
    properties = {}
    for item in parameters:
        schema: Annotation[Any] = Annotation(item.annotation)
        default = {} if item.required else _default(schema, method.signature.parameters[item.name].default)
        properties[item.name] = {**schemas.add(schema, "input"), **default}
    required = [item.name for item in parameters if item.required]
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
