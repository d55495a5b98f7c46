"""How the dashboard behaves: keyboard, phone, colours, lost connections, failures, and text that wants to be markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.browser.dashboard.conftest import Stage, Visitors

    OpenStage = Callable[..., AbstractAsyncContextManager[Stage]]
    Visit = Callable[[], AbstractAsyncContextManager[Visitors]]
    SignIn = Callable[[Page], Awaitable[None]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}

ADDRESSES = [
    "/",
    "/projects/map-team",
    "/projects/map-team/deployments",
    "/projects/map-team/deployments/{deployment}",
    "/projects/map-team/logs",
    "/projects/map-team/access",
    "/projects/map-team/environment",
    "/projects/map-team/tokens",
    "/projects/map-team/settings",
    "/settings",
    "/settings/workspaces/{workspace}",
    "/device",
    "/projects/no-such-project",
]


async def focused(page: Page) -> str:
    """Text or label of what has the focus."""
    text: str = await page.evaluate(
        "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
    )
    return text


async def tab_to(page: Page, text: str, *, limit: int = 60) -> None:
    """Presses Tab until something with this text has the focus; each stop on the way has a visible mark."""
    for _ in range(limit):
        await page.keyboard.press("Tab")
        marked = await page.evaluate(
            """() => {
                const style = getComputedStyle(document.activeElement);
                const after = getComputedStyle(document.activeElement, "::after");
                const is_marked = (one) => one.outlineStyle !== "none" && parseFloat(one.outlineWidth) > 0;
                return document.activeElement === document.body || is_marked(style) || is_marked(after)
                    || style.boxShadow !== "none";
            }"""
        )
        assert marked, f"no focus ring on {await focused(page)!r}"
        if text in await focused(page):
            return
    pytest.fail(f"Tab does not lead to {text!r}")


async def test_everything_is_done_with_the_keyboard_alone(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        for message in ("One", "Two"):
            on.played.advance(on.played.add_deployment(project["id"], message), "active")
        page = await visitors.open(on.url)
        await expect(page.get_by_label("Email")).to_be_focused()
        await sign_in(page)

        await page.reload()
        await page.locator(".project-card").wait_for()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await tab_to(page, "New project")
        await tab_to(page, "Map team")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Map team")

        await tab_to(page, "Deployments")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/deployments$"))
        # The tab that was pressed keeps the focus.
        await expect(page.get_by_role("link", name="Deployments", exact=True)).to_be_focused()
        await tab_to(page, "Roll back to v1")
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        stops = []
        for _ in range(8):
            await page.keyboard.press("Tab")
            stops.append(
                await page.evaluate("document.activeElement.closest('dialog') ? 'in' : document.activeElement.tagName")
            )
        assert set(stops) <= {"in", "BODY"}  # BODY is the browser's own bar
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(page.get_by_role("button", name="Roll back to v1")).to_be_focused()
        await page.keyboard.press("Enter")
        await tab_to(page, "Cancel")
        await tab_to(page, "Roll back")
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-deployment='1'] .pill")).to_have_text("Active")


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (WIDE, "light"), (WIDE, "dark")])
async def test_every_page_fits_its_screen_and_can_be_read(
    stage: OpenStage, visit: Visit, sign_in: SignIn, size: dict[str, Any], scheme: str
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        long = "x" * 300
        deployment = on.played.add_deployment(project["id"], f"A message of one very long word {long}")
        on.played.advance(deployment, "failed", detail=f"{long}\n{long}")
        on.played.log(deployment, long)
        page = await visitors.open(on.url, **size, color_scheme=scheme)
        await sign_in(page)
        for address in ADDRESSES:
            await page.goto(on.url + address.format(deployment=deployment["id"], workspace=on.played.workspace_id))
            await page.locator("h1").wait_for()
            await expect(page.locator(".skeleton")).to_have_count(0)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
            assert await page.evaluate(UNREADABLE) == [], address
            assert await page.evaluate(NAMELESS) == [], address


UNREADABLE = """() => {
    // Contrast of every visible text against what is behind it, by the formula of WCAG 2.
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b]
        .map((value) => value / 255)
        .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const color = rgba(getComputedStyle(one).backgroundColor);
            if (color[3] > 250) return color;
        }
        return rgba("Canvas");
    };
    const bad = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
        if (element.closest(".skip, .sr-only, noscript, option")) continue;
        const [one, other] = [light(rgba(getComputedStyle(element).color)), light(behind(element))];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) bad.push(`${contrast.toFixed(2)} ${walker.currentNode.data.trim().slice(0, 40)}`);
    }
    return bad;
}"""

NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, textarea")]
    .filter((element) => element.checkVisibility())
    .filter((element) => !(element.ariaLabel || element.textContent.trim() || element.labels?.length))
    .map((element) => element.outerHTML.slice(0, 120))"""


