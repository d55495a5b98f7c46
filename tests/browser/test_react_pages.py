"""The chat and the drawing board in React, in real tabs; the hooks' own tests are in clients/js/test."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.bundles import Bundles
from tests.browser.test_other_pages import PAINTED, draw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.browser.conftest import Site, Tabs

    Browse = Callable[[], AbstractAsyncContextManager[Tabs]]
    Start = Callable[[str, str], Awaitable[Site]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

AFTER_RESTART_MS = 45_000
SENT_LIMIT_S = 30.0
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
EMPTY_ROOT = '<div id="root"></div>'

MISTAKES = {
    "chat/Composer.tsx": ("room.keystroke()", "room.keystrokes()"),
    "chat/RoomView.tsx": ("room.post({ text })", "room.post({ txt: text })"),
    "chat/Sidebar.tsx": ("lobby.open({ room })", "lobby.open()"),
    "chat/Chat.tsx": ('useActor("lobby", "main")', 'useActor("hall", "main")'),
    "chat/Messages.tsx": ("before.sent_at_ms", "before.sentAt"),
    "chat/hooks.ts": ('useEvent(room, "typing"', 'useEvent(room, "typed"'),
    "draw/Stage.tsx": (
        "board.begin({ stroke, color, size, points })",
        "board.begin({ stroke, color, size: 7, points })",
    ),
    "draw/Tools.tsx": ('["red", "Red"]', '["pink", "Pink"]'),
    "draw/hooks.ts": ("(state) => state.people", "(state) => state.persons"),
}
"""What a typed page refuses, one in each file: the right code, the wrong one."""

WHOLE = """
import { StrictMode } from "react";
import { ZocketProvider } from "zocket/react";
import { Chat } from "../chat/Chat.tsx";

export const whole = (client) => <StrictMode><ZocketProvider client={client}><Chat /></ZocketProvider></StrictMode>;
"""
ON_A_SERVER = """
import { renderToString } from "react-dom/server";
import { createClient } from "zocket";
import { whole } from "./whole.tsx";

process.stdout.write(renderToString(whole(createClient({ url: "ws://127.0.0.1:1/" }))));
"""
IN_THE_PAGE = """
import { hydrateRoot } from "react-dom/client";
import { createClient, gatewayUrl } from "zocket";
import { whole } from "./whole.tsx";

const client = createClient({ url: await gatewayUrl() });
globalThis.root = hydrateRoot(document.getElementById("root"), whole(client));
"""


class Watched:
    """What a tab does beside showing something.

    Attributes:
        subscriptions: frames that begin or end a subscription, as `type actor/id`, in their order.
        complaints: what it wrote to the console as an error; React does that with its warnings.
    """

    def __init__(self, page: Page) -> None:
        self.subscriptions: list[str] = []
        self.complaints: list[str] = []
        self._moved = asyncio.Event()
        page.on("websocket", lambda socket: socket.on("framesent", self._sent))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def _sent(self, raw: str | bytes) -> None:
        frame: dict[str, Any] = json.loads(raw)
        if frame["type"].endswith("sub"):
            self.subscriptions.append(f"{frame['type']} {frame['actor']}/{frame['actorId']}")
            self._moved.set()

    async def wait_for(self, *subscriptions: str) -> None:
        """Until exactly these frames have been sent, in any order, since the last call."""
        async with asyncio.timeout(SENT_LIMIT_S):
            while len(self.subscriptions) < len(subscriptions):
                self._moved.clear()
                await self._moved.wait()
        assert Counter(self.subscriptions) == Counter(subscriptions)
        self.subscriptions.clear()


def render_chat(bundles: Bundles, name: str) -> None:
    """Puts a page beside the chat's own that holds what a server rendered, and takes it over as `root`."""
    sources = bundles.package / "rendered"
    sources.mkdir(exist_ok=True)
    for file, source in {"whole": WHOLE, "server": ON_A_SERVER, "page": IN_THE_PAGE}.items():
        (sources / f"{file}.tsx").write_text(source)
    bundles.bundle("rendered/server.tsx", "rendered/server.cjs", "--platform=node")
    bundles.bundle("rendered/page.tsx", "../chat/react/rendered.js", "--format=esm", "--target=es2022")
    rendered = bundles.run("node", "rendered/server.cjs")
    assert "Nobody has written here yet" not in rendered
    assert '<span>general</span></h1><span class="badge" role="status" data-status="connecting">' in rendered
    html = (bundles.examples / "chat" / "react" / "index.html").read_text().replace("page.js", "rendered.js")
    assert EMPTY_ROOT in html
    filled = html.replace(EMPTY_ROOT, f'<div id="root">{rendered}</div>')
    (bundles.examples / "chat" / "react" / name).write_text(filled)


