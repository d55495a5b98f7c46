"""Definitions from classes: what is found, what it is called, and what is refused with which words."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any, Generic, TypedDict, TypeVar

import msgspec
import pytest
from pydantic import BaseModel

from zocket import Actor, App, Call, CallNext, Event, method
from zocket.core import AppDefinition, actor_definition, event_definition
from zocket.errors import DefinitionError, StateValueError, UsageError

S = TypeVar("S")


class Message(BaseModel):
    text: str


class State(BaseModel):
    items: list[Message] = []


class Room(Actor[State]):
    posted = Event(Message)
    counted = Event[int | None]()

    @method
    async def post_message(self, text: str, times: int = 1) -> Message:
        return Message(text=text * times)

    @method(timeout_s=5)
    async def clear(self) -> None:
        self.state.items.clear()

    async def helper(self) -> None:
        """Not a method: it has no mark."""


def test_methods_events_and_state_are_found() -> None:
    room = AppDefinition({"room": Room}).actors["room"]
    assert list(room.methods) == ["post_message", "clear"]
    assert list(room.events) == ["posted", "counted"]
    assert room.state.annotation is State
    assert room.methods["clear"].timeout_s == 5
    assert room.methods["clear"].void
    assert not room.methods["post_message"].void


def test_a_method_that_yields_has_a_type_of_chunks_and_no_result() -> None:
    class Speaker(Actor[State]):
        @method
        async def say(self) -> AsyncIterator[Message]:
            yield Message(text="a")

        @method
        async def send(self) -> AsyncGenerator[int, None]:
            yield 1

        @method
        async def list(self) -> AsyncIterable[Message | None]:
            yield None

        @method
        async def tell(self):  # type: ignore[no-untyped-def]
            yield {"anything": 1}

    speaker = AppDefinition({"it": Speaker}).actors["it"]
    assert all(item.stream and item.void for item in speaker.methods.values())
    say, send, listed, tell = speaker.methods.values()
    assert say.encode_chunk(Message(text="a")) == b'{"text":"a"}'
    assert say.decode_chunk(b'{"text":"a"}') == Message(text="a")
    with pytest.raises(StateValueError):
        send.encode_chunk("one")
    assert (listed.encode_chunk(None), listed.decode_chunk(b"null")) == (b"null", None)
    assert tell.encode_chunk([1]) == b"[1]"


def test_camel_renames_methods_events_and_actors_but_no_fields() -> None:
    class Other(Actor[State]):
        new_message = Event(Message)

        @method
        async def post_message(self, reply_to: str) -> None: ...

    other = AppDefinition({"chat_room": Other}, rename="camel").actors["chatRoom"]
    assert list(other.methods) == ["postMessage"]
    assert list(other.events) == ["newMessage"]
    assert other.methods["postMessage"].decode_input(b'{"reply_to":"x"}') == {"reply_to": "x"}


def test_an_override_of_a_method_is_a_method_too() -> None:
    class Loud(Room):
        async def post_message(self, text: str, times: int = 1) -> Message:
            return Message(text=text.upper() * times)

    loud = AppDefinition({"loud": Loud}).actors["loud"]
    assert loud.methods["post_message"].function is Loud.post_message


def test_the_state_type_is_found_through_generic_bases() -> None:
    class Base(Actor[S], Generic[S]):
        @method
        async def ping(self) -> int:
            return 1

    class Concrete(Base[State]): ...

    assert AppDefinition({"x": Concrete}).actors["x"].state.annotation is State


def test_an_actor_without_a_state_type_has_a_dict() -> None:
    class Plain(Actor[dict[str, Any]]): ...

    class Bare(Actor): ...  # type: ignore[type-arg]

    for cls in (Plain, Bare):
        assert AppDefinition({"x": cls}).actors["x"].new_document(None).snapshot() == b"{}"


def test_structs_and_typed_dicts_are_states() -> None:
    class Point(msgspec.Struct):
        x: int = 0

    class Typed(TypedDict):
        n: int

    class A(Actor[Point]): ...

    class B(Actor[Typed]):
        @classmethod
        def initial_state(cls) -> Typed:
            return {"n": 7}

    definition = AppDefinition({"a": A, "b": B})
    assert definition.actors["a"].new_document(None).snapshot() == b'{"x":0}'
    assert definition.actors["b"].new_document(None).snapshot() == b'{"n":7}'


def _with(**attributes: Any) -> type[Actor[State]]:
    return types.new_class("Broken", (Actor[State],), exec_body=lambda namespace: namespace.update(attributes))


def _sync(self: Any) -> None: ...


async def _hook(self: Any) -> None: ...


async def _yields_strings(self: Any) -> str:  # type: ignore[misc]
    yield "no"


async def _returns_an_iterator(self: Any) -> AsyncIterator[str]:
    raise NotImplementedError


async def _unannotated(self: Any, text) -> None: ...  # type: ignore[no-untyped-def]


async def _star(self: Any, *texts: str) -> None: ...


async def _unknown(self: Any, text: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def _fine(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (_with(go=method(_sync)), "Broken.go: a method must be written as `async def`"),
        (_with(go=method(_yields_strings)), "Broken.go: a method that yields is annotated `-> AsyncIterator"),
        (_with(go=method(_returns_an_iterator)), "Broken.go: a method that is annotated as an iterator has to `yield`"),
        (_with(go=method(_unannotated)), "Broken.go: parameter text has no annotation"),
        (_with(go=method(_star)), "Broken.go: parameter texts has no name on the wire"),
        (_with(go=method(_unknown)), "Broken.go: an annotation cannot be resolved"),
        (_with(state=method(_fine)), "Broken.state: the name is reserved"),
        (_with(_go=method(_fine)), "Broken._go: the name is reserved"),
        (_with(then=method(_fine)), "Broken.then: the name is reserved"),
        (_with(on_connect=_sync), "Broken.on_connect: a hook is written"),
        (_with(posted=Event()), "Broken.posted: write Event(Message)"),
        (_with(idle_after=0), "Broken.idle_after: expected seconds above 0 or None, got 0"),
        (_with(idle_after=-1.5), "Broken.idle_after: expected seconds above 0 or None, got -1.5"),
        (_with(idle_after=float("inf")), "Broken.idle_after: expected seconds above 0 or None, got inf"),
        (_with(idle_after=float("nan")), "Broken.idle_after: expected seconds above 0 or None, got nan"),
        (_with(idle_after="60"), "Broken.idle_after: expected seconds above 0 or None, got '60'"),
        (_with(idle_after=True), "Broken.idle_after: expected seconds above 0 or None, got True"),
        (_with(grace=0), "Broken.grace: expected seconds above 0 or None, got 0"),
        (_with(grace="60"), "Broken.grace: expected seconds above 0 or None, got '60'"),
        (_with(grace=3_601), "Broken.grace: at most 3600 seconds, got 3601"),
        (_with(on_drop=_fine), "Broken.on_drop: runs only in a class with a `grace`"),
        (_with(on_resume=_fine), "Broken.on_resume: runs only in a class with a `grace`"),
        (_with(grace=5, on_resume=_sync), "Broken.on_resume: a hook is written"),
        (_with(grace=5, on_drop=method(_fine)), "Broken.on_drop: the name is reserved"),
    ],
)
def test_what_cannot_be_defined_says_where_and_why(cls: type[Actor[State]], words: str) -> None:
    with pytest.raises(DefinitionError, match=words.replace("(", r"\(").replace(")", r"\)")):
        AppDefinition({"x": cls})


def test_two_methods_of_one_wire_name_are_refused() -> None:
    class Twice(Actor[State]):
        @method
        async def do_it(self) -> None: ...

        @method
        async def doIt(self) -> None: ...

    with pytest.raises(DefinitionError, match="another method is called doIt"):
        AppDefinition({"x": Twice}, rename="camel")


def test_a_state_without_defaults_is_refused_with_advice() -> None:
    class Needy(Actor[Message]): ...

    with pytest.raises(DefinitionError, match="give every field a default"):
        AppDefinition({"x": Needy})


@pytest.mark.parametrize("name", ["", "a.b", "1a", "a b", "x" * 65, "a>"])
def test_an_actor_name_that_is_no_subject_token_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="actor type"):
        AppDefinition({name: Room})


def test_what_is_no_actor_class_is_refused() -> None:
    with pytest.raises(DefinitionError, match="expected a subclass of Actor"):
        AppDefinition({"x": dict})  # type: ignore[dict-item]


def test_annotations_of_a_class_in_a_function_resolve() -> None:
    class Local(BaseModel):
        n: int = 1

    class Inner(Actor[Local]):
        told = Event(Local)

        @method
        async def tell(self, what: Local) -> Local:
            return what

    inner = AppDefinition({"x": Inner}).actors["x"]
    assert inner.methods["tell"].decode_input(b'{"what":{"n":2}}') == {"what": Local(n=2)}


class TestClassToName:
    def test_a_class_knows_its_name_by_its_app(self) -> None:
        class Only(Actor[State]):
            told = Event(int)

        App(actors={"only": Only})
        assert actor_definition(Only).name == "only"
        assert event_definition(Only.told).name == "told"

    def test_a_class_in_no_app_says_so(self) -> None:
        class Lonely(Actor[State]): ...

        with pytest.raises(UsageError, match="Lonely is in no App"):
            actor_definition(Lonely)
        assert actor_definition(Lonely, "given").name == "given"

    def test_a_class_of_two_names_asks_for_one(self) -> None:
        class Two(Actor[State]): ...

        App(actors={"one": Two, "two": Two})
        with pytest.raises(UsageError, match="one, two"):
            actor_definition(Two)
        assert actor_definition(Two, "two").name == "two"

    def test_a_subclass_is_not_its_base(self) -> None:
        class Base(Actor[State]): ...

        class Sub(Base): ...

        App(actors={"base": Base})
        with pytest.raises(UsageError):
            actor_definition(Sub)


def test_middleware_that_is_not_callable_is_refused() -> None:
    with pytest.raises(DefinitionError, match="not callable"):
        App(actors={"x": Room}, middleware=[3])  # type: ignore[list-item]


def test_the_app_chain_runs_before_the_actors() -> None:
    async def first(call: Call, call_next: CallNext) -> Any:
        return await call_next(call)

    async def second(call: Call, call_next: CallNext) -> Any:
        return await call_next(call)

    class Guarded(Actor[State]):
        middleware = [second]

    assert AppDefinition({"x": Guarded}, middleware=[first]).actors["x"].middleware == (first, second)


def test_arguments_that_do_not_fit_are_a_type_error_that_names_the_method() -> None:
    post = AppDefinition({"room": Room}).actors["room"].methods["post_message"]
    assert post.encode_arguments(("a",), {"times": 2}) == b'{"text":"a","times":2}'
    with pytest.raises(TypeError, match=r"Room.post_message\(\) missing a required argument: 'text'"):
        post.encode_arguments((), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'txt'"):
        post.encode_arguments(("a",), {"txt": "a"})


def test_an_app_knows_whether_sessions_may_be_resumed_in_it() -> None:
    assert not AppDefinition({"x": _with()}).has_grace
    definition = AppDefinition({"x": _with(), "y": _with(grace=3_600, on_drop=_hook)})
    assert definition.has_grace
    assert [definition.actors[name].grace_s for name in "xy"] == [None, 3_600.0]
    assert [definition.actors[name].keeps_sessions for name in "xy"] == [False, True]
