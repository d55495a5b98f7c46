"""What an actor is: definitions, schemas, middleware, one turn, one instance. Returns effects, performs none."""

from zocket.core.actor import Actor, Call, CallNext, Emitted, Event, EventOf, Middleware, method
from zocket.core.definition import (
    ActorDefinition,
    AppDefinition,
    EventDefinition,
    MethodDefinition,
    actor_definition,
    event_definition,
)
from zocket.core.failure import is_expected, to_caller
from zocket.core.guards import Access, Guard
from zocket.core.instance import Effects, Instance
from zocket.core.kicks import Kick
from zocket.core.migration import migrate
from zocket.core.orders import Order
from zocket.core.schema import InputSchema, Schema, SchemaMismatch
from zocket.core.session import INSTANCE, SERVER, Caller, Session

__all__ = [
    "INSTANCE",
    "SERVER",
    "Access",
    "Actor",
    "ActorDefinition",
    "AppDefinition",
    "Call",
    "CallNext",
    "Caller",
    "Effects",
    "Emitted",
    "Event",
    "EventDefinition",
    "EventOf",
    "Guard",
    "InputSchema",
    "Instance",
    "Kick",
    "MethodDefinition",
    "Middleware",
    "Order",
    "Schema",
    "SchemaMismatch",
    "Session",
    "actor_definition",
    "event_definition",
    "is_expected",
    "method",
    "migrate",
    "to_caller",
]
