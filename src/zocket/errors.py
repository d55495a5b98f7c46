"""Every error Zocket raises, in one tree; the type says who is at fault, `code` is stable and goes over the wire.

ZocketError
├── ActorError              raised by actor code on purpose: its text reaches the caller as it is
├── CallerError             the caller is at fault
│   ├── UnknownActor        unknown_actor        "Unknown actor: NAME"
│   ├── UnknownMethod       unknown_method       "Unknown method: NAME"
│   ├── ValidationFailed    validation_failed    "Validation failed for METHOD: [issues as JSON]"
│   ├── InvalidId           invalid_id           an actor type or id that the limits refuse
│   ├── InvalidFrame        invalid_frame        a frame that is no valid request
│   ├── TooLarge            too_large            frame, result or state over its size limit
│   ├── TooManyRequests     rate_limited, too_many_calls, too_many_subscriptions
│   ├── IdempotencyMismatch idempotency_mismatch an idempotency key of another call
│   ├── CallCycle           cycle                a call of an actor that would wait for itself
│   └── Unauthorized        unauthorized
├── UsageError              the developer who wrote the actor or the program is at fault
│   ├── DefinitionError     an actor, method, event or app that cannot be defined so
│   ├── StateValueError     a value that JSON cannot hold, or that may not be in the state
│   ├── StaleReferenceError a part of the state was written to outside its turn
│   ├── HandleError         a client's handle was used as if it were the actor itself
│   ├── NoSessionError      `self.session` where no client calls (hooks of the instance, server calls)
│   └── EventError          a payload of the wrong type, or an event that its actor does not declare
└── PlatformError           neither: the platform could not do it
    ├── Overloaded          overloaded
    ├── Unavailable         unavailable          the broker or the control plane is away
    ├── CallTimeout         timeout
    ├── HandlerTimeout      handler_timeout      a handler ran longer than its limit
    ├── Cancelled           cancelled            a call that was withdrawn, or ended by its actor, before it took effect
    ├── DeadLettered        dead_letter          a call that ended its process several times and will not run again
    ├── Disconnected        disconnected         the socket dropped before the answer came
    ├── AnswerMismatch      answer_mismatch      a server's value does not fit the class that the client has
    ├── Conflict            conflict             a compare-and-set found another revision
    ├── Superseded          superseded           another runtime owns the project now
    ├── BundleError         bad_bundle           a bundle that cannot be fetched, checked or imported
    ├── SettingsError       bad_settings         an environment variable or option that cannot be used
    └── BootError           boot_failed          a process that cannot start, with what to do about it
"""

from __future__ import annotations

from typing import Any, ClassVar

INTERNAL = "internal"
"""Code of an exception that actor code did not raise on purpose; its text stays in the log."""

KICKED = "kicked"
"""Code that says: an actor has parted with the session; nothing more comes of that instance."""

REPLACED = "replaced"
"""Code that says: another connection goes on with the session; this one is closed."""

PASSING = frozenset({"unavailable", "overloaded"})
"""Codes that say: not served, try again. Clients repeat by themselves what may be repeated."""


class ZocketError(Exception):
    """Base of every error here.

    Attributes:
        message: one line for a person.
        code: stable, lower case with underscores; what programs match.
        data: JSON-serialisable details, or None.
        request_id: finds the log line of the call, or None.
    """

    default_code: ClassVar[str] = INTERNAL

    def __init__(
        self, message: str, *, code: str | None = None, data: Any = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.data = data
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.code, self.data, self.request_id))


def _rebuild(cls: type[ZocketError], message: str, code: str, data: Any, request_id: str | None) -> ZocketError:
    error = cls.__new__(cls)
    ZocketError.__init__(error, message, code=code, data=data, request_id=request_id)
    return error


class ActorError(ZocketError):
    """An error that actor code raises on purpose; text, code and data reach the caller as they are."""

    default_code = "actor_error"


class CallerError(ZocketError):
    """The caller asked for something that cannot be."""

    default_code = "bad_request"


class UnknownActor(CallerError):
    """No actor type has this name in the deployment."""

    default_code = "unknown_actor"

    def __init__(self, name: str) -> None:
        super().__init__(f"Unknown actor: {name}")


