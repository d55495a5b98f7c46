from __future__ import annotations

import pytest

from zocket.app import ActorFactory, App
from zocket.core import Actor, method
from zocket.errors import ActorError, BootError
from zocket.runtime.control_plane import Activation
from zocket.runtime.standby import run_smoke, wait_for_the_word
from zocket.settings import Limits
from zocket.testing.clock import VirtualClock


class Counter(Actor[dict[str, int]]):
    @method
    async def add(self, by: int) -> int:
        if by < 0:
            raise ActorError("only upwards")
        self.state["n"] = self.state.get("n", 0) + by
        return self.state["n"]


async def run(app: App) -> None:
    await run_smoke(app.definition, clock=VirtualClock(), limits=Limits())


async def test_an_app_without_a_smoke_call_passes() -> None:
    await run(App({"counter": Counter}))


async def test_a_smoke_call_gets_typed_handles_on_instances_of_its_own() -> None:
    seen: list[int] = []

    async def smoke(actor: ActorFactory) -> None:
        counter = actor(Counter, "one")
        seen.extend([await counter.add(2), await counter.add(3), await actor(Counter, "two").add(1)])

    app = App({"counter": Counter}, smoke=smoke)
    await run(app)
    await run(app)
    assert seen == [2, 5, 1, 2, 5, 1]


async def test_what_a_smoke_call_raises_refuses_the_version_in_its_words() -> None:
    async def failing(actor: ActorFactory) -> None:
        await actor(Counter, "one").add(-1)

    async def wrong(actor: ActorFactory) -> None:
        assert await actor(Counter, "one").add(1) == 2, "one and one"

    with pytest.raises(BootError, match="smoke call: only upwards"):
        await run(App({"counter": Counter}, smoke=failing))
    with pytest.raises(BootError, match="smoke call: AssertionError: one and one"):
        await run(App({"counter": Counter}, smoke=wrong))


async def test_a_smoke_call_that_never_ends_is_given_up() -> None:
    import asyncio

    async def endless(actor: ActorFactory) -> None:
        await asyncio.Event().wait()

    with pytest.raises(BootError, match="longer than 30 s"):
        await run(App({"counter": Counter}, smoke=endless))


class Words:
    """A control plane that gives these answers, one a question."""

    def __init__(self, *words: Activation | BootError) -> None:
        self.words = list(words)
        self.since: list[int] = []

    async def activation(self, deployment_id: str, since: int) -> Activation:
        self.since.append(since)
        word = self.words.pop(0)
        if isinstance(word, BootError):
            raise word
        return word


@pytest.mark.parametrize("word", [Activation("activate", 7), Activation("stop", 8)])
async def test_the_word_is_waited_for_whatever_happens_to_the_control_plane(word: Activation) -> None:
    control = Words(Activation("wait"), BootError("away"), BootError("away"), Activation("wait"), word)
    assert await wait_for_the_word(control, "dpl_1", VirtualClock(), since=3) == word  # type: ignore[arg-type]
    assert (control.words, control.since) == ([], [3] * 5)
