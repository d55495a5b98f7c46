"""What a server says when it is up: where the page is, where sockets connect, which actors there are.

Rules: on standard output, so that logs can be kept apart; an address that every interface answers is shown as one that
a browser on this machine can open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zocket import __version__
from zocket.dev.addresses import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Mapping


def show(title: str, rows: Mapping[str, str], hint: str) -> None:
    """Writes the banner; rows without a value are left out."""
    lines = ["", f"  {click.style('zocket', fg='cyan', bold=True)} {__version__}  {title}", ""]
    shown = {name: value for name, value in rows.items() if value}
    width = max(map(len, shown), default=0) + 3
    lines += [f"  {click.style(name.ljust(width), dim=True)}{value}" for name, value in shown.items()]
    lines += ["", f"  {click.style(hint, dim=True)}", ""]
    click.echo("\n".join(lines))


def beyond(host: str) -> str:
    """A remark for addresses that other machines reach."""
    return click.style("  (every address of this machine)", dim=True) if host in EVERYWHERE else ""
