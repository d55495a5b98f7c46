"""What operators see of real processes: logs without secrets, request ids that lead somewhere, metrics that add up."""

from __future__ import annotations

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from tests.faults.conftest import Child, Platform, Socket

Until = Callable[..., Coroutine[Any, Any, None]]
pytestmark = pytest.mark.nats

SECRET = "the project's secret of more than thirty-two bytes"
MARKER = "marker_" + secrets.token_hex(8)


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": int(time.time()) + 600, **claims}, SECRET, algorithm="HS256")


async def play(platform: Platform, until: Until) -> tuple[Socket, list[str]]:
    """Clients that do right and wrong, with the marker in all they say; the tokens that they used."""
    tokens = [token(note=MARKER), token(other=MARKER)]
    socket = await platform.socket(f"?token={tokens[0]}&{MARKER}=1")
    beside = await platform.socket("", Authorization=f"Bearer {tokens[1]}")
    for bad in (f"bad.{MARKER}.token", token(exp=1), tokens[0][:-4], "x" * 5_000):
        tokens.append(bad)
        with pytest.raises(InvalidStatus) as refused:
            await platform.socket(f"?token={bad}")
        assert refused.value.response.status_code == 401
    await socket.subscribe("state:sub", "event:sub", actor_id="a")
    await socket.wait_frames("state:snapshot", 1)
    await socket.call("ok", "a", "say", line=MARKER)
    await socket.call("log", "a", "fail", how="log", secret=MARKER)
    await socket.call("on purpose", "a", "fail", how="on purpose", secret=MARKER)
    await socket.call("by mistake", "a", "fail", how="by mistake", secret=MARKER)
    await socket.call("slow", "a", "slow", secret=MARKER)
    await socket.call("invalid", "a", "say", line=[MARKER])
    await socket.call("unknown", "a", MARKER, x=MARKER)
    await socket.call("never", "b", "behind_gate", line=MARKER)
    for frame in (
        {"type": "rpc", "id": "actor", "actor": MARKER, "actorId": "a", "method": "say"},
        {"type": "rpc", "id": "id", "actor": "room", "actorId": "", "method": MARKER},
        {"type": "rpc", "id": "fields", "actor": "room", "actorId": 5, "method": MARKER},
    ):
        socket.sent[frame["id"]] = time.monotonic()
        await socket.write(frame)
    for text in (MARKER, f'{{"type":"{MARKER}"}}', f'{{"type":"rpc","{MARKER}":', "[" * 1_000):
        await socket.write(text)
    await beside.write("{" + f'"{MARKER}":"' + "x" * 300_000 + '"}')
    await until(lambda: beside.connection.close_code is not None, "the oversize frame closes")
    assert beside.connection.close_code == 1009
    await socket.wait_answers()
    return socket, tokens


async def test_logs_hold_no_token_and_no_payload_and_request_ids_lead_to_their_lines(
    platform: Platform, until: Until
) -> None:
    await platform.open(auth={"mode": "jwt-secret", "secret": SECRET}, CALL_TIMEOUT_S="4")
    runtime = await platform.start_runtime()
    socket, tokens = await play(platform, until)
    assert socket.codes() == {
        "ok": "ok",
        "log": "ok",
        "on purpose": "nope",
        "by mistake": "internal",
        "slow": "handler_timeout",
        "invalid": "validation_failed",
        "unknown": "unknown_method",
        "never": "timeout",
        "actor": "unknown_actor",
        "id": "invalid_id",
        "fields": "invalid_frame",
    }
    answers = {key: frame for key, (frame, _) in socket.answered.items()}
    assert answers["by mistake"]["error"] == "internal error"
    platform.open_gate(runtime)
    await socket.connection.close()
    await platform.gateway.wait_line("session closed")
    for child in platform.children[::-1]:
        child.terminate()
        assert await child.wait_exit() == 0, child.log
    for child in platform.children:
        log = child.log
        assert log.count("\n") == len(child.lines()), "every line is JSON"
        for secret in (MARKER, SECRET, "the internal bearer", *tokens):
            assert secret not in log, (child.log_path, secret)
    logged = lines_by_request(runtime, platform.gateway)
    for call, event in {
        "by mistake": "call failed: internal",
        "slow": "longer than its limit",
        "never": "answered with timeout",
    }.items():
        lines = logged[answers[call]["requestId"]]
        assert any(event in line["event"] for line in lines), (call, lines)
        assert all(line["session"] == socket.frames("welcome")[0]["clientId"] for line in lines)
    mistake = next(line for line in logged[answers["by mistake"]["requestId"]] if "exception" in line)
    assert "RuntimeError: a mistake in the handler" in mistake["exception"]
    assert (mistake["actor"], mistake["actor_id"], mistake["method"]) == ("room", "a", "fail")
    said = runtime.line("said something")
    assert said is not None
    assert (said["actor"], said["actor_id"], said["method"], said["logger"]) == ("room", "a", "fail", "app")
    assert said["request"].startswith(answers["by mistake"]["requestId"].partition(".")[0])
    for line in (*runtime.lines(), *(line for line in platform.gateway.lines() if "session" in line)):
        assert (line["workspace"], line["project"]) == ("ws_faults", "prj_faults"), line


