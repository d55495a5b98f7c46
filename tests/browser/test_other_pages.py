"""The counter's and the drawing board's pages in real tabs."""

from __future__ import annotations

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

PAINTED = """(layer) => {
  const canvas = document.getElementById(layer ?? "ink");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let at = 3; at < pixels.length; at += 4) painted += pixels[at] > 0;
  return painted;
}"""


async def draw(page: Page, *points: tuple[float, float]) -> None:
    """A stroke through points that are given as parts of the board's width and height."""
    box = await page.locator("#board").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    await page.mouse.move(*places[0])
    await page.mouse.down()
    for place in places[1:]:
        await page.mouse.move(*place, steps=8)
    await page.mouse.up()


@pytest.mark.parametrize("command", ["dev", "serve"])
async def test_two_tabs_move_the_same_number(start: Start, browse: Browse, command: str) -> None:
    site = await start(command, "counter")
    async with browse() as tabs:
        alice, bob = await tabs.open(site.url), await tabs.open(site.url)
        await expect(bob.locator("#watching")).to_have_text("2 people are watching")
        await alice.click("#more")
        await bob.click("#more")
        await bob.click("#more")
        await alice.click("#less")
        for page in (alice, bob):
            await expect(page.locator("#count")).to_have_text("2")
        await bob.click("#reset")
        await expect(alice.locator("#count")).to_have_text("0")
        await bob.close()
        await expect(alice.locator("#watching")).to_have_text("Only you are watching")


@pytest.mark.parametrize("command", ["dev", "serve"])
async def test_a_stroke_is_seen_while_it_is_drawn_and_undone_by_its_owner(
    start: Start, browse: Browse, command: str
) -> None:
    site = await start(command, "draw")
    async with browse() as tabs:
        alice = await tabs.open(site.url)
        await expect(alice.locator("#faces")).to_have_attribute("aria-label", "Here now: Otter (you)")
        bob = await tabs.open(site.url)
        await expect(bob.locator("#empty")).to_be_visible()
        assert await bob.evaluate(PAINTED) == 0

        await alice.mouse.move(300, 300)
        await alice.mouse.down()
        await alice.mouse.move(500, 420, steps=10)
        await bob.wait_for_function(f"({PAINTED})() > 200")  # the pen is still down
        await expect(bob.locator(".cursor span")).to_have_text("Otter")
        await alice.mouse.up()

        # The layer under her pen is emptied once the server has the whole stroke; then bob gets the rest of it.
        await alice.wait_for_function(f"({PAINTED})('mine') === 0")
        before = await alice.evaluate(PAINTED)
        await bob.wait_for_function(f"({PAINTED})() > {before * 0.95}")
        await draw(bob, (0.6, 0.2), (0.9, 0.2))
        await alice.wait_for_function(f"({PAINTED})() > {before * 1.2}")

        await bob.click("#undo")
        await alice.wait_for_function(f"({PAINTED})() < {before * 1.1}")
        await bob.click("#undo")
        await expect(bob.locator(".toast")).to_have_text("You have no stroke on this board.")
        await alice.keyboard.press("Control+z")
        await bob.wait_for_function(f"({PAINTED})() === 0")


async def test_clearing_empties_the_board_for_everybody(start: Start, browse: Browse) -> None:
    site = await start("serve", "draw")
    async with browse() as tabs:
        alice, bob = await tabs.open(site.url), await tabs.open(site.url)
        await draw(alice, (0.1, 0.1), (0.9, 0.9), (0.1, 0.9))
        await bob.wait_for_function(f"({PAINTED})() > 200")
        await bob.click("#clear")
        for page in (alice, bob):
            await page.wait_for_function(f"({PAINTED})() === 0")
            await expect(page.locator("#empty")).to_be_visible()


async def test_a_newcomer_sees_what_was_drawn_on_its_board_only(start: Start, browse: Browse) -> None:
    site = await start("serve", "draw")
    async with browse() as tabs:
        alice = await tabs.open(f"{site.url}#kitchen")
        await draw(alice, (0.2, 0.5), (0.8, 0.5))
        await alice.wait_for_function(f"({PAINTED})() > 200")
        bob = await tabs.open(f"{site.url}#kitchen")
        await bob.wait_for_function(f"({PAINTED})() > 200")
        carol = await tabs.open(site.url)
        await expect(carol.locator("#empty")).to_be_visible()
        assert await carol.evaluate(PAINTED) == 0
