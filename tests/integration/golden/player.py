"""Plays the foreign side of a conversation against components of ours, and records what ours say.

Rules: ours say exactly what was recorded, channel by channel, and what they add is in `additions.json`; what is said
besides in the end counts as much as what is not. A `Stage` carries foreign lines in and collects what ours say.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.golden.contract import TRANSPORT, Contract, read_additions
from tests.integration.golden.conversation import (
    Bindings,
    Conversation,
    Line,
    check_same,
    stripped_frame,
    stripped_payload,
)

DEADLINE_S: Final = 30.0
FENCE: Final = "fence"
"""Id of the calls by which a stage learns that everything before them is answered; they are in no conversation."""


@dataclass(frozen=True)
class Said:
    """One message of ours, without what we add; messages of one channel have an order."""

    channel: str
    line: Line


class Stage:
    """Components of ours that run, and the foreign peers around them.

    Attributes:
        bindings: what the placeholders stand for.
        foreign: who of `from` is played.
        ours: who of `from` is tested.
        heard: what ours have said and nobody has taken yet, in order.
        refused: what ours have said against the contract.
    """

    foreign: frozenset[str]
    ours: frozenset[str]

    def __init__(self, **known: Any) -> None:
        self.bindings = Bindings(**known)
        self.contract = Contract(read_additions())
        self.heard: list[Said] = []
        self.refused: list[str] = []
        self._news = asyncio.Event()

    async def say(self, line: Line) -> None:
        """A foreign peer says this; its placeholders are filled."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Waits until ours have said everything that they say of themselves."""
        await asyncio.sleep(0.1)

    def hear(self, channel: str, line: Line) -> None:
        """One of ours says this."""
        self.heard.append(Said(channel, line))
        self._news.set()

    def refuse(self, refusal: str, message: object) -> None:
        """One of ours says what the contract does not allow."""
        self.refused.append(f"{refusal}: {message!r}")
        self._news.set()

    def hear_frame(self, socket: str, raw: bytes | str) -> None:
        """A server of ours sends this to a client."""
        frame = json.loads(raw)
        refusal = self.contract.refusal_of_frame(frame, to="client")
        if refusal is not None:
            self.refuse(refusal, frame)
        elif str(frame.get("id")).startswith(FENCE):
            self.hear(f"{FENCE} {socket}", frame)
        elif frame["type"] not in self.contract.added("frame", "client"):
            line = {"from": "server", "socket": socket, "frame": stripped_frame(self.contract, frame)}
            self.hear(f"server {socket}", line)

    def hear_message(self, publisher: str, subject: str, payload: bytes) -> None:
        """One of ours publishes this."""
        if subject.startswith(TRANSPORT):
            return
        added = self.contract.added("subject", publisher)
        known = json.loads(payload) if subject.split(".")[0] in ("inbound", "outbound", "session") else None
        refusal = self.contract.refusal_of_message(publisher, subject, known)
        if refusal is not None:
            self.refuse(refusal, (subject, payload))
        elif known is not None and subject not in added:
            stripped = stripped_payload(self.contract, subject, known)
            self.hear(subject, {"from": publisher, "subject": subject, "payload": stripped})

    async def wait_heard(self, channel: str) -> Said:
        """Takes the next message of the channel.

        Raises:
            AssertionError: nothing comes.
        """
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    assert self.refused == [], self.refused
                    found = next((said for said in self.heard if said.channel == channel), None)
                    if found is not None:
                        self.heard.remove(found)
                        return found
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"nothing is said on {channel!r}; there is {self.heard}") from None


def channel_of(line: Line) -> str:
    """The channel of a line of ours; its placeholders are filled."""
    if "subject" in line:
        return str(line["subject"])
    return f"{line['from']} {line['socket']}" if "socket" in line else str(line["from"])


async def replay(conversation: Conversation, stage: Stage) -> None:
    """Plays what `stage` sees of it.

    Raises:
        AssertionError: ours say something else, or not everything, or add what is not allowed.
    """
    for number, line in enumerate(conversation.lines, 2):
        if line["from"] in stage.foreign:
            await stage.say(stage.bindings.fill(line))
        elif line["from"] in stage.ours:
            said = await stage.wait_heard(channel_of(stage.bindings.fill(line)))
            check_same(stage.bindings, line, said.line, (conversation.title, f"line {number}"))
    await stage.settle()
    assert stage.refused == [], stage.refused
    assert stage.heard == [], f"{conversation.title}: said besides: {stage.heard}"


async def record(conversation: Conversation, stage: Stage) -> Conversation:
    """The conversation as ours hold it: the foreign lines as they are, and after each what ours say."""
    lines: list[Line] = []
    for line in conversation.lines:
        if line["from"] in stage.foreign:
            await stage.say(stage.bindings.fill(line))
            await stage.settle()
            assert stage.refused == [], stage.refused
            lines.append(line)
            lines += [_generalized(stage.bindings, said.line) for said in stage.heard]
            stage.heard.clear()
    return Conversation(conversation.title, lines)


def _generalized(bindings: Bindings, line: Line) -> Line:
    """A line with placeholders for what differs from run to run."""
    frame = line.get("frame", {})
    if frame.get("type") == "welcome":
        bindings.bind(f"session:{line['socket']}", frame["clientId"])
    general: Line = bindings.generalized(line)
    payload = general.get("payload", {})
    for name in ("connectedAt", "disconnectedAt"):
        if name in payload:
            payload[name] = "<ms>"
    answer = general.get("frame", payload.get("message", {}))
    text = answer.get("error", "")
    if text.startswith("Validation failed for "):
        answer["error"] = text.partition(": ")[0] + ": <issues>"
    return general
