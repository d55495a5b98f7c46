"""A conversation with a language model: everybody sees the answer grow, anybody may stop it, it survives a restart.

Rules: one exchange is open at a time, the last one; what a run of `answer` finds in the state is never made again, and
tool calls are stored before they are made.
"""

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import httpx
from pydantic import BaseModel, StringConstraints, ValidationError

from zocket import Actor, ActorError, App, Call, CallNext, Due, method

INSTRUCTIONS = "You are a helpful assistant. Answer briefly. Use the tools where they help."

KEPT_EXCHANGES = 50
"""The whole state is written whenever a part of an answer is stored, and the model is sent all of it."""

MAX_STEPS = 8
"""How often the model may ask for tools before it has to answer."""

ANSWER_LIMIT_S = 600.0
SILENCE_LIMIT_S = 60.0
"""Between two tokens."""

RESUME_AFTER_S = 60.0
"""A request that is older than this is not delivered again over NATS (docs/calls.md); the reminder makes up for it."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8_000)]


class ToolCall(BaseModel):
    id: str
    name: str
    arguments: str
    result: str | None = None


class Step(BaseModel):
    """What the model says in one go: text, and the tools that it wants to be called before it goes on."""

    text: str = ""
    calls: list[ToolCall] = []


class Exchange(BaseModel):
    id: int
    question: str
    steps: list[Step] = []
    status: Literal["writing", "done", "stopped", "failed"] = "writing"
    error: str = ""


class ConversationState(BaseModel):
    exchanges: list[Exchange] = []
    last_id: int = 0


async def own_calls_only(call: Call[None], call_next: CallNext) -> Any:
    """`answer` and `settle` are what a conversation tells itself."""
    if call.method in ("answer", "settle") and call.caller.kind == "client":
        raise ActorError(f"{call.method} is not for clients", code="forbidden")
    return await call_next(call)


class Conversation(Actor[ConversationState]):
    """One conversation; its id is the page's address."""

    durability = "file"
    middleware = [own_calls_only]  # guards would hold back subscriptions while an answer is written

    @method
    async def send(self, text: Text) -> int:
        """Opens an exchange and returns its id; the answer grows in the state."""
        if self._open() is not None:
            raise ActorError("the answer before is not complete", code="busy")
        del self.state.exchanges[: 1 - KEPT_EXCHANGES]
        self.state.last_id += 1
        self.state.exchanges.append(Exchange(id=self.state.last_id, question=text))
        self.reminders.set("resume", Due(after=RESUME_AFTER_S, every=RESUME_AFTER_S), self.resume)
        self._begin(self.state.last_id)
        return self.state.last_id

    @method(beside=True)
    async def stop(self) -> bool:
        """Stops the answer that is being written; False if there is none. Anybody may."""
        return self.cancel_running()

    @method(timeout_s=ANSWER_LIMIT_S, publish_every=0.05)
    async def answer(self, exchange: int) -> None:
        """Writes the answer. Run again after a crash, it keeps finished steps and begins the unfinished one anew."""
        if self._open() != exchange:
            return
        try:
            for step in range(MAX_STEPS):
                if not self._calls(step):
                    await self._ask(step)
                    await self.flush()
                if not self._calls(step):
                    self._last().status = "done"
                    return
                await self._use_tools(step)
            self._fail("too many tool calls")
        except httpx.HTTPError as error:
            self._fail(str(error) or type(error).__name__)

    @method
    async def settle(self, exchange: int) -> None:
        """Comes after `answer`, however that ended. What it left open was stopped, or took too long."""
        if self._open() == exchange:
            self._last().status = "stopped"
        if self._open() is None:
            self.reminders.cancel("resume")

    async def resume(self) -> None:
        """Nothing is left in the stream that would answer: begins again."""
        if (exchange := self._open()) is not None:
            self._begin(exchange)

    def _begin(self, exchange: int) -> None:
        """Both are turns of their own, in this order, each once, also if the process dies before or during them."""
        me = self.actors.get(Conversation, self.id)
        self.actors.tell(me.answer, exchange=exchange)
        self.actors.tell(me.settle, exchange=exchange)

    async def _ask(self, step: int) -> None:
        """Lets the model write one step."""
        steps = self._last().steps
        del steps[step:]
        messages = history(self.state)
        steps.append(Step())
        calls: dict[int, ToolCall] = {}
        async with completion(messages) as deltas:
            async for delta in deltas:
                self._last().steps[step].text += delta.get("content") or ""
                for part in delta.get("tool_calls") or ():
                    at, function = part.get("index", len(calls)), part.get("function") or {}
                    call = calls.setdefault(at, ToolCall(id=f"{self._last().id}-{step}-{at}", name="", arguments=""))
                    call.name += function.get("name") or ""
                    call.arguments += function.get("arguments") or ""
        self._last().steps[step].calls = list(calls.values())

    async def _use_tools(self, step: int) -> None:
        """Makes all calls of a step, in a second run too: in the same order they are the same, and have one effect."""
        for at, call in enumerate(self._calls(step)):
            result = await self._use(call.id, call.name, call.arguments)
            kept = self._calls(step)[at]
            if kept.result is None:
                kept.result = result

    async def _use(self, call_id: str, name: str, arguments: str) -> str:
        """What the model is told of a tool call; its mistakes are for the model to mend."""
        tool = TOOLS.get(name)
        if tool is None:
            return f"error: there is no tool {name}"
        try:
            return await tool.use(self, call_id, tool.arguments.model_validate_json(arguments or "{}"))
        except (ActorError, ValidationError) as error:
            return f"error: {error}"

    def _open(self) -> int | None:
        """Which exchange has no complete answer."""
        exchanges = self.state.exchanges
        return exchanges[-1].id if exchanges and exchanges[-1].status == "writing" else None

    def _last(self) -> Exchange:
        """Read anew wherever time has passed: what leaves in the middle of a turn is copied."""
        return self.state.exchanges[-1]

    def _calls(self, step: int) -> list[ToolCall]:
        steps = self._last().steps
        return steps[step].calls if step < len(steps) else []

    def _fail(self, reason: str) -> None:
        self._last().status, self._last().error = "failed", reason


