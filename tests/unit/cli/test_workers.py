"""What the workers of a gateway are started with."""

from __future__ import annotations

import pytest

from zocket.cli.workers import environment, own_environment
from zocket.settings import GatewaySettings, check_resume_secret, read


def test_options_of_the_command_line_reach_the_workers() -> None:
    flags = {"host": "127.0.0.1", "port": 0, "nats_url": None, "tls_key": "key.pem", "workers": 3}
    given = environment(flags, {"NATS_URL": "nats://there:4222", "HOST": "0.0.0.0", "PATH": "/bin"})
    settings = read(GatewaySettings, {**given, **own_environment(read(GatewaySettings, given), 3000, 2)})
    assert (settings.host, settings.port, settings.tls_key) == ("127.0.0.1", 3000, "key.pem")
    assert settings.nats_url == "nats://there:4222"
    assert settings.workers == 1
    assert given["PATH"] == "/bin"


@pytest.mark.parametrize(("first", "ports"), [(9464, ["9464", "9465", "9466"]), (0, ["0", "0", "0"])])
def test_each_worker_has_a_port_for_operators(first: int, ports: list[str]) -> None:
    settings = GatewaySettings(metrics_port=first, workers=3)
    assert [own_environment(settings, 3000, number)["METRICS_PORT"] for number in (1, 2, 3)] == ports


def test_all_workers_have_one_secret_by_which_sessions_are_resumed() -> None:
    made = environment({}, {"RESUME_SECRET": ""})["RESUME_SECRET"]
    check_resume_secret(made)
    assert made != environment({}, {})["RESUME_SECRET"]
    assert environment({}, {"RESUME_SECRET": "x" * 32})["RESUME_SECRET"] == "x" * 32
