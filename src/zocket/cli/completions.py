"""`zocket completions`: what a shell needs to complete our commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from zocket.cli import options

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    cls=options.Command,
    short_help="Write the completions for a shell.",
    epilog="zocket completions bash > ~/.local/share/bash-completion/completions/zocket\n"
    'zocket completions zsh > "${fpath[1]}/_zocket"\n'
    "zocket completions fish > ~/.config/fish/completions/zocket.fish",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Write the completions of SHELL (bash, zsh or fish) to standard output."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "zocket", "_ZOCKET_COMPLETE").source())
