"""TypeScript declarations of a contract: what `zocket gen ts` writes.

Rules: types say what is on the wire, so a date is a `string`, with its format beside it; constraints that TypeScript
has no types for are JSDoc tags; the file imports nothing and declares types only.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from zocket.contract.form import takes_nothing
from zocket.contract.naming import Names, name_actors, name_definitions
from zocket.contract.walking import target_of

if TYPE_CHECKING:
    from zocket.contract.form import ActorContract, Contract, MethodContract
    from zocket.contract.walking import Document

HEAD: Final = "// Made by `zocket gen ts`; changes here are lost.\n"
_RESERVED: Final = frozenset(
    """
    Actors any as bigint boolean break case catch class const continue debugger declare default delete do else enum
    export extends false finally for function if implements import in infer instanceof interface intrinsic is keyof
    let module namespace never new null number object package private protected public readonly require return
    static string super switch symbol this throw true try type typeof undefined unique unknown var void while with
    yield
    """.split()  # noqa: SIM905 — a table of words
)
_PLAIN: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][\w$]*\Z", re.ASCII)
_TAGS: Final = (
    "format",
    "contentEncoding",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "default",
)
INDENT: Final = "  "


def typescript(contract: Contract) -> str:
    """The declarations of a contract, as the text of a module.

    `Actors` has every actor by its name on the wire; each is an interface of `state`, `methods`, `events` and
    `streams`, of which the last are methods whose results come one after the other.
    """
    names = Names(_RESERVED)
    writer = _Writer(name_definitions(contract, names))
    actors = name_actors(contract, names)
    by_name = {name: contract.actors[wire] for wire, name in actors.items()}
    blocks = [_actors(actors)]
    blocks += [writer.actor(name, actor) for name, actor in by_name.items()]
    blocks += [writer.definition(writer.names[name], schema) for name, schema in contract.definitions.items()]
    return "\n".join((HEAD, *blocks))


def _actors(actors: dict[str, str]) -> str:
    lines = [f"{INDENT}{_property(wire)}: {name};\n" for wire, name in actors.items()]
    return f"/** The actors of the app, by their name on the wire. */\nexport interface Actors {{\n{''.join(lines)}}}\n"


class _Writer:
    """Writes schemas as types.

    Args:
        names: of the definitions here.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def actor(self, name: str, actor: ActorContract) -> str:
        body = _comment(_tags(actor.state), INDENT) + f"{INDENT}state: {self.type(actor.state, INDENT)};\n"
        body += self._group("methods", {wire: item for wire, item in actor.methods.items() if not item.stream})
        deep = INDENT * 2
        lines = [
            f"{_comment(_tags(event.payload), deep)}{deep}{_property(wire)}: {self.type(event.payload, deep)};\n"
            for wire, event in actor.events.items()
        ]
        body += _braces("events", lines)
        body += self._group("streams", {wire: item for wire, item in actor.methods.items() if item.stream})
        return f"{_comment(actor.description)}export interface {name} {{\n{body}}}\n"

    def _group(self, word: str, methods: dict[str, MethodContract]) -> str:
        deep = INDENT * 2
        lines = []
        for wire, method in methods.items():
            result = "void" if method.result is UNSET else self.type(method.result, deep)
            call = f"{_property(wire)}({self._input(method, deep)}): {result};"
            lines.append(f"{_comment(method.description, deep)}{deep}{call}\n")
        return _braces(word, lines)

    def _input(self, method: MethodContract, indent: str) -> str:
        if takes_nothing(method):
            return ""
        return f"input{'' if method.input_required else '?'}: {self.type(method.input, indent)}"

    def definition(self, name: str, schema: Any) -> str:
        comment = _comment(_tags(schema))
        body = self.type(schema, "", is_block=True)
        if body.startswith("{") and _is_object(schema):
            return f"{comment}export interface {name} {body}\n"
        return f"{comment}export type {name} = {body};\n"

    def type(self, schema: Any, indent: str, *, is_block: bool = False) -> str:
        """The type of a schema.

        Args:
            schema: it.
            indent: of the line that it begins on.
            is_block: whether an object takes a line for each property in any case.
        """
        if not isinstance(schema, dict):
            return "never" if schema is False else "unknown"
        target = target_of(schema)
        if target is not None:
            return self.names.get(target, "unknown")
        if "const" in schema or "enum" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return _union([json.dumps(value, ensure_ascii=False) for value in values])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return _union([self.type(item, indent) for item in schema[word]])
        if "allOf" in schema:
            return " & ".join(_grouped(self.type(item, indent)) for item in schema["allOf"])
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return _union([self.type({**schema, "type": kind}, indent, is_block=is_block) for kind in kinds])
        if kinds == "array" or "prefixItems" in schema:
            return self._array(schema, indent)
        if kinds == "object" or "properties" in schema:
            return self._object(schema, indent, is_block=is_block)
        return _PLAIN.get(str(kinds), "unknown")

    def _array(self, schema: Document, indent: str) -> str:
        first = schema.get("prefixItems")
        if first is None:
            return f"{_grouped(self.type(schema.get('items', {}), indent))}[]"
        least = schema.get("minItems", 0)
        items = [
            self.type(item, indent) if index < least else f"({self.type(item, indent)})?"
            for index, item in enumerate(first)
        ]
        rest = schema.get("items", {})
        if rest is not False and schema.get("maxItems", len(first) + 1) > len(first):
            items.append(f"...{_grouped(self.type(rest, indent))}[]")
        return f"[{', '.join(items)}]"

    def _object(self, schema: Document, indent: str, *, is_block: bool) -> str:
        required = set(schema.get("required", ()))
        rows = []
        for name, item in schema.get("properties", {}).items():
            mark = "" if name in required else "?"
            rows.append((_tags(item), f"{_property(name)}{mark}: {self.type(item, indent + INDENT)}"))
        others = schema.get("additionalProperties", not rows)
        if others is True or isinstance(others, dict):
            kind = "unknown" if rows else self.type(others, indent + INDENT)
            rows.append(("", f"[key: string]: {kind}"))
        if not is_block and not any(doc for doc, _ in rows):
            return f"{{ {'; '.join(row for _, row in rows)} }}" if rows else "{}"
        deep = indent + INDENT
        return "{\n" + "".join(f"{_comment(doc, deep)}{deep}{row};\n" for doc, row in rows) + f"{indent}}}"


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"


def _braces(word: str, lines: list[str]) -> str:
    return f"{INDENT}{word}: {{\n{''.join(lines)}{INDENT}}};\n" if lines else f"{INDENT}{word}: {{}};\n"


def _union(types: list[str]) -> str:
    return " | ".join(dict.fromkeys(types)) or "never"


def _grouped(text: str) -> str:
    return f"({text})" if re.search(r"[|&] ", text) and not text.startswith(("{", "[")) else text


def _property(name: str) -> str:
    return name if _IDENTIFIER.match(name) else json.dumps(name, ensure_ascii=False)


def _tags(schema: Any) -> str:
    """The text of a schema's JSDoc comment."""
    if not isinstance(schema, dict):
        return ""
    lines = [schema["description"]] if schema.get("description") else []
    lines += [f"@{word} {_tag(schema[word])}" for word in _TAGS if word in schema]
    return "\n".join(lines)


def _tag(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _comment(text: str, indent: str = "") -> str:
    if not text:
        return ""
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"
