"""The boot of a runtime process against a real NATS server and a control plane over HTTP (R1-R9)."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.server import NatsServer
from zocket.contract import decode_contract
from zocket.protocol import subjects

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.runtime.conftest import FakeControlPlane, Launcher, WireMaker

pytestmark = pytest.mark.nats


def archive(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, text in members.items():
            file.writestr(name.replace("__dot__", ".").replace("__slash__", "/"), text)
    return buffer.getvalue()


def stored(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


async def test_r1_without_a_deployment_id_the_process_ends_at_once_with_one_line(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nats:
        process = launcher.start(DEPLOYMENT_ID=None, NATS_URL=f"nats://127.0.0.1:{nats.getsockname()[1]}")
        assert await process.wait_exit() != 0
        assert process.log.count("\n") == 1
        assert "DEPLOYMENT_ID: is not set" in process.log
        assert control_plane.calls == []
        nats.setblocking(False)
        with pytest.raises(BlockingIOError):
            nats.accept()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEPLOYMENT_ID", ""),
        ("API_PORT", "80a"),
        ("WORKSPACE_ID", "a.b"),
        ("PROJECT_ID", "*"),
        ("STREAM_STORAGE", "disk"),
    ],
)
async def test_r1_a_setting_that_cannot_be_used_is_named(
    launcher: Launcher, control_plane: FakeControlPlane, variable: str, value: str
) -> None:
    process = launcher.start(**{variable: value})
    assert await process.wait_exit() == 1
    assert process.log.count("\n") == 1
    assert variable.lower().replace("_", " ") in process.log.lower().replace("_", " ")
    assert control_plane.calls == []


async def test_the_published_token_is_refused_toward_another_machine(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    process = launcher.start(CONTROL_PLANE_INTERNAL_TOKEN=None, NATS_URL="nats://nats.example:4222")
    assert await process.wait_exit() == 1
    assert "CONTROL_PLANE_INTERNAL_TOKEN" in process.log
    assert control_plane.calls == []


async def test_r2_r8_the_boot_asks_loads_and_reports_in_this_order(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker
) -> None:
    found: list[Any] = []

    def reported(_: dict[str, Any]) -> None:
        found.append(launcher.started[0].health().json())

    control_plane.on_report = reported
    process = launcher.start()
    await process.wait_ready()
    bearer = "Bearer a token of the test"
    scope = launcher.scope
    query = {"workspaceId": scope.workspace_id, "projectId": scope.project_id, "deploymentId": "dpl_1"}
    ready = {"deploymentId": "dpl_1", "status": "ready", "actorTypes": ["room", "other"]}
    assert control_plane.calls == [
        ("GET", "/api/internal/runtime/active", query, bearer, None),
        ("GET", "/files/bundle", {}, bearer, None),
        ("POST", "/api/internal/runtime/report", {}, bearer, ready),
    ]
    assert found == [process.health().json()]
    steps = ["bundle stored", "runtime serves", "health port answers", "runtime is ready"]
    assert [line["event"] for line in process.lines() if line["event"] in steps] == steps


@pytest.mark.parametrize("status", [200, 500])
async def test_what_the_app_offers_is_told_to_a_control_plane_that_takes_it(
    launcher: Launcher, control_plane: FakeControlPlane, status: int
) -> None:
    control_plane.headers["x-zocket-takes"] = "contract"
    control_plane.statuses["/api/internal/runtime/contract"] = status
    process = launcher.start()
    await process.wait_ready()
    [told] = [call for call in control_plane.calls if call[0] == "PUT"]
    assert told[1:3] == ("/api/internal/runtime/contract", {"deploymentId": "dpl_1"})
    assert [*decode_contract(json.dumps(told[4]).encode()).actors] == [*control_plane.reports[-1]["actorTypes"]]
    assert ("the contract could not be told" in process.log) == (status == 500)


async def test_r5_the_consumers_are_exactly_as_the_contract_says(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker
) -> None:
    seen: list[list[str]] = []
    scope = launcher.scope
    async with wires.open(scope) as wire:
        await launcher.start().wait_ready()
        for actor in ("room", "other"):
            name = f"rt-{scope.workspace_id}-{scope.project_id}-{actor}"
            answer = await wire.broker.request(f"$JS.API.CONSUMER.INFO.INBOUND.{name}", b"", 5.0)
            config = json.loads(answer)["config"]
            assert config["durable_name"] == name
            assert config["filter_subject"] == f"inbound.{scope.workspace_id}.{scope.project_id}.{actor}.>"
            assert config["ack_policy"] == "explicit"
            assert config["max_ack_pending"] == 256
            assert config["deliver_subject"]
            assert "deliver_group" not in config
        seen.append(await wire.broker.consumer_names(subjects.INBOUND_STREAM))
    assert len(seen[0]) == len(set(seen[0]))


async def test_a_pull_consumer_that_an_existing_runtime_left_is_replaced(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker
) -> None:
    scope = launcher.scope
    name = subjects.consumer(scope, "room")
    left = {
        "durable_name": name,
        "filter_subject": subjects.inbound_filter(scope, "room"),
        "ack_policy": "explicit",
        "max_ack_pending": 256,
    }
    async with wires.open(scope) as wire:
        request = json.dumps({"stream_name": "INBOUND", "config": left}).encode()
        made = await wire.broker.request(f"$JS.API.CONSUMER.DURABLE.CREATE.INBOUND.{name}", request, 5.0)
        assert "error" not in json.loads(made)
        await launcher.start().wait_ready()
        wire.call(1, "a", "add", by=4)
        assert await wire.wait_results(1) == {1: 4}


async def test_r8_ready_is_said_after_the_consumers_exist(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker
) -> None:
    async with wires.open(launcher.scope) as wire:
        wire.call(1, "a", "add", by=2)
        control_plane.statuses["/api/internal/runtime/report"] = 503
        process = launcher.start()
        assert await process.wait_exit() == 1
        assert await wire.wait_results(1) == {1: 2}
        assert "answered 503 to the report `ready`" in process.log


async def test_r7_health_has_exactly_the_documented_fields(launcher: Launcher, control_plane: FakeControlPlane) -> None:
    process = await launcher.start().wait_ready()
    answer = process.health()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "ok": True,
        "deploymentId": "dpl_1",
        "actorTypes": ["room", "other"],
        "deployCount": 1,
        "workspaceId": launcher.scope.workspace_id,
        "projectId": launcher.scope.project_id,
    }
    assert process.health("/ready").json() == {"ready": True}
    metrics = process.health("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "zocket_serving 1.0" in metrics.text
    assert process.health("/nothing").status_code == 404


# -- R3, R4: bundles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["py", "pyz", "inline"])
async def test_r3_the_bundle_lies_in_the_bundle_directory_under_its_kind(
    launcher: Launcher, control_plane: FakeControlPlane, kind: str
) -> None:
    source = control_plane.content
    if kind == "pyz":
        control_plane.offer(archive(app__dot__py=source.decode()))
    elif kind == "inline":
        control_plane.active = {"code": source.decode()}
    await launcher.start().wait_ready()
    (path,) = stored(launcher.bundle_dir)
    match = re.fullmatch(r"bundle-(\d+)\.(py|pyz)", path.name)
    assert match is not None
    assert match[2] == ("pyz" if kind == "pyz" else "py")
    assert 1_600_000_000_000 < int(match[1]) < 4_000_000_000_000
    assert path.read_bytes() == (source if kind == "inline" else control_plane.content)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "checksum"),
        ({"sha256": None}, "no SHA-256"),
        ({"sha256": "odd"}, "no SHA-256"),
        ({"size": 5}, "larger than the 5 bytes"),
        ({"size": 500_000}, "500000 were announced"),
        ({"size": 10**12}, "the limit is"),
        ({"url": "file:///etc/passwd"}, "neither http nor https"),
        ({"url": None}, "neither a url nor code"),
    ],
)
async def test_r3_a_bundle_that_is_not_what_was_announced_is_never_imported(
    launcher: Launcher, control_plane: FakeControlPlane, changes: dict[str, Any], reason: str
) -> None:
    control_plane.offer(b"open('imported', 'w')\n" + control_plane.content, **changes)
    process = launcher.start()
    assert await process.wait_exit() == 1
    (report,) = control_plane.reports
    assert report["status"] == "failed"
    assert reason in report["message"]
    assert stored(launcher.bundle_dir) == []


async def test_the_bearer_goes_to_no_other_origin_and_no_redirect_is_followed(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    other = type(control_plane)()
    try:
        other.content = control_plane.content
        assert control_plane.active is not None
        control_plane.active["url"] = f"{other.url}/files/bundle"
        await launcher.start().wait_ready()
        assert [(call[1], call[3]) for call in other.calls] == [("/files/bundle", "")]
    finally:
        other.close()
    control_plane.active["url"] = f"{control_plane.url}/moved"
    control_plane.statuses["/moved"] = 302
    process = launcher.start()
    assert await process.wait_exit() == 1
    assert "redirects are not followed" in control_plane.reports[-1]["message"]


async def test_r4_a_bundle_without_an_app_lists_what_it_has(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    control_plane.offer(b"import json\nanswer = 42\n")
    assert await launcher.start().wait_exit() == 1
    message = control_plane.reports[0]["message"]
    assert "has no App" in message
    assert "answer (int)" in message


# -- R9: failures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"import no_such_library\n", "No module named 'no_such_library'"),
        (b"1 / 0\n", "ZeroDivisionError"),
        (b"def broken(:\n", "SyntaxError"),
        (b"\x00\xff\x00", "the import failed"),
        (b"PK\x03\x04 no archive", "damaged"),
        (archive(readme__dot__md="x"), "no Python module"),
        (archive(__dot____dot____slash__app__dot__py="x = 1"), "outside of its root"),
        (b"from zocket.app import App\napp = App(actors={})\n", "no actors"),
    ],
)
async def test_r9_a_bad_bundle_is_reported_with_its_reason(
    launcher: Launcher, control_plane: FakeControlPlane, content: bytes, reason: str
) -> None:
    control_plane.offer(content)
    process = launcher.start()
    assert await process.wait_exit() == 1
    (report,) = control_plane.reports
    assert (report["deploymentId"], report["status"]) == ("dpl_1", "failed")
    assert reason in report["message"]
    assert reason in process.log


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "CONTROL_PLANE_INTERNAL_TOKEN"), (404, "DEPLOYMENT_ID"), (500, "answered 500"), (302, "answered 302")],
)
async def test_r9_a_control_plane_that_answers_an_error(
    launcher: Launcher, control_plane: FakeControlPlane, status: int, reason: str
) -> None:
    control_plane.statuses["/api/internal/runtime/active"] = status
    assert await launcher.start().wait_exit() == 1
    (report,) = control_plane.reports
    assert report["status"] == "failed"
    assert reason in report["message"]


async def test_r9_a_control_plane_that_answers_for_another_deployment(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    assert control_plane.active is not None
    control_plane.active["deploymentId"] = "dpl_other"
    assert await launcher.start().wait_exit() == 1
    assert "dpl_other" in control_plane.reports[0]["message"]


async def test_r9_a_control_plane_that_is_away_is_logged_with_what_to_check(launcher: Launcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    process = launcher.start(CONTROL_PLANE_URL=f"http://127.0.0.1:{port}")
    assert await process.wait_exit() == 1
    assert "check CONTROL_PLANE_URL" in process.log
    assert "the failure could not be reported" in process.log


async def test_r9_nats_that_is_away_is_reported(launcher: Launcher, control_plane: FakeControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    process = launcher.start(NATS_URL=f"nats://127.0.0.1:{port}", NATS_BOOT_TIMEOUT_S="0.3")
    assert await process.wait_exit() == 1
    assert "NATS" in control_plane.reports[0]["message"]


async def test_r9_a_nats_server_without_jetstream_is_reported(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    async with NatsServer(jetstream=False) as server:
        assert await launcher.start(NATS_URL=server.url).wait_exit() == 1
    assert "Is JetStream enabled" in control_plane.reports[0]["message"]


async def test_r9_a_health_port_that_is_taken_is_reported_and_leaves_no_consumer(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = launcher.start(API_PORT=str(taken.getsockname()[1]))
        assert await process.wait_exit() == 1
    assert control_plane.reports[0]["message"].startswith("API_PORT: cannot listen")
    async with wires.open(launcher.scope) as wire:
        names = await wire.broker.consumer_names(subjects.INBOUND_STREAM)
        assert not [name for name in names if launcher.scope.workspace_id in name]


async def test_r9_a_report_that_fails_changes_no_exit_code(launcher: Launcher, control_plane: FakeControlPlane) -> None:
    control_plane.offer(b"1 / 0\n")
    control_plane.statuses["/api/internal/runtime/report"] = 500
    process = launcher.start()
    assert await process.wait_exit() == 1
    assert "ZeroDivisionError" in process.log
    assert "the failure could not be reported" in process.log


async def test_a_bundle_directory_that_cannot_be_written_is_reported(
    launcher: Launcher, control_plane: FakeControlPlane
) -> None:
    launcher.bundle_dir.write_text("a file")
    assert await launcher.start().wait_exit() == 1
    assert control_plane.reports[0]["message"].startswith("BUNDLE_DIR:")


async def test_a_stop_during_the_boot_is_clean(launcher: Launcher, control_plane: FakeControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = launcher.start(NATS_URL=f"nats://127.0.0.1:{silent.getsockname()[1]}", NATS_BOOT_TIMEOUT_S="30")
        await process.wait_line("bundle stored")
        process.signal(signal.SIGTERM)
        assert await process.wait_exit() == 0
    assert control_plane.reports == []
