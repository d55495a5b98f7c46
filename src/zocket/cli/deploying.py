"""`zocket deploy`, `rollback` and `deployments`.

Rules: a deployment that fails is exit code 1 with its reason; what serves goes on serving meanwhile; only a deployment
that is asked for by name or version is rolled back to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import following, options, output
from zocket.cli.checking import examine
from zocket.cli.comparing import compare, serving_contract, tell_changes
from zocket.cli.paths import api_path, project_path
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import UsageError

if TYPE_CHECKING:
    from zocket.cli.api_client import Api
    from zocket.cli.bundling import Bundle

MAX_MESSAGE_CHARS: Final = 500
"""Of a deployment's message: in UTF-8 it still fits where the control plane takes 2,000."""

NOT_FOUND: Final = 404


@click.command(
    cls=options.Command,
    short_help="Deploy this project.",
    epilog='zocket deploy -m "Rooms have topics"\n'
    "zocket deploy --app chat:app --no-wait\n"
    "ZOCKET_TOKEN=zkd_… zocket deploy        # in a pipeline",
)
@click.option("--message", "-m", metavar="TEXT", help="What is new, for the list of deployments.")
@click.option("--app", metavar="MODULE:ATTR", help="Which app.  [tool.zocket] app, else app:app or main:app")
@click.option("--allow-breaking", is_flag=True, help="Deploy also what breaks clients of the version that serves.")
@following.wait_options
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def deploy(
    around: Surroundings,
    message: str | None,
    app: str | None,
    allow_breaking: bool,
    wait: bool,
    timeout: float,
    project: str | None,
    control_url: str | None,
    as_json: bool,
) -> int:
    """Deploy the project of this directory.

    Packs the app's modules, and the pure-Python dependencies that the runtime's image does not have, in the versions
    that are installed here; names what it leaves out. A version that breaks clients of the one that serves is not
    sent. The new version starts beside the one that serves, proves that
    it works, and takes over; if it does not, the old one goes on serving and this command fails with the reason.
    """
    from zocket.cli.bundling import build, tell

    around.choose(control_url=control_url, project=project)
    api, of = around.api(), around.project
    around.require_token()
    bundle = build(around.project_config, app)
    tell(bundle)
    if not allow_breaking:
        _check_changes(around, bundle)
    deployment = _upload(api, of, bundle, message)
    output.note(f"Deployment v{deployment['version']} ({deployment['id']})")
    if wait:
        deployment = following.follow(around, api, deployment, timeout_s=timeout)
    if as_json:
        output.data(deployment)
    else:
        following.conclude(api, deployment)
    return following.exit_code(deployment)


def _check_changes(around: Surroundings, bundle: Bundle) -> None:
    """Refuses a version that breaks clients of the one that serves.

    Raises:
        UsageError: it does; every change was told.
    """
    from zocket.cli.api_client import ApiError

    try:
        old = serving_contract(around)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
        return  # no such project, which the upload says better, or a control plane that knows no contracts
    if old is None:
        return
    answer = examine(bundle, smoke=False, environ=around.environ)
    if "contract" not in answer:  # what cannot be imported here may find its environment there, and is refused if not
        output.warn(f"whether it breaks clients cannot be told: {answer['error']}")
        return
    changes = compare(old, answer["contract"])
    if any(change.breaking for change in changes):
        tell_changes(changes, "what serves")
        raise UsageError(
            "this version breaks clients of the one that serves; deploy it with --allow-breaking if you mean it"
        )


def _upload(api: Api, project: str, bundle: Bundle, message: str | None) -> dict[str, Any]:
    headers = {"x-zocket-sha256": bundle.sha256}
    if message:
        headers["x-zocket-message"] = " ".join(message.split())[:MAX_MESSAGE_CHARS]
    pieces = output.uploading(bundle.content)
    uploaded: dict[str, Any] = api.upload("/api/deployments", pieces, len(bundle.content), headers, projectId=project)
    return uploaded


@click.command(
    cls=options.Command,
    short_help="Go back to an earlier deployment.",
    epilog="zocket rollback\nzocket rollback v12\nzocket rollback dpl_1f3c",
)
@click.argument("deployment", required=False)
@following.wait_options
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def rollback(
    around: Surroundings,
    deployment: str | None,
    wait: bool,
    timeout: float,
    project: str | None,
    control_url: str | None,
    as_json: bool,
) -> int:
    """Make an earlier DEPLOYMENT (id or version) serve again; by default the one that served before.

    It takes over the way a new one does: started beside the one that serves, proved, then switched to.
    """
    around.choose(control_url=control_url, project=project)
    api, of = around.api(), around.project
    chosen = find_deployment(api, of, deployment)["id"] if deployment else None
    target = api.post(project_path(of, "/rollback"), {"deploymentId": chosen} if chosen else {})
    output.note(f"Rolling back to v{target['version']} ({target['id']})")
    if wait:
        known = len(target["history"]) if target["status"] not in following.PENDING else 0
        target = following.follow(around, api, target, timeout_s=timeout, known=known)
    if as_json:
        output.data(target)
    elif wait:
        following.conclude(api, target)
    return following.exit_code(target) if wait else 0


@click.command(
    cls=options.Command,
    short_help="List the deployments.",
    epilog="zocket deployments\nzocket deployments --limit 5 --json",
)
@click.option("--limit", "-n", metavar="N", type=click.IntRange(1, 10_000), default=20, help="How many.  [20]")
@options.project
@options.control_url
@options.as_json
@pass_surroundings
def deployments(around: Surroundings, limit: int, project: str | None, control_url: str | None, as_json: bool) -> None:
    """List the project's deployments, newest first."""
    around.choose(control_url=control_url, project=project)
    found = around.api().items(project_path(around.project, "/deployments"), most=limit)
    if as_json:
        output.listing(found)
        return
    if not found:
        output.note("Nothing was deployed yet: zocket deploy")
        return
    now = around.wall()
    output.table(
        ("VERSION", "STATUS", "WHEN", "BY", "ID", "MESSAGE"),
        [
            (
                f"v{item['version']}",
                output.status(item["status"]),
                output.ago(item["createdAt"], now),
                item["author"],
                item["id"],
                item["reason"] if item["status"] == "failed" and item["reason"] else item["message"],
            )
            for item in found
        ],
    )


def find_deployment(api: Api, project: str, named: str) -> dict[str, Any]:
    """The deployment of an id, or of a version such as `v12` or `12`.

    Raises:
        UsageError: there is none.
    """
    version = named.removeprefix("v")
    if not version.isdecimal():
        found: dict[str, Any] = api.get(api_path("/api/deployments/{}", named))
        return found
    for item in api.items(project_path(project, "/deployments")):
        if item["version"] == int(version):
            chosen: dict[str, Any] = item
            return chosen
    raise UsageError(f"there is no version {version} (zocket deployments)")
