"""`zocket nats`: what it prints is what a server takes, and what it makes is what a runtime needs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from zocket.broker.credentials import Credentials
from zocket.broker.nats import NatsBroker
from zocket.broker.server import NatsServer
from zocket.cli import main

if TYPE_CHECKING:
    from zocket.broker.port import StreamInfo

pytestmark = pytest.mark.nats
PROJECT = ["--workspace", "ws", "--project", "proj"]


def test_the_printed_users_and_what_was_provisioned_serve_a_runtime(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["nats", "permissions", "--role", "gateway"]) == 0
    assert main(["nats", "permissions", "--role", "runtime", *PROJECT, "--actor", "chat"]) == 0
    printed = capsys.readouterr()
    assert "NATS_USER=runtime-ws-proj NATS_INBOX_PREFIX=_INBOX_runtime.ws.proj" in printed.err
    monkeypatch.setenv("GATEWAY_PASSWORD", "g")
    monkeypatch.setenv("RUNTIME_WS_PROJ_PASSWORD", "r")
    server = NatsServer(config=f"authorization {{ users: [ {{ user: op, password: op }}\n{printed.out} ] }}")
    asyncio.run(server.start())
    try:
        monkeypatch.setenv("NATS_URL", server.url)
        for name, value in {"NATS_USER": "op", "NATS_PASSWORD": "op", "STREAM_STORAGE": "file"}.items():
            monkeypatch.setenv(name, value)
        for _ in range(2):
            assert main(["nats", "provision", *PROJECT]) == 0
        streams = asyncio.run(seen_by_the_runtime(server.url))
    finally:
        asyncio.run(server.aclose())
    assert [stream.storage for stream in streams if stream is not None] == ["file"] * 4


async def seen_by_the_runtime(url: str) -> list[StreamInfo | None]:
    own = Credentials(user="runtime-ws-proj", password="r", inbox_prefix="_INBOX_runtime.ws.proj")
    broker = await NatsBroker.open(url, name="runtime", credentials=own)
    try:
        names = ("INBOUND", "OUTBOUND", "KV_zocket-owner-ws-proj", "KV_zocket-state-ws-proj")
        return [await broker.stream_info(name) for name in names]
    finally:
        await broker.aclose()


def test_as_json_it_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nats", "permissions", "--role", "runtime", *PROJECT, "--actor", "chat", "--json"]) == 0
    user = json.loads(capsys.readouterr().out)
    assert user["user"] == "runtime-ws-proj"
    assert (
        "$JS.API.CONSUMER.CREATE.INBOUND.rt-ws-proj-chat.inbound.ws.proj.chat.>"
        in (user["permissions"]["publish"]["allow"])
    )
    assert user["environment"] == {"NATS_USER": "runtime-ws-proj", "NATS_INBOX_PREFIX": "_INBOX_runtime.ws.proj"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["permissions", "--role", "runtime", *PROJECT], "--actor"),
        (["permissions", "--role", "runtime", "--actor", "chat"], "--workspace, --project"),
        (
            ["permissions", "--role", "runtime", "--workspace", "a.b", "--project", "c", "--actor", "chat"],
            "workspace id",
        ),
        (["permissions", "--role", "runtime", *PROJECT, "--actor", "a.b"], "actor type"),
        (["provision"], "--workspace, --project"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nats", *arguments]) == 1
    assert message in capsys.readouterr().err
