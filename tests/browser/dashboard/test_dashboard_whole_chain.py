"""The dashboard over the real thing: `zocket control` with its orchestrator, NATS, the command line, a browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, expect

from tests.tied import tied
from zocket.broker.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.browser.dashboard.conftest import Visitors

    Visit = Callable[[], AbstractAsyncContextManager[Visitors]]
    SignIn = Callable[[Page], Awaitable[None]]

pytestmark = [pytest.mark.browser, pytest.mark.nats]

ZOCKET = str(Path(sys.executable).with_name("zocket"))
START_LIMIT_S = 60
LIVE_MS = 60_000
"""A runtime starts, proves itself and takes over in a few seconds; the machine may be busy."""
EMAIL = "priya@example.com"
PASSWORD = "correct horse battery"
BROKEN = """
import os

if "ZOCKET_STANDBY" in os.environ:
    raise RuntimeError("the bucket of tiles\\nis not there")
"""


@dataclass
class Command:
    """A command line of one person on one machine."""

    directory: Path
    environment: dict[str, str]

    def start(self, *arguments: str, directory: Path | None = None) -> Awaitable[asyncio.subprocess.Process]:
        return asyncio.create_subprocess_exec(
            *tied(ZOCKET, *arguments),
            cwd=directory or self.directory,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *arguments: str, directory: Path | None = None, given: str = "") -> tuple[int, str]:
        """Exit code and everything that was said."""
        process = await self.start(*arguments, directory=directory)
        try:
            async with asyncio.timeout(LIVE_MS / 1000):
                said, _ = await process.communicate(given.encode())
        finally:
            await stop(process)
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def ok(self, *arguments: str, directory: Path | None = None, given: str = "") -> str:
        code, said = await self.run(*arguments, directory=directory, given=given)
        assert code == 0, said
        return said


async def stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def read_until(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """The first line of a process that matches."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(START_LIMIT_S):
        while line := (await process.stdout.readline()).decode():
            said += line
            if found := re.search(pattern, line):
                return found
    pytest.fail(f"nothing like {pattern!r} was said:\n{said}")


@asynccontextmanager
async def platform(directory: Path) -> AsyncIterator[tuple[str, Command]]:
    """NATS and `zocket control`; gives its address, and a command line that is not signed in."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "ZOCKET_HOME": str(directory / "home"),
        "NO_COLOR": "1",
    }
    async with NatsServer() as nats:
        service = Command(
            directory,
            {**environment, "PORT": "0", "RUNTIME_NATS_URL": nats.url, "RUNTIME_GRACE_S": "0.5"},
        )
        await service.ok("control", "create-admin", EMAIL, "--name", "Priya Nair", given=PASSWORD + "\n")
        process = await service.start("control", "--log-format", "json")
        try:
            found = await read_until(process, r'"url": ?"(http://[^"]+)"')
            draining = asyncio.create_task(drain(process))
            yield found[1], Command(directory, environment)
            draining.cancel()
        finally:
            await stop(process)


async def drain(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.readline():
        pass


async def test_r17_sign_in_create_deploy_watch_break_read_the_reason_and_roll_back(
    tmp_path: Path, visit: Visit, sign_in: SignIn
) -> None:
    """R17: a boot error is visible to people, and what served before serves on."""
    async with platform(tmp_path) as (url, shell), visit() as visitors:
        page = await visitors.open(url)
        await sign_in(page)
        await page.get_by_role("button", name="create a project here").click()
        await page.get_by_label("Name", exact=True).fill("Map team")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="I have it").click()
        await expect(page.get_by_text("Nothing is deployed here yet")).to_be_visible()

        # The command line signs in with the page that it names.
        login = await shell.start("auth", "login", url, "--no-browser", "--name", "priya's laptop")
        try:
            link = (await read_until(login, r"(http://\S+/device\?code=\S+)"))[1]
            device = await visitors.open(link, page.context)
            await expect(device.locator(".facts")).to_contain_text("priya's laptop")
            await device.get_by_role("button", name="Approve").click()
            await expect(device.get_by_text("is signed in")).to_be_visible()
            await device.close()
            await read_until(login, "Signed in to")
        finally:
            await stop(login)

        # It deploys, and the page shows how it becomes active.
        await shell.ok("init", "app")
        app = tmp_path / "app"
        await shell.ok("link", "map-team", directory=app)
        await shell.ok("deploy", "-m", "First version", directory=app)
        await expect(page.locator(".title-row .pill")).to_have_text("Active", timeout=LIVE_MS)
        await expect(page.locator(".serving")).to_contain_text("First version")
        runtime = page.locator(".card", has=page.get_by_role("heading", name="Runtime"))
        await expect(runtime.locator(".pill")).to_have_text("Running", timeout=LIVE_MS)
        await expect(page.locator("[data-counter=sessions]")).to_have_text("0", timeout=LIVE_MS)
        await expect(page.locator(".log-line").first).to_be_visible(timeout=LIVE_MS)
        await shell.ok("deploy", "-m", "Second version", directory=app)
        await expect(page.locator(".serving")).to_contain_text("Second version", timeout=LIVE_MS)

        # What is broken says why, and harms nobody.
        source = app / "app.py"
        good = source.read_text()
        source.write_text(good + BROKEN)
        code, said = await shell.run("deploy", "-m", "Broken", directory=app)
        assert code != 0, said
        notice = page.locator(".notice.bad")
        await expect(notice).to_contain_text("Version 3 failed. Version 2 serves on, untouched.", timeout=LIVE_MS)
        await expect(notice).to_contain_text("the bucket of tiles")
        await expect(notice).to_contain_text("is not there")
        await expect(page.locator(".serving")).to_contain_text("Second version")
        await page.get_by_role("link", name="Version 3").click()
        await expect(page.locator(".failed-why")).to_contain_text("the bucket of tiles")
        await expect(page.locator(".timeline strong").last).to_have_text("Failed")

        # And back to the first.
        await page.get_by_role("link", name="All deployments").click()
        await page.get_by_role("button", name="Roll back to version 1").click()
        await page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
        await expect(page.locator("[data-deployment='1'] .pill")).to_have_text("Active", timeout=LIVE_MS)
        await expect(page.locator("[data-deployment='2'] .pill")).to_have_text("Rolled back", timeout=LIVE_MS)

        # A value of the environment is a new deployment.
        await page.get_by_role("link", name="Environment").click()
        await page.get_by_label("Name", exact=True).fill("REGION")
        await page.get_by_label("Value").fill("eu")
        await page.get_by_role("button", name="Set", exact=True).click()
        await expect(page.locator(".row", has_text="REGION")).to_contain_text(EMAIL)
        await page.get_by_role("link", name="Deployments", exact=True).click()
        await expect(page.locator("[data-deployment='4'] .pill")).to_have_text("Active", timeout=LIVE_MS)
