"""`zocket env`: environment and secrets of a project's runtime.

Rules: a value goes in and never comes out; one that is a secret need not be on the command line, where other processes
see it; a change is a deployment, so it is followed like one.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import following, options, output
from zocket.cli.paths import project_path
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import UsageError

if TYPE_CHECKING:
    from zocket.cli.api_client import Api

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


@click.group(
    cls=options.Commands,
    short_help="Set, list and unset environment variables and secrets.",
    epilog="zocket env set DATABASE_URL\nzocket env set LOG_LEVEL=debug REGION=eu\nzocket env list",
)
def env() -> None:
    """Set, list and unset environment variables and secrets of the project's runtime.

    Encrypted at rest, given to the runtime alone, never shown again. A change deploys the active bundle once more.
    """


@env.command(
    "set",
    cls=options.Command,
    short_help="Set variables.",
    epilog="zocket env set DATABASE_URL              # asks for the value\n"
    "zocket env set DATABASE_URL < secret.txt # or reads it\n"
    "zocket env set LOG_LEVEL=debug REGION=eu",
)
@click.argument("pairs", metavar="NAME[=VALUE]...", nargs=-1, required=True)
@following.wait_options
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def set_variables(
    around: Surroundings,
    pairs: tuple[str, ...],
    wait: bool,
    timeout: float,
    project: str | None,
    control_url: str | None,
    as_json: bool,
) -> int:
    """Set variables; a value that is not given is asked for, or read from standard input."""
    values = _values(around, pairs)
    around.choose(control_url=control_url, project=project)
    api = around.api()
    change: dict[str, Any] = {}
    for name, value in values.items():
        change = api.call("PUT", project_path(around.project, "/env/{}", name), json={"value": value})
    return _changed(around, api, change, f"{', '.join(values)} set", wait, timeout, as_json)


def _values(around: Surroundings, pairs: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    open_names = [pair for pair in pairs if "=" not in pair]
    if len(open_names) > 1 and not around.interactive:
        raise click.UsageError(f"one value can be read from standard input, not {len(open_names)}")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not _NAME.match(name):
            raise click.UsageError(f'"{name}" cannot be a variable: letters, digits and _, not beginning with a digit')
        if not equals and around.interactive:
            value = click.prompt(f"Value of {name}", hide_input=True, err=True)
        elif not equals:
            value = sys.stdin.read().removesuffix("\n")
            if not value:
                raise UsageError(f"{name}: there is no value on standard input; give {name}=VALUE")
        values[name] = value
    return values


@env.command("list", cls=options.Command, short_help="List the names.", epilog="zocket env list --json")
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def list_variables(around: Surroundings, project: str | None, control_url: str | None, as_json: bool) -> None:
    """List the names of the variables, and who set them when; values are never shown."""
    around.choose(control_url=control_url, project=project)
    found = around.api().items(project_path(around.project, "/env"))
    if as_json:
        output.listing(found)
    elif found:
        now = around.wall()
        rows = [(item["name"], output.ago(item["updatedAt"], now), item["updatedBy"]) for item in found]
        output.table(("NAME", "SET", "BY"), rows)
    else:
        output.note("There is none: zocket env set NAME")


@env.command("unset", cls=options.Command, short_help="Unset variables.", epilog="zocket env unset DATABASE_URL")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@following.wait_options
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def unset_variables(
    around: Surroundings,
    names: tuple[str, ...],
    wait: bool,
    timeout: float,
    project: str | None,
    control_url: str | None,
    as_json: bool,
) -> int:
    """Unset variables."""
    around.choose(control_url=control_url, project=project)
    api = around.api()
    change: dict[str, Any] = {}
    for name in names:
        change = api.call("DELETE", project_path(around.project, "/env/{}", name))
    return _changed(around, api, change, f"{', '.join(names)} unset", wait, timeout, as_json)


def _changed(
    around: Surroundings, api: Api, change: dict[str, Any], what: str, wait: bool, timeout: float, as_json: bool
) -> int:
    deployment = change.get("deployment")
    code = 0
    if deployment is not None and wait:
        deployment = following.follow(around, api, deployment, timeout_s=timeout)
        code = following.exit_code(deployment)
    if as_json:
        output.data({**change, "deployment": deployment})
    elif deployment is None:
        output.line(f"{what}; the next deployment has it.")
    else:
        output.line(f"{what}.")
        following.conclude(api, deployment)
    return code
