from __future__ import annotations

import msgspec
import pytest

from zocket.app import ActorFactory, App
from zocket.broker.memory import MemoryServer
from zocket.core import Actor, method
from zocket.errors import ActorError, BootError
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.control_plane import Activation
from zocket.runtime.standby import check_stored_state, run_smoke, wait_for_the_word
from zocket.runtime.state_store import BrokerStateStore, key_of
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


class TestStoredState:
    """A version that could not use what is stored is refused before it takes anything over."""

    @staticmethod
    async def store(records: dict[str, bytes]) -> BrokerStateStore:
        scope = Scope("ws", "proj")
        broker = MemoryServer(VirtualClock()).connect()
        for actor_id, record in records.items():
            await broker.put(subjects.state_bucket(scope), key_of("kept", actor_id), record, None)
        return BrokerStateStore(broker, scope)

    @staticmethod
    def record(state: object, version: int = 1) -> bytes:
        fields = {"version": version, "state": state, "watermarks": {}, "answers": {}, "epoch": "e", "seq": 0}
        return msgspec.json.encode(fields | {"writer": "w", "commit": 1})

    @staticmethod
    def app(version: int = 1) -> App:
        class Kept(Actor[dict[str, int]]):
            durability = "file"

        Kept.version = version
        return App({"kept": Kept, "counter": Counter})

    async def test_what_fits_passes_and_nothing_stored_passes(self) -> None:
        await check_stored_state(self.app().definition, await self.store({}))
        await check_stored_state(self.app().definition, await self.store({"a.b": self.record({"n": 1})}))

    @pytest.mark.parametrize(
        ("record", "words"),
        [
            (record({"n": "many"}), "does not fit"),
            (record({"n": 1}, 3), "has version 3, this deployment knows up to 1"),
            (b"{", "cannot be read"),
        ],
    )
    async def test_what_does_not_fit_refuses_the_version(self, record: bytes, words: str) -> None:
        fine = {f"fine{number}": self.record({"n": number}) for number in range(5)}
        with pytest.raises(BootError, match=words):
            await check_stored_state(self.app().definition, await self.store({**fine, "odd": record}))

    async def test_a_missing_migration_refuses_the_version(self) -> None:
        with pytest.raises(BootError, match="nothing migrates from 1"):
            await check_stored_state(self.app(2).definition, await self.store({"a": self.record({"n": 1})}))
