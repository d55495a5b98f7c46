"""The agent's page in real tabs, against a stand-in for the model."""

from __future__ import annotations

import re
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from playwright.async_api import Page, expect

from examples.agent.standin import Endpoint, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.browser.conftest import Site, Tabs

    Browse = Callable[[], AbstractAsyncContextManager[Tabs]]
    Start = Callable[[str, str], Awaitable[Site]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

AFTER_RESTART_MS = 45_000
GATE_LIMIT_S = 60.0


class Gated(Endpoint):
    """Stops before the sixth token while the gate is closed."""

    token_s = 0.0
    gate: ClassVar[Event]

    def event(self, data: dict[str, Any] | None) -> None:
        self.sent = getattr(self, "sent", 0) + 1
        if self.sent == 6:
            self.gate.wait(GATE_LIMIT_S)
        super().event(data)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Event]:
    """Of the model that the example asks; open."""
    Gated.gate = Event()
    Gated.gate.set()
    with serve(0, Gated) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("STATE_FILE", str(tmp_path / "state.db"))
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield Gated.gate
        Gated.gate.set()
        server.shutdown()
        thread.join()


async def ask(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


@pytest.mark.parametrize("command", ["dev", "serve"])
async def test_both_tabs_see_an_answer_grow_and_either_stops_it(
    start: Start, browse: Browse, gate: Event, command: str
) -> None:
    site = await start(command, "agent")
    async with browse() as tabs:
        alice, bob = await tabs.open(site.url), await tabs.open(site.url)
        await expect(bob.locator("#empty")).to_be_visible()
        gate.clear()
        await ask(alice, "Is <b>tea</b> good?")
        for page in (alice, bob):
            await expect(page.locator(".question")).to_have_text("Is <b>tea</b> good?")
            await expect(page.locator(".answer")).to_contain_text("You said “Is <b>tea</b>")
            await expect(page.locator("#send")).to_be_hidden()
        await bob.click("#stop")
        for page in (alice, bob):
            await expect(page.locator(".ending")).to_have_text("Stopped")
            await expect(page.locator("#send")).to_be_visible()
        gate.set()

        await ask(bob, "Take a note: no sugar")
        for page in (alice, bob):
            await expect(page.locator(".tool summary")).to_have_text("Kept a note")
            await expect(page.locator(".answer").last).to_contain_text("looked it up for you: kept.")
            await expect(page.locator('.answer[data-status="done"]')).to_have_count(1)


async def test_an_answer_goes_on_when_its_server_was_killed(start: Start, browse: Browse, gate: Event) -> None:
    site = await start("serve", "agent")
    async with browse() as tabs:
        alice = await tabs.open(site.url)
        gate.clear()
        await ask(alice, "What is tea?")
        await expect(alice.locator(".answer .text")).to_contain_text("You said")
        await site.kill_and_restart()
        gate.set()
        done = alice.locator('.answer[data-status="done"]')
        await expect(done).to_have_count(1, timeout=AFTER_RESTART_MS)
        await expect(done).to_have_text(re.compile("^You said “What is tea\\?”\\. (That is a good point.*?it\\. ){4}$"))
