"""The control plane's HTTP API as the commands speak to it (docs/control-api.md).

Rules: every failure is one error of ours that says what to do next, with the server's request id where there is one;
no redirect is followed, so a token goes to the address it belongs to and nowhere else; a server that asks to slow down
is obeyed for a short while.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx

from zocket.cli.config import DEPLOY_PREFIX
from zocket.cli.output import clean
from zocket.errors import PlatformError, Unauthorized, Unavailable
from zocket.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

TIMEOUT_S: Final = 20.0
"""One answer; uploads and streams have their own."""
UPLOAD_TIMEOUT_S: Final = 120.0
"""One answer to an upload, checks of the bundle included."""
SILENCE_S: Final = 60.0
"""A stream without a byte for so long is taken for broken; servers send comments to keep theirs alive."""
MAX_WAIT_S: Final = 5.0
"""Longest pause that a server may ask for before the command gives up."""
MAX_WAITS: Final = 3
PAGE: Final = 200
"""Most items that the API gives at once."""
MAX_PAGES: Final = 50


class ApiError(PlatformError):
    """The control plane refused; `status` is its HTTP status."""

    def __init__(self, message: str, *, status: int, code: str, request_id: str | None) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.status = status


class Api:
    """A client of one control plane.

    Args:
        url: its base URL.
        token: bearer, or None for calls that need none.
        from_environment: the token is ZOCKET_TOKEN, not a sign-in.
        pause: waits for some seconds.
        transport: instead of the network.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        from_environment: bool = False,
        pause: Callable[[float], None],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._token = token
        self._from_environment = from_environment
        self._pause = pause
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            base_url=url,
            headers={**headers, "accept": "application/json"},
            timeout=TIMEOUT_S,
            transport=transport,
            trust_env=not is_loopback(url),
            follow_redirects=False,
        )

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    @property
    def is_deploy_token(self) -> bool:
        """Whether the bearer is the deploy token of one project."""
        return (self._token or "").startswith(DEPLOY_PREFIX)

    def get(self, where: str, **params: Any) -> Any:
        """The body of a GET."""
        return self.call("GET", where, params=params)

    def post(self, where: str, body: Any = None) -> Any:
        """The body of a POST."""
        return self.call("POST", where, json={} if body is None else body)

    def call(self, verb: str, where: str, **more: Any) -> Any:
        """The body of an answer.

        Raises:
            Unavailable: nothing answers, or what answers is no control plane.
            Unauthorized: the token is missing, wrong, expired or revoked.
            ApiError: the control plane refuses.
        """
        for left in reversed(range(MAX_WAITS + 1)):
            response = self._send(verb, where, **more)
            wait_s = _retry_after_s(response)
            if wait_s is None or wait_s > MAX_WAIT_S or not left:
                break
            self._pause(wait_s)
        return self._body(response)

    def items(self, where: str, *, most: int | None = None, **params: Any) -> list[Any]:
        """The items of a list, from all of its pages, or the first `most`."""
        found: list[Any] = []
        after: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            limit = PAGE if most is None else min(PAGE, most - len(found))
            page = self.get(where, limit=limit, **params, **after)
            found += page["items"]
            if not page.get("next") or (most is not None and len(found) >= most):
                break
            after = {"after": page["next"]}
        return found

    def upload(self, where: str, pieces: Iterable[bytes], length: int, headers: dict[str, str], **params: Any) -> Any:
        """The answer to a body that is sent in pieces; never sent twice."""
        named = {"content-type": "application/octet-stream", "content-length": str(length), **headers}
        encoded = [(name.encode(), value.encode()) for name, value in named.items()]
        timeout = httpx.Timeout(TIMEOUT_S, read=UPLOAD_TIMEOUT_S, write=UPLOAD_TIMEOUT_S)
        return self._body(self._send("POST", where, params=params, content=pieces, headers=encoded, timeout=timeout))

    def stream(self, where: str, *, last_id: str | None = None, **params: Any) -> Iterator[tuple[str | None, Any]]:
        """The events of a `text/event-stream`: each with its id and its data, until the server ends it.

        Raises:
            Unavailable: it broke off; what came before was given.
        """
        headers = {"accept": "text/event-stream", **({"last-event-id": last_id} if last_id else {})}
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        try:
            with self._client.stream("GET", where, params=params, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    self._body(response)
                yield from _events(response.iter_text())
        except httpx.RequestError as error:
            raise self._away(error) from error

    def _send(self, verb: str, where: str, **more: Any) -> httpx.Response:
        try:
            return self._client.request(verb, where, **more)
        except httpx.RequestError as error:
            raise self._away(error) from error

    def _away(self, error: httpx.RequestError) -> Unavailable:
        reason = "it took too long" if isinstance(error, httpx.TimeoutException) else clean(error) or "no connection"
        return Unavailable(
            f"the control plane at {self.url} does not answer ({reason}); is it running, and is this its address? "
            "`zocket auth login URL` or ZOCKET_CONTROL_URL names another one"
        )

    def _body(self, response: httpx.Response) -> Any:
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return body
        if not isinstance(body, dict) or "error" not in body:
            request_id = response.headers.get("x-request-id")
            message = f"{self.url} answered {response.status_code} without saying why; is it a Zocket control plane?"
            raise ApiError(message, status=response.status_code, code="unexpected_answer", request_id=request_id)
        raise self._failure(response, body)

    def _failure(self, response: httpx.Response, body: dict[str, Any]) -> PlatformError | Unauthorized:
        status, text, request_id = response.status_code, clean(body["error"]), body.get("requestId")
        code = str(body.get("code", f"http_{status}"))
        if status == 401:
            return Unauthorized(self._unauthorized(), request_id=request_id)
        if status == 403 and self.is_deploy_token:
            text = "a deploy token may only deploy, roll back and read logs of its project; without ZOCKET_TOKEN, "
            text += "`zocket auth login` signs you in for the rest"
        elif status == 403:
            text += "; ask an owner of the workspace for the role"
        elif status == 404 and response.request.url.path.startswith(("/api/projects/", "/api/deployments")):
            text += "; `zocket projects list` shows your projects, `zocket link` chooses another one for this directory"
        elif status == 429:
            text += f"; try again in {response.headers.get('retry-after', 'a few')} s"
        return ApiError(text, status=status, code=code, request_id=request_id)

    def _unauthorized(self) -> str:
        if self._token is None:
            return f"you are not signed in to {self.url}: zocket auth login"
        if self._from_environment:
            return (
                f"{self.url} does not accept the token in ZOCKET_TOKEN: it is wrong, revoked, expired, or of another "
                "control plane (ZOCKET_CONTROL_URL); make another one with `zocket tokens create`, or unset it"
            )
        return f"your sign-in at {self.url} has expired or was revoked: zocket auth login"


def _retry_after_s(response: httpx.Response) -> float | None:
    if response.status_code != 429:
        return None
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _events(texts: Iterator[str]) -> Iterator[tuple[str | None, Any]]:
    """Events of a stream; only LF and CR LF end a line here, so that no character inside of JSON does."""
    rest, event_id, lines = "", None, []
    for text in texts:
        found: list[tuple[str | None, Any]] = []
        *whole, rest = (rest + text).split("\n")
        for raw in whole:
            name, _, value = raw.rstrip("\r").partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                lines.append(value)
            elif name == "id":
                event_id = value
            elif not raw.rstrip("\r") and lines:
                with suppress(ValueError):  # what is not JSON is an event of another kind than ours
                    found.append((event_id, json.loads("\n".join(lines))))
                lines = []
        yield from found
