"""The control plane as `zocket dev` speaks to it: uploads a bundle, asks what became of it.

Rules: it is our own, on loopback, and may be starting or restarting: what does not answer is asked again, in bounded
time; no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from zocket.errors import BootError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.ids import Scope

PATH: Final = "/api/internal/deployments"
STORED: Final = "stored"
"""Status of a deployment whose runtime has not said anything yet."""
DEPLOYED: Final = "deployed"

ANSWER_TIMEOUT_S: Final = 20.0
"""A control plane on a busy machine needs seconds to start."""
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Deployment:
    """One uploaded bundle.

    Attributes:
        version: counts the uploads from 1.
        status: `stored`, `deployed` or `failed`.
        actor_types: known once it is deployed.
        message: why it failed.
    """

    id: str
    version: int
    status: str
    actor_types: tuple[str, ...]
    message: str | None


class ControlPlane:
    """A client of the local control plane; made by `open`."""

    def __init__(self, client: httpx.AsyncClient, scope: Scope) -> None:
        self._client = client
        self._scope = {"workspaceId": scope.workspace_id, "projectId": scope.project_id}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, token: str, scope: Scope) -> AsyncIterator[ControlPlane]:
        """A client for one project; nothing is sent yet."""
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            base_url=url, headers=headers, trust_env=False, timeout=ANSWER_TIMEOUT_S
        ) as client:
            yield cls(client, scope)

    async def wait_answering(self) -> None:
        """Until it answers.

        Raises:
            BootError: it did not in time.
        """
        await self._answer("GET", "/api/health")

    async def upload(self, bundle: bytes) -> Deployment:
        """Stores a bundle as the next deployment.

        Raises:
            BootError: the control plane refuses it, or does not answer.
        """
        return _deployment(await self._answer("POST", PATH, params=self._scope, content=bundle))

    async def read(self, deployment_id: str) -> Deployment:
        """What became of a deployment so far.

        Raises:
            BootError: the control plane does not know it, or does not answer.
        """
        return _deployment(await self._answer("GET", f"{PATH}/{deployment_id}", params=self._scope))

    async def contract(self, deployment_id: str) -> bytes | None:
        """What a deployment offers, as its runtime said; None if it said nothing.

        Raises:
            BootError: the control plane does not answer.
        """
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                response = await self._insist("GET", f"{PATH}/{deployment_id}/schema", params=self._scope)
        except TimeoutError:
            raise BootError(f"the control plane did not answer within {ANSWER_TIMEOUT_S:g} s") from None
        return response.content if response.is_success else None

    async def _answer(self, verb: str, path: str, **more: Any) -> Any:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                response = await self._insist(verb, path, **more)
        except TimeoutError:
            raise BootError(f"the control plane did not answer within {ANSWER_TIMEOUT_S:g} s") from None
        if not response.is_success:
            raise BootError(f"the control plane refuses {verb} {path}: {response.status_code} {response.text[:500]}")
        return response.json()

    async def _insist(self, verb: str, path: str, **more: Any) -> httpx.Response:
        while True:
            try:
                return await self._client.request(verb, path, **more)
            except httpx.TransportError:
                await asyncio.sleep(POLL_S)


def _deployment(body: Any) -> Deployment:
    return Deployment(
        id=body["deploymentId"],
        version=body["version"],
        status=body["status"],
        actor_types=tuple(body["actorTypes"]),
        message=body["message"],
    )
