"""The chat's page in real tabs, on the whole platform and on the standalone server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.browser.conftest import Site, Tabs

    Browse = Callable[[], AbstractAsyncContextManager[Tabs]]
    Start = Callable[[str, str], Awaitable[Site]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

AFTER_RESTART_MS = 45_000


async def post(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def expect_online(page: Page, *names: str) -> None:
    await expect(page.locator("#people-list .name")).to_have_text(list(names))


@pytest.mark.parametrize("command", ["dev", "serve"])
async def test_two_tabs_see_each_others_messages_and_presence(start: Start, browse: Browse, command: str) -> None:
    site = await start(command, "chat")
    async with browse() as tabs:
        alice, bob = await tabs.open(site.url, "Alice"), await tabs.open(site.url, "Bob")
        await expect_online(alice, "Alice", "Bob")  # oneself first
        await expect_online(bob, "Bob", "Alice")
        await expect(alice.locator("#empty")).to_be_visible()

        await post(alice, "Hello Bob <b>&amp;</b>")
        await expect(bob.locator(".message")).to_contain_text("Hello Bob <b>&amp;</b>")
        await expect(alice.locator(".message")).to_contain_text("Hello Bob <b>&amp;</b>")
        await expect(alice.locator(".message .you")).to_be_visible()
        await expect(bob.locator(".message .you")).to_have_count(0)
        await expect(bob.locator(".message .author")).to_have_text("Alice")
        await expect(bob.locator(".message time")).to_have_text(re.compile(r"^\d\d:\d\d$"))

        await post(bob, "Hello Alice")
        await expect(alice.locator(".message .text")).to_have_text(["Hello Bob <b>&amp;</b>", "Hello Alice"])

        await bob.close()
        await expect_online(alice, "Alice")


async def test_killing_the_runtime_leaves_both_pages_working_without_a_reload(start: Start, browse: Browse) -> None:
    """R20, R16: the sockets stay open, the state was in memory, and nobody has to do anything."""
    site = await start("dev", "chat")
    async with browse() as tabs:
        alice, bob = await tabs.open(site.url, "Alice"), await tabs.open(site.url, "Bob")
        for page in (alice, bob):
            await page.evaluate("globalThis.sameDocument = true")
        await post(alice, "before")
        await expect(bob.locator(".message .text")).to_have_text(["before"])

        (runtime,) = await site.processes("runtime")
        os.kill(runtime, signal.SIGKILL)

        await post(alice, "after")
        await expect(bob.locator(".message .text")).to_have_text(["after"], timeout=AFTER_RESTART_MS)
        await expect(alice.locator(".message .text")).to_have_text(["after"])
        await expect_online(alice, "Alice", "Bob")
        await expect_online(bob, "Bob", "Alice")
        await post(bob, "and back")
        await expect(alice.locator(".message .text")).to_have_text(["after", "and back"])
        for page in (alice, bob):
            assert await page.evaluate("globalThis.sameDocument") is True
            assert await page.locator("#status").get_attribute("data-status") == "open"


async def test_a_page_comes_back_by_itself_when_its_server_was_killed(start: Start, browse: Browse) -> None:
    site = await start("serve", "chat")
    async with browse() as tabs:
        alice = await tabs.open(site.url, "Alice")
        await post(alice, "before")
        await expect(alice.locator(".message .text")).to_have_text(["before"])
        await site.kill_and_restart()
        await expect(alice.locator("#empty")).to_be_visible(timeout=AFTER_RESTART_MS)
        await post(alice, "after")
        await expect(alice.locator(".message .text")).to_have_text(["after"])
        await expect(alice.locator(".message .author")).to_have_text("Alice")
        await expect_online(alice, "Alice")


async def test_rooms_typing_and_names(start: Start, browse: Browse) -> None:
    site = await start("serve", "chat")
    async with browse() as tabs:
        alice, bob = await tabs.open(site.url, "Alice"), await tabs.open(site.url, "Bob")

        typing = expect(alice.locator("#typing")).to_contain_text("Bob is typing")  # it is shown for seconds only
        await asyncio.gather(typing, bob.locator("#text").press_sequentially("I am wri", delay=100))
        await bob.fill("#text", "")

        await alice.fill("#new-room-name", "Book Club")
        await alice.press("#new-room-name", "Enter")
        await expect(alice.locator("#title")).to_have_text("book-club")
        await expect_online(alice, "Alice")
        await expect_online(bob, "Bob")
        await expect(bob.locator("#rooms .name")).to_have_text(["general", "ideas", "random", "book-club"])

        await post(alice, "anybody here?")
        unread = bob.locator("#rooms a.unread")
        await expect(unread).to_contain_text("book-club")
        await unread.click()
        await expect(bob.locator(".message .text")).to_have_text(["anybody here?"])
        await expect(unread).to_have_count(0)
        await expect_online(alice, "Alice", "Bob")

        await bob.fill("#my-name", "Robert")
        await bob.press("#my-name", "Enter")
        await expect_online(alice, "Alice", "Robert")

        await bob.press(".skip", "Enter")
        await expect(bob.locator("#text")).to_be_focused()
        await expect(bob.locator("#title")).to_have_text("book-club")
        await bob.press("#text", "Alt+ArrowUp")
        await expect(bob.locator("#title")).to_have_text("random")
        await expect_online(alice, "Alice")


async def test_a_phone_has_rooms_and_people_in_drawers(start: Start, browse: Browse) -> None:
    site = await start("serve", "chat")
    async with browse() as tabs:
        phone = await tabs.open(
            site.url, "Alice", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
        )
        await expect(phone.locator("#sidebar")).to_be_hidden()
        await phone.tap("#open-sidebar")
        await phone.locator("#rooms").get_by_text("ideas").tap()
        await expect(phone.locator("#title")).to_have_text("ideas")
        await expect(phone.locator("#sidebar")).to_be_hidden()
        await phone.tap("#open-people")
        await expect(phone.locator("#people")).to_be_visible()
        await expect_online(phone, "Alice")
        await phone.keyboard.press("Escape")
        await expect(phone.locator("#people")).to_be_hidden()
        assert await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_message_that_the_server_refuses_is_kept_and_explained(start: Start, browse: Browse) -> None:
    site = await start("serve", "chat")
    async with browse() as tabs:
        alice = await tabs.open(site.url, "Alice")
        await alice.evaluate("document.getElementById('text').removeAttribute('maxlength')")
        await post(alice, "x" * 2_001)
        await expect(alice.locator(".toast")).to_have_text("The server did not accept this.")
        await expect(alice.locator("#text")).to_have_value("x" * 2_001)
