"""`self.timers`: calls of an instance's own methods later on, in memory.

Rules: starting and cancelling are orders of the turn; a timer's call is a turn of its own, from the instance's queue;
timers are gone when the instance leaves memory. No clock and no loop here.
"""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from zocket.core.orders import Order
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.core.instance import Instance

Arguments = ParamSpec("Arguments")

MIN_PERIOD_S: Final = 0.001
MAX_SECONDS: Final = 100 * 366 * 86_400.0
"""A hundred years: what is more was given in another unit."""


class Timer:
    """A timer that was started; what `self.timers.after` and `.every` give.

    Attributes:
        method: Python name of what it calls.
        seconds: until its call, or between two of them.
        repeats: whether it goes on after its first call.
        cancelled: a turn that has committed cancelled it.
    """

    __slots__ = ("_instance", "call", "cancelled", "method", "repeats", "seconds")

    def __init__(
        self, instance: Instance, seconds: float, method: str, call: Callable[[], Awaitable[object]], *, repeats: bool
    ) -> None:
        self._instance = instance
        self.seconds = seconds
        self.method = method
        self.call = call
        self.repeats = repeats
        self.cancelled = False

    def cancel(self) -> None:
        """It calls no more, once this turn has committed; a timer that is over already is no error.

        Raises:
            UsageError: there is no turn of its instance in progress.
        """
        if not self._instance.in_turn:
            raise UsageError("Timer.cancel: only inside a turn of the timer's instance")
        self._instance.orders.append(CancelTimer(self))

    def __repr__(self) -> str:
        how = "every" if self.repeats else "after"
        return f"<timer {how} {self.seconds:g} s: {self.method}{', cancelled' if self.cancelled else ''}>"


class StartTimer(Order):
    """A timer starts."""

    __slots__ = ("timer",)

    def __init__(self, timer: Timer) -> None:
        self.timer = timer


class CancelTimer(Order):
    """A timer is cancelled."""

    __slots__ = ("timer",)

    def __init__(self, timer: Timer) -> None:
        self.timer = timer


class Timers:
    """What `self.timers` is."""

    __slots__ = ("_instance",)

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def after(
        self,
        seconds: float,
        method: Callable[Arguments, Awaitable[object]],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Timer:
        """Calls a method of this instance once, `seconds` after this turn has committed, if it is still in memory.

        Args:
            seconds: 0 or more.
            method: any `async def` of this actor, `@method` or not: `self.close`.
            args: its arguments, kept as they are; give a copy of what lies in the state.
            kwargs: the same by name.

        Raises:
            UsageError: there is no turn in progress, or `seconds` or `method` are none that may be used.
            TypeError: the arguments do not fit the method.
        """
        return self._start(seconds_of("self.timers.after", seconds), False, method, args, kwargs)

    def every(
        self,
        seconds: float,
        method: Callable[Arguments, Awaitable[object]],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Timer:
        """Calls a method of this instance every `seconds`, until it is cancelled or the instance leaves memory.

        The times are multiples of `seconds` after this turn has committed. One whose predecessor still waits or runs
        is left out.

        Args:
            seconds: 0.001 or more.
            method: as of `after`.
            args: as of `after`.
            kwargs: as of `after`.

        Raises:
            UsageError: as of `after`.
            TypeError: as of `after`.
        """
        return self._start(seconds_of("self.timers.every", seconds, MIN_PERIOD_S), True, method, args, kwargs)

    def _start(
        self, seconds: float, repeats: bool, method: Callable[..., Awaitable[object]], args: Any, kwargs: Any
    ) -> Timer:
        instance = self._instance
        if not instance.in_turn:
            raise UsageError("self.timers: only inside a turn of the instance")
        name = target_name(instance, method)
        try:
            inspect.signature(method).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(instance.actor).__name__}.{name}() {error}") from None
        timer = Timer(instance, seconds, name, partial(method, *args, **kwargs), repeats=repeats)
        instance.orders.append(StartTimer(timer))
        return timer


def seconds_of(what: str, value: object, least: float = 0.0) -> float:
    """A number of seconds.

    Raises:
        UsageError: it is none, or less than `least`, or more than a hundred years.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= MAX_SECONDS:
        shown = f"{value:g}" if isinstance(value, float) and math.isfinite(value) else repr(value)
        raise UsageError(f"{what}: expected seconds of {least:g} or more, got {shown}")
    return float(value)


def target_name(instance: Instance, method: Callable[..., Awaitable[object]]) -> str:
    """The name of a method that a timer may call: an `async def` of this very instance.

    Raises:
        UsageError: it is something else.
    """
    name = getattr(method, "__name__", "")
    function = getattr(method, "__func__", None)
    if (
        getattr(method, "__self__", None) is not instance.actor
        or getattr(type(instance.actor), name, None) is not function
    ):
        raise UsageError(f"expected a method of this instance, as self.close; got {method!r}")
    if not inspect.iscoroutinefunction(function):
        raise UsageError(f"{type(instance.actor).__name__}.{name}: must be written as `async def`")
    return name
