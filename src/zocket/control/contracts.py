"""Contracts of deployments: said by the runtime that loaded the code, kept with the deployment.

Rules: what is no contract is not kept; a deployment whose runtime never said one has none, which is `no_contract`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from zocket.contract import NoContract, decode_contract
from zocket.contract.form import MAX_BYTES
from zocket.control.failures import NotFound
from zocket.control.records import Deployment, Project
from zocket.errors import InvalidFrame, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from sqlalchemy import ColumnElement

    from zocket.control.database import Database


class Contracts:
    """The operations; one is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, deployment_id: str, content: bytes) -> None:
        """Keeps the contract of a deployment, in place of what was said before.

        Raises:
            InvalidFrame: it is none.
            NotFound: there is no such deployment.
        """
        try:
            contract = decode_contract(content)
        except NoContract as error:
            raise InvalidFrame(f"the contract cannot be used: {error}") from error
        async with self._database.session() as session:
            statement = update(Deployment).where(Deployment.id == deployment_id).values(contract=contract.encode())
            found = await session.execute(statement.returning(Deployment.id))
            if found.first() is None:
                raise NotFound("no such deployment")

    async def of_deployment(self, deployment_id: str) -> bytes:
        """The contract of a deployment, as JSON.

        Raises:
            NotFound: there is no such deployment, or (`no_contract`) it has none.
        """
        return await self._read(Deployment.id == deployment_id)

    async def of_project(self, project_id: str) -> bytes:
        """The contract of the deployment that serves, as JSON.

        Raises:
            NotFound: (`no_contract`) nothing serves, or what serves has none.
        """
        serving = select(Project.active_deployment_id).where(Project.id == project_id).scalar_subquery()
        return await self._read(Deployment.id == serving)

    async def _read(self, which: ColumnElement[bool]) -> bytes:
        async with self._database.reading() as session:
            found = await session.scalar(select(Deployment.contract).where(which))
        if found is None:
            raise NotFound("its runtime has not said what the app offers", code="no_contract")
        return found


async def received(chunks: AsyncIterable[bytes]) -> bytes:
    """The bytes of a contract.

    Raises:
        TooLarge: there are more than a contract may have.
    """
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > MAX_BYTES:
            raise TooLarge(f"a contract may have {MAX_BYTES} bytes")
    return bytes(content)
