"""Writes down what should run; somebody else (systemd, Nomad, a script) runs it.

Rules: one file of JSON a deployment, `{deploymentId}.json`, written whole and for its owner alone, since it holds the
runtime's token and the project's variables; it is there exactly as long as its runtime should run. How the runtime is,
only its reports tell.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from zocket.control.deployment_schemas import LogLine
    from zocket.control.orchestration.port import Launch, Observation, Watcher
    from zocket.settings import OrchestrationSettings


class ExternalOrchestrator:
    """A directory of wishes. See `Orchestrator`."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        self._directory = Path(settings.runtime_dir).absolute()
        self._memory_bytes = settings.runtime_memory_bytes

    def watch(self, watcher: Watcher) -> None:
        """See `Orchestrator.watch`: nothing is ever observed."""

    async def start(self, launch: Launch) -> None:
        """See `Orchestrator.start`."""
        await self._on_disk(lambda: _write(self._path(launch.deployment_id), self._wish(launch)))

    async def stop(self, deployment_id: str) -> None:
        """See `Orchestrator.stop`: it is wished for no more; when it ends is up to who runs it."""
        await self._on_disk(lambda: self._path(deployment_id).unlink(missing_ok=True))

    async def sweep(self, keep: Collection[str]) -> None:
        """See `Orchestrator.sweep`."""

        def remove() -> None:
            for path in self._directory.glob("dpl_*.json"):
                if path.stem not in keep:
                    path.unlink(missing_ok=True)

        await self._on_disk(remove)

    def observe(self, deployment_id: str) -> Observation | None:
        """See `Orchestrator.observe`: nobody can tell."""
        return None

    async def logs(self, deployment_id: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """See `Orchestrator.logs`: its output is where it runs."""
        return
        yield

    def _path(self, deployment_id: str) -> Path:
        return self._directory / f"{deployment_id}.json"

    def _wish(self, launch: Launch) -> dict[str, Any]:
        return {
            "deploymentId": launch.deployment_id,
            "workspaceId": launch.workspace_id,
            "projectId": launch.project_id,
            "version": launch.version,
            "command": ["zocket", "runtime"],
            "env": {**launch.variables, **launch.environ},
            "memoryBytes": launch.memory_bytes or self._memory_bytes or None,
        }

    async def _on_disk(self, work: Any) -> None:
        try:
            await asyncio.to_thread(work)
        except OSError as error:
            raise Unavailable(f"RUNTIME_DIR: {self._directory} cannot be used ({error.strerror or error})") from error


def _write(path: Path, wish: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=".writing-")  # mode 600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(wish, file, indent=2, sort_keys=True)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
