"""The environments and commands of the platform's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from zocket.dev.plan import Options, Plan
from zocket.settings import ControlSettings, GatewaySettings, RuntimeSettings, read


def plan(options: Options) -> Plan:
    return Plan(options=options, home=Path("/home-of-this-run"), port=3000, nats_url="nats://127.0.0.1:4333")


@pytest.fixture(autouse=True)
def environment_of_a_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9999")
    monkeypatch.setenv("DATABASE_URL", "postgresql://of-the-app")
    monkeypatch.setenv("NATS_URL", "nats://production")
    monkeypatch.setenv("WORKSPACE_ID", "elsewhere")
    monkeypatch.setenv("TLS_CERTIFICATE", "cert.pem")
    monkeypatch.setenv("MAX_PENDING_CALLS", "7")
    monkeypatch.delenv("DRAIN_TIMEOUT_S", raising=False)


def test_every_process_meets_the_others_whatever_the_developers_environment_says() -> None:
    made = plan(Options(target="chat:app", host="0.0.0.0"))
    control = read(ControlSettings, made.control_environ())
    gateway = read(GatewaySettings, made.gateway_environ())
    runtime = read(RuntimeSettings, made.runtime_environ("dpl_1", 8081))

    assert (control.host, gateway.host, runtime.api_host) == ("127.0.0.1", "0.0.0.0", "127.0.0.1")
    assert gateway.control_plane_url == runtime.control_plane_url == f"http://127.0.0.1:{control.port}"
    assert gateway.nats_url == runtime.nats_url == "nats://127.0.0.1:4333"
    assert control.internal_token == gateway.internal_token == runtime.internal_token == made.token
    assert (runtime.workspace_id, runtime.project_id) == ("local-workspace", "local-project")
    assert gateway.tls_certificate == ""
    assert control.dev_mode
    assert gateway.dev_mode
    assert runtime.dev_mode
    assert control.database_url == "sqlite+aiosqlite:////home-of-this-run/control.db"
    assert (gateway.port, runtime.api_port, runtime.deployment_id) == (3000, 8081, "dpl_1")
    assert len({control.port, gateway.port, gateway.metrics_port}) == 3


def test_the_developers_own_variables_reach_the_app() -> None:
    environ = plan(Options(target="chat:app")).runtime_environ("dpl_1", 0)
    assert environ["DATABASE_URL"] == "postgresql://of-the-app"
    assert read(RuntimeSettings, environ).limits.max_pending_calls == 7


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    passing, kept = plan(Options(target="chat:app")), plan(Options(target="chat:app", persist=True))
    for name in ("DATABASE_URL", "BUNDLE_STORE", "RUNTIME_DIR", "ZOCKET_SECRET_KEY_FILE"):
        assert "/home-of-this-run/" in passing.control_environ()[name]
        assert str(Path.cwd() / ".zocket") in kept.control_environ()[name]


def test_streams_are_such_that_durable_actors_run() -> None:
    made = plan(Options(target="chat:app"))
    assert read(RuntimeSettings, made.runtime_environ("d", 0)).stream_storage == "file"
    assert read(GatewaySettings, made.gateway_environ()).stream_storage == "file"


def test_the_token_is_made_up_anew_and_not_shown() -> None:
    first, second = plan(Options(target="chat:app")), plan(Options(target="chat:app"))
    assert first.token != second.token
    assert first.token not in repr(first)


def test_the_bundle_is_imported_instead_of_the_working_directory() -> None:
    command = plan(Options(target="chat:app", log_level="debug")).command("runtime")
    assert command[1:] == ("-P", "-m", "zocket", "runtime", "--log-format", "json", "--log-level", "debug")
