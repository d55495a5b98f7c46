"""Signing in and out: password, OpenID Connect, command lines (docs/control-api.md, Identity)."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from zocket.control.api.access import BROWSER, OPTIONAL, Granted, Id, public, requires
from zocket.control.api.cookies import (
    FLOW_COOKIE,
    address_of,
    base_url,
    check_same_site,
    clear_flow,
    clear_session,
    set_flow,
    set_session,
)
from zocket.control.api.services import Services, services_of
from zocket.control.callers import COOKIE
from zocket.control.credentials import csrf_of
from zocket.control.failures import Forbidden, NotFound
from zocket.control.identity.devices import FLOW_MS, INTERVAL_S
from zocket.control.identity.oidc import MAX_PATH_CHARS, Refusal
from zocket.control.identity.schemas import (
    CliTokenView,
    DeviceProgress,
    DeviceStart,
    DeviceStarted,
    DeviceView,
    Login,
    PasswordChange,
    SessionView,
    SignedIn,
    UserCode,
    UserView,
)
from zocket.control.identity.throttle import network_of
from zocket.control.paging import Page, Paging, paging
from zocket.control.records import User
from zocket.control.schemas import Done
from zocket.errors import ZocketError

CALLBACK_PATH: Final = "/api/auth/oidc/callback"

router = APIRouter(prefix="/api/auth", tags=["identity"])

Parts = Annotated[Services, Depends(services_of)]
Person = Annotated[Granted, requires()]
Browser = Annotated[Granted, requires(callers=BROWSER)]
MaybePerson = Annotated[Granted, requires(optional=True)]
Asked = Annotated[Paging, Depends(paging)]
_REDIRECT: Final[dict[int | str, dict[str, Any]]] = {
    303: {
        "description": "To the issuer, or back to the dashboard",
        "headers": {"location": {"schema": {"type": "string"}}},
    }
}


def _view(user: User) -> UserView:
    return UserView.model_validate(user, from_attributes=True)


@router.get("/session", openapi_extra=OPTIONAL)
async def session(granted: MaybePerson, request: Request, parts: Parts) -> SessionView:
    """Who is signed in, and how one can sign in."""
    caller = granted.caller
    user = await parts.accounts.read(caller.user_id) if caller.user_id else None
    return SessionView(
        user=_view(user) if user else None,
        csrf=csrf_of(request.cookies[COOKIE]) if caller.kind == "cookie" else None,
        methods=["oidc"] if parts.sign_in else ["password"],
        setup=user is None and not await parts.accounts.exist(),
    )


@router.post("/login", dependencies=[public])
async def login(request: Request, response: Response, parts: Parts, body: Login) -> SignedIn:
    """Signs a browser in by password."""
    check_same_site(request)
    if parts.sign_in is not None:
        raise Forbidden("people sign in with OpenID Connect here", code="no_passwords")
    network, account = network_of(address_of(request)), body.email.strip().lower()
    parts.throttles.logins_of_address.take(network)
    parts.throttles.logins_of_account.take(account)
    user = await parts.accounts.with_password(body.email, body.password)
    parts.throttles.logins_of_address.give_back(network)
    parts.throttles.logins_of_account.give_back(account)
    token = await parts.browsers.start(user.id, request.cookies.get(COOKIE))
    set_session(response, request, parts, token)
    return SignedIn(user=_view(user), csrf=csrf_of(token))


@router.post("/logout")
async def logout(granted: Person, request: Request, response: Response, parts: Parts) -> Done:
    """Signs the browser, or the command line, out."""
    if granted.caller.kind == "cli":
        await parts.bearers.revoke_this(granted.caller.token_hash)
    else:
        await parts.browsers.end(granted.caller.token_hash)
        clear_session(response, request, parts)
    return Done()


@router.post("/password")
async def change_password(granted: Browser, parts: Parts, body: PasswordChange) -> Done:
    """Changes one's password; every other browser and every command line is signed out."""
    account = granted.caller.name
    parts.throttles.logins_of_account.take(account)
    await parts.accounts.change_password(granted.user_id, body.current, body.new, keep=granted.caller.token_hash)
    parts.throttles.logins_of_account.give_back(account)
    return Done()


