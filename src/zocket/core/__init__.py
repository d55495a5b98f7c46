"""What an actor is: definitions, schemas, middleware, one turn, one instance. Returns effects, performs none."""

from zocket.core.actor import Actor, Call, CallNext, Emitted, Event, EventOf, Middleware, method, query
from zocket.core.actors import Actors
from zocket.core.beside import Beside
from zocket.core.cron import CronRule, cron
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
from zocket.core.privacy import Private
from zocket.core.redaction import UNSEEN
from zocket.core.reminders import ChangeReminder, Due, Reminder, StoredReminder
from zocket.core.schema import InputSchema, Schema, SchemaMismatch
from zocket.core.session import INSTANCE, SERVER, Caller, Session
from zocket.core.timers import CancelTimer, StartTimer, Timer
from zocket.core.views import view

__all__ = [
    "INSTANCE",
    "SERVER",
    "UNSEEN",
    "Access",
    "Actor",
    "ActorDefinition",
    "Actors",
    "AppDefinition",
    "Beside",
    "Call",
    "CallNext",
    "Caller",
    "CancelTimer",
    "ChangeReminder",
    "CronRule",
    "Due",
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
    "Private",
    "Reminder",
    "Schema",
    "SchemaMismatch",
    "Session",
    "StartTimer",
    "StoredReminder",
    "Timer",
    "actor_definition",
    "cron",
    "event_definition",
    "is_expected",
    "method",
    "migrate",
    "query",
    "to_caller",
    "view",
]
