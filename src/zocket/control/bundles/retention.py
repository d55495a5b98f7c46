"""Which bundles are still needed: the newest of each project, and whatever serves, served before, or is on its way.

Rules: the records let go of a bundle first and the store removes it afterwards, so a bundle that a record names is
there; both happen under the same lock as an upload, since the same bytes may come back in that moment. One control
plane at a time cleans a store.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sqlalchemy import select

from zocket.control.deployment_views import previous_id
from zocket.control.lifecycle import PENDING
from zocket.control.records import Deployment, Project
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.bundles.port import BundleStore
    from zocket.control.database import Database

log = logging.getLogger("zocket.control")


class Retention:
    """Cleans up.

    Args:
        database: the records.
        store: the bundles.
        kept: how many of a project's newest deployments keep their bundle in any case.

    Attributes:
        lock: held by whoever adds or removes bundles.
    """

    def __init__(self, database: Database, store: BundleStore, *, kept: int) -> None:
        self.lock = asyncio.Lock()
        self._database = database
        self._store = store
        self._kept = kept

    async def clean(self, project_id: str) -> list[str]:
        """Lets go of what a project needs no more; the keys that were removed from the store.

        A store that is away keeps what it has; the next clean-up does not find it again, so that is logged.
        """
        async with self.lock:
            async with self._database.session() as session:
                released = await self._release(session, project_id)
            for key in released:
                try:
                    await self._store.remove(key)
                except Unavailable as error:
                    log.warning("a bundle stays behind: %s", error.message, extra={"project": project_id, "key": key})
        return released

    async def forget(self, project_id: str) -> list[str]:
        """As `clean`, for a project that is about to be deleted: nothing of it is needed."""
        async with self.lock:
            async with self._database.session() as session:
                query = select(Deployment).where(Deployment.project_id == project_id, Deployment.bundle_key != "")
                released = await _let_go(session, list(await session.scalars(query)))
            for key in released:
                try:
                    await self._store.remove(key)
                except Unavailable as error:
                    log.warning("a bundle stays behind: %s", error.message, extra={"project": project_id, "key": key})
        return released

    async def _release(self, session: AsyncSession, project_id: str) -> list[str]:
        project = await session.get(Project, project_id, with_for_update=True)
        if project is None:
            return []
        query = select(Deployment).where(Deployment.project_id == project_id, Deployment.bundle_key != "")
        deployments = list(await session.scalars(query.order_by(Deployment.version.desc())))
        needed = {project.active_deployment_id, await previous_id(session, project)}
        needed |= {found.id for found in deployments if found.status in PENDING}
        return await _let_go(session, [found for found in deployments[self._kept :] if found.id not in needed])


async def _let_go(session: AsyncSession, deployments: list[Deployment]) -> list[str]:
    """The records name their bundles no more; the keys that no other record names either."""
    keys = {found.bundle_key for found in deployments}
    for found in deployments:
        found.bundle_key = ""
    await session.flush()
    query = select(Deployment.bundle_key).where(Deployment.bundle_key.in_(keys)).distinct()
    return sorted(keys - set(await session.scalars(query)))
