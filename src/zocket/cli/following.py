"""Follows a deployment from its upload until it serves, or failed with a reason.

Rules: the deployment goes on whatever happens to the command; every step of its history is told once; a control plane
that is away for a moment is asked again until the time is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import options, output
from zocket.cli.failures import FAILED
from zocket.cli.loglines import readable
from zocket.cli.paths import api_path, project_path
from zocket.errors import BootError, Unavailable, ZocketError

if TYPE_CHECKING:
    from zocket.cli.api_client import Api
    from zocket.cli.surroundings import Surroundings

POLL_S: Final = 0.5
"""Between two questions; the steps of a deployment are seconds apart."""
TIMEOUT_S: Final = 300.0
"""A control plane gives up on a runtime long before."""
TAIL_LINES: Final = 15
"""Of the runtime's output, shown with a failure."""
PENDING: Final = frozenset({"stored", "starting", "smoke"})

STEPS: Final = {
    "stored": "stored",
    "starting": "its runtime starts beside the old one",
    "smoke": "it stands by and proves that it works",
    "active": "it serves",
    "failed": "it failed",
    "superseded": "a later one serves",
    "rolled_back": "it was rolled back",
}

wait_options: Final = options.combined(
    click.option("--wait/--no-wait", default=True, help="Wait until it serves or has failed.  [wait]"),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=options.SECONDS,
        default=TIMEOUT_S,
        help=f"How long to wait at most.  [{TIMEOUT_S:g}]",
    ),
)


def follow(
    around: Surroundings, api: Api, deployment: dict[str, Any], *, timeout_s: float, known: int = 0
) -> dict[str, Any]:
    """The deployment when it is decided; tells its steps meanwhile.

    Args:
        around: waits.
        api: answers.
        deployment: as it was when it was asked for.
        timeout_s: how long it may take.
        known: entries of its history that are from before, for one that is to serve once more.

    Raises:
        BootError: it is not decided in time.
    """
    try:
        return _until_decided(around, api, deployment, timeout_s, known)
    except KeyboardInterrupt:
        output.note(f"The deployment {deployment['id']} goes on: zocket deployments, zocket logs")
        raise


def _until_decided(
    around: Surroundings, api: Api, deployment: dict[str, Any], timeout_s: float, known: int
) -> dict[str, Any]:
    told = known
    waited_s = 0.0
    while True:
        history = deployment["history"]
        for entry in history[told:]:
            _tell(entry)
        told = len(history)
        if deployment["status"] == "active" or (deployment["status"] not in PENDING and told > known):
            return deployment
        if waited_s >= timeout_s:
            raise BootError(
                f"deployment {deployment['id']} is still {deployment['status']} after {timeout_s:g} s; it goes on: "
                "zocket deployments, zocket logs"
            )
        around.pause(POLL_S)
        waited_s += POLL_S
        try:
            deployment = api.get(api_path("/api/deployments/{}", deployment["id"]))
        except Unavailable:
            if waited_s >= timeout_s:
                raise


def _tell(entry: dict[str, Any]) -> None:
    word = entry["status"]
    detail = "" if word in ("stored", "failed") else output.clean(entry.get("detail"))
    text = detail or STEPS.get(word, "")
    output.note(f"  {output.status(word.ljust(10))} {click.style(text, dim=True)}")


def conclude(api: Api, deployment: dict[str, Any]) -> None:
    """What a person is told at the end: the address, or the reason and the last lines of the runtime."""
    project = _project(api, deployment["projectId"])
    named = f"v{deployment['version']} ({deployment['id']})"
    if deployment["status"] in PENDING:
        output.line(f"{named} is {deployment['status']}; zocket deployments shows what becomes of it.")
        return
    if deployment["status"] != "failed":
        actors = ", ".join(map(output.clean, deployment["actorTypes"]))
        output.line(f"{named} is {output.status(deployment['status'])}; actors: {actors or 'none'}")
        if project.get("url"):
            output.line(f"Clients connect to {output.clean(project['url'])}")
        return
    lines = tail(api, deployment)
    if lines:
        output.note("")
        output.note(click.style("The end of its runtime's output:", dim=True))
        for item in lines:
            output.note(f"  {readable(item['line'])}")
        output.note("")
    reason = output.clean(deployment["reason"]) or "the control plane gives no reason"
    output.note(f"{click.style('failed:', fg='red', bold=True)} {named}: {reason}")
    before = "What served before still serves. " if project.get("activeDeployment") else ""
    output.note(f"{before}Mend it and deploy again; `zocket check` finds much of it here.")


def exit_code(deployment: dict[str, Any]) -> int:
    """Of the command that deployed it."""
    return 0 if deployment["status"] in PENDING | {"active"} else FAILED


def tail(api: Api, deployment: dict[str, Any], count: int = TAIL_LINES) -> list[dict[str, Any]]:
    """The last lines of a runtime's output since it was started last; none if they cannot be had."""
    since = max((entry["at"] for entry in deployment["history"] if entry["status"] == "starting"), default=0)
    try:
        found = [item for _, item in api.stream(api_path("/api/deployments/{}/logs", deployment["id"]), lines=count)]
    except ZocketError:
        return []
    return [item for item in found if isinstance(item, dict) and "line" in item and item.get("at", 0) >= since][-count:]


def _project(api: Api, project_id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = api.get(project_path(project_id))
    except ZocketError:
        return {}
    return found