async def post(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def expect_online(page: Page, *names: str) -> None:
    await expect(page.locator("#people .name")).to_have_text(list(names))


async def test_two_pages_of_a_room_see_each_other(start: Start, browse: Browse, bundles: Bundles) -> None:
    site = await start("serve", str(bundles.examples / "chat"))
    async with browse() as tabs:
        alice, bob = await tabs.open(f"{site.url}react/", "Alice"), await tabs.open(f"{site.url}react/", "Bob", **PHONE)
        watched = Watched(alice)
        await alice.reload()
        await expect_online(alice, "Alice", "Bob")
        await expect_online(bob, "Bob", "Alice")
        await expect(alice.locator(".empty")).to_be_visible()

        await post(alice, "Hello <b>Bob</b>")
        await expect(bob.locator(".message .text")).to_have_text(["Hello <b>Bob</b>"])
        await expect(bob.locator(".message .author")).to_have_text("Alice")
        await expect(bob.locator(".message time")).to_have_text(re.compile(r"^\d\d:\d\d$"))
        typing = expect(alice.locator(".typing")).to_contain_text("Bob is typing")  # it is shown for seconds only
        await asyncio.gather(typing, bob.locator("#text").press_sequentially("Hello Al", delay=20))
        await post(bob, "Hello Alice")
        await expect(alice.locator(".message .text")).to_have_text(["Hello <b>Bob</b>", "Hello Alice"])
        await expect(alice.locator(".typing")).to_be_empty()

        await alice.fill('[aria-label="Name of a new room"]', "Book Club")
        await alice.press('[aria-label="Name of a new room"]', "Enter")
        await expect(alice.locator("h1")).to_have_text("#book-club")
        await expect_online(bob, "Bob")
        await post(alice, "anybody here?")
        await bob.get_by_role("button", name="Rooms, with new messages").tap()
        unread = bob.locator(".rooms a.unread")
        await expect(unread).to_contain_text("book-club")
        await unread.tap()
        await expect(bob.locator(".message .text")).to_have_text(["anybody here?"])
        await expect(unread).to_have_count(0)
        await expect(bob.locator("#sidebar")).to_be_hidden()
        await bob.get_by_role("button", name="Who is online: 2").tap()
        await expect(bob.locator("#people")).to_be_visible()
        await bob.keyboard.press("Escape")
        await expect(bob.locator("#people")).to_be_hidden()
        assert await bob.evaluate("document.documentElement.scrollWidth <= innerWidth")

        await alice.press(".skip", "Enter")
        await expect(alice.locator("#text")).to_be_focused()
        await expect(alice.locator("h1")).to_have_text("#book-club")
        await alice.evaluate("document.getElementById('text').removeAttribute('maxlength')")
        await post(alice, "x" * 2_001)
        await expect(alice.locator(".toast")).to_have_text("The server did not accept this.")
        await expect(alice.locator("#text")).to_have_value("x" * 2_001)
        assert watched.complaints == []


async def test_a_page_comes_back_by_itself_when_its_server_was_killed(
    start: Start, browse: Browse, bundles: Bundles
) -> None:
    site = await start("serve", str(bundles.examples / "chat"))
    async with browse() as tabs:
        alice = await tabs.open(f"{site.url}react/", "Alice")
        await post(alice, "before")
        await expect(alice.locator(".message .text")).to_have_text(["before"])
        reconnecting = expect(alice.locator(".badge")).to_have_text("Reconnecting…")
        await asyncio.gather(reconnecting, site.kill_and_restart())
        await expect(alice.locator(".empty")).to_be_visible(timeout=AFTER_RESTART_MS)
        await expect(alice.locator(".badge")).to_have_text("Live")
        await expect_online(alice, "Alice")
        await post(alice, "after")
        await expect(alice.locator(".message .author")).to_have_text("Alice")


async def test_strict_mode_leaves_one_subscription_and_unmounting_ends_it(
    start: Start, browse: Browse, bundles: Bundles
) -> None:
    """Also: what a server rendered is taken over without a warning."""
    render_chat(bundles, "rendered.html")
    site = await start("serve", str(bundles.examples / "chat"))
    async with browse() as tabs:
        alice = await tabs.open(f"{site.url}react/rendered.html", "Alice")
        watched = Watched(alice)
        await alice.reload()
        here = [f"{kind}:sub {place}" for kind in ("state", "event") for place in ("lobby/main", "chat/general")]
        await watched.wait_for(*here)
        await expect_online(alice, "Alice")

        await alice.locator(".rooms").get_by_text("ideas").click()
        moves = [f"{kind}:{move}" for kind in ("state", "event") for move in ("sub chat/ideas", "unsub chat/general")]
        await watched.wait_for(*moves)
        await expect_online(alice, "Alice")

        await alice.evaluate("root.unmount()")
        gone = [f"{kind}:unsub {place}" for kind in ("state", "event") for place in ("lobby/main", "chat/ideas")]
        await watched.wait_for(*gone)
        assert watched.complaints == []


async def test_a_stroke_is_seen_while_it_is_drawn_and_undone_by_its_owner(
    start: Start, browse: Browse, bundles: Bundles
) -> None:
    site = await start("serve", str(bundles.examples / "draw"))
    async with browse() as tabs:
        alice, bob = await tabs.open(f"{site.url}react/"), await tabs.open(f"{site.url}react/")
        watched = Watched(bob)
        await bob.reload()
        await expect(bob.locator(".empty")).to_be_visible()
        await expect(bob.locator(".faces")).to_have_attribute("aria-label", "Here now: Heron (you), Otter")
        await watched.wait_for("state:sub board/main", "event:sub board/main")

        await alice.mouse.move(300, 300)
        await alice.mouse.down()
        await alice.mouse.move(500, 420, steps=10)
        await bob.wait_for_function(f"({PAINTED})() > 200")  # the pen is still down
        await expect(bob.locator(".cursor span")).to_have_text("Otter")
        await alice.mouse.up()
        await alice.wait_for_function(f"({PAINTED})('mine') === 0")  # the server has all of it
        before = await alice.evaluate(PAINTED)
        await bob.wait_for_function(f"({PAINTED})() > {before * 0.95}")

        await bob.get_by_role("radio", name="Red").check()
        await draw(bob, (0.6, 0.2), (0.9, 0.2))
        await alice.wait_for_function(f"({PAINTED})() > {before * 1.2}")
        await bob.get_by_role("button", name="Undo my last stroke").click()
        await alice.wait_for_function(f"({PAINTED})() < {before * 1.1}")
        await bob.get_by_role("button", name="Undo my last stroke").click()
        await expect(bob.locator(".toast")).to_have_text("You have no stroke on this board.")
        await alice.keyboard.press("Control+z")
        await bob.wait_for_function(f"({PAINTED})() === 0")
        assert watched.complaints == []


def test_what_the_app_does_not_offer_does_not_compile(bundles: Bundles, tmp_path: Path) -> None:
    shutil.copytree(bundles.examples, tmp_path / "examples", symlinks=True)
    wrong = Bundles(tmp_path / "examples")
    for name, (right, mistake) in MISTAKES.items():
        file = wrong.package / name
        text = file.read_text()
        assert right in text, name
        file.write_text(text.replace(right, mistake, 1))
    found = wrong.type_errors()
    assert [name for name in MISTAKES if f"{name}(" not in found] == []
