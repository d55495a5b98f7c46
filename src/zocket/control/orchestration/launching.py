"""What a runtime is told when it is started: deployment, addresses, a token of its own, the project's variables.

Rules: each launch gets a fresh internal token that is good for its project alone and ends with it; the project's
variables go to its runtime and to nobody else; nothing here is ever logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete

from zocket.control.credentials import INTERNAL, mint
from zocket.control.orchestration.port import Launch
from zocket.control.records import InternalToken, RuntimeConfig, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.control.database import Database
    from zocket.control.deployment_views import Target
    from zocket.control.environment import Environment
    from zocket.settings import ControlSettings


class Launching:
    """Puts launches together.

    Attributes:
        control_url: where the runtimes reach the control plane, if the settings do not say.
    """

    def __init__(
        self, database: Database, environment: Environment, settings: ControlSettings, now_ms: Callable[[], int]
    ) -> None:
        self.control_url = ""
        self._database = database
        self._environment = environment
        self._settings = settings
        self._now_ms = now_ms
        self._projects: dict[str, str] = {}

    def project_of(self, deployment_id: str) -> str:
        """The project of a deployment that was prepared here, else an empty text."""
        return self._projects.get(deployment_id, "")

    async def prepare(self, target: Target) -> Launch:
        """The launch of a deployment, with the project's variables as they are now.

        Raises:
            Unavailable: a variable cannot be decrypted with the keys that are here.
        """
        variables = await self._environment.values(target.project_id)
        self._projects[target.id] = target.project_id
        async with self._database.session() as session:
            config = await session.get(RuntimeConfig, target.project_id)
            memory_bytes = config.memory_bytes if config is not None else None
            await session.execute(delete(InternalToken).where(InternalToken.name == _token_name(target.id)))
            minted = mint(INTERNAL)
            session.add(
                InternalToken(
                    id=new_id("tok"),
                    kind="runtime",
                    project_id=target.project_id,
                    name=_token_name(target.id),
                    token_hash=minted.token_hash,
                    prefix=minted.prefix,
                    created_at=self._now_ms(),
                )
            )
        environ = {
            "CONTROL_PLANE_INTERNAL_TOKEN": minted.token,
            "CONTROL_PLANE_URL": self._settings.public_url or self.control_url,
            "DEPLOYMENT_ID": target.id,
            "NATS_URL": self._settings.orchestration.runtime_nats_url,
            "PROJECT_ID": target.project_id,
            "STREAM_REPLICAS": str(self._settings.orchestration.stream_replicas),
            "STREAM_STORAGE": self._settings.orchestration.stream_storage,
            "PARTITIONS": str(self._settings.orchestration.partitions),
            "WORKSPACE_ID": target.workspace_id,
            "ZOCKET_STANDBY": "1",
        }
        return Launch(
            workspace_id=target.workspace_id,
            project_id=target.project_id,
            deployment_id=target.id,
            version=target.version,
            environ=environ,
            variables=variables,
            memory_bytes=memory_bytes,
        )

    async def ended(self, deployment_id: str) -> None:
        """The runtime runs no more: its token is worth nothing."""
        self._projects.pop(deployment_id, None)
        async with self._database.session() as session:
            await session.execute(delete(InternalToken).where(InternalToken.name == _token_name(deployment_id)))

    async def forget(self, project_id: str) -> None:
        """The project is about to go; so do the tokens of all its runtimes."""
        for deployment_id, owner in list(self._projects.items()):
            if owner == project_id:
                await self.ended(deployment_id)


def _token_name(deployment_id: str) -> str:
    return f"runtime of {deployment_id}"
