"""The control plane as a runtime speaks to it (spec: control plane, for runtimes and gateways).

Rules: the bearer goes to the control plane's own origin and nowhere else; no redirect is followed; everything is
bounded in time and size; every failure is an error that says what to check.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from zocket.errors import BootError, BundleError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from zocket.ids import Scope

CALL_TIMEOUT_S: Final = 10.0
"""An answer of the control plane takes milliseconds; ten seconds cover one that is just starting."""
DOWNLOAD_TIMEOUT_S: Final = 60.0
"""Longest silence during a download."""
ACTIVATION_TIMEOUT_S: Final = 45.0
"""Longest silence after the question for the word: the control plane holds the answer back for up to 20 s."""
TAKES_HEADER: Final = "x-zocket-takes"
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Largest answer of `active`: an older control plane puts the whole code into it."""

log = logging.getLogger("zocket.runtime")


class ActiveDeployment(msgspec.Struct, rename="camel", frozen=True):
    """What to load: a file at `url`, or (from an older control plane) the code itself."""

    deployment_id: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    code: str | None = None


class Activation(msgspec.Struct, rename="camel", frozen=True):
    """The word to a runtime; `wait` means that there is none, `turn` tells one word from the next."""

    action: Literal["wait", "activate", "stop"]
    turn: int = 0


class ControlPlane:
    """A client of the internal calls; made by `open`.

    Attributes:
        takes_contract: whether the control plane said that it takes contracts.
    """

    def __init__(self, base_url: str, token: str, client: httpx.AsyncClient) -> None:
        self._base_url = base_url.rstrip("/")
        self._authorization = {"authorization": f"Bearer {token}"}
        self._client = client
        self.takes_contract = False

    @classmethod
    @asynccontextmanager
    async def open(cls, base_url: str, token: str) -> AsyncIterator[ControlPlane]:
        """A client whose connections are closed at the end of the block; nothing is sent yet.

        Raises:
            BootError: the URL is none.
        """
        if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
            raise BootError(f'CONTROL_PLANE_URL: expected a URL such as http://localhost:3000, got "{base_url}"')
        context: ssl.SSLContext | bool = ssl.create_default_context() if base_url.startswith("https") else False
        async with httpx.AsyncClient(timeout=CALL_TIMEOUT_S, trust_env=False, verify=context) as client:
            yield cls(base_url, token, client)

    async def active(self, scope: Scope, deployment_id: str) -> ActiveDeployment:
        """What the deployment consists of (R2).

        Raises:
            BootError: the control plane is away, refuses, does not know the deployment, or answers something else.
        """
        query = {
            "workspaceId": scope.workspace_id,
            "projectId": scope.project_id,
            "deploymentId": deployment_id,
        }
        where = f"deployment {deployment_id} of {scope.workspace_id}/{scope.project_id}"
        body = await self._call("GET", "/api/internal/runtime/active", where, params=query)
        try:
            active = msgspec.json.decode(body, type=ActiveDeployment)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BootError(f"{self._name} answered something that is no deployment ({error})") from error
        if active.deployment_id != deployment_id:
            raise BootError(f"{self._name} answered for deployment {active.deployment_id[:80]!r}, asked for {where}")
        return active

    async def tell_contract(self, deployment_id: str, contract: bytes) -> None:
        """Tells what the app offers; only said to a control plane that takes it.

        Raises:
            BootError: the control plane did not take it.
        """
        query = {"deploymentId": deployment_id}
        what = "the contract"
        await self._call("PUT", "/api/internal/runtime/contract", what, params=query, content=contract)

    async def report_ready(self, deployment_id: str, actor_types: Sequence[str]) -> None:
        """Tells that the runtime serves (R8).

        Raises:
            BootError: the control plane did not take it.
        """
        body = {"deploymentId": deployment_id, "status": "ready", "actorTypes": list(actor_types)}
        await self._call("POST", "/api/internal/runtime/report", "the report `ready`", json=body)

    async def report_progress(
        self, deployment_id: str, status: Literal["smoke", "standby"], types: Sequence[str]
    ) -> None:
        """Tells how far a runtime in standby is; only said to a control plane that asked for standby.

        Raises:
            BootError: the control plane did not take it.
        """
        body = {"deploymentId": deployment_id, "status": status, "actorTypes": list(types)}
        await self._call("POST", "/api/internal/runtime/report", f"the report `{status}`", json=body)

    async def activation(self, deployment_id: str, since: int = 0) -> Activation:
        """The word after the one that the runtime acts upon (`since`); the control plane takes its time to answer.

        Raises:
            BootError: the control plane is away or answers something else.
        """
        query = {"deploymentId": deployment_id, "since": str(since)}
        body = await self._call(
            "GET",
            "/api/internal/runtime/activation",
            "the question for the activation",
            params=query,
            timeout=ACTIVATION_TIMEOUT_S,
        )
        try:
            return msgspec.json.decode(body, type=Activation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BootError(f"{self._name} answered something that is no activation ({error})") from error

    async def report_failed(self, deployment_id: str, message: str) -> None:
        """Tells why the runtime cannot serve (R9).

        Raises:
            BootError: the control plane did not take it.
        """
        body = {"deploymentId": deployment_id, "status": "failed", "message": message}
        await self._call("POST", "/api/internal/runtime/report", "the report `failed`", json=body)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a bundle, as they come.

        Raises:
            BundleError: the URL is none, or its server is away or refuses.
        """
        absolute = urljoin(self._base_url + "/", url)
        parts = urlsplit(absolute)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BundleError("bundle: the control plane gave a URL that is neither http nor https")
        headers = {"accept-encoding": "identity"}
        if _origin(absolute) == _origin(self._base_url):
            headers |= self._authorization
        verify: Any = ssl.create_default_context() if parts.scheme == "https" else False
        try:
            async with (
                httpx.AsyncClient(timeout=DOWNLOAD_TIMEOUT_S, trust_env=False, verify=verify) as client,
                client.stream("GET", absolute, headers=headers) as response,
            ):
                if response.status_code != 200:
                    raise BundleError(
                        f"bundle: {parts.hostname} answered {response.status_code} to the download "
                        "(redirects are not followed)"
                    )
                yield response.aiter_bytes()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BundleError(f"bundle: the download from {parts.hostname} failed: {_reason(error)}") from error

    @property
    def _name(self) -> str:
        return f"the control plane at {self._base_url}"

    async def _call(self, verb: str, path: str, what: str, **more: Any) -> bytes:
        try:
            async with self._client.stream(
                verb, self._base_url + path, headers=self._authorization, **more
            ) as response:
                body = await _bounded(response)
                if response.headers.get(TAKES_HEADER) == "contract":
                    self.takes_contract = True
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BootError(
                f"{self._name} does not answer ({_reason(error)}): check CONTROL_PLANE_URL and that it runs",
                code=Unavailable.default_code,
            ) from error
        match response.status_code:
            case 200 | 201:
                return body
            case 401 | 403:
                raise BootError(f"{self._name} refuses the token: check CONTROL_PLANE_INTERNAL_TOKEN")
            case 404:
                raise BootError(f"{self._name} does not know {what}: check DEPLOYMENT_ID, WORKSPACE_ID and PROJECT_ID")
            case status:
                raise BootError(f"{self._name} answered {status} to {what}: {_said(body)}")


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise httpx.DecodingError(f"an answer over {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _said(body: bytes) -> str:
    """What the control plane says of an error, in one line."""
    try:
        return str(msgspec.json.decode(body)["error"])[:500]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, LookupError):
        return body[:200].decode("utf-8", "replace").strip() or "no text"
