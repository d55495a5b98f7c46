"""The table of answered calls: what it gives back, and its bounds whatever is put into it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from zocket.core import SERVER, Caller, Session
from zocket.errors import ActorError, HandlerTimeout, IdempotencyMismatch, Overloaded, PlatformError, ValidationFailed
from zocket.host.answers import (
    KEPT_S,
    MAX_ANSWERS_BYTES,
    MAX_KEYS,
    AnswerTable,
    CallKey,
    _size,
    call_key,
    is_final,
)
from zocket.host.store import Record, decode_record, encode_record
from zocket.protocol.frames import NO_INPUT, Rpc


def client(session_id: str, user_id: str | None = None) -> Caller:
    return Caller("client", Session(session_id, user_id))


ALICE, BOB = client("s1", "alice"), client("s2", "bob")
DESK = Caller("actor", None, "desk", "a")


def outcome(size: int) -> bytes:
    """A JSON object of so many bytes, at least 13."""
    return b'{"result":"%b"}' % (b"x" * (size - 13))


def rpc(key: str = "k", *, actor: str = "it", actor_id: str = "x", method: str = "pay", value: bytes = b"{}") -> Rpc:
    return Rpc(msgspec.Raw(b"1"), actor, actor_id, method, msgspec.Raw(value), key)


def code_of(found: Any) -> str:
    assert isinstance(found, IdempotencyMismatch | PlatformError)
    return found.code


def test_the_name_of_a_call_depends_on_user_instance_and_key_alone() -> None:
    name = call_key(rpc(), ALICE).name
    assert name == call_key(rpc(method="other", value=b"[1]"), client("s9", "alice")).name
    others = [
        call_key(rpc(), BOB),
        call_key(rpc(), client("s1")),
        call_key(rpc(), client("s1", "")),
        call_key(rpc(), DESK),
        call_key(rpc(), Caller("actor", None, "desk", "b")),
        call_key(rpc("l"), ALICE),
        call_key(rpc(actor_id="y"), ALICE),
        call_key(rpc(actor="its"), ALICE),
    ]
    assert len({name, *(other.name for other in others)}) == 9
    assert call_key(rpc(), client("s1")) == call_key(rpc(), client("s2")) == call_key(rpc(), SERVER)


def test_the_fingerprint_is_of_method_and_input() -> None:
    calls = [rpc(), rpc(method="pay2"), rpc(value=b'{"a":1}'), rpc(value=b"{} "), rpc(value=b"")]
    assert len({call_key(call, ALICE).fingerprint for call in calls}) == 5
    assert call_key(Rpc(msgspec.Raw(b"2"), "it", "x", "pay", NO_INPUT, "k"), ALICE) == call_key(rpc(value=b""), ALICE)


def test_an_answer_is_given_again_until_it_is_ten_minutes_old() -> None:
    table = AnswerTable()
    table.add(CallKey("a", "f"), b'{"result":1}', 1_000.7)
    assert table.recall(CallKey("a", "f"), 1_000 + KEPT_S - 1) == b'{"result":1}'
    assert table.recall(CallKey("b", "f"), 1_000) is None
    assert code_of(table.recall(CallKey("a", "g"), 1_000)) == "idempotency_mismatch"
    assert table.recall(CallKey("a", "f"), 1_001 + KEPT_S) is None
    assert table.recall(CallKey("a", "g"), 1_001 + KEPT_S) is None
    table.add(CallKey("a", "g"), b'{"result":2}', 1_001 + KEPT_S)
    assert table.recall(CallKey("a", "g"), 1_001 + KEPT_S) == b'{"result":2}'


def test_what_is_over_the_bytes_loses_its_answer_and_not_its_key() -> None:
    table = AnswerTable()
    for number in range(5):
        table.add(CallKey(str(number), "f"), outcome(MAX_ANSWERS_BYTES // 4), 0)
    assert code_of(table.recall(CallKey("0", "f"), 0)) == "repeated"
    assert table.recall(CallKey("1", "f"), 0) == outcome(MAX_ANSWERS_BYTES // 4)
    table.add(CallKey("big", "f"), outcome(MAX_ANSWERS_BYTES + 1), 0)
    assert code_of(table.recall(CallKey("big", "f"), 0)) == "repeated"
    assert table.recall(CallKey("1", "f"), 0) == outcome(MAX_ANSWERS_BYTES // 4)


def test_errors_of_the_platform_and_those_that_pass_are_no_answers() -> None:
    finals = [(ActorError("no"), "no"), (ValueError("bug"), "internal"), (ValidationFailed("m", "[]"), "x")]
    assert all(is_final(error, code) for error, code in finals)
    for error in (HandlerTimeout("late"), Overloaded("full"), ActorError("later", code="overloaded")):
        assert not is_final(error, error.code)


def test_a_record_without_keys_has_no_field_for_them_and_an_old_one_is_read() -> None:
    record = Record(1, msgspec.Raw(b"{}"), {}, {}, "e", 0, "w", 1)
    plain = encode_record(record)
    assert b"keyed" not in plain
    assert decode_record(plain).keyed == {}
    table = AnswerTable()
    table.add(CallKey("a", "f"), b'{"result":1}', 5)
    table.add(CallKey("b", "f"), outcome(MAX_ANSWERS_BYTES + 1), 6)
    record.keyed = table.kept
    read = AnswerTable(decode_record(encode_record(record)).keyed)
    assert read.recall(CallKey("a", "f"), 7) == b'{"result":1}'
    assert code_of(read.recall(CallKey("b", "f"), 7)) == "repeated"
    assert list(read.kept) == ["a", "b"]


steps = st.tuples(st.integers(0, 400), st.integers(13, 40_000), st.integers(0, 400))


@given(st.lists(steps, max_size=400), st.integers(0, 300))
@example([(1, 25_537, 0), (0, 40_000, 0), (0, 13, 0)], 0)  # what was dropped does not come back when there is room
def test_the_bounds_hold_and_the_newest_are_kept(added: list[tuple[int, int, int]], repeats: int) -> None:
    table, now = AnswerTable(), 1_000
    calls: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}
    rounds = [*added, *((1_000 + number, 13, 0) for number in range(repeats))]
    for number, size, pause_s in rounds:
        now += pause_s
        name = str(number)
        table.add(CallKey(name, "f"), outcome(size), now)
        for known in (calls, sizes):
            known.pop(name, None)
        calls[name], sizes[name] = (size, now), size
        assert len(table.kept) <= MAX_KEYS
        young = [key for key, (_, at_s) in calls.items() if at_s + KEPT_S > now][-MAX_KEYS:]
        assert list(table.kept) == young
        sizes = {key: sizes[key] for key in young}
        for key in young:
            if sum(sizes.values()) <= MAX_ANSWERS_BYTES:
                break
            sizes[key] = 0
        assert {key: _size(answered) for key, answered in table.kept.items()} == sizes
    for name, size in sizes.items():
        if size:
            assert table.recall(CallKey(name, "f"), now) == outcome(size)
    assert AnswerTable(dict(table.kept))._bytes == table._bytes
