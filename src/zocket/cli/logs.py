"""`zocket logs`: what a project's runtime writes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import options, output
from zocket.cli.deploying import find_deployment
from zocket.cli.loglines import readable
from zocket.cli.paths import api_path, project_path
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from zocket.cli.api_client import Api

AGAIN_S: Final = 1.0
"""Before a stream that ended is opened again."""


@click.command(
    cls=options.Command,
    short_help="Show what the runtime writes.",
    epilog="zocket logs --follow\nzocket logs v12 --lines 500\nzocket logs --json | jq -r .line",
)
@click.argument("deployment", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C; moves on to the next version when it serves.")
@click.option(
    "--lines", "-n", metavar="N", type=click.IntRange(1, 1_000), default=100, help="How many to begin with.  [100]"
)
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def logs(
    around: Surroundings,
    deployment: str | None,
    follow: bool,
    lines: int,
    project: str | None,
    control_url: str | None,
    as_json: bool,
) -> None:
    """Show the output of a deployment's runtime: DEPLOYMENT (id or version), or the one that serves.

    With --json each line is a JSON document of its own.
    """
    around.choose(control_url=control_url, project=project)
    api, of = around.api(), around.project
    chosen = find_deployment(api, of, deployment)["id"] if deployment else _serving(api, of)
    if not follow:
        for _, item in api.stream(api_path("/api/deployments/{}/logs", chosen), lines=lines):
            _write(item, as_json)
        return
    _follow(around, api, of, chosen, moves=deployment is None, lines=lines, as_json=as_json)


def _serving(api: Api, project: str) -> str:
    found = api.get(project_path(project))["activeDeployment"]
    if found:
        return str(found)
    newest = api.items(project_path(project, "/deployments"), most=1)
    if not newest:
        raise UsageError("nothing was deployed yet: zocket deploy")
    return str(newest[0]["id"])


def _follow(
    around: Surroundings, api: Api, project: str, chosen: str, *, moves: bool, lines: int, as_json: bool
) -> None:
    last_id: str | None = None
    newest = -1
    while True:
        try:
            where = api_path("/api/deployments/{}/logs", chosen)
            for event_id, item in api.stream(where, last_id=last_id, follow="true", lines=lines):
                last_id = event_id or last_id
                if isinstance(item, dict) and (event_id or item.get("at", 0) > newest):
                    _write(item, as_json)
                    newest = max(newest, item.get("at", 0))
        except Unavailable as error:
            output.note(click.style(f"the stream broke off ({error.code}); again in {AGAIN_S:g} s", dim=True))
        around.pause(AGAIN_S)
        try:
            serving = _serving(api, project) if moves else chosen
        except Unavailable:
            continue
        if serving != chosen:
            output.note(click.style(f"{serving} serves now", dim=True))
            chosen, last_id, newest = serving, None, -1


def _write(item: Any, as_json: bool) -> None:
    if not isinstance(item, dict) or "line" not in item:
        return
    if as_json:
        click.echo(json.dumps(item, ensure_ascii=False))
        return
    at = time.strftime("%H:%M:%S", time.localtime(item.get("at", 0) / 1000))
    colour = "cyan" if item.get("stream") == "platform" else None
    click.echo(f"{click.style(at, dim=True)} {click.style(readable(item['line']), fg=colour)}")
