"""Pages in headless Chromium: starts an example as a person would, and opens tabs on it.

Rules: every server is stopped by the test that started it; one Chromium serves all tests of a session, each in contexts
of its own, so these tests share one event loop; a tab's uncaught errors fail its test; where Chromium is missing the
tests are skipped with what to install, except in CI, where that is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.bundles import Bundles, copy_and_install, missing
from tests.tied import tied
from zocket.dev.ports import free_port

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
SEEN_LIMIT_MS: Final = 30_000
"""Until a page shows what it must; Playwright's own 5 seconds are too few for a busy machine."""

expect.set_options(timeout=SEEN_LIMIT_MS)


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


class Contexts:
    """What one test has open in the browser that all tests share; left, all of it is closed."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._opened: list[BrowserContext] = []

    async def open(self, **options: Any) -> BrowserContext:
        """Cookies and storage of its own."""
        self._opened.append(await self._browser.new_context(locale="en-GB", **options))
        return self._opened[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._opened:
            await self._opened.pop().close()


class Tabs:
    """A browser in which every tab is a person of its own: its own storage, its own connection."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self.errors: list[str] = []

    async def open(self, url: str, name: str | None = None, **options: Any) -> Page:
        """A tab on `url` that is connected; `name` is who the chat's page takes its person for."""
        context = await self._contexts.open(**options)
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


@pytest.fixture(scope="session")
def session_loop() -> Iterator[asyncio.Runner]:
    """The loop that the browser lives in, and with it every test of a page."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def browser(chromium: str, session_loop: asyncio.Runner) -> Iterator[Browser]:
    """Chromium, started once."""
    playwright = session_loop.run(async_playwright().start())
    launched = session_loop.run(
        playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_OPTIONS)),
    )
    yield launched
    session_loop.run(launched.close())
    session_loop.run(playwright.stop())


@pytest.fixture
def contexts(browser: Browser) -> Contexts:
    """`async with contexts:`."""
    return Contexts(browser)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test of a page in the browser's loop."""
    loop = pyfuncitem.funcargs.get("session_loop")
    if not isinstance(loop, asyncio.Runner) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    loop.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def browse(contexts: Contexts) -> Callable[[], AbstractAsyncContextManager[Tabs]]:
    """`async with browse() as tabs`: the tabs of this test."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Tabs]:
        tabs = Tabs(contexts)
        async with contexts:
            yield tabs
        assert tabs.errors == []

    return opened


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """The examples with their React pages, built once."""
    reason = missing()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    made = copy_and_install(tmp_path_factory.mktemp("bundles"))
    made.build()
    return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], Awaitable[Site]]]:
    """`await start("dev", "chat")` runs `zocket dev app:app` in the example's directory until the test is over.

    A copy of an example is named by its absolute path.
    """
    sites: list[Site] = []

    async def started(command: str, example: str) -> Site:
        site = await asyncio.to_thread(_start, command, example, tmp_path / f"{command}-{Path(example).name}.log")
        sites.append(site)
        return site

    yield started
    ended = [site for site in sites if site.process.poll() is not None]
    for site in sites:
        _stop(site)
    for site in ended:
        pytest.fail(f"zocket {site.command} ended by itself:\n{site.output.read_text()[-4_000:]}")


def _start(command: str, example: str, output: Path, port: int | None = None) -> Site:
    port = port or free_port("127.0.0.1")
    zocket = Path(sys.executable).with_name("zocket")
    with output.open("ab") as sink:
        process = subprocess.Popen(
            tied(str(zocket), command, "app:app", "--port", str(port)),
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
