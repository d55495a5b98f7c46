"""One real process: its lines, its end, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import sys

import psutil
import pytest

from zocket.dev.child import MAX_LINE_BYTES, Child

pytestmark = pytest.mark.realtime


class Heard:
    """Lines as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._first = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._first.set()

    async def wait_first(self) -> str:
        async with asyncio.timeout(20):
            await self._first.wait()
        return self.lines[0]


async def start(program: str) -> tuple[Child, Heard]:
    heard = Heard()
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return await Child.start([sys.executable, "-c", program], environ, heard), heard


async def test_every_line_of_output_and_errors_is_heard_also_the_last_without_an_end() -> None:
    child, heard = await start(
        r"import sys; print('out\r'); sys.stderr.write('bad \udcff\n'); sys.stdout.write('last')"
    )
    assert await child.wait() == 0
    lines = heard.lines
    assert lines[0] == "out"
    assert lines[-1] == "last"
    assert len(lines) == 3


async def test_a_line_without_an_end_is_cut_and_bounds_the_memory() -> None:
    child, heard = await start(f"print('x' * {2 * MAX_LINE_BYTES + 10})")
    await child.wait()
    lines = heard.lines
    assert sum(map(len, lines)) == 2 * MAX_LINE_BYTES + 10
    assert max(map(len, lines)) <= MAX_LINE_BYTES + 65_536


async def test_a_stop_asks_first_and_kills_what_does_not_listen_with_what_it_started() -> None:
    polite, heard = await start(
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('ready'); signal.pause()"
    )
    assert await heard.wait_first() == "ready"
    await polite.stop()
    assert await polite.wait() == 7

    program = (
        "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN); "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid); signal.pause()"
    )
    deaf, heard = await start(program)
    below = psutil.Process(int(await heard.wait_first()))
    await deaf.stop(0.05)
    assert await deaf.wait() == -9
    psutil.wait_procs([below], timeout=20)
    assert not below.is_running() or below.status() == psutil.STATUS_ZOMBIE


async def test_it_is_in_a_session_of_its_own_so_a_terminals_ctrl_c_does_not_reach_it() -> None:
    child, _ = await start("import signal; signal.pause()")
    assert os.getsid(child.pid) == child.pid
    child.kill()
    assert await child.wait() == -9
    child.kill()  # gone already
    await child.stop()


async def test_a_program_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await Child.start(["/no/such/program"], {}, print)
