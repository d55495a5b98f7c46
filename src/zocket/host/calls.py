"""Calls from one actor to another, as the turn that makes them sees it.

Rules: a call belongs to a turn and ends with it: whoever it waits for is cancelled then. A call that would wait for
itself is refused before it is sent. Each has a name that is the same when the turn runs again after a crash, so that it
takes effect once where that can be known.
"""

from __future__ import annotations

import asyncio
import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast

import msgspec

from zocket.core import SERVER, Actor, Caller
from zocket.errors import CallCycle, CallTimeout, Cancelled, UsageError
from zocket.handles import ActorHandle, invoker_of, target_of
from zocket.host.resident import CallLink
from zocket.host.streams import GivenUp, StreamLink
from zocket.host.workers import current_worker
from zocket.protocol import frames
from zocket.protocol.client_session import Instance as Address
from zocket.protocol.client_session import error_of
from zocket.protocol.frames import NO_INPUT, Rpc, ServerFrame, decode_server_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zocket.clock import Clock
    from zocket.core import Instance
    from zocket.host.host import Host
    from zocket.host.tells import Tells
    from zocket.host.workers import Worker

A = TypeVar("A", bound=Actor[Any, Any])
L = TypeVar("L", bound=CallLink)

MAX_CHAIN: Final = 64
"""Turns that wait for each other in one row: far more than a design has, and few enough to travel in every call."""
CALL_TIMEOUT_S: Final = 30.0
"""Time limit of a call from server code, waiting for its turn included."""

_CALL_ID: Final = msgspec.Raw(b"0")


class Elsewhere(Protocol):
    """Carries calls to instances that other hosts of the project have."""

    def has(self, actor: str, actor_id: str) -> bool:
        """Whether the instance is another host's."""

    def call(self, link: CallLink, request: Rpc, request_id: str, left_s: float) -> None:
        """Sends a call that may take so many seconds; the link gets its answer, also that it could not be sent."""

    def give_up(self, link: CallLink) -> None:
        """Nobody waits for the answer any more: the call is cancelled where it is."""

    def credit(self, link: StreamLink, number: int) -> None:
        """The chunks of a call up to this number have been taken."""


class OpenCalls:
    """The calls of one turn.

    Attributes:
        base: what their request ids begin with.
        repeats: whether the turn may run again, and make the same calls with the same base.
    """

    __slots__ = ("_links", "_number", "base", "repeats")

    def __init__(self, message_id: str, *, repeats: bool) -> None:
        self.repeats = repeats and bool(message_id)
        self.base = message_id or "r_" + secrets.token_hex(8)
        self._number = 0
        self._links: set[CallLink] = set()

    def next_id(self) -> str:
        """The request id of the next call, one-way ones included."""
        self._number += 1
        return f"{self.base}.{self._number}"

    def add(self, link: CallLink) -> None:
        """The turn waits for one more answer."""
        self._links.add(link)

    def discard(self, link: CallLink) -> None:
        """It waits for it no longer."""
        self._links.discard(link)

    def end(self) -> None:
        """The turn is over: tasks that it left behind wait for nothing more."""
        for link in list(self._links):
            link.give_up()


