"""The local orchestrator with small programs in place of runtimes: confinement, restarts, output, ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from zocket.clock import SystemClock
from zocket.control.orchestration import local
from zocket.control.orchestration.journal import Journal
from zocket.control.orchestration.local import LocalOrchestrator
from zocket.control.orchestration.port import Launch, Observation
from zocket.errors import SettingsError
from zocket.settings import OrchestrationSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.integration.deploy.conftest import Kit

pytestmark = pytest.mark.realtime

SYSTEM_PYTHON = "/usr/bin/python3"
NO_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run processes as another user")


def opened(
    directory: Path, program: str | Sequence[str], **settings: Any
) -> AbstractAsyncContextManager[LocalOrchestrator]:
    values = OrchestrationSettings(runtime_dir=str(directory / "runtimes"), **settings)
    command = (sys.executable, "-c", program) if isinstance(program, str) else program
    return LocalOrchestrator.open(values, SystemClock(), command=command)


def launch(name: str = "dpl_1", **variables: str) -> Launch:
    return Launch("w", "p", name, 1, {"DEPLOYMENT_ID": name}, variables)


def seen(orchestrator: LocalOrchestrator, name: str = "dpl_1") -> Observation:
    found = orchestrator.observe(name)
    assert found is not None
    return found


async def lines(orchestrator: LocalOrchestrator, name: str = "dpl_1") -> list[str]:
    return [entry.line async for entry in orchestrator.logs(name, lines=100, follow=False)]


async def test_a_runtime_sees_its_own_environment_and_nothing_of_ours(
    tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SECRET", "hidden")
    program = "import json, os, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(60)"
    async with opened(tmp_path, program) as orchestrator:
        await orchestrator.start(launch(GREETING="hello", DEPLOYMENT_ID="forged"))
        await kit.until(lambda: lines(orchestrator), "its output")
        environ = json.loads((await lines(orchestrator))[0])
    own = {"API_HOST", "API_PORT", "BUNDLE_DIR", "DEPLOYMENT_ID", "GREETING", "HOME", "LANG", "PATH", "TMPDIR"}
    assert own <= set(environ) <= own | {"PYTHONUNBUFFERED", "LC_CTYPE", "PWD"}
    assert (environ["GREETING"], environ["DEPLOYMENT_ID"], environ["API_HOST"]) == ("hello", "dpl_1", "127.0.0.1")


async def test_a_runtime_has_its_limits(tmp_path: Path, kit: Kit) -> None:
    program = """
import resource, time
print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE), flush=True)
try:
    bytearray(1_000_000_000)
except MemoryError:
    print("no memory", flush=True)
time.sleep(60)
"""
    limits = {"runtime_memory_bytes": 500_000_000, "runtime_open_files": 100}
    async with opened(tmp_path, program, **limits) as orchestrator:
        await orchestrator.start(launch())
        await kit.until(lambda: has(orchestrator, "no memory"), "the limit is met")
        assert (await lines(orchestrator))[0] == "(100, 100) (0, 0)"


async def has(orchestrator: LocalOrchestrator, line: str) -> bool:
    return line in await lines(orchestrator)


@NO_ROOT
@pytest.mark.skipif(not os.path.exists(SYSTEM_PYTHON), reason="there is no Python of the system")
async def test_a_runtime_is_a_user_of_its_own_who_still_ends_with_us(tmp_path: Path, kit: Kit) -> None:
    program = """
