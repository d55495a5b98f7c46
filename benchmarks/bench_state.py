"""What a transaction on tracked state costs, against a deep copy and a diff of the same state in the same run.

    python benchmarks/bench_state.py [--sizes 100 10000 100000] [--models pydantic|struct]

Prints CPU microseconds per transaction (begin, change, commit), the best of several rounds, since other work on the
machine only ever adds. The naive way copies the state before the change and diffs it afterwards with
`jsonpatch.make_patch`; it is run once where once already takes long.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from typing import TYPE_CHECKING, Any

import jsonpatch
import msgspec
from pydantic import BaseModel

from zocket.state import Document, encode

if TYPE_CHECKING:
    from collections.abc import Callable


class Message(BaseModel):
    author: str
    text: str


class Room(BaseModel):
    count: int = 0
    messages: list[Message] = []
    cells: dict[str, int] = {}


class MessageStruct(msgspec.Struct):
    author: str
    text: str


class RoomStruct(msgspec.Struct):
    count: int = 0
    messages: list[MessageStruct] = []
    cells: dict[str, int] = {}


APPEND, SET_CELL, SHIFT = "append a model", "set in a dict", "last element to the front"
COMPARED = (APPEND, SET_CELL)
"""What the naive way is tried on as well; it costs much the same whatever is changed."""

FAMILIES: dict[str, tuple[Any, Any]] = {"pydantic": (Room, Message), "struct": (RoomStruct, MessageStruct)}


def best_us(run: Callable[[], object], number: int, rounds: int = 5) -> float:
    """Best CPU time of a call over several rounds, in microseconds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time_ns()
        for _ in range(number):
            run()
        best = min(best, (time.process_time_ns() - begin) / number / 1000)
    return best


def changes(message: Any, size: int) -> dict[str, Callable[[Any], object]]:
    """The transactions that are measured; each can be repeated for ever."""
    step = iter(range(10**9))
    key, middle = f"c{size // 2}", size // 2

    def increment(state: Any) -> None:
        state.count += 1

    def append(state: Any) -> None:
        state.messages.append(message(author="alice", text="hello"))

    def set_cell(state: Any) -> None:
        state.cells[key] = next(step)

    def set_field(state: Any) -> None:
        state.messages[middle].text = f"text {next(step)}"

    def pop_and_append(state: Any) -> None:
        state.messages.append(state.messages.pop())

    def remove_and_add_key(state: Any) -> None:
        state.cells.pop(key)
        state.cells[key] = next(step)

    def shift(state: Any) -> None:
        state.messages.insert(0, state.messages.pop())

    return {
        "nothing": lambda state: None,
        "increment": increment,
        APPEND: append,
        SET_CELL: set_cell,
        "field of the middle element": set_field,
        "pop and append": pop_and_append,
        "remove and add a key": remove_and_add_key,
        SHIFT: shift,
    }


def measure(family: str, size: int) -> None:
    """Print one table."""
    room, message = FAMILIES[family]

    def make() -> Any:
        return room(
            messages=[message(author="bob", text="hi") for _ in range(size)], cells={f"c{i}": 0 for i in range(size)}
        )

    begin = time.process_time_ns()
    document = Document(make())
    adopted_ms = (time.process_time_ns() - begin) / 1e6
    print(f"\n{family}, {size:,} messages and {size:,} cells; adopted in {adopted_ms:.1f} ms")
    print(f"{'transaction':30} {'tracked µs':>12} {'naive µs':>14} {'ratio':>10}")
    plain = make()
    for name, change in changes(message, size).items():

        def tracked(change: Callable[[Any], object] = change) -> None:
            document.begin()
            change(document.state)
            document.commit()

        def naive(change: Callable[[Any], object] = change) -> None:
            before = copy.deepcopy(plain)
            change(plain)
            jsonpatch.make_patch(json.loads(encode(before)), json.loads(encode(plain)))

        ours = best_us(tracked, max(1, 20_000 // size) if name == SHIFT else 2000, 3)
        if name not in COMPARED:
            print(f"{name:30} {ours:12.2f}")
            continue
        theirs = best_us(naive, max(1, 1000 // size), 1)
        print(f"{name:30} {ours:12.2f} {theirs:14.0f} {theirs / ours:10.0f}")
        document.replace(make())

    def snapshot() -> None:
        document._snapshot = None  # noqa: SLF001 - the cache is what is not measured
        document.snapshot()

    plain = copy.deepcopy(document.state)
    ours, theirs = best_us(snapshot, max(1, 10_000 // size)), best_us(lambda: encode(plain), max(1, 10_000 // size))
    print(f"{'snapshot (against the encoder)':30} {ours:12.1f} {theirs:14.1f} {theirs / ours:10.2f}")


def reads() -> None:
    """Print what reading costs, against plain containers and models."""
    document = Document(Room(messages=[Message(author="a", text="b")], cells={"a": 1}))
    plain = copy.deepcopy(document.state)
    print(f"\n{'read':30} {'tracked ns':>12} {'plain ns':>14}")
    cases: dict[str, Callable[[Any], Callable[[], object]]] = {
        "attribute": lambda room: lambda: room.count,
        "list[i]": lambda room: (lambda values: lambda: values[0])(room.messages),
        "dict[k]": lambda room: (lambda values: lambda: values["a"])(room.cells),
        "iteration": lambda room: (lambda values: lambda: [value for value in values])(room.messages),  # noqa: C416
    }
    for name, case in cases.items():
        ours, theirs = (best_us(case(room), 100_000) * 1000 for room in (document.state, plain))
        print(f"{name:30} {ours:12.0f} {theirs:14.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--models", choices=sorted(FAMILIES), nargs="+", default=["pydantic", "struct"])
    options = parser.parse_args()
    reads()
    for family in options.models:
        for size in options.sizes:
            measure(family, size)


if __name__ == "__main__":
    main()
