"""Pages in headless Chromium: starts an example as a person would, and opens tabs on it.

Rules: every server and browser is stopped by the test that started it; a tab's uncaught errors fail its test; where
Chromium is missing the tests are skipped with what to install, except in CI, where that is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, async_playwright

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"
CHROMIUM_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_LIMIT_S: Final = 60.0
"""A whole platform on a busy machine; it usually takes a few seconds."""
STOP_LIMIT_S: Final = 20.0


@dataclass
class Site:
    """A running example.

    Attributes:
        port: of its page.
        process: the command that was started; its children are the platform's processes.
        output: file that it writes to.
    """

    command: str
    example: str
    port: int
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def url(self) -> str:
        """Of its page."""
        return f"http://127.0.0.1:{self.port}/"

    async def kill_and_restart(self) -> None:
        """`kill -9`, then the same command on the same port."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait, STOP_LIMIT_S)
        again = await asyncio.to_thread(_start, self.command, self.example, self.output, self.port)
        self.process = again.process

    async def processes(self, role: str) -> list[int]:
        """Ids of the processes below the command that have `role` among their arguments."""
        below = await asyncio.to_thread(_descendants, self.process.pid)
        return [pid for pid, arguments in below.items() if role in arguments]


class Tabs:
    """A browser in which every tab is a person of its own: its own storage, its own connection."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.errors: list[str] = []

    async def open(self, url: str, name: str | None = None, **options: Any) -> Page:
        """A tab on `url` that is connected; `name` is who the chat's page takes its person for."""
        context = await self._browser.new_context(locale="en-GB", **options)
        if name is not None:
            await context.add_init_script(f"localStorage.name ??= {name!r}")
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"{name}: {error}"))
        await page.goto(url)
        await page.wait_for_selector('.badge[data-status="open"]')
        return page


@pytest.fixture(autouse=True)
def loop_is_never_blocked() -> None:
    """No code of Zocket runs in these processes' loops, and Playwright looks at files as it starts."""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    found = shutil.which("chromium")
    if found is not None:
        return found
    message = "Chromium is missing: install it with `apt-get update && apt-get install -y chromium`"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def browse(chromium: str) -> Callable[[], AbstractAsyncContextManager[Tabs]]:
    """`async with browse() as tabs`: a browser for this test."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Tabs]:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_OPTIONS))
            tabs = Tabs(browser)
            try:
                yield tabs
            finally:
                await browser.close()
            assert tabs.errors == []

    return opened


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], Awaitable[Site]]]:
    """`await start("dev", "chat")` runs `zocket dev app:app` in the example's directory until the test is over."""
    sites: list[Site] = []

    async def started(command: str, example: str) -> Site:
        site = await asyncio.to_thread(_start, command, example, tmp_path / f"{command}-{example}.log")
        sites.append(site)
        return site

    yield started
    ended = [site for site in sites if site.process.poll() is not None]
    for site in sites:
        _stop(site)
    for site in ended:
        pytest.fail(f"zocket {site.command} ended by itself:\n{site.output.read_text()[-4_000:]}")


def _start(command: str, example: str, output: Path, port: int | None = None) -> Site:
    port = port or _free_port()
    zocket = Path(sys.executable).with_name("zocket")
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [str(zocket), command, "app:app", "--port", str(port)],
            cwd=EXAMPLES / example,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    site = Site(command, example, port, process, output)
    try:
        _wait_until_served(site)
    except BaseException:
        _stop(site)
        raise
    return site


def _wait_until_served(site: Site) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if site.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(site.url, timeout=1.0) as page:
                if page.status == 200:
                    return
        except OSError:
            pass  # not there yet
        time.sleep(0.05)
    pytest.fail(f"no page at {site.url}:\n{site.output.read_text()[-4_000:]}")


def _stop(site: Site) -> None:
    """Asks the command to stop, and ends whatever it leaves behind."""
    below = _descendants(site.process.pid)
    if site.process.poll() is None:
        site.process.send_signal(signal.SIGINT)
    try:
        site.process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        site.process.kill()
        site.process.wait(STOP_LIMIT_S)
    for pid, arguments in below.items():
        if _arguments(pid) == arguments:  # the same process still, not another one with its number
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _descendants(ancestor: int) -> dict[int, list[str]]:
    """Arguments of every process below `ancestor`, by process id."""
    parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    family = {ancestor}
    while found := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= found
    return {pid: _arguments(pid) for pid in family - {ancestor}}


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return 0


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:  # it ended meanwhile
        return []
