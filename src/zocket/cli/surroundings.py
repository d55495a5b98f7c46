"""What a command works in: environment, home, directory, network, time; and what follows from them.

Rules: for the control plane an option wins over ZOCKET_CONTROL_URL, that over `.zocket.json`, that over the last
sign-in; for the project the same without the last. Tests hand in their own.
"""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zocket.cli.config import DEFAULT_CONTROL_URL, CliSettings, ConfigFile, normal_url
from zocket.cli.failures import needs
from zocket.cli.project import Link, ProjectConfig, find_directory, read_config, read_link
from zocket.errors import Unauthorized, UsageError
from zocket.settings import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from zocket.cli.api_client import Api


class Surroundings:
    """The outside of one command.

    Args:
        environ: variables; the process's by default.
        directory: where the command was called; the working directory by default.
        transport: instead of the network.
        pause: waits for some seconds.
        wall: seconds since the epoch.
        browse: opens a page.
        interactive: whether somebody can be asked; by default whether standard input is a terminal.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        wall: Callable[[], float] = time.time,
        browse: Callable[[str], bool] = webbrowser.open,
        interactive: bool | None = None,
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self.directory = find_directory((directory or Path.cwd()).resolve())
        self.pause = pause
        self.wall = wall
        self.interactive = sys.stdin.isatty() if interactive is None else interactive
        self.transport = transport
        self._browse = browse
        self._control_url: str | None = None
        self._project: str | None = None

    def choose(self, *, control_url: str | None = None, project: str | None = None) -> None:
        """What the command line says, which wins over everything else."""
        if control_url is not None:
            self._control_url = normal_url(control_url)
        if project is not None:
            self._project = project

    @cached_property
    def settings(self) -> CliSettings:
        """The environment."""
        return read(CliSettings, self.environ)

    @cached_property
    def config(self) -> ConfigFile:
        """`~/.zocket/config.json`."""
        return ConfigFile(Path(self.settings.home).expanduser())

    @cached_property
    def link(self) -> Link | None:
        """`.zocket.json` of the project, if it has one."""
        return read_link(self.directory)

    @cached_property
    def project_config(self) -> ProjectConfig:
        """`[tool.zocket]` of the project."""
        return read_config(self.directory)

    @property
    def control_url(self) -> str:
        """The control plane to speak to."""
        if self._control_url:
            return self._control_url
        if self.settings.control_url:
            return normal_url(self.settings.control_url)
        if self.link is not None:
            return self.link.control_url
        return self.config.control_url or DEFAULT_CONTROL_URL

    @property
    def project(self) -> str:
        """Id or slug of the project to work on.

        Raises:
            UsageError: nothing says which, or `.zocket.json` is about another control plane.
        """
        if self._project or self.settings.project:
            return self._project or self.settings.project
        if self.link is None:
            raise UsageError(
                "this directory is not linked to a project: `zocket link` chooses or creates one "
                "(in a pipeline: commit .zocket.json, or set ZOCKET_PROJECT)"
            )
        if self.link.control_url != self.control_url:
            raise UsageError(
                f"this directory is linked to a project of {self.link.control_url}, not of {self.control_url}; "
                "link it again with `zocket link`, or name the project with --project"
            )
        return self.link.project_id

    def api(self, *, anonymous: bool = False) -> Api:
        """A client of the control plane, closed when the command ends.

        Args:
            anonymous: without a token.
        """
        token, from_environment = (None, False) if anonymous else self.token()
        return self.api_with(token, from_environment=from_environment)

    def api_with(self, token: str | None, *, from_environment: bool = False) -> Api:
        """The same with a token that is given."""
        with needs("cli"):
            from zocket.cli.api_client import Api

        api = Api(
            self.control_url,
            token,
            from_environment=from_environment,
            pause=self.pause,
            transport=self.transport,
        )
        context = click.get_current_context(silent=True)
        if context is not None:
            context.call_on_close(api.close)
        return api

    def token(self) -> tuple[str | None, bool]:
        """The bearer for the control plane, and whether ZOCKET_TOKEN gives it."""
        if self.settings.token:
            return self.settings.token, True
        sign_in = self.config.sign_in(self.control_url)
        return (sign_in.token if sign_in else None), False

    def require_token(self) -> None:
        """Refuses to begin what takes a while if it cannot end.

        Raises:
            Unauthorized: there is no token for the control plane.
        """
        if self.token()[0] is None:
            raise Unauthorized(f"you are not signed in to {self.control_url}: zocket auth login")

    def open_page(self, url: str) -> bool:
        """Opens a page in a browser with windows; False where there is none."""
        graphical = sys.platform != "linux" or self.environ.get("DISPLAY") or self.environ.get("WAYLAND_DISPLAY")
        if not graphical or not self.interactive or not url.startswith(("http://", "https://")):
            return False
        try:
            return self._browse(url)
        except webbrowser.Error:
            return False

    def confirm(self, question: str, *, yes: bool) -> None:
        """Asks before something that cannot be undone.

        Raises:
            UsageError: nobody can be asked, or the answer is no.
        """
        if yes:
            return
        if not self.interactive:
            raise UsageError(f"{question} Nobody can be asked here; say --yes")
        if not click.confirm(question, err=True):
            raise UsageError("nothing was done")


pass_surroundings = click.make_pass_decorator(Surroundings, ensure=True)