class Notes(Actor[dict[str, str]]):
    """What the model shall remember: a tool with a state of its own."""

    durability = "file"

    @method
    async def keep(self, key: str, text: str) -> str:
        """Keeps a note; the same key again changes nothing."""
        self.state.setdefault(key, text)
        return "kept"

    @method
    async def all(self) -> list[str]:
        return list(self.state.values())


class Clock(Actor[dict[str, str]]):
    """A tool without a state."""

    @method
    async def now(self, zone: str) -> str:
        try:
            return datetime.now(ZoneInfo(zone)).strftime("%A %d %B %Y, %H:%M")
        except (KeyError, ValueError) as error:
            raise ActorError(f"there is no time zone {zone}", code="unknown_zone") from error


class Nothing(BaseModel):
    pass


class Note(BaseModel):
    text: str


class Zone(BaseModel):
    zone: str


@dataclass(frozen=True)
class Tool:
    """What the model may call, and the actor that does it."""

    description: str
    arguments: type[BaseModel]
    use: Callable[[Conversation, str, Any], Awaitable[str]]


async def keep_note(of: Conversation, call_id: str, note: Note) -> str:
    return await of.actors.get(Notes, of.id).keep(key=call_id, text=note.text)


async def read_notes(of: Conversation, call_id: str, _: Nothing) -> str:
    return "\n".join(await of.actors.get(Notes, of.id).all()) or "there are no notes"


async def tell_time(of: Conversation, call_id: str, where: Zone) -> str:
    return await of.actors.get(Clock, "world").now(zone=where.zone)


TOOLS = {
    "keep_note": Tool("Keeps a note in this conversation's notebook.", Note, keep_note),
    "read_notes": Tool("Reads this conversation's notebook.", Nothing, read_notes),
    "tell_time": Tool("Tells date and time in an IANA time zone, such as Europe/Rome.", Zone, tell_time),
}


def history(state: ConversationState) -> list[dict[str, Any]]:
    """The conversation as the endpoint wants it."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": INSTRUCTIONS}]
    for exchange in state.exchanges:
        messages.append({"role": "user", "content": exchange.question})
        for step in exchange.steps:
            message: dict[str, Any] = {"role": "assistant", "content": step.text}
            if step.calls:
                message["tool_calls"] = [
                    {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for call in step.calls
                ]
            messages.append(message)
            messages += (
                {"role": "tool", "tool_call_id": call.id, "content": call.result or "stopped"} for call in step.calls
            )
    return messages


@asynccontextmanager
async def completion(messages: list[dict[str, Any]]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The deltas of one streamed completion; raises `httpx.HTTPError` if the endpoint refuses or breaks off."""
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": tool.description,
                "parameters": tool.arguments.model_json_schema(),
            },
        }
        for name, tool in TOOLS.items()
    ]
    request = {
        "model": os.environ.get("MODEL", "gpt-4o-mini"),
        "messages": messages,
        "tools": tools,
        "stream": True,
    }
    async with web() as client, client.stream("POST", "chat/completions", json=request) as response:
        response.raise_for_status()
        yield deltas_of(response)


async def deltas_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    rest = ""
    async for part in response.aiter_text():
        *lines, rest = (rest + part).split(
            "\n"
        )  # not aiter_lines: a token may hold what it takes for the end of a line
        for line in lines:
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            if line.startswith("data:"):
                yield delta_of(data)
    raise httpx.RemoteProtocolError("the endpoint broke off")


class Choice(BaseModel):
    delta: dict[str, Any] | None = None


class Chunk(BaseModel):
    choices: list[Choice] = []


def delta_of(data: str) -> dict[str, Any]:
    try:
        choices = Chunk.model_validate_json(data).choices
    except ValidationError as error:
        raise httpx.DecodingError("the endpoint sent what is no completion") from error
    return (choices[0].delta if choices else None) or {}


def web() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1"),
        headers={"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY') or 'none'}"},
        timeout=SILENCE_LIMIT_S,
        verify=certificates(),
    )


@cache
def certificates() -> ssl.SSLContext:
    """Read once: that takes longer than a request."""
    return httpx.create_ssl_context()


app = App(actors={"conversation": Conversation, "notes": Notes, "clock": Clock})
