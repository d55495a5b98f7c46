"""The environment of a project's runtime: variables that go in, and come out only there.

Rules: a value is sealed before it is written and never shown; a name that the platform or the interpreter reads itself
is refused; every change is a new deployment of the active bundle, made by whoever changed it.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from zocket.control.deployment_schemas import VariableView
from zocket.control.failures import NotFound, Taken
from zocket.control.paging import Page, Paging, read_page
from zocket.control.records import EnvSecret
from zocket.control.secrets import Sealed
from zocket.errors import CallerError, InvalidFrame
from zocket.settings import RuntimeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.control.database import Database
    from zocket.control.secrets import Vault

MAX_VARIABLES: Final = 200
"""Of one project; with their values they have to fit into one process's environment."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_RESERVED: Final = frozenset({"HOME", "PATH", "SHELL", "TMPDIR", "USER"}) | frozenset(
    item.metadata["variable"] for item in dataclasses.fields(RuntimeSettings) if "variable" in item.metadata
)
_RESERVED_FRONTS: Final = ("ZOCKET_", "PYTHON", "LD_", "DYLD_", "KUBERNETES_")


def check_name(name: str) -> None:
    """Refuses a name that cannot be a variable, or that is not the project's to set.

    Raises:
        InvalidFrame: it is no name.
        CallerError: (`reserved_name`) the platform or the interpreter reads it.
    """
    if not _NAME.match(name):
        raise InvalidFrame("name: expected letters, digits and _, not beginning with a digit, 128 at most")
    if name in _RESERVED or name.upper().startswith(_RESERVED_FRONTS):
        raise CallerError(
            f"{name}: this variable belongs to the platform; call yours something else", code="reserved_name"
        )


class Environment:
    """The variables of all projects."""

    def __init__(self, database: Database, vault: Vault, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._vault = vault
        self._now_ms = now_ms

    async def page(self, project_id: str, asked: Paging) -> Page[VariableView]:
        """The names, and when and by whom each was set, oldest change first."""
        query = select(EnvSecret).where(EnvSecret.project_id == project_id)
        async with self._database.reading() as session:
            return await read_page(
                session, query, asked, lambda row: _view(row[0]), at=EnvSecret.updated_at, key=EnvSecret.name
            )

    async def set(self, project_id: str, name: str, value: str, by: str) -> None:
        """Sets a variable.

        Raises:
            InvalidFrame, CallerError: the name cannot be used, or the value cannot be in an environment.
            Taken: there are too many.
        """
        check_name(name)
        if "\0" in value:
            raise InvalidFrame("value: an environment variable cannot hold a NUL character")
        sealed = self._vault.seal(value, project_id, name)
        async with self._database.session() as session:
            found = await session.get(EnvSecret, (project_id, name))
            if found is None:
                names = (await session.scalars(select(EnvSecret.name).where(EnvSecret.project_id == project_id))).all()
                if len(names) >= MAX_VARIABLES:
                    raise Taken(f"a project has {MAX_VARIABLES} variables at most", code="too_many_variables")
                found = EnvSecret(project_id=project_id, name=name)
                session.add(found)
            found.ciphertext, found.key_id = sealed
            found.updated_at, found.updated_by = self._now_ms(), by[:254]

    async def unset(self, project_id: str, name: str) -> None:
        """Removes a variable.

        Raises:
            NotFound: there is none of this name.
        """
        async with self._database.session() as session:
            found = await session.get(EnvSecret, (project_id, name))
            if found is None:
                raise NotFound(f"the project has no variable {name[:128]}")
            await session.delete(found)

    async def values(self, project_id: str) -> dict[str, str]:
        """All variables of a project, for its runtime.

        Raises:
            Unavailable: one of them cannot be opened.
        """
        async with self._database.reading() as session:
            found = (await session.scalars(select(EnvSecret).where(EnvSecret.project_id == project_id))).all()
        return {
            item.name: self._vault.open(Sealed(item.ciphertext, item.key_id), project_id, item.name) for item in found
        }


def _view(record: EnvSecret) -> VariableView:
    return VariableView(name=record.name, updated_at=record.updated_at, updated_by=record.updated_by)
