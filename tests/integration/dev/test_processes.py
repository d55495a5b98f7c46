"""The other commands as real processes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from zocket import connect

if TYPE_CHECKING:
    from tests.integration.dev.conftest import Start

pytestmark = pytest.mark.realtime


def test_serve_answers_calls_pages_and_health_until_ctrl_c(start: Start) -> None:
    command = start("serve", "counting:app", "--port", "0")
    command.wait_until(lambda: "Ctrl-C stops it." in command.text())
    found = re.search(r"socket +(ws://127\.0\.0\.1:\d+)", command.text())
    assert found is not None
    url = found[1]

    async def call() -> str:
        async with connect(url) as client:
            answer: str = await client.dynamic("counter", "a").add()
            return answer

    assert asyncio.run(call()) == "one 1"
    page = url.replace("ws:", "http:")
    with urllib.request.urlopen(f"{page}/health", timeout=10) as answer:
        assert json.load(answer) == {"ok": True, "actorTypes": ["counter"]}
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert b"counting:app" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{page}/counting.py", timeout=10)
    assert command.stop(signal.SIGINT) == 0


def test_r1_a_runtime_without_a_deployment_ends_at_once_with_one_line(start: Start) -> None:
    command = start("runtime", DEPLOYMENT_ID="", NATS_URL="nats://127.0.0.1:9", CONTROL_PLANE_URL="http://127.0.0.1:9")
    assert command.wait_exit() == 1
    assert command.text() == (
        "zocket runtime: DEPLOYMENT_ID: is not set; name the deployment to load, there or with --deployment-id\n"
    )


def test_a_gateway_without_nats_says_so_in_one_line(start: Start) -> None:
    command = start("gateway", "--port", "0", NATS_URL="nats://127.0.0.1:9", NATS_BOOT_TIMEOUT_S="0.2")
    assert command.wait_exit() == 1
    last = command.text().strip().split("\n")[-1]
    assert last.startswith("zocket gateway: ")
    assert "nats://127.0.0.1:9" in last
    assert "Traceback" not in command.text()


def test_control_answers_and_stops(start: Start) -> None:
    command = start("control", "--port", "0", "--log-format", "json")
    line = command.wait_until(lambda: [line for line in command.text().split("\n") if "control plane answers" in line])
    with urllib.request.urlopen(f"{json.loads(line[0])['url']}/api/health", timeout=10) as answer:
        assert json.load(answer) == {"ok": True}
    assert command.stop(signal.SIGTERM) == 0