import ctypes, os, time
death = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(death))
open("written", "w").close()
print(os.getuid(), os.getgid(), os.getgroups(), death.value, flush=True)
time.sleep(60)
"""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    command = [SYSTEM_PYTHON, "-c", program]  # one that others may read; a developer's own lies in their home
    async with opened(tmp_path, command, runtime_user="nobody") as orchestrator:
        await orchestrator.start(launch())
        (said,) = await kit.until(lambda: lines(orchestrator), "its output")
    assert said == f"65534 65534 [] {int(signal.SIGKILL)}"


async def test_an_unknown_user_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RUNTIME_USER"):
        async with opened(tmp_path, "pass", runtime_user="nobody-of-this-name"):
            raise AssertionError("it was opened")


async def test_what_ends_is_started_again_ever_more_seldom_and_its_last_words_are_kept(
    tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "FIRST_DELAY_S", 0.01)
    states: list[str] = []
    program = "import sys; print('well then', file=sys.stderr); sys.exit('goodbye')"

    class Watching:
        def changed(self, deployment_id: str) -> None:
            found = orchestrator.observe(deployment_id)
            states.append(found.state if found is not None else "gone")

    async with opened(tmp_path, program) as orchestrator:
        orchestrator.watch(Watching())
        await orchestrator.start(launch())
        await orchestrator.start(launch())
        await kit.until(lambda: seen(orchestrator).state == "crash_loop", "a crash loop")
        last = seen(orchestrator)
        assert last.restarts >= local.CRASH_LOOP
        assert last.last_exit is not None
        assert last.last_exit.code == 1
        assert last.last_exit.message == "the runtime ended with code 1; its last words: well then / goodbye"
        assert last.address is None
        await orchestrator.stop("dpl_1")
        assert orchestrator.observe("dpl_1") is None
        assert not (tmp_path / "runtimes" / "run" / "dpl_1").exists()
        assert (await lines(orchestrator))[-1] == last.last_exit.message
    assert states[:3] == ["starting", "running", "waiting"]
    assert states[-1] == "gone"
    assert "crash_loop" not in states[: 3 * (local.CRASH_LOOP - 1)]


async def test_a_program_that_does_not_exist_is_said_so(tmp_path: Path, kit: Kit) -> None:
    async with opened(tmp_path, ["/no/such/program"]) as orchestrator:
        await orchestrator.start(launch())
        ended = await kit.until(lambda: seen(orchestrator).last_exit, "an end")
        assert ended.message == "the runtime cannot be started: No such file or directory"


async def test_a_stop_ends_what_the_runtime_started_and_what_does_not_listen(
    tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STOP_TIMEOUT_S", 0.3)
    program = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
    async with opened(tmp_path, program) as orchestrator:
        await orchestrator.start(launch())
        (said,) = await kit.until(lambda: lines(orchestrator), "its output")
        pids = [int(said), seen(orchestrator).pid]
        await orchestrator.stop("dpl_1")
    assert not any(is_running(pid) for pid in pids if pid is not None)


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_runtime_dies_with_its_orchestrator_however_that_dies(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from zocket.clock import SystemClock
from zocket.control.orchestration.local import LocalOrchestrator
from zocket.control.orchestration.port import Launch
from zocket.settings import OrchestrationSettings

async def main():
    settings = OrchestrationSettings(runtime_dir={str(tmp_path)!r})
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    async with LocalOrchestrator.open(settings, SystemClock(), command=command) as orchestrator:
        await orchestrator.start(Launch("w", "p", "dpl_1", 1, {{}}))
        while not (seen := orchestrator.observe("dpl_1")).pid:
            await asyncio.sleep(0.01)
        print(seen.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert is_running(pid)
        process.kill()
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_follower_hears_what_comes_and_ends_with_the_runtime(tmp_path: Path, kit: Kit) -> None:
    program = """
import sys, time
print("one", flush=True)
print("two", file=sys.stderr, flush=True)
time.sleep(0.5)
print("three", flush=True)
time.sleep(60)
"""
    async with opened(tmp_path, program) as orchestrator:
        await orchestrator.start(launch())
        heard: list[tuple[str, str]] = []

        async def follow() -> None:
            told = orchestrator.logs("dpl_1", lines=100, follow=True)
            heard.extend([(entry.stream, entry.line) async for entry in told])

        following = asyncio.create_task(follow())
        await kit.until(lambda: has(orchestrator, "three"), "three lines")
        await orchestrator.stop("dpl_1")
        await asyncio.wait_for(following, kit.limit_s)
    assert sorted(heard[:2]) == [("stderr", "two"), ("stdout", "one")]
    assert heard[2] == ("stdout", "three")


async def test_a_full_log_is_moved_aside_and_one_such_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.control.orchestration.journal.MAX_FILE_BYTES", 1_000)
    path = tmp_path / "logs" / "dpl_1.jsonl"
    journal = Journal(path, SystemClock())
    for number in range(200):
        journal.write("stdout", f"line {number}")
    journal.close()
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["dpl_1.jsonl", "dpl_1.old.jsonl"]
    assert all(file.stat().st_size <= 1_000 for file in files)
    read = [entry.line async for entry in Journal.read(path, 20)]
    assert read == [f"line {number}" for number in range(180, 200)]
    again = Journal(path, SystemClock())
    assert [entry.line async for entry in again.tail(1, follow=False)] == ["line 199"]
    again.close()


async def test_a_follower_who_does_not_read_is_told_how_much_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zocket.control.orchestration.journal.QUEUED_LINES", 3)
    journal = Journal(tmp_path / "log.jsonl", SystemClock())
    following = journal.tail(10, follow=True)
    journal.write("stdout", "first")
    assert (await anext(following)).line == "first"
    for number in range(5):
        journal.write("stdout", str(number))
    journal.close()
    assert [entry.line async for entry in following] == ["3 lines were left out: too many to follow", "3", "4"]
