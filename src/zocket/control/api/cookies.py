"""Cookies, where a request came from, and how people reach us.

Rules: every cookie is HttpOnly, SameSite=Lax, and Secure except toward this machine itself; what changes something
without a signed-in session is refused if another site's page sent it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from zocket.control.api.services import Services
from zocket.control.callers import COOKIE, SESSION_MAX_MS
from zocket.control.failures import Forbidden
from zocket.control.identity.oidc import FLOW_MS
from zocket.settings import is_loopback

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FLOW_COOKIE: Final = "zocket_sign_in"
"""Binds a flow through the issuer to the browser that began it."""
FLOW_PATH: Final = "/api/auth/oidc"


def base_url(request: Request, services: Services) -> str:
    """How people reach this service, without a slash at its end."""
    return (services.settings.dashboard_url or str(request.base_url)).rstrip("/")


def address_of(request: Request) -> str:
    """Where a request came from; a proxy's word counts only if the settings trust the proxy."""
    return request.client.host if request.client else ""


def check_same_site(request: Request) -> None:
    """Refuses what a page of another site sent.

    Raises:
        Forbidden: the browser says it comes from there.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise Forbidden("this request came from a page of another site", code="csrf")
    origin = request.headers.get("origin")
    if site is None and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("this request came from a page of another site", code="csrf")


def set_session(response: Response, request: Request, services: Services, token: str) -> None:
    """Gives the browser its session."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_MAX_MS // 1000,
        path="/",
        secure=_is_secure(request, services),
        httponly=True,
        samesite="lax",
    )


def clear_session(response: Response, request: Request, services: Services) -> None:
    """Takes it away."""
    response.delete_cookie(COOKIE, path="/", secure=_is_secure(request, services), httponly=True, samesite="lax")


def set_flow(response: Response, request: Request, services: Services, browser: str) -> None:
    """Binds a flow to the browser."""
    response.set_cookie(
        FLOW_COOKIE,
        browser,
        max_age=FLOW_MS // 1000,
        path=FLOW_PATH,
        secure=_is_secure(request, services),
        httponly=True,
        samesite="lax",
    )


def clear_flow(response: Response, request: Request, services: Services) -> None:
    """The flow is over."""
    response.delete_cookie(
        FLOW_COOKIE, path=FLOW_PATH, secure=_is_secure(request, services), httponly=True, samesite="lax"
    )


def _is_secure(request: Request, services: Services) -> bool:
    return not is_loopback(base_url(request, services))
