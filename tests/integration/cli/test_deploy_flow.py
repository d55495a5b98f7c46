"""From nothing to a deployed app on one machine, with the commands that a person types."""

from __future__ import annotations

import json
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Machine

pytestmark = pytest.mark.nats


def test_from_nothing_to_a_deployed_app_and_back_from_a_broken_one(
    machine: Machine, person: tuple[str, str], calling: Callable[..., Any]
) -> None:
    began = time.monotonic()
    email, password = person
    made = machine.run("control", "create-admin", email, "--json", stdin=password + "\n")
    assert made.json["email"] == email, made.err
    machine.start_control()
    machine.sign_in()
    assert machine.run("init", "game").code == 0
    project = machine.directory / "game"
    linked = machine.run("link", "--create", "Game", cwd=project)
    assert linked.code == 0, linked.err
    first = machine.run("deploy", "-m", "Zählt", cwd=project)
    assert first.code == 0, first.err
    took_s = time.monotonic() - began
    assert took_s < 60, f"from nothing to a deployed app took {took_s:.0f} s"
    assert "v1 (dpl_" in first.out
    assert "actors: counter" in first.out
    assert "game.localhost" in first.out

    # It serves real clients.
    port = machine.start_gateway()
    assert calling(port, "game.localhost", "add", amount=2) == 2

    # What is broken never serves, and says why.
    app = project / "app.py"
    good = app.read_text()
    app.write_text(good + "\nraise RuntimeError('the database is not there')\n")
    broken = machine.run("deploy", cwd=project)
    assert broken.code == 1
    assert "failed: v2" in broken.err
    assert "RuntimeError: the database is not there (app.py" in broken.err
    assert "What served before still serves" in broken.err
    assert calling(port, "game.localhost", "add", amount=3) == 5

    # What would break the clients of what serves is not sent.
    app.write_text(good.replace("async def add", "async def increase"))
    breaking = machine.run("deploy", cwd=project)
    assert breaking.code == 1
    assert "counter.add: the method is called increase" in breaking.err

    # A pipeline with a deploy token, without a home and without a sign-in.
    token = machine.run("tokens", "create", "ci", cwd=project).out.strip()
    assert token.startswith("zkd_")
    app.write_text(good.replace("self.state.count += amount", "self.state.count += 10 * amount"))
    nowhere = {"ZOCKET_TOKEN": token, "HOME": str(machine.directory / "nowhere")}
    third = machine.run("deploy", "--json", "-m", "by the pipeline", cwd=project, **nowhere)
    assert third.code == 0, third.err
    assert (third.json["version"], third.json["status"], third.json["author"]) == (3, "active", "token ci")
    assert calling(port, "game.localhost", "add", amount=1) == 10
    refused = machine.run("env", "list", cwd=project, **nowhere)
    assert refused.code == 1
    assert "a deploy token may only deploy" in refused.err

    # And back.
    back = machine.run("rollback", cwd=project)
    assert back.code == 0, back.err
    assert back.out.startswith("v1 (dpl_")
    assert calling(port, "game.localhost", "add", amount=1) == 1
    listed = machine.run("deployments", "--json", cwd=project).json["items"]
    assert [(item["version"], item["status"]) for item in listed] == [(3, "rolled_back"), (2, "failed"), (1, "active")]
    assert [item["message"] for item in listed] == ["by the pipeline", None, "Zählt"]

    assert "runtime serves" in machine.run("logs", cwd=project).out

    # A secret goes in by a deployment of its own, and does not come out.
    change = machine.run("env", "set", "REGION", "--no-wait", "--json", cwd=project, stdin="eu-central\n")
    assert change.code == 0, change.err
    assert (change.json["name"], change.json["deployment"]["version"]) == ("REGION", 4)
    assert "eu-central" not in change.out

    # What stays on the machine.
    config = machine.directory / "home" / ".zocket" / "config.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    link = json.loads((project / ".zocket.json").read_text())
    assert (link["controlUrl"], link["slug"]) == (machine.control_url, "game")
    assert not (machine.directory / "nowhere").exists()
    assert machine.run("auth", "logout").code == 0
    signed_out = machine.run("deploy", cwd=project)
    assert signed_out.code == 1
    assert signed_out.err.endswith("zocket auth login\n")
