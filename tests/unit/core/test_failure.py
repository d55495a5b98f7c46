"""What of an exception reaches the caller."""

from __future__ import annotations

import pytest

from zocket import ActorError
from zocket.core import is_expected, to_caller
from zocket.errors import HandlerTimeout, StaleReferenceError, TooLarge, UnknownMethod


def test_an_actors_own_error_passes_as_it_is_and_is_not_changed() -> None:
    raised = ActorError("no tea", code="teapot", data={"cups": 0})
    public = to_caller(raised, "r1")
    assert (public.message, public.code, public.data, public.request_id) == ("no tea", "teapot", {"cups": 0}, "r1")
    assert raised.request_id is None


@pytest.mark.parametrize("error", [UnknownMethod("x"), TooLarge("big"), HandlerTimeout("slow")])
def test_errors_that_zocket_names_for_callers_pass(error: Exception) -> None:
    assert to_caller(error, "r1").message == str(error)


@pytest.mark.parametrize(
    "error", [ValueError("secret"), StaleReferenceError("secret"), SystemExit("secret"), KeyError()]
)
def test_everything_else_is_masked_outside_dev_mode(error: BaseException) -> None:
    public = to_caller(error, "r1")
    assert (public.message, public.code, public.data) == ("internal error", "internal", None)
    assert to_caller(error, "r1", dev_mode=True).message == f"{type(error).__name__}: {error}"
    assert not is_expected(error)


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no text of it")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("raised", "message", "code"),
    [
        (ActorError(404), "404", "actor_error"),  # type: ignore[arg-type]
        (ActorError(None), "None", "actor_error"),  # type: ignore[arg-type]
        (ActorError("x", code=404), "x", "404"),  # type: ignore[arg-type]
        (ActorError("x", code="\ud800"), "x", "?"),
        (ActorError("x", code="y" * 10_000), "x", "y" * 64),
        (ActorError(Unspeakable()), "internal error", "internal"),  # type: ignore[arg-type]
        (ActorError("x", data=Unspeakable()), "x", "actor_error"),
    ],
)
def test_an_error_with_odd_parts_reaches_its_caller_all_the_same(raised: ActorError, message: str, code: str) -> None:
    public = to_caller(raised, "r1")
    assert (public.message, public.code, public.request_id) == (message, code, "r1")
    assert type(public.message) is type(public.code) is str


def test_text_and_data_that_json_cannot_hold_do_not_stop_the_error(caplog: pytest.LogCaptureFixture) -> None:
    public = to_caller(ActorError("odd \ud800", data={"x": object()}), "r1")
    assert public.message == "odd ?"
    assert public.data is None
    assert "cannot leave" in caplog.text