def lines_by_request(*children: Child) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for child in children:
        for line in child.lines():
            if line.get("request"):
                found[line["request"]].append(line)
    return found


GATEWAY_FAMILIES = {
    "zocket_gateway_sessions": "gauge",
    "zocket_gateway_sessions_opened": "counter",
    "zocket_gateway_calls": "counter",
    "zocket_gateway_answer_seconds": "histogram",
    "zocket_gateway_frames": "counter",
    "zocket_gateway_bytes": "counter",
    "zocket_gateway_publishes_outstanding": "gauge",
    "zocket_gateway_resubscriptions": "counter",
    "zocket_gateway_dropped": "counter",
    "zocket_sockets": "gauge",
    "zocket_sockets_closed": "counter",
}
RUNTIME_FAMILIES = {
    "zocket_serving": "gauge",
    "zocket_sessions": "gauge",
    "zocket_instances": "gauge",
    "zocket_calls": "counter",
    "zocket_queue_wait_seconds": "histogram",
    "zocket_handler_seconds": "histogram",
    "zocket_inbound_messages": "counter",
    "zocket_inbound_bytes": "counter",
    "zocket_outbound_messages": "counter",
    "zocket_outbound_bytes": "counter",
    "zocket_acknowledgements_outstanding": "gauge",
    "zocket_pending_requests": "gauge",
}


def parsed(text: str) -> dict[str, Metric]:
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert text.endswith("\n")
    assert all(name.startswith("zocket_") for name in families)
    for family in families.values():
        assert family.documentation
        if family.type == "histogram":
            check_histogram(family)
    return families


def check_histogram(family: Metric) -> None:
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    counts: dict[str, float] = {}
    for sample in family.samples:
        labels = json.dumps({key: value for key, value in sample.labels.items() if key != "le"})
        if sample.name.endswith("_bucket"):
            series[labels].append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
    assert series
    for labels, buckets in series.items():
        assert buckets == sorted(buckets)
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)
        assert buckets[-1] == (float("inf"), counts[labels])


def value(families: dict[str, Metric], name: str, suffix: str = "", **labels: str) -> float:
    found = [
        sample.value
        for sample in families[name].samples
        if sample.name == name + suffix and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


async def test_metrics_of_gateway_and_runtime_are_prometheus_text_and_add_up(platform: Platform, until: Until) -> None:
    await platform.open()
    runtime = await platform.start_runtime()
    idle, socket = await platform.socket(), await platform.socket()
    await socket.subscribe("state:sub", "event:sub", actor_id="a")
    await socket.wait_frames("state:snapshot", 1)
    for number in range(20):
        await socket.call(number, f"room{number % 4}", "say", line="x", hold_s=0.02)
    await socket.call("no", "a", "nothing")
    await socket.call("bad", "a", "say", line=5)
    await socket.wait_answers()
    await socket.call("open", "a", "behind_gate", line="x")
    await platform.wait_note("enter", runtime, "x")
    inside = parsed(await platform.wait_metric(runtime, "zocket_acknowledgements_outstanding", 1))
    gateway = parsed(await platform.metrics(platform.gateway))
    for families, expected in ((gateway, GATEWAY_FAMILIES), (inside, RUNTIME_FAMILIES)):
        assert {name: families[name].type for name in expected} == expected
    total = "_total"
    assert value(gateway, "zocket_gateway_sessions") == 2
    assert value(gateway, "zocket_gateway_calls", total, code="ok") == 20
    assert value(gateway, "zocket_gateway_calls", total, code="unknown_method") == 1
    assert value(gateway, "zocket_gateway_answer_seconds", "_count") == 22
    assert value(gateway, "zocket_gateway_frames", total, direction="in") == 25
    assert value(gateway, "zocket_gateway_frames", total, direction="out") == len(idle.received) + len(socket.received)
    assert value(gateway, "zocket_gateway_bytes", total, direction="in") > 25 * 40
    assert value(inside, "zocket_serving") == 1
    assert value(inside, "zocket_sessions") == 1
    assert value(inside, "zocket_instances", actor="room") == 5
    assert value(inside, "zocket_calls", total, actor="room", code="ok") == 20
    assert value(inside, "zocket_calls", total, actor="room", code="validation_failed") == 1
    assert value(inside, "zocket_queue_wait_seconds", "_count", actor="room") >= 20
    assert value(inside, "zocket_handler_seconds", "_sum", actor="room") >= 20 * 0.02
    assert value(inside, "zocket_inbound_requests", total) == 25
    assert 1 <= value(inside, "zocket_inbound_messages", total) <= 25
    assert value(inside, "zocket_outbound_messages", total) >= 5
    assert value(inside, "zocket_outbound_bytes", total) > value(inside, "zocket_outbound_messages", total)
    assert value(inside, "zocket_acknowledgements_outstanding") == 1
    assert value(inside, "zocket_pending_requests") == 1
    platform.open_gate(runtime)
    await socket.wait_answers()
    await platform.wait_metric(runtime, "zocket_acknowledgements_outstanding", 0)
    await platform.wait_metric(platform.gateway, "zocket_gateway_publishes_outstanding", 0)
