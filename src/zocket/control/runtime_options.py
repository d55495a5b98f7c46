"""How a project's runtime is run, and whose bundles the project takes.

Rules: what is left out is the installation's default; a change counts from the next start of a runtime on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zocket.control.bundles.signatures import check_key
from zocket.control.deployment_schemas import RuntimeOptions
from zocket.control.records import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.control.database import Database

SIGNING_KEY: Final = "signingKey"


class RuntimeConfigs:
    """The options of all projects."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def read(self, project_id: str) -> RuntimeOptions:
        """A project's options."""
        async with self._database.reading() as session:
            found = await session.get(RuntimeConfig, project_id)
        if found is None:
            return RuntimeOptions()
        return RuntimeOptions(memory_bytes=found.memory_bytes, signing_key=found.options.get(SIGNING_KEY))

    async def write(self, project_id: str, options: RuntimeOptions) -> RuntimeOptions:
        """Writes them as a whole.

        Raises:
            InvalidFrame: the signing key is none.
        """
        if options.signing_key is not None:
            check_key(options.signing_key)
        async with self._database.session() as session:
            found = await session.get(RuntimeConfig, project_id)
            if found is None:
                found = RuntimeConfig(project_id=project_id, options={})
                session.add(found)
            kept = {name: value for name, value in found.options.items() if name != SIGNING_KEY}
            found.options = kept | ({SIGNING_KEY: options.signing_key} if options.signing_key is not None else {})
            found.memory_bytes = options.memory_bytes
            found.updated_at = self._now_ms()
        return options
