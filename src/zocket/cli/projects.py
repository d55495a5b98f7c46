"""`zocket projects` and `zocket link`: which projects there are, and which one a directory belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zocket.cli import options, output
from zocket.cli.paths import project_path
from zocket.cli.project import Link, write_link
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import UsageError

if TYPE_CHECKING:
    from zocket.cli.api_client import Api

TITLES = ("SLUG", "NAME", "STATUS", "ADDRESS", "ID")


@click.group(
    cls=options.Commands,
    short_help="List, create, show and delete projects.",
    epilog='zocket projects list\nzocket projects create "Chat" --slug chat',
)
def projects() -> None:
    """List, create, show and delete the projects of your workspaces."""


@projects.command("list", cls=options.Command, short_help="List your projects.", epilog="zocket projects list --json")
@options.control_url
@options.as_json
@pass_surroundings
def list_projects(around: Surroundings, control_url: str | None, as_json: bool) -> None:
    """List the projects of your workspaces."""
    around.choose(control_url=control_url)
    found = around.api().items("/api/projects")
    if as_json:
        output.listing(found)
    elif found:
        output.table(TITLES, map(_row, found))
    else:
        output.note("There is no project yet: zocket projects create NAME, or zocket link in the app's directory.")


def _row(project: dict[str, Any]) -> tuple[object, ...]:
    return project["slug"], project["name"], output.status(project["status"]), project["url"], project["id"]


@projects.command(
    "create",
    cls=options.Command,
    short_help="Create a project.",
    epilog='zocket projects create "Chat"\nzocket projects create "Chat" --slug chat --workspace wsp_1f3c --json',
)
@click.argument("name")
@click.option("--slug", metavar="SLUG", help="Its name in addresses.  [made from NAME]")
@click.option("--workspace", metavar="ID", help="Where it belongs; needed if you are in several.")
@options.control_url
@options.as_json
@pass_surroundings
def create_project(
    around: Surroundings, name: str, slug: str | None, workspace: str | None, control_url: str | None, as_json: bool
) -> None:
    """Create a project, with a first deploy token that is shown once."""
    around.choose(control_url=control_url)
    project = _create(around.api(), name, slug, workspace)
    if as_json:
        output.data(project)
        return
    output.facts({"slug": project["slug"], "id": project["id"], "address": project["url"]})
    output.facts({"deploy token": project["deployToken"]})
    output.note("The token is shown this once: keep it where your pipeline has its secrets, as ZOCKET_TOKEN.")


@projects.command(
    "show",
    cls=options.Command,
    short_help="Show a project and how its runtime is.",
    epilog="zocket projects show\nzocket projects show chat --json",
)
@click.argument("project", required=False)
@options.control_url
@options.as_json
@pass_surroundings
def show_project(around: Surroundings, project: str | None, control_url: str | None, as_json: bool) -> None:
    """Show PROJECT (slug or id), or the one of this directory."""
    around.choose(control_url=control_url, project=project)
    api = around.api()
    found = api.get(project_path(around.project))
    if as_json:
        output.data(found)
        return
    output.facts(
        {
            "name": found["name"],
            "slug": found["slug"],
            "id": found["id"],
            "status": output.status(found["status"]),
            "address": found["url"],
            "deployment": found["activeDeployment"],
            "created": output.ago(found["createdAt"], around.wall()),
        }
    )


@projects.command(
    "delete", cls=options.Command, short_help="Delete a project for good.", epilog="zocket projects delete chat"
)
@click.argument("project")
@options.yes
@options.control_url
@pass_surroundings
def delete_project(around: Surroundings, project: str, yes: bool, control_url: str | None) -> None:
    """Delete PROJECT (slug or id) with its deployments, tokens and environment, and stop its runtime."""
    around.choose(control_url=control_url, project=project)
    api = around.api()
    found = api.get(project_path(project))
    slug = output.clean(found["slug"])
    around.confirm(f"Delete the project {slug} for good, and close its sockets?", yes=yes)
    api.call("DELETE", project_path(found["id"]))
    output.line(f"Deleted {slug}.")


@click.command(
    cls=options.Command,
    short_help="Choose or create the project that this directory belongs to.",
    epilog='zocket link\nzocket link chat\nzocket link --create "Chat"',
)
@click.argument("project", required=False)
@click.option("--create", metavar="NAME", help="Create a project of this name and link it.")
@click.option("--slug", metavar="SLUG", help="With --create: its name in addresses.  [made from NAME]")
@click.option("--workspace", metavar="ID", help="With --create: where it belongs; needed if you are in several.")
@options.control_url
@options.as_json
@pass_surroundings
def link(
    around: Surroundings,
    project: str | None,
    create: str | None,
    slug: str | None,
    workspace: str | None,
    control_url: str | None,
    as_json: bool,
) -> None:
    """Link this directory to PROJECT (slug or id), to a new one, or to one that you choose from a list.

    Writes .zocket.json, which holds no secret: commit it, and pipelines know where to deploy.
    """
    if create is not None and project is not None:
        raise click.UsageError("either PROJECT or --create NAME")
    around.choose(control_url=control_url)
    api = around.api()
    if create is not None:
        found = _create(api, create, slug, workspace)
    elif project is not None:
        found = api.get(project_path(project))
    else:
        found = _ask(around, api)
    at = Link(around.control_url, found["id"], found["slug"], found["workspaceId"])
    file = write_link(around.directory, at)
    if as_json:
        output.data({key: value for key, value in found.items() if key != "deployToken"})
        return
    output.line(f"Linked {around.directory} to {output.clean(found['slug'])} ({file.name}).")
    output.note("Next: zocket deploy")


def _ask(around: Surroundings, api: Api) -> dict[str, Any]:
    found = api.items("/api/projects")
    if not around.interactive:
        known = ", ".join(output.clean(item["slug"]) for item in found[:20]) or "none yet"
        raise UsageError(f"name the project (yours: {known}), or create one: zocket link --create NAME")
    for number, item in enumerate(found, 1):
        output.note(f"  {number}  {output.clean(item['slug'])}  {output.clean(item['name'])}")
    output.note(f"  {len(found) + 1}  a new project")
    number = click.prompt("Which one", type=click.IntRange(1, len(found) + 1), err=True)
    if number <= len(found):
        chosen: dict[str, Any] = found[number - 1]
        return chosen
    name = click.prompt("Name of the new project", default=around.directory.name, err=True)
    return _create(api, name, None, None)


def _create(api: Api, name: str, slug: str | None, workspace: str | None) -> dict[str, Any]:
    wanted = {"name": name, "slug": slug, "workspaceId": workspace}
    created: dict[str, Any] = api.post("/api/projects", {key: text for key, text in wanted.items() if text is not None})
    return created
