"""`zocket auth`: signs this machine in to a control plane, and out.

Rules: the person approves in a browser, so no password is typed here; the token is stored for the control plane that
gave it and shown nowhere; a sign-out forgets it here even if the control plane is away.
"""

from __future__ import annotations

import getpass
import math
import socket
from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import options, output
from zocket.cli.config import DEPLOY_PREFIX, SignIn
from zocket.cli.paths import api_path, project_path
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import BootError, Unauthorized, Unavailable, ZocketError
from zocket.settings import is_loopback

if TYPE_CHECKING:
    from zocket.cli.api_client import Api

LIFETIME_MS: Final = 30 * 86_400_000
"""Of a CLI token (docs/control-api.md); for `zocket auth status` only, the control plane decides."""
MIN_INTERVAL_S: Final = 1.0
"""Between two questions whether somebody has approved, whatever the server says."""


@click.group(
    cls=options.Commands,
    short_help="Sign this machine in to a control plane, and out.",
    epilog="zocket auth login https://control.example.com\nzocket auth status",
)
def auth() -> None:
    """Sign this machine in to a control plane, and out."""


@auth.command(
    cls=options.Command,
    short_help="Sign in with a browser.",
    epilog="zocket auth login https://control.example.com\nzocket auth login --no-browser",
)
@click.argument("url", required=False)
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser, if this machine has one.")
@click.option("--name", metavar="NAME", help="How this machine is called in the list of sign-ins.  [user@host]")
@options.as_json
@pass_surroundings
def login(around: Surroundings, url: str | None, browser: bool, name: str | None, as_json: bool) -> None:
    """Sign in to the control plane at URL.

    Shows an address and a code; whoever opens the address, signs in there and confirms the code gives this machine a
    token for 30 days. It is stored in ~/.zocket/config.json, which only you can read.
    """
    around.choose(control_url=url)
    at = around.control_url
    if at.startswith("http://") and not is_loopback(at):
        output.warn(f"{at} is not encrypted: whoever is on the way can read the token")
    api = around.api(anonymous=True)
    started = api.post("/api/auth/device/start", {"name": (name or _machine())[:100]})
    page = output.clean(started["verificationUriComplete"])
    output.note(f"To sign in, open\n\n    {page}\n")
    output.note(f"and confirm the code  {click.style(output.clean(started['userCode']), bold=True)}\n")
    if browser and around.open_page(page):
        output.note("It is open in your browser.")
    sign_in = _wait_approved(around, api, started)
    user = _user(around, sign_in)
    around.config.remember(at, SignIn(sign_in, user["email"], int(around.wall() * 1000) + LIFETIME_MS))
    if around.settings.token:
        output.warn("ZOCKET_TOKEN is set and wins over this sign-in; unset it to use the sign-in")
    if as_json:
        output.data({"controlUrl": at, "user": user})
    else:
        output.line(f"Signed in to {at} as {output.clean(user['email'])}.")


def _machine() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _wait_approved(around: Surroundings, api: Api, started: dict[str, Any]) -> str:
    interval_s = max(MIN_INTERVAL_S, float(started["intervalSeconds"]))
    waited_s = 0.0
    while waited_s < float(started["expiresInSeconds"]):
        around.pause(interval_s)
        waited_s += interval_s
        try:
            progress = api.get(api_path("/api/auth/device/{}", started["deviceCode"]))
        except Unavailable:
            continue  # a control plane that restarts keeps its flows
        if progress["status"] == "approved" and progress.get("cliToken"):
            return str(progress["cliToken"])
        if progress["status"] != "pending":
            break
    raise BootError("the code has expired, or somebody refused it; begin again: zocket auth login")


def _user(around: Surroundings, token: str) -> dict[str, Any]:
    user = around.api_with(token).get("/api/auth/session").get("user")
    if not isinstance(user, dict):
        raise Unauthorized("the control plane does not know its own token; begin again: zocket auth login")
    return user


@auth.command(
    cls=options.Command,
    short_help="Sign out, and forget the token.",
    epilog="zocket auth logout\nzocket auth logout https://control.example.com",
)
@click.argument("url", required=False)
@pass_surroundings
def logout(around: Surroundings, url: str | None) -> None:
    """Sign out of the control plane at URL: its token is revoked there and forgotten here."""
    around.choose(control_url=url)
    at = around.control_url
    sign_in = around.config.sign_in(at)
    if sign_in is None:
        output.line(f"You were not signed in to {at}.")
        return
    try:
        around.api_with(sign_in.token).post("/api/auth/logout")
    except Unauthorized:
        pass  # it was over already
    except ZocketError as error:
        output.warn(f"the token is forgotten here but not revoked there: {error.message}")
    around.config.forget(at)
    output.line(f"Signed out of {at}.")


@auth.command(
    cls=options.Command,
    short_help="Say who is signed in where.",
    epilog="zocket auth status\nzocket auth status --json",
)
@options.control_url
@options.as_json
@pass_surroundings
def status(around: Surroundings, control_url: str | None, as_json: bool) -> None:
    """Say which control plane the commands speak to, and as whom; fails if that does not work."""
    around.choose(control_url=control_url)
    at = around.control_url
    token, from_environment = around.token()
    source = "ZOCKET_TOKEN" if from_environment else str(around.config.path)
    api = around.api()
    user: dict[str, Any] | None = None
    around.require_token()
    if (token or "").startswith(DEPLOY_PREFIX):
        project = api.get(project_path(around.project))
    else:
        project = None
        user = _user(around, token or "")
    sign_in = None if from_environment else around.config.sign_in(at)
    expires_at = sign_in.expires_at if sign_in else None
    if as_json:
        output.data({"controlUrl": at, "user": user, "project": project, "source": source, "expiresAt": expires_at})
        return
    days = f"in {max(0, math.ceil((expires_at / 1000 - around.wall()) / 86_400))} days" if expires_at else ""
    output.facts(
        {
            "control plane": at,
            "signed in as": user["email"] if user else "",
            "deploy token of": project["slug"] if project else "",
            "token from": source,
            "expires": days,
        }
    )
