"""Recorded conversations: their files, their placeholders, and whether a message is the one that was recorded.

Rules: a file is JSON lines, the first one a title, every other one a message with `from` and what its channel needs
(`socket` and `frame`, `subject` and `payload`, `call`, `status`). `<name>` in a text stands for a value that differs
from run to run: bound by whoever says it first, the same ever after. `<ms>` is any time, `<issues>` any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.integration.golden.contract import FORMS, HERE, Contract

SCENARIOS: Final = HERE / "scenarios"
_PLACE: Final = re.compile(r"<([a-z:A-Z]+)>")
_ANY_TIME: Final = "<ms>"
_ANY_TEXT: Final = "issues"

Line = dict[str, Any]


class Mismatch(AssertionError):
    """A message of ours is not the one that was recorded."""


class Conversation:
    """One file.

    Attributes:
        title: what is said in it.
        lines: its messages in their order.
    """

    def __init__(self, title: str, lines: list[Line]) -> None:
        self.title = title
        self.lines = lines

    @classmethod
    def read(cls, name: str) -> Conversation:
        """The conversation of this name."""
        title, *lines = [json.loads(text) for text in (SCENARIOS / f"{name}.jsonl").read_text().splitlines()]
        return cls(title["title"], lines)

    def seen_by(self, *speakers: str) -> Conversation:
        """What these say to each other."""
        return Conversation(self.title, [line for line in self.lines if line["from"] in speakers])

    def text(self) -> str:
        """What its file has in it."""
        rows: list[Line] = [{"title": self.title}, *self.lines]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def names(front: str) -> list[str]:
    """The conversations whose names begin so."""
    return sorted(path.stem for path in SCENARIOS.glob(f"{front}*.jsonl"))


def path_of(name: str) -> Path:
    """The file of a conversation."""
    return SCENARIOS / f"{name}.jsonl"


class Bindings:
    """What the placeholders of one run stand for."""

    def __init__(self, **known: Any) -> None:
        self._values: dict[str, Any] = dict(known)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def bind(self, name: str, value: Any) -> None:
        """The placeholder stands for this value from now on."""
        self._values[name] = value

    def fill(self, value: Any) -> Any:
        """The value with everything in it that is bound."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if not isinstance(value, str):
            return value
        whole = _PLACE.fullmatch(value)
        if whole is not None and whole[1] in self._values:
            return self._values[whole[1]]
        return _PLACE.sub(lambda found: str(self._values.get(found[1], found[0])), value)

    def generalized(self, value: Any) -> Any:
        """The value with a placeholder for everything that is bound."""
        if isinstance(value, dict):
            return {self.generalized(key): self.generalized(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.generalized(inner) for inner in value]
        for name, known in self._values.items():
            if type(known) is type(value) and known == value:
                return f"<{name}>"
        if isinstance(value, str):
            for name, known in self._values.items():
                if isinstance(known, str) and len(known) > 3:
                    value = value.replace(known, f"<{name}>")
        return value

    def same(self, recorded: Any, said: Any) -> bool:
        """Whether a value is the recorded one; binds what is not bound."""
        if recorded == _ANY_TIME:
            return FORMS["milliseconds"](said)
        recorded = self.fill(recorded)
        if isinstance(recorded, dict) and isinstance(said, dict):
            return recorded.keys() == said.keys() and all(self.same(recorded[key], said[key]) for key in recorded)
        if isinstance(recorded, list) and isinstance(said, list):
            return len(recorded) == len(said) and all(map(self.same, recorded, said))
        if isinstance(recorded, str) and _PLACE.search(recorded):
            return self._same_text(recorded, said)
        return type(recorded) is type(said) and bool(recorded == said)

    def _same_text(self, recorded: str, said: Any) -> bool:
        whole = _PLACE.fullmatch(recorded)
        if whole is not None:
            self.bind(whole[1], said)
            return True
        pieces = _PLACE.split(recorded)
        pattern = "".join(re.escape(piece) if number % 2 == 0 else "(.+)" for number, piece in enumerate(pieces))
        found = re.fullmatch(pattern, said, re.DOTALL) if isinstance(said, str) else None
        for name, value in zip(pieces[1::2], found.groups() if found else (), strict=False):
            if name != _ANY_TEXT:
                self.bind(name, value)
        return found is not None


def stripped(contract: Contract, kind: str, message: dict[str, Any]) -> dict[str, Any]:
    """A message without what we add to its kind."""
    added = contract.added("field", kind)
    return {name: value for name, value in message.items() if name not in added}


def stripped_frame(contract: Contract, frame: dict[str, Any]) -> dict[str, Any]:
    """A frame without what we add to it."""
    return stripped(contract, frame["type"], frame)


def stripped_payload(contract: Contract, subject: str, payload: dict[str, Any]) -> dict[str, Any]:
    """An envelope without what we add to it and to the frame in it."""
    rest = stripped(contract, subject.split(".")[0], payload)
    return {**rest, "message": stripped_frame(contract, rest["message"])} if "message" in rest else rest


def check_same(bindings: Bindings, recorded: Any, said: Any, where: Iterable[object]) -> None:
    """Raises Mismatch unless the message without its additions is the recorded one."""
    if not bindings.same(recorded, said):
        place = " ".join(map(str, where))
        raise Mismatch(f"{place}\nrecorded: {json.dumps(bindings.fill(recorded))}\nsaid:     {json.dumps(said)}")
