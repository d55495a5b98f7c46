"""The file of a backup: what went in comes out, and what was cut or changed does not."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket.errors import UsageError, ZocketError
from zocket.host.store import Key
from zocket.upkeep.backup_file import FORMAT, Header, Instance, create, read

if TYPE_CHECKING:
    from pathlib import Path

HEADER = Header(FORMAT, "ws/proj on NATS", "2026-11-24T02:00:00+00:00", "0.1.0")
KEYS = [Key("room", "general"), Key("room", "a\nb\x1b[31m"), Key("ledger", "ü/=2F")]


def record(**state: Any) -> bytes:
    fields = {"version": 1, "state": state, "watermarks": {"INBOUND:1": 7}, "answers": {}, "epoch": "e", "seq": 3}
    return json.dumps(fields | {"writer": "w", "commit": 1}).encode()


def write(path: Path) -> Path:
    with create(path, HEADER) as writer:
        for number, key in enumerate(KEYS):
            writer.add(key, record(number=number, text="ü\u2028\n"))
    return path


def sealed(*lines: Any) -> bytes:
    """A file with an end that fits."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end = {"kind": "end", "instances": len(lines) - 1, "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


FIRST = {"kind": "zocket-backup", "format": FORMAT}


def instance(actor: str = "room", actor_id: str = "a", kept: Any = None) -> dict[str, Any]:
    return {"kind": "instance", "actor": actor, "actorId": actor_id, "record": kept or json.loads(record())}


@pytest.mark.parametrize("name", ["state.jsonl", "state.jsonl.gz"])
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    header, *instances = read(path)
    assert header == HEADER
    assert [item.key for item in instances if isinstance(item, Instance)] == KEYS
    assert json.loads(bytes(instances[2].record))["state"] == {"number": 2, "text": "ü\u2028\n"}  # type: ignore[union-attr]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_compressed_backup_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "state.jsonl.gz").rename(tmp_path / "renamed")
    assert len(list(read(path))) == 4


def test_a_record_of_several_lines_becomes_one(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    with create(path, HEADER) as writer:
        writer.add(KEYS[0], json.dumps(json.loads(record(a=1)), indent=2).encode())
    assert len(list(read(path))) == 2


def test_a_backup_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with create(tmp_path / "state.jsonl.gz", HEADER) as writer:
            writer.add(KEYS[0], record())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "state.jsonl")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write(path)
    assert path.read_bytes() == before


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing.*cannot be written: No such file"):
        write(tmp_path / "missing" / "state.jsonl")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        list(read(tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        list(read(tmp_path))


@pytest.mark.parametrize("name", ["state.jsonl", "state.jsonl.gz"])
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    whole = write(tmp_path / name).read_bytes()
    cut = tmp_path / "cut"
    last = len(whole) - 1 if name == "state.jsonl" else len(whole)
    ends = {number + 1 for number, byte in enumerate(whole[:-1]) if byte == ord("\n")}
    for length in {*range(0, last, 41), last - 1, *ends}:
        cut.write_bytes(whole[:length])
        with pytest.raises(UsageError, match=r"is damaged|is no backup"):
            list(read(cut))


def test_a_changed_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    whole = write(tmp_path / "state.jsonl").read_bytes()
    changed = tmp_path / "changed"
    for position in range(0, len(whole) - 1, 37):
        changed.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(UsageError):
            list(read(changed))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}",
        b"[1]",
        b"not json",
        b"\xff\xfe",
        b'{"kind":"zocket-backup"}',
        b"x" * 100_000,
        gzip.compress(b"x", mtime=0),
    ],
)
def test_something_else_is_no_backup(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no backup that `zocket actors backup` has written"):
        list(read(path))


def test_a_newer_format_names_the_zocket_to_install(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"kind":"zocket-backup","format":2,"writtenBy":"3.1.4","new":[]}\n{"kind":"what"}\n')
    with pytest.raises(UsageError, match=r"has format 2, this Zocket reads up to 1; it was written by Zocket 3\.1\.4"):
        list(read(path))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((instance(actor="1room"),), "line 2: actor type"),
        ((instance(actor_id=""),), "line 2: actor id: may not be empty"),
        ((instance(actor_id="x" * 257),), "line 2: actor id: 257 characters"),
        ((instance(kept={"version": 1}),), "line 2: the record of room/a"),
        ((instance(), instance()), "line 3: room/a is there twice"),
        (({"kind": "other"},), "line 2"),
    ],
)
def test_a_line_that_cannot_be_restored_is_named(tmp_path: Path, lines: tuple[Any, ...], expected: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(sealed(FIRST, *lines))
    with pytest.raises(ZocketError, match=expected):
        list(read(path))


def test_what_follows_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(sealed(FIRST, instance()))
    assert len(list(read(path))) == 2
    path.write_bytes(sealed(FIRST, instance()) + b"{}\n")
    with pytest.raises(UsageError, match="something follows its end in line 3"):
        list(read(path))
