"""People in the dashboard: signing in and out, approving command lines, inviting, tokens of one's own."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx
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


async def test_before_there_is_an_account_the_page_says_how_to_make_one_and_goes_on_by_itself(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage(account=False) as on, visit() as visitors:
        page = await visitors.open(on.url)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to Zocket")
        await expect(page.locator(".command code")).to_have_text(re.compile("^zocket control create-admin"))
        await on.make_account()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await sign_in(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Projects")


async def test_a_wrong_password_is_explained_with_a_code_and_a_request_id(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("401")
        page = await visitors.open(on.url)
        await page.get_by_label("Email").fill("priya@example.com")
        await page.get_by_label("Password").fill("not the password")
        await page.get_by_role("button", name="Sign in").click()
        failure = page.get_by_role("alert")
        await expect(failure).to_contain_text("Code")
        await expect(failure).to_contain_text(re.compile(r"Request r_[0-9a-f]{16}"))
        await expect(page.get_by_label("Email")).to_have_value("priya@example.com")
        await sign_in(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Projects")


async def test_signing_in_leads_back_to_the_address_and_signing_out_leaves_nothing(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        project = on.played.add_project("Map team")
        page = await visitors.open(on.url + "/projects/map-team/logs")
        await sign_in(page)
        await expect(page).to_have_url(re.compile(r"/projects/map-team/logs$"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("Map team")

        async def answer_late(route: Route) -> None:
            await asyncio.sleep(1)  # whatever is still read meanwhile is refused
            await route.continue_()

        await page.route("**/api/auth/session", answer_late)
        on.played.tell("project", {"id": project["id"]})  # something is to be read again, soon
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await page.unroute("**/api/auth/session")
        assert await page.get_by_text("Map team").count() == 0
        await page.goto(on.url + "/projects/map-team")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_session_that_ended_elsewhere_leads_to_signing_in(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("401")
        page = await visitors.open(on.url)
        await sign_in(page)
        await on.end_sessions()
        on.played.cut_streams()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_where_an_issuer_is_configured_there_is_its_button_and_no_password(
    stage: OpenStage, visit: Visit
) -> None:
    issuer = {"oidc_issuer": "https://id.example.com", "oidc_client_id": "zocket"}
    async with stage(**issuer) as on, visit() as visitors:
        page = await visitors.open(on.url + "/device?code=ABCD-EFGH&signInError=not_invited")
        button = page.get_by_role("link", name="Continue with your organisation")
        address = httpx.URL(await button.get_attribute("href") or "")
        assert (address.path, address.params["next"]) == ("/api/auth/oidc/start", "/device?code=ABCD-EFGH")
        await expect(page.get_by_label("Password")).to_have_count(0)
        await expect(page.get_by_role("alert")).to_contain_text("Ask an owner of your workspace to invite you")


async def start_device(on: Stage, name: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=on.url, timeout=30) as client:
        started: dict[str, Any] = (await client.post("/api/auth/device/start", json={"name": name})).json()
        return started


async def device_status(on: Stage, started: dict[str, Any]) -> str:
    async with httpx.AsyncClient(base_url=on.url, timeout=30) as client:
        status: str = (await client.get(f"/api/auth/device/{started['deviceCode']}")).json()["status"]
        return status


async def test_a_command_line_is_approved_by_its_link(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        started = await start_device(on, "priya's laptop <b>")
        page = await visitors.open(on.url + httpx.URL(started["verificationUriComplete"]).raw_path.decode())
        await sign_in(page)
        await expect(page.locator(".big-code")).to_have_text(started["userCode"])
        await expect(page.locator(".facts")).to_contain_text("priya's laptop <b>")
        assert await device_status(on, started) == "pending"
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status").filter(has_text="is signed in")).to_be_visible()
        assert await device_status(on, started) == "approved"

        await page.goto(on.url + "/settings")
        row = page.locator(".row", has_text="priya's laptop")
        await row.get_by_role("button", name=re.compile("^Revoke")).click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(row.locator(".pill")).to_have_text("Revoked")


async def test_a_command_line_is_approved_by_typing_its_code(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("404")
        page = await visitors.open(on.url + "/device")
        await sign_in(page)
        code = page.get_by_label("Code")
        await expect(code).to_be_focused()
        await code.fill("AAAA-AAAA")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not_found")
        started = await start_device(on, "build server")
        await code.fill(started["userCode"].lower())
        await page.keyboard.press("Enter")
        await expect(page.locator(".facts")).to_contain_text("build server")
        await expect(page.get_by_role("button", name="Approve")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status").filter(has_text="is signed in")).to_be_visible()
        assert await device_status(on, started) == "approved"


async def test_somebody_is_invited_joins_with_a_new_password_and_gets_another_role(
    stage: OpenStage, visit: Visit, sign_in: SignIn
) -> None:
    async with stage() as on, visit() as visitors:
        owner = await visitors.open(on.url + f"/settings/workspaces/{on.played.workspace_id}")
        await sign_in(owner)
        await owner.get_by_role("button", name="Invite").click()
        await owner.get_by_label("Email").fill("jonas@example.com")
        await owner.get_by_label("Role", exact=True).select_option("viewer")
        await owner.keyboard.press("Enter")
        link = await owner.locator("#secret").inner_text()
        await owner.get_by_role("button", name="I have it").click()
        await expect(owner.locator("#secret")).to_have_count(0)
        await expect(owner.locator(".row", has_text="jonas@example.com")).to_contain_text("Viewer")
        assert await owner.locator("body").inner_text() != ""
        assert link.rpartition("/")[2] not in await owner.content()

        guest = await visitors.open(link)
        await expect(guest.get_by_role("heading", level=1)).to_have_text("Join Main")
        await guest.get_by_label("Your name").fill("Jonas Weber")
        await guest.get_by_label("Choose a password").fill("eleven gulls over the harbour")
        await guest.keyboard.press("Enter")
        await expect(guest.get_by_role("heading", level=1)).to_have_text("Main")
        await expect(guest.locator(".row", has_text="Jonas Weber")).to_contain_text("you")
        await expect(guest.get_by_role("button", name="Invite")).to_have_count(0)

        await owner.reload()
        await owner.get_by_label("Role of Jonas Weber").select_option("developer")
        await expect(owner.locator(".toast")).to_have_text("Jonas Weber is developer now.")
        await owner.reload()
        await expect(owner.get_by_label("Role of Jonas Weber")).to_have_value("developer")
        await owner.get_by_role("button", name="Remove Jonas Weber").click()
        await owner.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(owner.locator(".row", has_text="Jonas Weber")).to_have_count(0)


async def test_the_last_owner_cannot_leave_and_reads_why(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("40")
        page = await visitors.open(on.url + f"/settings/workspaces/{on.played.workspace_id}")
        await sign_in(page)
        await page.get_by_role("button", name="Leave Main").click()
        await page.get_by_role("dialog").get_by_role("button", name="Leave").click()
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("owner")
        await page.keyboard.press("Escape")
        await expect(page.locator(".row", has_text="Priya Nair")).to_be_visible()


async def test_an_administrator_makes_a_gateways_token(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        page = await visitors.open(on.url + "/settings")
        await sign_in(page)
        await page.get_by_role("button", name="New internal token").click()
        await page.get_by_label("Name").fill("gateway in Frankfurt")
        await page.keyboard.press("Enter")
        secret = await page.locator("#secret").inner_text()
        assert secret.startswith("zki_")
        await page.get_by_role("button", name="I have it").click()
        await expect(page.locator("#secret")).to_have_count(0)
        await expect(page.locator(".row", has_text="gateway in Frankfurt")).to_contain_text("never used")
        assert secret not in await page.content()


async def test_a_changed_password_counts(stage: OpenStage, visit: Visit, sign_in: SignIn) -> None:
    async with stage() as on, visit() as visitors:
        visitors.expect("401")
        page = await visitors.open(on.url + "/settings")
        await sign_in(page)
        await page.get_by_label("Password so far").fill("correct horse battery")
        await page.get_by_label("New password").fill("a longer horse than before")
        await page.get_by_role("button", name="Change password").click()
        await expect(page.locator(".toast")).to_have_text("The password is changed.")
        await page.get_by_role("button", name="Sign out").click()
        for password in ("correct horse battery", "a longer horse than before"):
            await page.get_by_label("Email").fill("priya@example.com")
            await page.get_by_label("Password").fill(password)
            answer = page.expect_response("**/api/auth/login")
            async with answer as said:
                await page.keyboard.press("Enter")
            assert (await said.value).ok is (password != "correct horse battery")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Projects")
