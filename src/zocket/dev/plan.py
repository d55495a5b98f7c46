"""What `zocket dev` is asked for, and what follows from it: addresses, directories, commands and environments.

Rules: no I/O beyond looking for free ports; the developer's own variables reach every process, except where a variable
of ours has a value that this machine decides.
"""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.dev.addresses import LOOPBACK, local_address
from zocket.dev.ports import free_port
from zocket.ids import Scope
from zocket.settings import RuntimeSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOCAL: Final = Scope(*(getattr(RuntimeSettings(deployment_id=""), name) for name in ("workspace_id", "project_id")))
"""The project of everything here: the one of a runtime's defaults, which a control plane in dev mode has."""
DRAIN_TIMEOUT_S: Final = "2"
"""How long gateway and runtime finish open calls when they are stopped: a developer waits for it."""
DATA_DIRECTORY: Final = Path(".zocket")
"""Where `--persist` keeps streams and records, in the working directory."""
_NOT_INHERITED: Final = frozenset({"TLS_CERTIFICATE", "TLS_KEY", "PUBLIC_URL"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a developer asks for.

    Attributes:
        target: `module:attribute`.
        host: address of the gateway; everything else is on loopback.
        port: of the gateway and the page; None takes 3000 or the next free one, 0 any free one.
        reload: a change of the sources becomes a new version.
        persist: streams and records are kept in files for the next start.
        page: the gateway's port also serves the page.
        log_level: of every process.
        status_file: where the status is published as JSON; None for nowhere.
    """

    target: str
    host: str = LOOPBACK
    port: int | None = None
    reload: bool = True
    persist: bool = False
    page: bool = True
    log_level: str = "info"
    status_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, decided.

    Attributes:
        home: directory of this run, gone with it.
        port: of the gateway.
        nats_url: of the NATS server, which runs already.
    """

    options: Options
    home: Path
    port: int
    nats_url: str
    control_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def control_url(self) -> str:
        """Of the control plane."""
        return f"http://{LOOPBACK}:{self.control_port}"

    @property
    def gateway_url(self) -> str:
        """Where clients of this machine connect."""
        return f"ws://{local_address(self.options.host, self.port)}"

    @property
    def page_url(self) -> str:
        """The page, for a browser of this machine."""
        return f"http://{local_address(self.options.host, self.port)}/"

    @property
    def metrics_url(self) -> str:
        """Of the gateway's metrics."""
        return f"http://{LOOPBACK}:{self.metrics_port}/metrics"

    @property
    def status_path(self) -> Path:
        """Of the status file, which the gateway's page reads as well."""
        return (self.options.status_file or self.home / "status.json").absolute()

    @property
    def data(self) -> Path:
        """Directory of records and bundles."""
        return DATA_DIRECTORY.absolute() if self.options.persist else self.home

    def command(self, role: str, *arguments: str) -> Sequence[str]:
        """The command line of a process; `-P` keeps the working directory from being imported instead of the bundle."""
        return (sys.executable, "-P", "-m", "zocket", role, *arguments, "--log-format", "json", *self._log_level())

    def control_environ(self) -> Mapping[str, str]:
        """The environment of the control plane."""
        return self._environ(
            HOST=LOOPBACK,
            PORT=str(self.control_port),
            DATABASE_URL=f"sqlite+aiosqlite:///{self.data / 'control.db'}",
            BUNDLE_STORE=str(self.data / "bundles"),
            RUNTIME_DIR=str(self.data / "runtimes"),
            ZOCKET_SECRET_KEY_FILE=str(self.data / "secret.key"),
            ORCHESTRATOR="none",  # runtimes are ours, so that their logs are here
        )

    def gateway_environ(self) -> Mapping[str, str]:
        """The environment of the gateway."""
        return self._environ(
            HOST=self.options.host, PORT=str(self.port), METRICS_HOST=LOOPBACK, METRICS_PORT=str(self.metrics_port)
        )

    def runtime_environ(self, deployment_id: str, api_port: int) -> Mapping[str, str]:
        """The environment of the runtime of a deployment."""
        return self._environ(
            DEPLOYMENT_ID=deployment_id,
            API_HOST=LOOPBACK,
            API_PORT=str(api_port),
            BUNDLE_DIR=str(self.home / "loaded"),
        )

    def _environ(self, **own: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        return {
            "DRAIN_TIMEOUT_S": DRAIN_TIMEOUT_S,
            **inherited,
            "CONTROL_PLANE_INTERNAL_TOKEN": self.token,
            "CONTROL_PLANE_URL": self.control_url,
            "NATS_URL": self.nats_url,
            "PROJECT_ID": LOCAL.project_id,
            "PYTHONUNBUFFERED": "1",
            "STREAM_STORAGE": "file",  # what durable actors need; without `persist` the files go with the server
            "WORKSPACE_ID": LOCAL.workspace_id,
            "ZOCKET_DEV": "1",
            **own,
        }

    def _log_level(self) -> tuple[str, ...]:
        return ("--log-level", self.options.log_level)
