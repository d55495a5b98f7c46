"""Which store of durable actors a command works on: a project's bucket on NATS, or the file of a standalone server.

Rules: an option wins over the environment, that over the file that `zocket serve` makes in this directory; what is
chosen is always said, on standard error; a file is never made by a command that reads.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zocket.cli import options, output
from zocket.cli.failures import needs
from zocket.errors import UsageError
from zocket.settings import NatsAccess, RuntimeSettings, ServeSettings, read, setting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.cli.surroundings import Surroundings
    from zocket.host.store import StateAdministration

DEFAULT_STATE_FILE: Final = ServeSettings.state_file
"""Where `zocket serve` keeps durable actors, from the directory of the project."""

store_options: Final = options.combined(
    click.option("--state-file", metavar="FILE", help="File of a standalone server.  [STATE_FILE, .zocket/state.db]"),
    click.option("--nats-url", metavar="URL", help="NATS servers of a deployment, comma-separated.  [NATS_URL]"),
    click.option("--workspace", metavar="ID", help="Workspace there.  [WORKSPACE_ID, default local-workspace]"),
    click.option("--project", metavar="ID", help="Project there.  [PROJECT_ID, default local-project]"),
)


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """Environment of the commands that work on stored state; the variables of `serve` and `runtime`."""

    state_file: str = setting("STATE_FILE", "")
    nats_url: str = setting("NATS_URL", "")
    workspace_id: str = setting("WORKSPACE_ID", RuntimeSettings.workspace_id)
    project_id: str = setting("PROJECT_ID", RuntimeSettings.project_id)
    nats_boot_timeout_s: float = setting("NATS_BOOT_TIMEOUT_S", RuntimeSettings.nats_boot_timeout_s, low=0.1)
    nats: NatsAccess = field(default_factory=NatsAccess)


@dataclass(frozen=True, slots=True)
class Choice:
    """A store that is not open yet; `path` is None for NATS."""

    settings: StoreSettings
    path: Path | None

    @property
    def name(self) -> str:
        """The store, for a person and for the header of a backup; without credentials."""
        settings = self.settings
        return str(self.path) if self.path is not None else f"{settings.workspace_id}/{settings.project_id} on NATS"


def choose(
    around: Surroundings, *, state_file: str | None, nats_url: str | None, workspace: str | None, project: str | None
) -> Choice:
    """What the options, the environment and the directory say.

    Raises:
        click.UsageError: the options name both kinds of store.
        UsageError: nothing names a store, or the environment names both kinds.
    """
    on_nats = any(value is not None for value in (nats_url, workspace, project))
    if state_file is not None and on_nats:
        raise click.UsageError("--state-file names another kind of store than --nats-url, --workspace and --project")
    settings = read(
        StoreSettings,
        around.environ,
        state_file=state_file,
        nats_url=nats_url,
        workspace_id=workspace,
        project_id=project,
    )
    if state_file is not None:
        return Choice(settings, Path(state_file))
    if on_nats:
        return Choice(settings, None)
    if settings.state_file and settings.nats_url:
        raise UsageError("STATE_FILE and NATS_URL name a store each: say which one with --state-file or --nats-url")
    if settings.nats_url:
        return Choice(settings, None)
    path = around.directory / DEFAULT_STATE_FILE
    if settings.state_file or path.exists():
        return Choice(settings, Path(settings.state_file or path))
    raise UsageError(
        f"there is no {DEFAULT_STATE_FILE} here: name the file of a standalone server with --state-file, "
        "or the servers of a deployment with --nats-url, --workspace and --project"
    )


@asynccontextmanager
async def open_store(choice: Choice, *, make: bool = False) -> AsyncIterator[StateAdministration]:
    """The store, during the block; says which one it is.

    Args:
        choice: which one.
        make: a file that is not there is made.

    Raises:
        UsageError: the file is not there.
        BootError: it cannot be opened, a server has it, or NATS is away.
        SettingsError: workspace or project are no ids.
    """
    if choice.path is None:
        async with _open_nats(choice.settings) as store:
            yield store
        return
    from zocket.server.sqlite_store import SqliteStore

    if not make and not choice.path.exists():
        raise UsageError(f"{choice.path}: there is no such file")
    async with SqliteStore.open(choice.path, sync=True) as file:
        output.note(f"store: {choice.name}")
        yield file


@asynccontextmanager
async def _open_nats(settings: StoreSettings) -> AsyncIterator[StateAdministration]:
    with needs("nats"):
        from zocket.broker.access import open_broker
        from zocket.broker.credentials import Credentials, Servers
        from zocket.runtime.state_store import BrokerStateStore
    from zocket.ids import Scope

    scope = Scope(settings.workspace_id, settings.project_id)
    url = settings.nats_url or RuntimeSettings.nats_url
    broker = await open_broker(url, settings.nats, name="zocket-actors", boot_timeout_s=settings.nats_boot_timeout_s)
    try:
        output.note(f"store: {scope.workspace_id}/{scope.project_id} on {Servers.parse(url, Credentials())}")
        yield BrokerStateStore(broker, scope)
    finally:
        await broker.aclose()
