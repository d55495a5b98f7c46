"""What the commands have in common: the class of a command, and options that several of them take.

Rules: an option that is not given leaves the environment and the defaults alone, and its help names its variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli.failures import INTERRUPTED, report
from zocket.errors import ZocketError

if TYPE_CHECKING:
    from collections.abc import Callable


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
    """The commands in the order in which they were defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return list(self.commands)


class Command(_WithExamples):
    """A command whose known errors end it with a line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        try:
            return super().invoke(ctx)
        except ZocketError as error:
            return report(ctx.info_name or "", error)
        except KeyboardInterrupt:
            return INTERRUPTED


class Port(click.IntRange):
    """A port, without its range in every help."""

    name = "port"

    def __init__(self) -> None:
        super().__init__(0, 65_535)

    def _describe_range(self) -> str:
        return ""


PORT: Final = Port()


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
