"""Projects in the dashboard: what happens is seen as it happens, and every action reaches the server."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, Route, expect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.browser.dashboard.conftest import Stage, Visitors

    OpenStage = Callable[..., AbstractAsyncContextManager[Stage]]
    Visit = Callable[[], AbstractAsyncContextManager[Visitors]]
    SignIn = Callable[[Page], Awaitable[None]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

TRACEBACK = """Traceback (most recent call last):
  File "/app/bundle/chat.py", line 8, in <module>
    import numpyy
ModuleNotFoundError: No module named 'numpyy'
"""


async def test_a_newcomer_reads_the_next_command_and_creates_a_project(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        page = await visitors.open(on.url)
        await sign_in(page)
        commands = page.locator(".command code")
        await expect(commands.filter(has_text="zocket init")).to_be_visible()
        await expect(commands.filter(has_text="zocket deploy")).to_be_visible()

        await page.get_by_role("button", name="create a project here").click()
        await page.get_by_label("Name", exact=True).fill("Map team")
        await page.keyboard.press("Enter")
        await expect(page.locator("#secret")).to_have_text("zkd_first-token-of-this-project")
        await page.get_by_role("button", name="I have it").click()
        await expect(page.locator("#secret")).to_have_count(0)
        await expect(page).to_have_url(re.compile(r"/projects/map-team$"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("Map team")
        await expect(page.locator(".title-row .pill")).to_have_text("Nothing deployed")
        await expect(page.locator("#project-url")).to_have_text("wss://map-team.apps.example")
        await expect(commands.filter(has_text="zocket link map-team")).to_be_visible()
        assert "zkd_first" not in await page.content()


async def test_a_deployment_is_watched_until_it_is_active_without_a_reload(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team")
        await sign_in(page)
        await expect(page.get_by_text("Nothing is deployed here yet")).to_be_visible()
        await page.evaluate("globalThis.sameDocument = true")

        deployment = on.played.add_deployment(project["id"], "First version")
        notice = page.locator(".notice")
        await expect(notice).to_contain_text("Version 1")
        await expect(page.locator(".title-row .pill")).to_have_text("Deploying")
        for status, text in (("starting", "Starting"), ("smoke", "Checking")):
            on.played.advance(deployment, status)
            await expect(notice.locator("[data-step=now]")).to_have_text(text)
        on.played.advance(deployment, "active")
        on.played.set_status(
            project["id"],
            "running",
            {"sessions": 1_284, "instances": 12, "callsPerS": 830.4, "errorsPerS": 0.4},
            pid=4_711,
            restarts=2,
            lastExit={"code": -9, "at": deployment["createdAt"], "message": "ended by signal 9"},
        )
        await expect(page.locator(".title-row .pill")).to_have_text("Active")
        await expect(page.locator(".serving")).to_contain_text("First version")
        await expect(page.locator("[data-counter=sessions]")).to_have_text("1,284")
        await expect(page.locator("[data-counter=callsPerS]")).to_have_text("830")
        await expect(page.locator("[data-counter=errorsPerS]")).to_have_text("0.4")
        facts = page.locator(".card", has=page.get_by_role("heading", name="Runtime")).locator(".facts")
        for text in ("4711", "2", "ended by signal 9"):
            await expect(facts).to_contain_text(text)
        await expect(page.locator(".navigation .sub a")).to_contain_text("Active")
        assert await page.evaluate("globalThis.sameDocument") is True


async def test_r17_a_failed_deployment_shows_its_reason_and_what_serves_on(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    """R17: every line of the runtime's message can be read, in the overview, the list and the deployment's own page."""
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        on.played.advance(on.played.add_deployment(project["id"], "Good"), "active")
        page = await visitors.open(on.url + "/projects/map-team")
        await sign_in(page)
        await expect(page.locator(".serving")).to_contain_text("Good")
        broken = on.played.add_deployment(project["id"], "Broken")
        on.played.advance(broken, "failed", detail=TRACEBACK)
        notice = page.locator(".notice.bad")
        await expect(notice).to_contain_text("Version 2 failed. Version 1 serves on, untouched.")
        await expect(notice.locator("summary")).to_have_text("ModuleNotFoundError: No module named 'numpyy'")
        await expect(notice.locator("pre")).to_have_text(TRACEBACK.rstrip())
        await expect(notice.locator("pre")).to_be_visible()

        await page.get_by_role("link", name="Deployments", exact=True).click()
        row = page.locator("[data-deployment='2']")
        await expect(row.locator(".pill")).to_have_text("Failed")
        await row.locator("summary").click()
        await expect(row.locator("pre")).to_be_visible()
        on.played.tell("deployment", broken)  # a redraw does not close it
        on.played.add_deployment(project["id"], "Next")
        await expect(page.locator("[data-deployment='3']")).to_be_visible()
        await expect(row.locator("pre")).to_be_visible()

        await row.get_by_role("link", name="Broken").click()
        await expect(page.locator(".failed-why pre")).to_have_text(TRACEBACK.rstrip())
        await expect(page.locator(".timeline strong")).to_have_text(["Stored", "Failed"])


async def test_rolling_back_asks_first_and_shows_what_the_server_says(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        for message in ("One", "Two", "Three"):
            on.played.advance(on.played.add_deployment(project["id"], message), "active")
        page = await visitors.open(on.url + "/projects/map-team/deployments")
        await sign_in(page)
        await page.get_by_role("button", name="Roll back to version 1").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("“One” by priya@example.com serves Map team again.")
        await page.keyboard.press("Escape")
        assert not any(path.endswith("/rollback") for _, path, _ in on.played.requests)

        await page.get_by_role("button", name="Roll back to v2").click()
        await dialog.get_by_role("button", name="Roll back").click()
        await expect(page.locator("[data-deployment='2'] .pill")).to_have_text("Active")
        await expect(page.locator("[data-deployment='3'] .pill")).to_have_text("Rolled back")
        sent = [body for _, path, body in on.played.requests if path.endswith("/rollback")]
        assert sent == [{"deploymentId": on.played.deployments[project["id"]][1]["id"]}]


async def test_many_deployments_come_page_by_page(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        for number in range(70):
            on.played.advance(on.played.add_deployment(project["id"], f"Version {number + 1}"), "active")
        page = await visitors.open(on.url + "/projects/map-team/deployments")
        await sign_in(page)
        rows = page.locator("[data-deployment]")
        await expect(rows).to_have_count(30)
        await page.get_by_role("button", name="Show earlier ones").click()
        await expect(rows).to_have_count(60)
        await page.get_by_role("button", name="Show earlier ones").click()
        await expect(rows).to_have_count(70)
        await expect(page.get_by_role("button", name="Show earlier ones")).to_have_count(0)


async def test_the_log_follows_pauses_and_is_filtered(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        deployment = on.played.add_deployment(project["id"], "One")
        on.played.advance(deployment, "active")
        for number in range(300):
            on.played.log(deployment, f"line {number}", "stderr" if number % 100 == 0 else "stdout")
        page = await visitors.open(on.url + "/projects/map-team/logs")
        await sign_in(page)
        log = page.get_by_role("log")
        lines = log.locator(".log-line > span")
        await expect(lines).to_have_count(300)
        await expect(lines.last).to_be_in_viewport()
        on.played.log(deployment, "<script>alert(1)</script>")
        await expect(lines.last).to_have_text("<script>alert(1)</script>")

        await page.get_by_role("button", name="Pause").click()
        on.played.log(deployment, "while paused")
        await expect(page.locator(".log-state")).to_have_text("Paused, 1 new")
        await expect(lines).to_have_count(301)
        await page.get_by_role("button", name="Resume").click()
        await expect(lines.last).to_have_text("while paused")

        await page.get_by_label("Stream").select_option("stderr")
        await expect(lines).to_have_text(["line 0", "line 100", "line 200"])
        await page.get_by_label("Show only lines that contain").fill("LINE 1")
        await expect(lines).to_have_text(["line 100"])
        await page.get_by_label("Show only lines that contain").fill("nothing like it")
        await expect(log).to_contain_text("No line contains this.")

        await page.get_by_label("Show only lines that contain").fill("")
        await page.get_by_label("Stream").select_option("")
        await log.evaluate("element => element.scrollTop = 0")
        on.played.log(deployment, "further down")
        newest = page.get_by_role("button", name="Newest")
        await expect(newest).to_be_visible()
        await newest.click()
        await expect(lines.last).to_be_in_viewport()
        seen = asyncio.Event()

        async def wait_until_seen(route: Route) -> None:
            await seen.wait()
            await route.continue_()

        await page.route("**/logs?*", wait_until_seen)
        on.played.cut_streams()  # the tail comes again, not twice
        await expect(page.locator(".log-state")).to_have_text("Reconnecting…")
        seen.set()
        await expect(page.locator(".log-state")).to_have_text("Following")
        await expect(lines).to_have_count(303)


async def test_a_structured_line_is_shown_for_people_and_any_other_as_it_was_written(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        deployment = on.played.add_deployment(project["id"], "One")
        on.played.advance(deployment, "active")
        structured = {
            "event": "handler failed",
            "level": "error",
            "timestamp": "2026-11-24T08:00:00Z",
            "project": "map-team",
            "actor": "chat",
            "size": 3,
            "said": "<b> no",
            "exception": "Traceback\n  ValueError",
        }
        on.played.log(deployment, json.dumps(structured), "stderr")
        for line in ('{"event": 7, "level": "x"}', '{"half', "  indented\x1b[31m"):
            on.played.log(deployment, line)
        page = await visitors.open(on.url + "/projects/map-team/logs")
        await sign_in(page)
        lines = page.get_by_role("log").locator(".log-line")
        await expect(lines).to_have_count(4)
        await expect(lines.first).to_have_attribute("data-level", "error")
        said = await lines.locator("> span").all_text_contents()
        assert said[0] == 'handler failed actor=chat size=3 said="<b> no"\nTraceback\n  ValueError'
        assert said[1:] == ['{"event": 7, "level": "x"}', '{"half', "  indented\x1b[31m"]


async def test_a_token_is_shown_once_and_revoked(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team/tokens")
        await sign_in(page)
        await page.get_by_role("button", name="New token").click()
        await page.get_by_label("Name", exact=True).fill("GitHub Actions")
        await page.keyboard.press("Enter")
        await expect(page.locator("#secret")).to_have_text("zkd_4fK2nothing-but-a-test")
        await page.get_by_role("dialog").click(position={"x": 2, "y": 2})
        await expect(page.locator("#secret")).to_be_visible()
        await page.get_by_role("button", name="I have it").click()
        await expect(page.locator("#secret")).to_have_count(0)
        row = page.locator(".row", has_text="GitHub Actions")
        await expect(row).to_contain_text("zkd_4fK2…")
        assert "nothing-but-a-test" not in await page.content()
        await row.get_by_role("button", name="Revoke GitHub Actions").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(row.locator(".pill")).to_have_text("Revoked")


async def test_a_value_of_the_environment_goes_in_and_never_comes_back(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team/environment")
        await sign_in(page)
        await expect(page.get_by_text("Nothing is set")).to_be_visible()
        await page.get_by_label("Name", exact=True).fill("DATABASE_URL")
        await page.get_by_label("Value").fill(" postgres://secret\nsecond line ")
        await page.get_by_role("button", name="Set", exact=True).click()
        row = page.locator(".row", has_text="DATABASE_URL")
        await expect(row).to_contain_text("priya@example.com")
        sent = [body for method, path, body in on.played.requests if method == "PUT"]
        assert sent == [{"value": " postgres://secret\nsecond line "}]
        await expect(page.get_by_label("Value")).to_have_value("")
        assert "postgres" not in await page.content()
        await row.get_by_role("button", name="Unset DATABASE_URL").click()
        await page.get_by_role("dialog").get_by_role("button", name="Unset").click()
        await expect(row).to_have_count(0)
        assert on.played.env[project["id"]] == {}


async def test_access_is_set_the_secret_is_only_written_and_a_token_is_tried(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team/access")
        await sign_in(page)
        await page.get_by_text("Shared secret").click()
        secret = "0123456789abcdef0123456789abcdef"
        await page.get_by_label("Secret", exact=False).last.fill(secret)
        await page.get_by_label("Audience").fill("map")
        await page.get_by_label("Pages that may connect").fill("https://a.example\n\nhttps://b.example")
        await page.get_by_label("Messages a second").fill("50")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".toast")).to_have_text("Saved.")
        sent = [body for method, path, body in on.played.requests if method == "PUT"]
        assert sent == [
            {
                "mode": "jwt-secret",
                "secret": secret,
                "issuer": None,
                "audience": "map",
                "origins": ["https://a.example", "https://b.example"],
                "limits": {"ratePerS": 50, "burst": None},
            }
        ]
        await expect(page.get_by_label("New secret")).to_have_value("")
        assert secret not in await page.content()

        await page.get_by_label("Token").last.fill("good")
        await page.get_by_role("button", name="Try").click()
        verdict = page.locator(".verdict")
        await expect(verdict).to_contain_text("Accepted")
        await expect(verdict).to_contain_text('"role": "editor"')
        await page.get_by_label("Token").last.fill("old")
        await page.get_by_role("button", name="Try").click()
        await expect(verdict).to_contain_text("Refused")
        await expect(verdict).to_contain_text("the token has expired")


async def test_a_project_is_renamed_and_deleted_by_typing_its_slug(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team/settings")
        await sign_in(page)
        await page.get_by_label("Name", exact=True).fill("Atlas")
        await page.get_by_label("Slug").fill("atlas")
        await page.get_by_role("button", name="Save").first.click()
        await expect(page).to_have_url(re.compile(r"/projects/atlas/settings$"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("Atlas")
        await page.get_by_role("button", name="Delete project").click()
        delete = page.get_by_role("button", name="Delete for ever")
        await page.get_by_label("Type atlas to confirm").fill("atlas-")
        await delete.click()
        assert on.played.projects != {}
        await page.get_by_label("Type atlas to confirm").fill("atlas")
        await delete.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Projects")
        await expect(page.get_by_role("heading", name="Your first project")).to_be_visible()
        assert on.played.projects == {}


async def test_a_viewer_sees_everything_and_is_offered_no_action(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        for message in ("One", "Two"):
            on.played.advance(on.played.add_deployment(project["id"], message), "active")
        await on.set_role("viewer")
        page = await visitors.open(on.url + "/projects/map-team/deployments")
        await sign_in(page)
        await expect(page.locator("[data-deployment='1'] .pill")).to_have_text("Superseded")
        await expect(page.get_by_role("button", name=re.compile("Roll back"))).to_have_count(0)
        await expect(page.locator(".tabs a")).to_have_text(["Overview", "Deployments", "Logs", "Access", "Environment"])
        await page.goto(on.url + "/projects/map-team/access")
        await expect(page.locator(".facts")).to_contain_text("No token is asked for")
        await expect(page.locator("main form")).to_have_count(0)
        await page.goto(on.url + "/projects/map-team/tokens")
        await expect(page.get_by_text("This needs the role developer")).to_be_visible()
        await page.goto(on.url)
        await expect(page.locator(".project-card")).to_have_count(1)
        await expect(page.get_by_role("button", name="New project")).to_have_count(0)
