"""What the commands have in common: the class of a command, and options that several of them take.

Rules: an option that is not given leaves the environment and the defaults alone, and its help names its variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import click

from zocket.cli.failures import INTERRUPTED, report
from zocket.errors import ZocketError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class _WithExamples(click.Command):
    """Its epilog is shown as it stands, as examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write(
                    "".join(f"{' ' * formatter.current_indent}{line}\n" for line in self.epilog.split("\n"))
                )


class Commands(_WithExamples, click.Group):
    """The commands in the order in which they were defined, or in sections.

    Attributes:
        sections: names of commands by heading; empty for one list of all.
    """

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        if not self.sections:
            super().format_commands(ctx, formatter)
            return
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit=80)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(rows)


class _Guarded(_WithExamples):
    """Known errors end it with a line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        try:
            return super().invoke(ctx)
        except ZocketError as error:
            return report(ctx.command_path.partition(" ")[2], error)
        except KeyboardInterrupt:
            return INTERRUPTED


class Command(_Guarded):
    """A command that does something."""


class CommandWithParts(_Guarded, Commands):
    """A command that does something by itself, and has commands below it."""

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        super().__init__(name, **{**attributes, "invoke_without_command": True})


class Port(click.IntRange):
    """A port, without its range in every help."""

    name = "port"

    def __init__(self) -> None:
        super().__init__(0, 65_535)

    def _describe_range(self) -> str:
        return ""


PORT: Final = Port()


class Seconds(click.FloatRange):
    """A time limit, without its range in every help."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=1)

    def _describe_range(self) -> str:
        return ""


SECONDS: Final = Seconds()


def combined(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def host(default: str) -> Callable[[Any], Any]:
    """`--host`."""
    return click.option("--host", metavar="ADDRESS", help=f"Address to listen on.  [HOST, default {default}]")


def port(default: str, variable: str = "PORT", what: str = "Port to listen on") -> Callable[[Any], Any]:
    """`--port`."""
    return click.option(
        "--port", type=PORT, metavar="PORT", help=f"{what}; 0 takes a free one.  [{variable}, default {default}]"
    )


log_options: Final = combined(
    click.option(
        "--log-format",
        type=click.Choice(["auto", "text", "json"]),
        default="auto",
        help="auto: text on a terminal, JSON lines otherwise.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        default="info",
        help="Least severe lines to write.",
    ),
)
tls_options: Final = combined(
    click.option("--tls-certificate", metavar="FILE", help="Certificate chain (PEM).  [TLS_CERTIFICATE]"),
    click.option("--tls-key", metavar="FILE", help="Its private key (PEM).  [TLS_KEY]"),
)
nats_url: Final = click.option(
    "--nats-url", metavar="URL", help="NATS servers, comma-separated.  [NATS_URL, default nats://localhost:4222]"
)
control_plane_url: Final = click.option(
    "--control-plane-url",
    metavar="URL",
    help="The control plane.  [CONTROL_PLANE_URL, default http://localhost:3000]",
)
control_url: Final = click.option(
    "--control-url", metavar="URL", help="The control plane.  [ZOCKET_CONTROL_URL, .zocket.json, the last sign-in]"
)
project: Final = click.option(
    "--project", "-p", metavar="PROJECT", help="Slug or id of the project.  [ZOCKET_PROJECT, .zocket.json]"
)
as_json: Final = click.option("--json", "as_json", is_flag=True, help="Write JSON with the field names of the API.")
yes: Final = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
database_url: Final = click.option(
    "--database-url",
    metavar="URL",
    help="SQLAlchemy URL of the records.  [DATABASE_URL, default sqlite+aiosqlite:///.zocket/control.db]",
)