class UnknownMethod(CallerError):
    """The actor has no method of this name."""

    default_code = "unknown_method"

    def __init__(self, name: str) -> None:
        super().__init__(f"Unknown method: {name}")


class ValidationFailed(CallerError):
    """The input does not fit the method's signature; `issues` is a JSON array as text."""

    default_code = "validation_failed"

    def __init__(self, method: str, issues: str, data: Any = None) -> None:
        super().__init__(f"Validation failed for {method}: {issues}", data=data)


class InvalidId(CallerError):
    """An actor type or actor id that the limits refuse."""

    default_code = "invalid_id"


class InvalidFrame(CallerError):
    """A frame that is no valid request."""

    default_code = "invalid_frame"


class TooLarge(CallerError):
    """A frame, a result or a state over its size limit."""

    default_code = "too_large"


class TooManyRequests(CallerError):
    """More calls, subscriptions or messages than a session may have."""

    default_code = "rate_limited"


class IdempotencyMismatch(CallerError):
    """The idempotency key was used for a call of another method or with another input."""

    default_code = "idempotency_mismatch"


class CallCycle(CallerError):
    """A call from one actor to another that would wait for itself; `data` is the chain of (actor, id)."""

    default_code = "cycle"


class Unauthorized(CallerError):
    """The token is missing, wrong or expired."""

    default_code = "unauthorized"


class UsageError(ZocketError):
    """The developer used Zocket in a way that cannot work."""

    default_code = "usage_error"


class DefinitionError(UsageError):
    """An actor, method, event or app that cannot be defined so."""


class StateValueError(UsageError, ValueError):
    """A value that JSON cannot hold, or that may not be placed into the state."""


class StaleReferenceError(UsageError):
    """A part of the state was written to outside the turn of its instance."""


class HandleError(UsageError, AttributeError):
    """A handle was used as if it were the actor itself: only its methods can be called from afar."""


class NoSessionError(UsageError):
    """`self.session` was read where no client session calls."""


class EventError(UsageError):
    """A payload of the wrong type, or an event that the actor does not declare."""


class PlatformError(ZocketError):
    """The platform could not do what was asked; nobody's input is at fault."""

    default_code = "platform_error"


class Overloaded(PlatformError):
    """A bound is reached; try again later."""

    default_code = "overloaded"


class Unavailable(PlatformError):
    """The broker or the control plane is away."""

    default_code = "unavailable"


class CallTimeout(PlatformError, TimeoutError):
    """A call got no answer within its time limit."""

    default_code = "timeout"


class HandlerTimeout(PlatformError):
    """A handler ran longer than its time limit; its changes are dropped."""

    default_code = "handler_timeout"


class Cancelled(PlatformError):
    """The call was cancelled before it took effect; its changes are dropped."""

    default_code = "cancelled"


class DeadLettered(PlatformError):
    """The call ended its process several times; it is put aside and will not run again by itself."""

    default_code = "dead_letter"


class Disconnected(PlatformError, ConnectionError):
    """The socket dropped before the answer came; the call may or may not have run."""

    default_code = "disconnected"


class AnswerMismatch(PlatformError):
    """A result, state or payload does not fit the class that the client has: two versions of it are in use."""

    default_code = "answer_mismatch"


class Conflict(PlatformError):
    """A compare-and-set found another revision than the expected one."""

    default_code = "conflict"


class PatchError(PlatformError):
    """A patch that does not fit the document it is applied to, or that is malformed."""

    default_code = "patch_failed"


class StoredStateError(PlatformError):
    """Stored state that this deployment cannot use; it is left as it is."""

    default_code = "stored_state"


class Superseded(PlatformError):
    """Another runtime owns this project now."""

    default_code = "superseded"


class BundleError(PlatformError):
    """A bundle that cannot be fetched, checked, unpacked or imported."""

    default_code = "bad_bundle"


class SettingsError(PlatformError):
    """An environment variable or an option that cannot be used."""

    default_code = "bad_settings"


class BootError(PlatformError):
    """A process that cannot start; the message says what to do."""

    default_code = "boot_failed"
