"""The Python client: typed handles, subscriptions, reconnect."""

from zocket.client.client import Client
from zocket.client.connecting import Connecting, connect, connect_sync
from zocket.client.link import Status
from zocket.client.options import CallOptions
from zocket.client.streams import EventStream, StateStream
from zocket.client.sync import SyncActorHandle, SyncCallOptions, SyncClient, SyncDynamicHandle
from zocket.client.sync_streams import SyncStream
from zocket.client.transport import Connection, Receiver, Transport
from zocket.handles import ActorHandle, DynamicHandle, Invoker

__all__ = [
    "ActorHandle",
    "CallOptions",
    "Client",
    "Connecting",
    "Connection",
    "DynamicHandle",
    "EventStream",
    "Invoker",
    "Receiver",
    "StateStream",
    "Status",
    "SyncActorHandle",
    "SyncCallOptions",
    "SyncClient",
    "SyncDynamicHandle",
    "SyncStream",
    "Transport",
    "connect",
    "connect_sync",
]
