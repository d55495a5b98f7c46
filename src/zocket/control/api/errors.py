"""Every error of the API as `{error, code, requestId}`.

Rules: an unexpected error says nothing but its request id; what clashed in the database is a conflict, never a 500;
nothing that a caller sent is repeated.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from zocket.control.bodies import request_id_of
from zocket.control.failures import Forbidden, NotFound, SlowDown, Taken
from zocket.control.schemas import Failure
from zocket.errors import (
    INTERNAL,
    CallerError,
    InvalidFrame,
    Overloaded,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    ZocketError,
)

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

log = logging.getLogger("zocket.control")

_STATUSES: Final[tuple[tuple[type[ZocketError], int], ...]] = (
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Taken, 409),
    (TooLarge, 413),
    (TooManyRequests, 429),
    (Unavailable, 503),
    (Overloaded, 503),
    (CallerError, 400),
)
_HTTP_CODES: Final = {404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "too_large"}


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of the application one of ours."""
    app.add_exception_handler(ZocketError, _zocket_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(IntegrityError, _clash)
    app.add_exception_handler(Exception, _unexpected_error)


def _failure(request: Request, status: int, error: str, code: str, headers: Any = None) -> JSONResponse:
    body = Failure(error=error, code=code, request_id=request_id_of(request.scope))
    return JSONResponse(body.model_dump(by_alias=True), status, headers)


async def _zocket_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ZocketError)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers: dict[str, str] = {}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    elif isinstance(error, SlowDown):
        headers["retry-after"] = str(error.retry_after_s)
    return _failure(request, status, error.message, error.code, headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    issues = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
    return _failure(request, 400, f"the request cannot be used: {issues}", InvalidFrame.default_code)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "bad_request")
    return _failure(request, error.status_code, str(error.detail), code, error.headers)


async def _clash(request: Request, error: Exception) -> JSONResponse:
    log.info("two writers clashed", extra={"path": request.url.path, "request": request_id_of(request.scope)})
    return _failure(request, 409, "somebody else changed the same thing at the same time", Taken.default_code)


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error(
        "request failed",
        exc_info=error,
        extra={"path": request.url.path, "request": request_id_of(request.scope)},
    )
    return _failure(request, 500, "internal error", INTERNAL)
