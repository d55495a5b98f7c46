"""An AsyncAPI 3 document of a contract, and its JSON Schemas as files: what `zocket gen asyncapi` writes.

Rules: messages are the frames of docs/protocol.md with the app's own schemas inside of them; schemas are in the dialect
that AsyncAPI reads by itself (JSON Schema draft 7), those of the files in 2020-12.
Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from zocket.contract.form import DIALECT, with_definitions
from zocket.contract.naming import Names, name_definitions
from zocket.contract.walking import mapped, renamed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.contract.form import ActorContract, Contract, MethodContract, Schema
    from zocket.contract.walking import Document

CHANNEL: Final = "socket"
FAILURE: Final = "failure"
SUBSCRIBE: Final = "subscribe"
_ID: Final[Document] = {"type": ["string", "number"], "description": "The caller's, unique in its socket."}
_ACTOR_ID: Final[Document] = {"type": "string", "minLength": 1, "description": "Which instance."}
_PATCH: Final[Document] = {
    "type": "array",
    "description": "Operations of RFC 6902, all of one committed run of a handler.",
    "items": {
        "type": "object",
        "properties": {"op": {"enum": ["add", "remove", "replace"]}, "path": {"type": "string"}, "value": {}},
        "required": ["op", "path"],
    },
}


def asyncapi(contract: Contract, title: str) -> Document:
    """The document, from the view of the app: it receives calls and sends answers, events and states."""
    document = _Document(contract)
    for name, actor in contract.actors.items():
        document.add_actor(name, actor)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": "1.0.0"},
        "defaultContentType": "application/json",
        "channels": {
            CHANNEL: {
                "address": "/",
                "description": "One WebSocket carries everything, a JSON object a text frame.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in document.messages},
                "bindings": {
                    "ws": {"query": {"type": "object", "properties": {"token": {"type": "string"}}}},
                },
            }
        },
        "operations": document.operations,
        "components": {"messages": document.messages, "schemas": document.schemas},
    }


def json_schemas(contract: Contract) -> dict[str, Document]:
    """Each schema by the name of its file, standing by itself."""
    found = {}
    for name, schema in _named(contract):
        whole = with_definitions(schema, contract.definitions)
        body = whole if isinstance(whole, dict) else {} if whole else {"not": {}}
        found[f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.json"] = {"$schema": DIALECT, **body}
    return found


def _named(contract: Contract) -> Iterator[tuple[str, Schema]]:
    for name, actor in contract.actors.items():
        yield f"{name}.state", actor.state
        for wire, method in actor.methods.items():
            yield f"{name}.{wire}.input", method.input
            if method.result is not UNSET:
                yield f"{name}.{wire}.result", method.result
        for wire, event in actor.events.items():
            yield f"{name}.{wire}.payload", event.payload


class _Document:
    def __init__(self, contract: Contract) -> None:
        names = name_definitions(contract, Names(()))
        self._names = names
        self._keys = Names((FAILURE, SUBSCRIBE))
        self.operations: dict[str, Document] = {}
        self.messages: dict[str, Document] = {}
        self.schemas = {names[name]: self._schema(item) for name, item in contract.definitions.items()}
        subscriptions = {"enum": ["state:sub", "state:unsub", "event:sub", "event:unsub"]}
        self._message(SUBSCRIBE, {"type": subscriptions, "actor": {"enum": [*contract.actors]}, "actorId": _ACTOR_ID})
        error = {"type": {"const": "rpc:result"}, "id": _ID, "error": {"type": "string"}, "code": {"type": "string"}}
        self._message(FAILURE, error, optional=("code",))
        self._operation(SUBSCRIBE, "receive", [SUBSCRIBE])

    def add_actor(self, name: str, actor: ActorContract) -> None:
        about = {"actor": {"const": name}, "actorId": _ACTOR_ID}
        state, patch = self._key(name, "state"), self._key(name, "patch")
        self._message(state, {"type": {"const": "state:snapshot"}, **about, "state": self._schema(actor.state)})
        self._message(patch, {"type": {"const": "state:patch"}, **about, "patches": _PATCH})
        self._operation(state, "send", [state, patch])
        for wire, method in actor.methods.items():
            self._add_method(self._key(name, wire), about, wire, method)
        for wire, event in actor.events.items():
            key = self._key(name, wire)
            payload = {"event": {"const": wire}, "payload": self._schema(event.payload)}
            self._message(key, {"type": {"const": "event"}, **about, **payload})
            self._operation(key, "send", [key])

    def _add_method(self, key: str, about: Document, wire: str, method: MethodContract) -> None:
        call = {"type": {"const": "rpc"}, "id": _ID, **about, "method": {"const": wire}}
        optional = () if method.input_required else ("input",)
        self._message(key, {**call, "input": self._schema(method.input)}, optional=optional, about=method.description)
        answer: Document = {"type": {"const": "rpc:result"}, "id": _ID}
        if method.result is not UNSET:
            answer["result"] = self._schema(method.result)
        result = self._key(key, "result")
        self._message(result, answer)
        replies = [{"$ref": _in_channel(name)} for name in (result, FAILURE)]
        self._operation(key, "receive", [key], about=method.description)
        self.operations[key]["reply"] = {"channel": {"$ref": f"#/channels/{CHANNEL}"}, "messages": replies}

    def _key(self, *parts: str) -> str:
        return self._keys.take("_".join(parts))

    def _message(self, key: str, properties: Document, *, optional: tuple[str, ...] = (), about: str = "") -> None:
        required = [name for name in properties if name not in optional]
        payload = {"type": "object", "properties": properties, "required": required}
        self.messages[key] = {"name": key, **({"description": about} if about else {}), "payload": payload}

    def _operation(self, key: str, action: str, messages: list[str], *, about: str = "") -> None:
        self.operations[key] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{CHANNEL}"},
            **({"description": about} if about else {}),
            "messages": [{"$ref": _in_channel(name)} for name in messages],
        }

    def _schema(self, schema: Schema) -> Any:
        return renamed(_draft7(schema), lambda name: self._names.get(name, name), "#/components/schemas/")


def _in_channel(message: str) -> str:
    return f"#/channels/{CHANNEL}/messages/{message}"


def _draft7(schema: Any) -> Any:
    """Tuples as draft 7 has them."""
    changed = mapped(schema, _draft7)
    if not isinstance(changed, dict) or "prefixItems" not in changed:
        return changed
    first = changed.pop("prefixItems")
    rest = {"additionalItems": changed["items"]} if "items" in changed else {}
    return {**changed, "items": first, **rest}
