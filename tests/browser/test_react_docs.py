"""Who follows docs/react.md has a page that works."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.docs.pages import files_of, npx_commands_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.browser.bundles import Bundles
    from tests.browser.conftest import Contexts, Site

    Start = Callable[[str, str], Awaitable[Site]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

PAGE = Path(__file__).parents[2] / "docs" / "react.md"
LIMIT_S = 60.0


@pytest.fixture
def newcomer(bundles: Bundles, tmp_path: Path) -> Path:
    """The directory of somebody who has written every file of the page and run its commands."""
    directory = tmp_path / "newcomer"
    for name, text in files_of(PAGE).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    shutil.copytree(bundles.package / "node_modules", directory / "web" / "node_modules", symlinks=True)
    for tool, *arguments in npx_commands_of(PAGE):
        command = [f"node_modules/.bin/{tool}", *arguments]
        subprocess.run(command, cwd=directory / "web", check=True, timeout=LIMIT_S)
    return directory


async def test_a_newcomer_gets_from_the_class_to_a_page(start: Start, contexts: Contexts, newcomer: Path) -> None:
    site = await start("serve", str(newcomer))
    async with contexts:
        alice, bob = [await (await contexts.open()).new_page() for _ in range(2)]
        for page in (alice, bob):
            await page.goto(site.url)
            await expect(page.get_by_role("status")).to_be_empty()  # connected
        await alice.get_by_label("Message").fill("hello")
        await alice.keyboard.press("Enter")
        for page in (alice, bob):
            await expect(page.get_by_role("listitem")).to_have_text("guest: hello")
        await expect(bob.get_by_role("status")).to_have_text("guest has just written")
        await alice.keyboard.press("Enter")  # the field is empty
        await expect(alice.get_by_role("status")).to_contain_text("Not sent: ")
