"""`zocket tokens`: the deploy tokens of a project, for pipelines."""

from __future__ import annotations

import click

from zocket.cli import options, output
from zocket.cli.paths import project_path
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import UsageError


@click.group(
    cls=options.Commands,
    short_help="List, create and revoke deploy tokens.",
    epilog='zocket tokens create "GitHub Actions"\nzocket tokens revoke dpt_1f3c',
)
def tokens() -> None:
    """List, create and revoke the deploy tokens of a project.

    With one in ZOCKET_TOKEN a pipeline may deploy, roll back and read logs of that project, and nothing else.
    """


@tokens.command("list", cls=options.Command, short_help="List them.", epilog="zocket tokens list --json")
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def list_tokens(around: Surroundings, project: str | None, control_url: str | None, as_json: bool) -> None:
    """List the deploy tokens of the project: how they begin, and when they were used last."""
    around.choose(control_url=control_url, project=project)
    found = around.api().items(project_path(around.project, "/deploy-tokens"))
    if as_json:
        output.listing(found)
        return
    now = around.wall()
    rows = [
        (
            item["id"],
            item["name"],
            f"{item['prefix']}…",
            output.ago(item["createdAt"], now),
            "revoked" if item["revokedAt"] else output.ago(item["lastUsedAt"], now),
        )
        for item in found
    ]
    if rows:
        output.table(("ID", "NAME", "TOKEN", "CREATED", "USED"), rows)
    else:
        output.note("There is none: zocket tokens create NAME")


@tokens.command("create", cls=options.Command, short_help="Create one.", epilog='zocket tokens create "GitHub Actions"')
@click.argument("name")
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def create_token(around: Surroundings, name: str, project: str | None, control_url: str | None, as_json: bool) -> None:
    """Create a deploy token called NAME; it is shown once."""
    around.choose(control_url=control_url, project=project)
    issued = around.api().post(project_path(around.project, "/deploy-tokens"), {"name": name})
    if as_json:
        output.data(issued)
        return
    output.line(output.clean(issued["token"]))
    output.note(f"{output.clean(issued['id'])} is shown this once; set it as ZOCKET_TOKEN where it is used.")


@tokens.command("revoke", cls=options.Command, short_help="Revoke one.", epilog="zocket tokens revoke dpt_1f3c")
@click.argument("token")
@options.yes
@options.project
@options.control_url
@pass_surroundings
def revoke_token(around: Surroundings, token: str, yes: bool, project: str | None, control_url: str | None) -> None:
    """Revoke TOKEN, given by its id or name: whoever uses it is refused from now on."""
    around.choose(control_url=control_url, project=project)
    api, of = around.api(), around.project
    usable = [item for item in api.items(project_path(of, "/deploy-tokens")) if not item["revokedAt"]]
    found = [item for item in usable if token == item["id"]] or [item for item in usable if token == item["name"]]
    if len(found) != 1:
        reason = "several tokens have this name; give the id" if found else "there is no such token"
        raise UsageError(f"{token}: {reason} (zocket tokens list)")
    name = output.clean(found[0]["name"])
    around.confirm(f"Revoke {name} ({found[0]['id']})?", yes=yes)
    api.post(project_path(of, "/deploy-tokens/{}/revoke", found[0]["id"]))
    output.line(f"Revoked {name}.")
