"""`zocket deploy`, `rollback`, `deployments` and `logs`, as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Cli, FakeControl

GOOD = [("starting", None), ("smoke", None), ("active", "v1 took over")]
BAD = [("starting", None), ("failed", "bundle: the import failed: NameError: name 'x' is not defined (app.py, line 3)")]


def test_a_deployment_is_followed_until_it_serves(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(GOOD)]
    ended = linked("deploy", "-m", "Größer, schneller")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.err.splitlines() if line.startswith("  ") and "-" not in line[:4]] == [
        "stored",
        "starting",
        "smoke",
        "active",
    ]
    assert ended.out == "v1 (dpl_1) is active; actors: counter\nClients connect to wss://chat.example\n"
    assert control.deployments["dpl_1"]["message"] == "Größer, schneller"
    assert control.names_in("dpl_1") == ["app.py", "zocket.json"]


def test_a_deployment_that_fails_ends_with_its_reason_the_log_and_1(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(BAD)]
    control.log_lines = [{"at": 0, "stream": "stderr", "line": f"line {number}"} for number in range(30)]
    ended = linked("deploy")
    assert ended.code == 1
    assert "failed: v1 (dpl_1): bundle: the import failed: NameError" in ended.err
    assert "line 29" in ended.err
    assert "line 3\n" not in ended.err
    assert "What served before" not in ended.err
    control.plan = [list(BAD)]
    control.projects["prj_1"]["activeDeployment"] = "dpl_0"
    assert "What served before still serves" in linked("deploy").err


def test_json_leaves_standard_output_to_the_deployment(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(GOOD), list(BAD)]
    assert linked("deploy", "--json").json["status"] == "active"
    ended = linked("deploy", "--json")
    assert ended.code == 1
    assert ended.json["reason"].startswith("bundle: the import failed")


def test_without_waiting_it_ends_with_the_upload(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(BAD)]
    ended = linked("deploy", "--no-wait")
    assert ended.code == 0
    assert ended.out == "v1 (dpl_1) is stored; zocket deployments shows what becomes of it.\n"
    assert linked.paused == []


def test_a_control_plane_that_restarts_meanwhile_is_asked_again(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(GOOD)]
    control.failures["GET", "/api/deployments/dpl_1"] = [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")]
    assert linked("deploy").code == 0


def test_who_stops_waiting_is_told_that_the_deployment_goes_on(linked: Cli) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    linked.on_pause = interrupt
    ended = linked("deploy")
    assert ended.code == 130
    assert "The deployment dpl_1 goes on: zocket deployments, zocket logs" in ended.err


def test_waiting_has_an_end(linked: Cli, control: FakeControl) -> None:
    ended = linked("deploy", "--timeout", "3")
    assert ended.code == 1
    assert "deployment dpl_1 is still stored after 3 s; it goes on" in ended.err
    assert sum(linked.paused) == pytest.approx(3)


def test_an_upload_is_not_sent_again_when_its_answer_is_lost(linked: Cli, control: FakeControl) -> None:
    control.failures["POST", "/api/deployments"] = [httpx.ReadTimeout("slow")]
    assert linked("deploy").code == 1
    assert control.requests.count(("POST", "/api/deployments")) == 1


def test_nothing_is_built_for_somebody_who_is_not_signed_in(linked: Cli) -> None:
    linked.config.unlink()
    linked.write(app__py="this is no Python")
    ended = linked("deploy")
    assert ended.code == 1
    assert ended.err.endswith("zocket auth login\n")


def test_a_deploy_token_deploys_without_a_sign_in(
    linked: Cli, control: FakeControl, failing: Callable[..., httpx.Response]
) -> None:
    linked.config.unlink()
    control.plan = [list(GOOD)]
    assert linked("deploy", ZOCKET_TOKEN="zkd_deploy").code == 0
    control.failures["GET", "/api/projects/prj_1/env"] = [failing(403, "no", "forbidden")]
    ended = linked("env", "list", ZOCKET_TOKEN="zkd_deploy")
    assert "a deploy token may only deploy" in ended.err


def test_a_project_that_is_gone_is_said(linked: Cli, control: FakeControl) -> None:
    control.projects.clear()
    ended = linked("deploy")
    assert ended.code == 1
    assert "no such project; `zocket projects list` shows your projects, `zocket link` chooses" in ended.err


def test_a_rollback_waits_for_what_it_asked_for(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(GOOD), list(GOOD)]
    linked("deploy")
    linked("deploy")
    control.deployments["dpl_1"]["status"] = "superseded"
    control.plan = [[("starting", None), ("active", None)]]
    ended = linked("rollback")
    assert ended.code == 0
    assert ended.err.startswith("Rolling back to v1 (dpl_1)\n")
    assert ended.out.startswith("v1 (dpl_1) is active")


@pytest.mark.parametrize("named", ["v2", "2", "dpl_2"])
def test_a_rollback_goes_to_a_version_or_an_id(linked: Cli, control: FakeControl, named: str) -> None:
    control.plan = [list(GOOD), list(GOOD), list(GOOD)]
    for _ in range(3):
        linked("deploy")
    control.deployments["dpl_2"]["status"] = "superseded"
    control.plan = [[("starting", None), ("failed", "it is broken now")]]
    ended = linked("rollback", named)
    assert ended.code == 1
    assert "failed: v2 (dpl_2): it is broken now" in ended.err
    assert "there is no version 9" in linked("rollback", "v9").err


def test_deployments_are_listed_newest_first_with_the_reason_of_failures(linked: Cli, control: FakeControl) -> None:
    assert "zocket deploy" in linked("deployments").err
    control.plan = [list(GOOD), list(BAD), list(GOOD)]
    for message in ("one", "two", "three"):
        linked("deploy", "-m", message)
    lines = linked("deployments").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["v3", "active"], ["v2", "failed"], ["v1", "active"]]
    assert "NameError" in lines[2]
    assert [item["version"] for item in linked("deployments", "-n", "2", "--json").json["items"]] == [3, 2]


def test_logs_are_those_of_what_serves(linked: Cli, control: FakeControl) -> None:
    assert "nothing was deployed yet: zocket deploy" in linked("logs").err
    control.plan = [list(GOOD)]
    linked("deploy")
    control.projects["prj_1"]["activeDeployment"] = "dpl_1"
    control.log_lines = [
        {"at": 1_700_000_000_000, "stream": "stdout", "line": "one \x1b[31mred\x1b[0m\u2028half"},
        {"at": 1_700_000_000_001, "stream": "platform", "line": "restarted"},
    ]
    lines = linked("logs").out.split("\n")
    assert lines[0].endswith("one [31mred[0m\u2028half")
    assert linked("logs", "v1", "--json").out.count("\n") == 2


def test_what_is_no_line_of_a_log_is_passed_over(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(GOOD)]
    linked("deploy")
    text = ": hello\r\n\r\ndata: not json\n\nevent: x\ndata: 7\n\n"
    text += 'id: 5\ndata: {"at": 0,\ndata: "line": "a\u2028b"}\r\n\r\n'
    answer = httpx.Response(200, content=text.encode(), headers={"content-type": "text/event-stream"})
    control.failures["GET", "/api/deployments/dpl_1/logs"] = [answer]
    assert linked("logs", "--json").out == '{"at": 0, "line": "a\u2028b"}\n'


def test_following_moves_on_to_the_version_that_takes_over(linked: Cli, control: FakeControl) -> None:
    control.plan = [list(GOOD), list(GOOD)]
    linked("deploy")
    linked("deploy")
    control.projects["prj_1"]["activeDeployment"] = "dpl_1"
    control.log_lines = [{"at": 5, "stream": "stdout", "line": "hello"}]

    def pause() -> None:
        if control.projects["prj_1"]["activeDeployment"] == "dpl_2":
            raise KeyboardInterrupt
        control.projects["prj_1"]["activeDeployment"] = "dpl_2"

    linked.on_pause = pause
    ended = linked("logs", "--follow")
    assert ended.code == 130
    assert ended.out.count("hello") == 2
    assert "dpl_2 serves now" in ended.err
