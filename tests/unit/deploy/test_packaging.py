"""R19: one image, a user without rights, health and graceful stop wired; checked without a container engine."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from compose_spec import ComposeSpecification  # type: ignore[attr-defined]
from dockerfile_parse import DockerfileParser

from zocket.cli.commands import zocket
from zocket.settings import ControlSettings, GatewaySettings, Limits, RuntimeSettings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
SETTINGS = {"control": ControlSettings, "gateway": GatewaySettings, "runtime": RuntimeSettings}
PATHS = {"control": {"/api/health"}, "gateway": {"/health", "/ready"}, "runtime": {"/health", "/ready"}}


def variables(role: str) -> set[str]:
    fields = [*dataclasses.fields(SETTINGS[role]), *dataclasses.fields(Limits)]
    return {item.metadata["variable"] for item in fields if "variable" in item.metadata}


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def commands() -> list[tuple[str, list[str]]]:
    """Every command that compose or a manifest gives the image."""
    found = [(f"compose {name}", item["command"]) for name, item in compose()["services"].items() if "build" in item]
    for name in ("zocket.yaml", "runtime.yaml"):
        for document in documents(name):
            if document["kind"] in ("Deployment", "StatefulSet"):
                containers = document["spec"]["template"]["spec"]["containers"]
                ours = [item for item in containers if item["image"] == "zocket"]
                found += [(f"{name} {item['name']}", item["args"]) for item in ours]
    return found


def test_the_image_is_built_in_two_stages_and_runs_as_nobody() -> None:
    parser = DockerfileParser(path=str(DEPLOY / "Dockerfile"))
    steps = [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]
    stages = [value for kind, value in steps if kind == "FROM"]
    assert len(stages) == 2
    last = steps[len(steps) - [kind for kind, _ in reversed(steps)].index("FROM") :]
    (user,) = [value for kind, value in last if kind == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), (
        "a numeric user, so that an orchestrator can see that it is not root"
    )
    kinds = [kind for kind, _ in last]
    assert kinds.index("USER") > max(index for index, kind in enumerate(kinds) if kind == "RUN")
    assert ("ENTRYPOINT", '["zocket"]') in last
    assert ("STOPSIGNAL", "SIGTERM") in last


def test_the_image_copies_what_there_is_and_installs_extras_that_exist() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for group in re.findall(r"\[([a-z,]+)\]\"", text):
        assert set(group.split(",")) <= set(extras)
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [name for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert sources
    for name in sources:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignore


def test_the_compose_file_fits_the_specification() -> None:
    services = ComposeSpecification(**compose()).services
    assert services is not None
    assert set(services) == {"nats", "postgres", "control", "gateway", "runtime"}


@pytest.mark.parametrize("role", ["control", "gateway", "runtime"])
def test_compose_gives_every_role_a_check_a_grace_period_and_no_rights(role: str) -> None:
    service = compose()["services"][role]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert int(service["stop_grace_period"].rstrip("s")) > RuntimeSettings(deployment_id="x").drain_timeout_s
    (path,) = re.findall(r"http://127\.0\.0\.1:\d+(/[a-z/]+)", service["healthcheck"]["test"][-1])
    assert path in PATHS[role]
    assert "CONTROL_PLANE_INTERNAL_TOKEN" in service["environment"]
    assert set(service["environment"]) <= variables(role) | {"NATS_URL", "CONTROL_PLANE_URL", "STREAM_STORAGE"}


@pytest.mark.parametrize(("where", "command"), commands())
def test_every_command_is_one_that_the_command_line_has(where: str, command: list[str]) -> None:
    shown = CliRunner().invoke(zocket, [command[0], "--help"])
    assert shown.exit_code == 0, where
    for option in command[1:]:
        if option.startswith("--"):
            assert option in shown.output, f"{where}: {option}"


@pytest.mark.parametrize("name", ["zocket.yaml", "runtime.yaml"])
def test_the_manifests_fit_the_schemas_of_kubernetes(name: str) -> None:
    found = documents(name)
    assert found
    for document in found:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["zocket.yaml", "runtime.yaml"])
def test_manifests_wire_health_readiness_and_a_graceful_stop(name: str) -> None:
    checked = 0
    for document in documents(name):
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            role = container["args"][0]
            ports = {port["name"] for port in container["ports"]}
            for probe in ("readinessProbe", "livenessProbe"):
                get = container[probe]["httpGet"]
                assert get["path"] in PATHS[role]
                assert get["port"] in ports
            assert {item["name"] for item in container["env"]} <= variables(role)
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            if role != "control":
                assert pod["terminationGracePeriodSeconds"] > RuntimeSettings(deployment_id="x").drain_timeout_s
            checked += 1
    assert checked