class Calls:
    """The calls that the actors of one host make.

    Args:
        host: runs what is here.
        tells: carries one-way calls.
        clock: time that a turn has left.

    Attributes:
        elsewhere: carries calls to other hosts; None where there are none.
    """

    def __init__(self, host: Host, tells: Tells, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._waiting: dict[tuple[str, str], dict[CallLink, tuple[str, str]]] = {}
        self.tells = tells
        self.elsewhere: Elsewhere | None = None

    def reach(self, instance: Instance) -> ActorsOf:
        """What an instance reads as `self.actors`."""
        return ActorsOf(self, instance)

    def handle(self, invoker: _Invoker, cls: type[A], actor_id: str, name: str | None) -> A:
        """A handle whose calls an instance makes."""
        return cast("A", ActorHandle(invoker, self._host.definition.of(cls, name), actor_id))

    def open_calls(self, instance: Instance) -> tuple[Worker, OpenCalls]:
        """The turn that runs here, and its calls.

        Raises:
            UsageError: what runs here is no turn of this instance.
        """
        worker = current_worker.get()
        if worker is None or worker.instance is not instance:
            raise UsageError(f"{instance.definition.name}: other actors are called inside a turn of the instance only")
        calls = worker.calls
        if calls is None:
            repeats = self._host.delivers_again or bool(instance.key)
            calls = worker.calls = OpenCalls(instance.message_id, repeats=repeats)
        return worker, calls

    async def invoke(self, instance: Instance, target: Address, method: str, value: bytes | None) -> bytes | None:
        """Makes a call in the turn of this instance; see `Actors.get` for what it raises."""
        call = self._begin(instance, target, method, value, CallLink)
        try:
            frame = await call.link.frame
        finally:
            call.end()
        if frame is None:
            raise Cancelled(f"{target}.{method}: the turn that called it is over")
        return result_of(frame)

    async def iterate(
        self, instance: Instance, target: Address, method: str, value: bytes | None
    ) -> AsyncGenerator[bytes, None]:
        """Makes a call to a method that yields in the turn of this instance; gives its chunks (JSON).

        Each chunk lets the time limit of the turn begin anew. Whoever stops iterating cancels the call, as the end of
        the turn does. Raises what `invoke` does, and `Unavailable` if chunks are missing or come again.
        """
        call = self._begin(instance, target, method, value, StreamLink)
        call.link.given_up = call.end
        try:
            async for number, chunk in call.link.chunks(f"{target}.{method}"):
                call.worker.started = self._clock.now()
                yield chunk
                call.credit(number, len(chunk))
        finally:
            call.end()

    def _begin(
        self, instance: Instance, target: Address, method: str, value: bytes | None, kind: type[L]
    ) -> _OpenCall[L]:
        worker, calls = self.open_calls(instance)
        here, there = (instance.definition.name, instance.actor_id), (target.actor, target.actor_id)
        chain = (*instance.caller.chain, here)
        self._check_cycle(chain, there)
        link = kind(Caller("actor", None, *here, chain))
        request_id = calls.next_id()
        elsewhere = self._elsewhere_of(*there)
        keyed = elsewhere is not None or (calls.repeats and self._host.definition.actors[target.actor].durable)
        key = call_name(request_id) if keyed and kind is CallLink else ""
        request = rpc(target, method, value, key)
        call = _OpenCall(self, worker, calls, link, here, there, request_id, elsewhere)
        calls.add(link)
        self._waiting.setdefault(here, {})[link] = there
        try:
            self._send(link, request, request_id, elsewhere, worker.started + worker.limit_s - self._clock.now())
        except BaseException:
            call.end()
            raise
        return call

    def _send(self, link: CallLink, request: Rpc, request_id: str, elsewhere: Elsewhere | None, left_s: float) -> None:
        if elsewhere is None:
            self._host.submit(link, request, request_id)
        else:
            elsewhere.call(link, request, request_id, left_s)

    def _elsewhere_of(self, actor: str, actor_id: str) -> Elsewhere | None:
        elsewhere = self.elsewhere
        return elsewhere if elsewhere is not None and elsewhere.has(actor, actor_id) else None

    async def from_server(
        self, actor: str, actor_id: str, method: str, value: bytes | None, timeout_s: float
    ) -> ServerFrame:
        """See `Host.call`."""
        link = CallLink(SERVER)
        request = rpc(Address(actor, actor_id), method, value)
        request_id = "server." + secrets.token_hex(8)
        elsewhere = self._elsewhere_of(actor, actor_id)
        timer = self._clock.call_later(timeout_s, link.give_up)
        try:
            self._send(link, request, request_id, elsewhere, timeout_s)
            frame = await link.frame
        except asyncio.CancelledError:
            if elsewhere is None:
                self._host.cancel(actor, actor_id, "", request_id)
            raise
        finally:
            timer.cancel()
            if elsewhere is not None and not link.answered:
                elsewhere.give_up(link)
        if frame is None:
            raise CallTimeout(f"{actor}.{method}: no answer within {timeout_s:g} s")
        answer = decode_server_frame(frame)
        assert answer is not None
        return answer

    async def iterate_from_server(
        self, actor: str, actor_id: str, method: str, value: bytes | None, timeout_s: float
    ) -> AsyncGenerator[bytes, None]:
        """See `Host.stream`."""
        link = StreamLink(SERVER)
        request_id = "server." + secrets.token_hex(8)
        elsewhere = self._elsewhere_of(actor, actor_id)
        request = rpc(Address(actor, actor_id), method, value)
        timer = self._clock.call_later(timeout_s, link.give_up)
        try:
            self._send(link, request, request_id, elsewhere, timeout_s)
            async for number, chunk in link.chunks(f"{actor}.{method}"):
                timer.cancel()
                yield chunk
                self.credit(link, request_id, elsewhere, number, len(chunk))
                timer = self._clock.call_later(timeout_s, link.give_up)
        except GivenUp:
            raise CallTimeout(f"{actor}.{method}: neither a chunk nor the end within {timeout_s:g} s") from None
        finally:
            timer.cancel()
            if not link.answered:
                self.give_up(link, (actor, actor_id), request_id, elsewhere)

    def credit(self, link: StreamLink, request_id: str, elsewhere: Elsewhere | None, number: int, size: int) -> None:
        """Whoever iterates has taken a chunk of so many bytes; more may be made."""
        if elsewhere is None:
            self._host.credit("", request_id, number)
        elif number % frames.CREDIT_CHUNKS == 0 or size >= frames.CREDIT_BYTES:
            elsewhere.credit(link, number)

    def give_up(self, link: CallLink, there: tuple[str, str], request_id: str, elsewhere: Elsewhere | None) -> None:
        """Nobody waits for the answer any more: the call is cancelled where it is."""
        if elsewhere is None:
            self._host.cancel(*there, "", request_id)
        else:
            elsewhere.give_up(link)

    def wait_no_more(self, here: tuple[str, str], link: CallLink) -> None:
        """The instance waits for this answer no longer."""
        waiting = self._waiting[here]
        del waiting[link]
        if not waiting:
            del self._waiting[here]

    def _check_cycle(self, chain: tuple[tuple[str, str], ...], there: tuple[str, str]) -> None:
        """Refuses a call to an instance that waits for this one: as its caller, or by another turn that runs here."""
        if there in chain:
            raise _cycle((*chain[chain.index(there) :], there))
        if there in self._waiting and (way := self._way(there, chain[-1])) is not None:
            raise _cycle((chain[-1], *way))
        if len(chain) >= MAX_CHAIN:
            raise CallCycle(f"{_shown(there)}: more than {MAX_CHAIN} turns would wait for each other", data=list(chain))

    def _way(self, start: tuple[str, str], end: tuple[str, str]) -> list[tuple[str, str]] | None:
        """The instances from `start` to `end`, each waiting for the next one; None if there are none."""
        ways = [[start]]
        seen = {start}
        while ways:
            way = ways.pop()
            for following in self._waiting.get(way[-1], {}).values():
                if following == end:
                    return [*way, end]
                if following not in seen:
                    seen.add(following)
                    ways.append([*way, following])
        return None


class _OpenCall(Generic[L]):
    """A call of a turn, until its answer is here or is not wanted any more."""

    __slots__ = ("_calls", "_elsewhere", "_ended", "_here", "_of_turn", "_request_id", "_there", "link", "worker")

    def __init__(
        self,
        calls: Calls,
        worker: Worker,
        of_turn: OpenCalls,
        link: L,
        here: tuple[str, str],
        there: tuple[str, str],
        request_id: str,
        elsewhere: Elsewhere | None,
    ) -> None:
        self._calls = calls
        self._of_turn = of_turn
        self._here = here
        self._there = there
        self._request_id = request_id
        self._elsewhere = elsewhere
        self._ended = False
        self.worker = worker
        self.link = link

    def credit(self: _OpenCall[StreamLink], number: int, size: int) -> None:
        """See `Calls.credit`."""
        self._calls.credit(self.link, self._request_id, self._elsewhere, number, size)

    def end(self) -> None:
        """The turn waits for it no longer; a call that was not answered is cancelled."""
        if not self._ended:
            self._ended = True
            self._of_turn.discard(self.link)
            self._calls.wait_no_more(self._here, self.link)
            if not self.link.answered:
                self._calls.give_up(self.link, self._there, self._request_id, self._elsewhere)


class ActorsOf:
    """`self.actors` of one instance; see `zocket.core.Actors`."""

    __slots__ = ("_calls", "_instance", "_invoker")

    def __init__(self, calls: Calls, instance: Instance) -> None:
        self._calls = calls
        self._instance = instance
        self._invoker = _Invoker(calls, instance)

    def get(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """See `Actors.get`."""
        return self._calls.handle(self._invoker, cls, actor_id, name)

    def tell(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """See `Actors.tell`."""
        target = target_of(method)
        if target is None or invoker_of(target[0]) is not self._invoker:
            raise UsageError("tell: expected a method of a handle: self.actors.tell(self.actors.get(Room, …).post, …)")
        handle, definition = target
        value = definition.encode_arguments(args, kwargs)
        _, calls = self._calls.open_calls(self._instance)
        self._calls.tells.order(self._instance, handle, definition, value, calls.next_id())


class _Invoker:
    """Carries the calls of an instance's handles."""

    __slots__ = ("_calls", "_instance")

    def __init__(self, calls: Calls, instance: Instance) -> None:
        self._calls = calls
        self._instance = instance

    async def invoke(self, instance: Address, method: str, value: bytes | None, /) -> bytes | None:
        """See `Invoker.invoke`."""
        return await self._calls.invoke(self._instance, instance, method, value)

    def stream(self, instance: Address, method: str, value: bytes | None, /) -> AsyncGenerator[bytes, None]:
        """See `Invoker.stream`."""
        return self._calls.iterate(self._instance, instance, method, value)


class ServerInvoker:
    """Carries the calls of this process's own code to a host."""

    __slots__ = ("_host", "_timeout_s")

    def __init__(self, host: Host, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._host = host
        self._timeout_s = timeout_s

    async def invoke(self, instance: Address, method: str, value: bytes | None, /) -> bytes | None:
        """See `Invoker.invoke`."""
        return result_of(await self._host.call(*instance, method, value, self._timeout_s))

    def stream(self, instance: Address, method: str, value: bytes | None, /) -> AsyncGenerator[bytes, None]:
        """See `Invoker.stream`."""
        return self._host.stream(*instance, method, value, self._timeout_s)


class _Target(Protocol):
    @property
    def actor(self) -> str: ...
    @property
    def actor_id(self) -> str: ...


def rpc(target: _Target, method: str, value: bytes | msgspec.Raw | None, key: str = "") -> Rpc:
    """A call as a host takes it; `value` is the JSON of its input."""
    body = NO_INPUT if value is None else msgspec.Raw(value)
    return Rpc(_CALL_ID, target.actor, target.actor_id, method, body, key)


def call_name(request_id: str) -> str:
    """The idempotency key of a call with this request id."""
    return "c_" + blake2b(request_id.encode(), digest_size=16).hexdigest()


def result_of(frame: bytes | ServerFrame) -> bytes | None:
    """The JSON of the result in the frame that answers a call.

    Raises:
        ZocketError: the call failed: what a client would get.
    """
    answer = decode_server_frame(frame) if isinstance(frame, bytes) else frame
    assert answer is not None
    if answer.error is not None:
        raise error_of(answer, answer.error)
    return None if answer.result is None else bytes(answer.result)


def _cycle(way: tuple[tuple[str, str], ...]) -> CallCycle:
    return CallCycle(
        f"{' → '.join(map(_shown, way))}: a call that would wait for itself", data=[list(item) for item in way]
    )


def _shown(address: tuple[str, str]) -> str:
    return f"{address[0]}/{address[1]}"
