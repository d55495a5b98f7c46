"""The declarations compile, and what does not fit the app does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.contract.samples import everything
from zocket.contract import Contract, contract_of
from zocket.contract.typescript import typescript

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.realtime

USE = """\
import type { Actors, Message } from "./zocket";

type Methods<A extends keyof Actors> = Actors[A]["methods"];
declare const chat: Methods<"chat">;
declare const things: Methods<"everyThing">;
"""
GOOD = """\
const sent: Message = chat.post({ text: "hello" });
const all: Message[] = chat.all();
chat.all({ limit: 3 });
chat.clear() satisfies void;
const shade: "red" | "green" = sent.colour;
const next: string | null = things.search({ limit: 5 }).next;
things.shapes({ pair: [1, "a"], many: [1], colour: "red" });
const pet = things.pets({ pet: { type: "dog" }, sparse: {} });
const lives: number = pet.type === "cat" ? pet.lives : 0;
const topic: string | null = (null as unknown as Actors["chat"]["state"]).topic;
const counted: Actors["chat"]["events"]["counted"] = null;
export { sent, all, shade, next, lives, topic, counted };
"""
MISTAKES = (
    "chat.post({});",
    "chat.post({ text: 1 });",
    "chat.post({ text: 'a', loud: true });",
    "chat.psot({ text: 'a' });",
    "chat.all({ limit: 'a' });",
    "const text: number = chat.post({ text: 'a' }).text;",
    "things.shapes({ pair: [1], many: [] });",
    "things.shapes({ pair: [1, 'a'], many: [], colour: 'blue' });",
    "things.pets({ pet: { type: 'cow' }, sparse: {} });",
    "const gone: Actors['lobby'] = null as never;",
    "const other: Actors['chat']['events']['counted'] = 'a';",
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "zocket.d.ts").write_text(typescript(contract_of(everything.definition)))
    return tmp_path


def test_the_declarations_and_what_uses_them_compile(directory: Path, tsc: Callable[[Path], str]) -> None:
    (directory / "use.ts").write_text(USE + GOOD)
    assert tsc(directory) == ""


def test_each_mistake_is_an_error(directory: Path, tsc: Callable[[Path], str]) -> None:
    for index, mistake in enumerate(MISTAKES):
        (directory / f"mistake{index}.ts").write_text(f"{USE}{mistake}\nexport {{}};\n")
    found = tsc(directory)
    assert [index for index in range(len(MISTAKES)) if f"mistake{index}.ts" not in found] == []


def test_odd_names_compile(tmp_path: Path, tsc: Callable[[Path], str]) -> None:
    names = ["Actors", "string", "a b", "1st", "class", "It", "Ünïcode"]
    model = {"type": "object", "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names}, "description": "*/"}
    content = {
        "zocketContract": 1,
        "actors": {
            name: {
                "title": "It",
                "state": {"$ref": f"#/$defs/{name}"},
                "methods": {name: {"input": {"$ref": f"#/$defs/{name}"}, "inputRequired": False}},
                "events": {name: {"payload": {"anyOf": [{"type": "array", "prefixItems": [{}, {"type": "null"}]}]}}},
            }
            for name in names
        },
        "$defs": dict.fromkeys(names, model),
    }
    import msgspec

    (tmp_path / "zocket.d.ts").write_text(typescript(msgspec.convert(content, Contract)))
    assert tsc(tmp_path) == ""