@router.get("/oidc/start", dependencies=[public], status_code=303, response_class=Response, responses=_REDIRECT)
async def oidc_start(
    request: Request,
    parts: Parts,
    next_path: Annotated[str | None, Query(alias="next", max_length=MAX_PATH_CHARS)] = None,
) -> RedirectResponse:
    """Sends the browser to the issuer."""
    if parts.sign_in is None:
        raise NotFound("no issuer of OpenID Connect is configured")
    parts.throttles.sign_ins.take(network_of(address_of(request)))
    begun = await parts.sign_in.begin(base_url(request, parts) + CALLBACK_PATH, next_path)
    response = RedirectResponse(begun.url, 303)
    set_flow(response, request, parts, begun.browser)
    return response


@router.get("/oidc/callback", dependencies=[public], status_code=303, response_class=Response, responses=_REDIRECT)
async def oidc_callback(
    request: Request,
    parts: Parts,
    state: Annotated[str, Query(max_length=512)] = "",
    code: Annotated[str, Query(max_length=4_096)] = "",
) -> RedirectResponse:
    """Signs in whom the issuer sends back, and goes on to `next`; what went wrong is told to the dashboard.

    That is `/?signInError=CODE`, since a person sits in front of it.
    """
    if parts.sign_in is None:
        raise NotFound("no issuer of OpenID Connect is configured")
    try:
        parts.throttles.sign_ins.take(network_of(address_of(request)))
        browser = request.cookies.get(FLOW_COOKIE, "")
        if not (state and code and browser):
            raise Refusal("the issuer signed nobody in")
        redirect_uri = base_url(request, parts) + CALLBACK_PATH
        person, next_path = await parts.sign_in.finish(redirect_uri, state=state, code=code, browser=browser)
        user = await parts.accounts.of_issuer(parts.sign_in.issuer.url, person)
    except ZocketError as error:
        response = RedirectResponse("/?" + urlencode({"signInError": error.code}), 303)
    else:
        token = await parts.browsers.start(user.id, request.cookies.get(COOKIE))
        response = RedirectResponse(next_path, 303)
        set_session(response, request, parts, token)
    clear_flow(response, request, parts)
    return response


@router.post("/device/start", dependencies=[public])
async def device_start(request: Request, parts: Parts, body: DeviceStart | None = None) -> DeviceStarted:
    """Begins to sign a command line in."""
    address = address_of(request)
    parts.throttles.device_starts.take(network_of(address))
    started = await parts.devices.start((body or DeviceStart()).name, address[:64])
    page = base_url(request, parts) + "/device"
    return DeviceStarted(
        device_code=started.device_code,
        user_code=started.user_code,
        verification_uri=page,
        verification_uri_complete=f"{page}?code={quote(started.user_code)}",
        interval_seconds=INTERVAL_S,
        expires_in_seconds=FLOW_MS // 1000,
    )


@router.post("/device/lookup")
async def device_lookup(granted: Browser, parts: Parts, body: UserCode) -> DeviceView:
    """Which command line waits under a code."""
    parts.throttles.user_codes.take(granted.user_id)
    flow = await parts.devices.lookup(body.user_code)
    parts.throttles.user_codes.give_back(granted.user_id)
    return DeviceView(
        device_code=flow.id,
        user_code=flow.user_code,
        name=flow.name,
        address=flow.address,
        requested_at=flow.created_at,
    )


@router.get("/device/{device_code}", dependencies=[public])
async def device_progress(request: Request, parts: Parts, device_code: Id) -> DeviceProgress:
    """How far the sign-in of a command line is; its token, once."""
    parts.throttles.device_polls.take(network_of(address_of(request)))
    progress = await parts.devices.poll(device_code)
    return DeviceProgress(status=progress.status, user_code=progress.user_code, cli_token=progress.cli_token)


@router.post("/device/{device_code}/approve")
async def device_approve(granted: Browser, parts: Parts, device_code: Id) -> Done:
    """Signs the command line in as oneself."""
    parts.throttles.user_codes.take(granted.user_id)
    await parts.devices.approve(device_code, granted.user_id)
    parts.throttles.user_codes.give_back(granted.user_id)
    return Done()


@router.get("/cli-tokens")
async def cli_tokens(granted: Person, parts: Parts, asked: Asked) -> Page[CliTokenView]:
    """One's command lines, newest first."""
    return await parts.bearers.cli_tokens(granted.user_id, asked)


@router.post("/cli-tokens/{token_id}/revoke")
async def revoke_cli_token(granted: Person, parts: Parts, token_id: Id) -> Done:
    """Signs one of one's command lines out."""
    await parts.bearers.revoke_cli_token(granted.user_id, token_id)
    return Done()
