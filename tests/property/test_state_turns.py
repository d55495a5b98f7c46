"""Random turns on nested state, judged by `jsonpatch`, a model of the known client, and plain untracked objects."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, computed_field

from zocket.state import Document, Growth, Operations, apply, encode

# Shapes: what may lie where, and how to make it. ("list", shape), ("dict", keys, shape), ("optional", shape),
# ("object", class, {field: shape}), ("set", strategy), ("tuple", shapes), or a strategy of scalars.

INTS = st.integers(-3, 3)
LONG = 6 * "long text that takes some bytes, and grows"
TEXTS = st.sampled_from(
    ["", "a", "b/c", "~", "ü", LONG, 2 * LONG, 2 * LONG + "ü", 2 * LONG + 'ü"\\\U0001f600', 3 * LONG]
)
SCALARS = st.one_of(INTS, TEXTS, st.booleans(), st.none(), st.sampled_from([0.5, -1.25]))
NAMES = st.sampled_from(["a", "b", "c/d", "e~f", "", "0", "ü"])
NUMBERS = st.integers(-2, 4)


class Leaf(BaseModel):
    n: int = Field(default=0, serialization_alias="number")
    tags: list[str] = []
    hidden: int = Field(default=0, exclude=True)


class Note(BaseModel):
    text: str = ""
    n: Any = 0


class Tree(BaseModel):
    count: int = 0
    name: str = ""
    leaves: list[Leaf] = Field(default=[], serialization_alias="all/leaves")
    by_name: dict[str, Leaf] = {}
    by_number: dict[int, list[int]] = {}
    maybe: Leaf | None = None
    free: Any = None
    ids: set[int] = set()
    pair: tuple[int, Leaf] = (0, Leaf())
    twigs: list[Tree] = []
    notes: list[Note] = []

    @computed_field
    def total(self) -> int:
        return sum(leaf.n + leaf.hidden for leaf in self.leaves) + len(self.by_name)


class LeafStruct(msgspec.Struct, rename={"n": "number"}):
    n: int = 0
    tags: list[str] = []


class NoteStruct(msgspec.Struct):
    text: str = ""
    n: Any = 0


class TreeStruct(msgspec.Struct):
    count: int = 0
    name: str = ""
    leaves: list[LeafStruct] = []
    by_name: dict[str, LeafStruct] = {}
    by_number: dict[int, list[int]] = {}
    maybe: LeafStruct | None = None
    free: Any = None
    ids: set[int] = msgspec.field(default_factory=set)
    pair: tuple[int, LeafStruct] = msgspec.field(default_factory=lambda: (0, LeafStruct()))
    notes: list[NoteStruct] = []


@dataclasses.dataclass
class LeafData:
    n: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class NoteData:
    text: str = ""
    n: Any = 0


@dataclasses.dataclass
class TreeData:
    count: int = 0
    name: str = ""
    leaves: list[LeafData] = dataclasses.field(default_factory=list)
    by_name: dict[str, LeafData] = dataclasses.field(default_factory=dict)
    by_number: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    maybe: LeafData | None = None
    free: Any = None
    ids: set[int] = dataclasses.field(default_factory=set)
    pair: tuple[int, LeafData] = dataclasses.field(default_factory=lambda: (0, LeafData()))
    notes: list[NoteData] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Slotted:
    n: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


FREE = ("free",)


def fields_of(tree: Any, leaf: Any, note: Any) -> dict[str, Any]:
    leaf_fields = {"n": INTS, "tags": ("list", TEXTS)}
    if leaf is Leaf:
        leaf_fields["hidden"] = INTS
    leaf_shape = ("object", leaf, leaf_fields)
    fields = {
        "count": INTS,
        "name": TEXTS,
        "leaves": ("list", leaf_shape),
        "by_name": ("dict", NAMES, leaf_shape),
        "by_number": ("dict", NUMBERS, ("list", INTS)),
        "maybe": ("optional", leaf_shape),
        "free": FREE,
        "ids": ("set", INTS),
        "pair": ("tuple", [INTS, leaf_shape]),
        "notes": ("list", ("object", note, {"text": TEXTS, "n": SCALARS})),
    }
    if tree is Tree:
        fields["twigs"] = ("list", ("object", Tree, {"count": INTS, "leaves": ("list", leaf_shape)}))
    return fields


SHAPES: dict[str, Any] = {
    "pydantic": ("object", Tree, fields_of(Tree, Leaf, Note)),
    "struct": ("object", TreeStruct, fields_of(TreeStruct, LeafStruct, NoteStruct)),
    "dataclass": ("object", TreeData, fields_of(TreeData, LeafData, NoteData)),
    "dict": (
        "dict",
        NAMES,
        ("list", ("dict", NAMES, ("optional", ("object", Slotted, {"n": INTS, "tags": ("list", TEXTS)})))),
    ),
    "list": ("list", ("dict", NAMES, ("list", ("optional", ("object", Leaf, {"n": INTS, "tags": ("list", TEXTS)}))))),
}


def make(draw: Any, shape: Any) -> Any:
    if not isinstance(shape, tuple):
        return draw(shape)
    match shape:
        case ("free",):
            inner = draw(
                st.sampled_from([SCALARS, ("list", INTS), ("dict", NAMES, INTS), ("list", ("dict", NAMES, INTS))])
            )
            return make(draw, inner)
        case ("list", part):
            return [make(draw, part) for _ in range(draw(st.integers(0, 4)))]
        case ("dict", keys, part):
            return {key: make(draw, part) for key in draw(st.lists(keys, max_size=3, unique=True))}
        case ("object", cls, fields):
            return cls(**{name: make(draw, part) for name, part in fields.items() if draw(st.booleans())})
        case ("optional", part):
            return make(draw, part) if draw(st.booleans()) else None
        case ("set", part):
            return draw(st.sets(part, max_size=3))
        case ("tuple", parts):
            return tuple(make(draw, part) for part in parts)
    raise AssertionError(shape)


def pick(draw: Any, shape: Any, value: Any, mirror: Any) -> tuple[Any, Any, Any]:
    """Walk down to some container: its shape, the tracked one, the plain one."""
    while True:
        children: list[tuple[Any, Any, Any]] = []
        match shape:
            case ("optional", part):
                shape = part
                continue
            case ("list", part):
                children = [(part, value[i], mirror[i]) for i in range(len(mirror))]
            case ("dict", _, part):
                children = [(part, value[key], mirror[key]) for key in mirror]
            case ("object", _, fields):
                children = [(part, getattr(value, name), getattr(mirror, name)) for name, part in fields.items()]
            case ("tuple", parts):
                children = list(zip(parts, value, mirror, strict=True))
            case ("free",):
                if any(map(is_container, mirror if isinstance(mirror, list) else mirror.values())):
                    return ("untouched",), value, mirror
                shape = ("list", SCALARS) if isinstance(mirror, list) else ("dict", NAMES, SCALARS)
                continue
        inner = [child for child in children if isinstance(child[0], tuple) and is_container(child[2])]
        down = inner and (shape[0] == "tuple" or draw(st.integers(0, 2)) > 0)
        if not down:
            return shape, value, mirror
        shape, value, mirror = draw(st.sampled_from(range(len(inner))).map(inner.__getitem__))


def is_container(value: Any) -> bool:
    return not isinstance(value, (str, int, float, type(None)))


LIST_OPS = [
    "append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "set", "del", "slice", "step",
    "delslice",
    "iadd", "imul", "rotate", "swap",
]  # fmt: skip
DICT_OPS = ["set", "set", "del", "pop", "popitem", "setdefault", "update", "ior", "clear", "readd"]
SET_OPS = [
    "add",
    "discard",
    "update",
    "difference_update",
    "intersection_update",
    "symmetric_difference_update",
    "clear",
]


def act(draw: Any, shape: Any, target: Any, mirror: Any) -> None:
    """Do the same to a tracked container and to a plain one."""
    match shape:
        case ("list", part):
            act_on_list(draw, part, target, mirror)
        case ("dict", keys, part):
            act_on_dict(draw, keys, part, target, mirror)
        case ("set", part):
            op = draw(st.sampled_from(SET_OPS))
            arguments: list[Any] = (
                [] if op == "clear" else [draw(part) if op in ("add", "discard") else draw(st.sets(part))]
            )
            for one in (target, mirror):
                getattr(one, op)(*arguments)
        case ("object", _, fields):
            name = draw(st.sampled_from(sorted(fields)))
            value = make(draw, fields[name])
            setattr(mirror, name, copy.deepcopy(value))
            setattr(target, name, value)


MOVES = ["filter", "to list", "to dict", "swap", "through a name", "nest", "wrap", "double"]


def move(draw: Any, target: Any, mirror: Any) -> None:
    """Move parts about between the fields of a tree, and change them there."""
    op = draw(st.sampled_from(MOVES))
    key, number = draw(NAMES), draw(INTS)
    for one in (target, mirror):
        leaves, by_name = one.leaves, one.by_name
        match op:
            case "filter":
                one.leaves = [leaf for leaf in leaves if leaf.n != number]
                for leaf in one.leaves[:1]:
                    leaf.tags.append("kept")
            case "to list" if by_name:
                leaf = by_name.pop(sorted(by_name)[0])
                leaf.n = number
                leaves.insert(len(leaves) // 2, leaf)
            case "to dict" if leaves:
                by_name[key] = leaf = leaves.pop(0)
                leaf.tags.append("moved")
            case "swap" if leaves:
                one.maybe, leaves[0] = leaves[0], one.maybe or type(leaves[0])()
            case "through a name":
                kept = one.leaves
                one.leaves = []
                one.leaves = kept
                kept.reverse()
            case "nest":
                old = one.by_number
                one.by_number = {}
                one.free = [old]
                old[number] = [number]
            case "wrap":
                one.free = {"inside": one.free if is_container(one.free) else [one.free]}
            case "double":
                one.free = [leaves, list(leaves)]


def act_on_list(draw: Any, part: Any, target: Any, mirror: Any) -> None:
    op = draw(st.sampled_from(LIST_OPS))
    size = len(mirror)
    at = draw(st.integers(-size - 1, size + 1))
    values = [make(draw, part) for _ in range(draw(st.integers(0, 3)))]
    start, stop = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
    for one, mine in ((target, values), (mirror, copy.deepcopy(values))):
        match op:
            case "append" if mine:
                one.append(mine[0])
            case "extend":
                one.extend(mine)
            case "insert" if mine:
                one.insert(at, mine[0])
            case "pop" if -size <= at < size:
                one.pop(at)
            case "remove" if size:
                one.remove(one[at % size])
            case "clear":
                one.clear()
            case "sort":
                one.sort(key=repr)
            case "reverse":
                one.reverse()
            case "set" if -size <= at < size and mine:
                one[at] = mine[0]
            case "del" if -size <= at < size:
                del one[at]
            case "slice":
                one[start:stop] = mine
            case "step" if mine:
                places = range(start, stop, 2)
                one[start:stop:2] = copy.deepcopy([mine[0]] * len(places))
            case "delslice":
                del one[start:stop]
            case "iadd":
                one += mine
            case "imul" if size < 6:
                before = len(one)
                one *= 2
                one[before:] = copy.deepcopy(list(one[before:]))
            case "rotate" if size:
                one.insert(0, one.pop())
            case "swap" if size > 1:
                one[0], one[-1] = one[-1], one[0]


def act_on_dict(draw: Any, keys: Any, part: Any, target: Any, mirror: Any) -> None:
    op = draw(st.sampled_from(DICT_OPS))
    key = draw(keys)
    value = make(draw, part)
    more = {draw(keys): make(draw, part) for _ in range(draw(st.integers(0, 2)))}
    for one, mine, others in ((target, value, more), (mirror, *copy.deepcopy((value, more)))):
        match op:
            case "set":
                one[key] = mine
            case "del" if key in one:
                del one[key]
            case "pop":
                one.pop(key, None)
            case "popitem" if one:
                one.popitem()
            case "setdefault":
                one.setdefault(key, mine)
            case "update":
                one.update(others)
            case "ior":
                one |= others
            case "clear":
                one.clear()
            case "readd" if key in one:
                one[key] = one.pop(key)


def known_client(document: Any, operations: list[Any]) -> Any:
    """Read patches as an existing client does: `add` and `replace` at an index are assignments."""
    document = copy.deepcopy(document)
    for operation in operations:
        assert operation["op"] in ("add", "replace", "remove")
        assert operation["path"].startswith("/")
        *above, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"][1:].split("/")]
        target = document
        for token in above:
            target = target[int(token)] if isinstance(target, list) else target[token]
        if operation["op"] == "remove":
            del target[int(last) if isinstance(target, list) else last]
        elif isinstance(target, list):
            index = len(target) if last == "-" else int(last)
            assert index <= len(target), "an existing client would make a hole"
            target[index : index + 1] = [operation["value"]]
        else:
            target[last] = operation["value"]
    return document


def canonical(value: Any) -> str:
    """Write JSON so that equal documents are equal text; a set, whose array has no order, is sorted."""
    return json.dumps(_sorted_sets(value), sort_keys=True)


def in_order(value: Any) -> str:
    """As `canonical`, keys in their order."""
    return json.dumps(_sorted_sets(value))


def _sorted_sets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted(part) if key == "ids" else _sorted_sets(part) for key, part in value.items()}
    return [_sorted_sets(part) for part in value] if isinstance(value, list) else value


def unshared(value: Any) -> Any:
    """Copy plain objects so that none lies at two places: what a commit does to the state."""
    match value:
        case list() | set():
            return type(value)(map(unshared, value))
        case tuple():
            return tuple(map(unshared, value))
        case dict():
            return {key: unshared(part) for key, part in value.items()}
        case str() | int() | float() | None:
            return value
    fresh = copy.copy(value)
    names = type(value).model_fields if isinstance(value, BaseModel) else [*type(value).__annotations__]
    for name in names:
        setattr(fresh, name, unshared(getattr(value, name)))
    return fresh


def same_values(state: Any, mirror: Any) -> bool:
    return bool(state == mirror and mirror == state)


def read(operations: Operations | None, *, append: bool = False) -> Any:
    """The operations of a commit, as who takes `append` and as who does not gets them."""
    if isinstance(operations, Growth):
        operations = operations.short if append else operations.whole()
    return [] if operations is None else json.loads(operations)


@pytest.mark.parametrize("name", sorted(SHAPES))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_patches_snapshots_and_rollbacks_agree_with_plain_objects(name: str, data: st.DataObject) -> None:
    shape = SHAPES[name]
    initial = make(data.draw, shape)
    mirror = copy.deepcopy(initial)
    document = Document(initial)
    replica = known = json.loads(document.snapshot())
    assert canonical(replica) == canonical(json.loads(encode(mirror)))
    for _ in range(data.draw(st.integers(1, 4))):
        before, old = copy.deepcopy(mirror), json.loads(document.snapshot())
        document.begin()
        for _ in range(data.draw(st.integers(0, 5))):
            if name in ("pydantic", "struct", "dataclass") and data.draw(st.integers(0, 3)) == 0:
                move(data.draw, document.state, mirror)
            else:
                act(data.draw, *pick(data.draw, shape, document.state, mirror))
            assert same_values(document.state, mirror)
            if data.draw(st.integers(0, 3)) == 0:
                document._snapshot = None
                assert canonical(json.loads(document.snapshot())) == canonical(old)
                document._committed = None
                assert same_values(document.committed().state, before)
                assert same_values(document.state, mirror)
        if data.draw(st.integers(0, 3)) == 0:
            document.rollback()
            mirror = before
            assert same_values(document.state, mirror)
            assert same_values(document.committed().state, mirror)
            document._snapshot = None
            assert in_order(json.loads(document.snapshot())) == in_order(old)
            continue
        patches = document.commit()
        mirror = unshared(mirror)
        assert same_values(document.state, mirror)
        assert same_values(document.committed().state, mirror)
        operations, appending = read(patches), read(patches, append=True)
        snapshot = json.loads(document.snapshot())
        assert canonical(snapshot) == canonical(json.loads(encode(mirror)))
        ours = apply(replica, appending)
        replica, known = jsonpatch.apply_patch(replica, operations), known_client(known, operations)
        assert canonical(replica) == canonical(known) == canonical(ours) == canonical(snapshot)
        told = {operation["path"] for operation in operations}
        assert [operation["path"] for operation in appending] == [operation["path"] for operation in operations]
        assert "" not in told
        if canonical(old) == canonical(snapshot):
            assert told <= {"/pair"}, "nothing to tell, except what is hidden in a tuple"
