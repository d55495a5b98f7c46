"""`zocket control create-admin`: the first account of a control plane whose people sign in by password."""

from __future__ import annotations

import asyncio
import getpass
import sys

import click

from zocket.cli import options, output, processes
from zocket.cli.failures import needs
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import UsageError


@click.command(
    "create-admin",
    cls=options.Command,
    short_help="Make an administrator's account.",
    epilog="zocket control create-admin ada@example.com\n"
    "zocket control create-admin ada@example.com --replace < password.txt",
)
@click.argument("email")
@click.option("--name", metavar="NAME", default="", help="How the person is called.  [from EMAIL]")
@click.option("--replace", is_flag=True, help="Give an account that exists this password, and sign it out everywhere.")
@options.database_url
@options.as_json
@pass_surroundings
def create_admin(
    around: Surroundings, email: str, name: str, replace: bool, database_url: str | None, as_json: bool
) -> None:
    """Make an account for EMAIL with every right in this installation.

    Works on the database, so the control plane need not run. The password (12 characters or more) is asked for, or
    read from standard input.
    """
    from zocket.settings import ControlSettings

    settings = processes.settings(ControlSettings, database_url=database_url)
    with needs("control"):
        from zocket.control.identity.accounts import create_admin as create

    password = _password(around)
    user_id = asyncio.run(create(settings, email, name, password, replace=replace))
    if as_json:
        output.data({"id": user_id, "email": email.strip().lower()})
    else:
        output.line(f"{email} may sign in now: zocket auth login, or in the dashboard.")


def _password(around: Surroundings) -> str:
    if not around.interactive:
        password = sys.stdin.readline().rstrip("\n")
        if not password:
            raise UsageError("there is no password on standard input")
        return password
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("the two passwords are not the same")
    return password