async def test_on_a_phone_the_navigation_is_a_drawer(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        on.played.add_project("Map team")
        page = await visitors.open(on.url, **PHONE)
        await sign_in(page)
        sidebar = page.locator("#sidebar")
        await expect(sidebar).to_be_hidden()
        await page.get_by_role("button", name="Navigation").tap()
        await expect(sidebar).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(sidebar).to_be_hidden()
        await page.get_by_role("button", name="Navigation").tap()
        await sidebar.get_by_role("link", name="Map team").tap()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Map team")
        await expect(sidebar).to_be_hidden()
        await page.goto(on.url + "/projects/map-team/settings")
        await expect(page.locator(".tabs [aria-current]")).to_be_in_viewport()


async def test_colours_follow_the_system_until_somebody_chooses(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    dark, light = "rgb(21, 23, 25)", "rgb(246, 245, 242)"
    async with stage() as on, visit() as visitors:
        page = await visitors.open(on.url, color_scheme="dark")
        body = page.locator("body")
        await expect(body).to_have_css("background-color", dark)
        await page.get_by_role("button", name="Change to light").click()
        await expect(body).to_have_css("background-color", light)
        await sign_in(page)
        await page.reload()
        await expect(body).to_have_css("background-color", light)
        await page.get_by_role("button", name="Change to dark").click()
        await expect(body).to_have_css("background-color", dark)
        await page.get_by_role("button", name="Change to as the system").click()
        await page.emulate_media(color_scheme="light")
        await expect(body).to_have_css("background-color", light)


async def test_after_a_lost_connection_the_page_reads_what_it_missed(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("ERR_")
        project = on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team")
        await sign_in(page)
        badge = page.locator(".sidebar .badge")
        await page.route("**/api/events", lambda route: route.abort())
        on.played.cut_streams()
        await expect(badge).to_have_text("Reconnecting…")
        on.played.advance(on.played.add_deployment(project["id"], "While away"), "active")
        await page.unroute("**/api/events")
        await expect(badge).to_have_text("Live")
        await expect(page.locator(".serving")).to_contain_text("While away")


async def test_a_hidden_page_holds_no_stream(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    """Browsers allow six connections to one server, over all tabs."""
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        on.played.advance(on.played.add_deployment(project["id"], "One"), "active")
        page = await visitors.open(on.url + "/projects/map-team/logs")
        await sign_in(page)
        await expect(page.locator(".log-state")).to_have_text("Following")
        await on.wait_for_listeners(2)
        await page.evaluate(hide, True)
        await on.wait_for_listeners(0)
        on.played.advance(on.played.add_deployment(project["id"], "Two"), "starting")
        await page.evaluate(hide, False)
        await on.wait_for_listeners(2)
        await expect(page.locator(".title-row .pill")).to_have_text("Deploying")


async def test_a_failure_shows_its_code_and_request_and_can_be_tried_again(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("500")
        project = on.played.add_project("Map team")
        path = f"/api/projects/{project['id']}/env"
        on.played.failing[path] = (500, {"error": "internal error", "code": "internal", "requestId": "r_0123456789"})
        page = await visitors.open(on.url + "/projects/map-team/environment")
        await sign_in(page)
        failure = page.get_by_role("alert")
        await expect(failure).to_contain_text("internal error")
        await expect(failure).to_contain_text("Code internal · Request r_0123456789")
        on.played.failing.clear()
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("Nothing is set")).to_be_visible()


async def test_what_people_write_stays_text_everywhere(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project(HOSTILE, "map-team")
        deployment = on.played.add_deployment(project["id"], HOSTILE, author=HOSTILE)
        on.played.log(deployment, HOSTILE)
        on.played.advance(deployment, "failed", detail=f"{HOSTILE}\n{HOSTILE}")
        on.played.env[project["id"]]["NAME"] = {"name": HOSTILE, "updatedAt": 1, "updatedBy": HOSTILE}
        page = await visitors.open(on.url)
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        await sign_in(page)
        for address in ADDRESSES[:-2]:
            await page.goto(on.url + address.format(deployment=deployment["id"], workspace=on.played.workspace_id))
            await page.locator("h1").wait_for()
            await expect(page.locator(".skeleton")).to_have_count(0)
            assert await page.locator("img, body script").count() == 0, address
        await page.goto(on.url + "/projects/map-team/deployments")
        await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        await expect(page.locator("[data-deployment='1'] .message")).to_have_text(HOSTILE)


async def test_the_policy_stops_what_would_turn_text_into_script(stage: OpenStage, visit: Visit) -> None:
    async with stage() as on, visit() as visitors:
        page = await visitors.open(on.url)
        blocked = await page.evaluate(
            """() => {
                try {
                    document.createElement("div").innerHTML = "<b>markup</b>";
                    return "markup came through";
                } catch (error) {
                    return error.name;
                }
            }"""
        )
        assert blocked == "TypeError"
        with pytest.raises(PlaywrightError, match="TrustedScript"):
            await page.evaluate(
                """() => {
                    const button = document.createElement("button");
                    button.setAttribute("onclick", "globalThis.ran = true");
                }"""
            )
        async with page.expect_console_message(
            lambda said: "Content Security Policy" in said.text and "elsewhere.example" in said.text
        ):
            await page.evaluate(
                """() => {
                    const image = document.createElement("img");
                    image.src = "https://elsewhere.example/pixel";
                    document.body.append(image);
                }"""
            )
        visitors.expect("Content Security Policy")
        visitors.expect("TrustedHTML")
        visitors.expect("Trusted")
