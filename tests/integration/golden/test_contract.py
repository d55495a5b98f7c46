"""The recordings and the list of additions: the contract knows every message, a page explains every addition."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.golden.contract import FORMS, Addition, Contract, read_additions
from tests.integration.golden.conversation import Bindings, Conversation, Line, Mismatch, check_same, names

ROOT = Path(__file__).parents[3]
WIRE = (ROOT / "docs/protocol.md").read_text()
PAGE = (ROOT / "docs/interoperation.md").read_text()

bare = Contract([])
additions = pytest.mark.parametrize("addition", read_additions(), ids=lambda item: f"{item.of} {item.name}")


def filled(line: Line) -> Line:
    """With a time where a recording has a placeholder for one."""
    values: Line = Bindings(ms=1_700_000_000_000, size=10).fill(line)
    return values


def refusal(line: Line, calls: list[str]) -> str | None:
    speaker = line["from"]
    if "frame" in line:
        return bare.refusal_of_frame(line["frame"], to="server" if speaker == "client" else "client")
    if "frames" in line:
        return next(filter(None, (bare.refusal_of_frame(frame, to="server") for frame in line["frames"])), None)
    if "subject" in line:
        return bare.refusal_of_message(speaker, line["subject"], line["payload"])
    if "call" in line:
        calls.append(line["call"])
        return bare.refusal_of_call(speaker, line["call"], line.get("query", line.get("body", {})))
    if "status" in line and "body" in line:
        return bare.refusal_of_answer(calls[-1], line["status"], line["body"])
    return None


@pytest.mark.parametrize("name", names(""))
def test_every_recorded_message_is_one_of_the_contract_and_nothing_more(name: str) -> None:
    calls: list[str] = []
    for number, line in enumerate(Conversation.read(name).lines, 2):
        if name == "odd-frames" and line["from"] == "client":
            continue
        assert refusal(filled(line), calls) is None, f"line {number}"


def test_a_message_that_the_contract_does_not_know_is_refused() -> None:
    frame: dict[str, Any] = {"type": "rpc:result", "id": 1, "result": 2}
    assert bare.refusal_of_frame(frame, to="client") is None
    for wrong in (
        {"type": "error", "code": "x", "message": "y", "requestId": ""},
        {**frame, "code": "x"},
        {**frame, "error": "x"},
        {"type": "rpc:result", "result": 2},
        {"type": "state:patch", "actor": "a", "actorId": "b", "patches": [{"op": "text", "path": "/a", "value": "b"}]},
        {"type": "state:patch", "actor": "a", "actorId": "b", "patches": [{"op": "add", "path": "a", "value": "b"}]},
        {"type": "state:patch", "actor": "a", "actorId": "b", "patches": [{"op": "add", "path": "/a"}]},
        {"type": "state:patch", "actor": "a", "actorId": "b", "patches": [{"op": "move", "path": "/a"}]},
        ["welcome"],
    ):
        assert bare.refusal_of_frame(wrong, to="client") is not None, wrong
    scope = {"workspaceId": "w", "projectId": "p"}
    told = {"scope": scope, "sessionId": "s", "disconnectedAt": 1_700_000_000_000}
    assert bare.refusal_of_message("gateway", "session.disconnected.w.p", told) is None
    assert bare.refusal_of_message("gateway", "session.disconnected.w.p", told | {"dropped": True}) is not None
    assert bare.refusal_of_message("runtime", "session.disconnected.w.p", told) is not None
    assert bare.refusal_of_message("gateway", "gateway.alive.g_1", {}) is not None


def test_a_conversation_that_is_not_the_recorded_one_is_a_mismatch() -> None:
    bindings = Bindings(ws="w1")
    check_same(bindings, {"id": "<session:a>", "at": "<ms>"}, {"id": "s_1", "at": 1_700_000_000_000}, ["bound"])
    check_same(bindings, {"subject": "outbound.<ws>.<session:a>"}, {"subject": "outbound.w1.s_1"}, ["the same"])
    for recorded, said in (
        ({"id": "<session:a>"}, {"id": "s_2"}),
        ({"at": "<ms>"}, {"at": "soon"}),
        ({"result": 1}, {"result": True}),
        ({"id": 1}, {"id": "1"}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"error": "Validation failed for x: <issues>"}, {"error": "Validation failed for y: []"}),
        ({"patches": [1, 2]}, {"patches": [2, 1]}),
    ):
        with pytest.raises(Mismatch):
            check_same(bindings, recorded, said, ["wrong"])


def section(heading: str) -> str:
    """What stands below a heading of docs/protocol.md, with the heading."""
    found = re.search(rf"^(#+) {re.escape(heading)}.*?(?=^#{{1,3}} |\Z)", WIRE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/protocol.md has no heading {heading!r}"
    return found[0]


def words(addition: Addition) -> list[str]:
    """What a page must name: `$KV.zocket-owner-*.>` is the bucket `zocket-owner`."""
    parts = re.split(r"[ .*>]+|\$KV", addition.name) if addition.kind in ("subject", "call") else [addition.name]
    return [part.strip("-") for part in parts if part]


@additions
def test_every_addition_is_explained_where_it_says(addition: Addition) -> None:
    text = section(addition.see).lower()
    for word in words(addition):
        assert word.lower() in text, f"{addition.see}: {word}"
    assert addition.form in FORMS


@additions
def test_every_addition_is_a_row_of_the_page_about_interoperation(addition: Addition) -> None:
    """The row names the addition, what it is added to, and has a link to its section."""
    named = [word.lower() for word in words(addition)]
    rows = [row for row in PAGE.splitlines() if row.startswith("|") and all(word in row.lower() for word in named)]
    anchor = re.sub(r"[^\w\- ]", "", section(addition.see).splitlines()[0].lstrip("# ").lower()).replace(" ", "-")
    of = addition.of.removesuffix(" 200").removesuffix(" 401")
    assert any(f"protocol.md#{anchor})" in row and of in row for row in rows), f"{of} {addition.name} → {anchor}"
