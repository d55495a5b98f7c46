"""`zocket check`: what a deployment would find, without deploying.

Rules: the app is imported from the bundle that would be sent, in a process of its own that sees no token of ours;
everything that was found is told, not only the first; a problem is exit code 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import options, output
from zocket.cli.comparing import compare, contract_to_compare, tell_changes
from zocket.cli.failures import FAILED
from zocket.cli.inspection import MARK
from zocket.cli.surroundings import Surroundings, pass_surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zocket.cli.bundling import Bundle

IMPORT_TIMEOUT_S: Final = 60.0
"""An import and its smoke call; a runtime is given as long to stand by."""
_HIDDEN: Final = ("ZOCKET_TOKEN", "CONTROL_PLANE_INTERNAL_TOKEN", "ZOCKET_SECRET_KEY", "PYTHONPATH")
"""Variables that the app does not get: ours, and what would let it see more than its bundle."""


@click.command(
    cls=options.Command,
    short_help="Check this project as a deployment would.",
    epilog="zocket check\nzocket check --against production\nzocket check --app chat:app --json",
)
@click.option("--app", metavar="MODULE:ATTR", help="Which app.  [tool.zocket] app, else app:app or main:app")
@click.option("--smoke/--no-smoke", default=True, help="Run the smoke call that the app declares.  [smoke]")
@click.option(
    "--against",
    metavar="WHAT",
    help="Compare what clients see: with what serves (production, or PROJECT), a FILE.json, or the URL of a contract.",
)
@options.control_url
@options.as_json
@pass_surroundings
def check(
    around: Surroundings, app: str | None, smoke: bool, against: str | None, control_url: str | None, as_json: bool
) -> int:
    """Check the project of this directory without deploying it.

    Builds the bundle, says what is in it and what is not, imports it in a process that has only the bundle and what
    the runtime's image has, checks every definition and schema, and runs the smoke call. Fails if anything is amiss,
    and with --against also if clients of that version would be broken.
    """
    from zocket.cli.bundling import build, tell

    around.choose(control_url=control_url)
    old = None if against is None else contract_to_compare(around, against)
    bundle = build(around.project_config, app)
    answer = examine(bundle, smoke=smoke, environ=around.environ)
    changes = [] if old is None or "contract" not in answer else compare(old, answer["contract"])
    is_good = "app" in answer and not bundle.problems and not any(change.breaking for change in changes)
    if as_json:
        compared = {} if old is None else {"changes": [change._asdict() for change in changes]}
        found = {"app": answer.get("app"), "error": answer.get("error")}
        output.data({"ok": is_good, **bundle.as_json(), **found, **compared})
        return 0 if is_good else FAILED
    tell(bundle)
    if "app" in answer:
        _tell_app(answer["app"])
        if old is not None:
            tell_changes(changes, str(against))
    else:
        output.note(f"{click.style('error:', fg='red', bold=True)} {answer['error']}")
    if is_good:
        output.line(f"{bundle.entry} is ready to be deployed: zocket deploy")
        return 0
    output.note("It is not ready to be deployed, see above.")
    return FAILED


def examine(bundle: Bundle, *, smoke: bool, environ: Mapping[str, str]) -> dict[str, Any]:
    """`{app, contract}` of a bundle as `inspection` describes it, or `{error}`."""
    with tempfile.TemporaryDirectory(prefix="zocket-") as directory:
        path = Path(directory) / "bundle.pyz"
        path.write_bytes(bundle.content)
        command = [sys.executable, "-m", "zocket.cli.inspection", str(path), "smoke" if smoke else "no-smoke"]
        try:
            ended = subprocess.run(  # noqa: S603 — our own module, in this interpreter
                command,
                input=json.dumps(sorted(bundle.blocked)),
                capture_output=True,
                text=True,
                errors="replace",
                cwd=directory,
                env={
                    **{name: value for name, value in environ.items() if name not in _HIDDEN},
                    "PYTHONSAFEPATH": "1",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                timeout=IMPORT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"the import took longer than {IMPORT_TIMEOUT_S:g} s"}
    last = ended.stdout.rpartition(MARK)[2] if MARK in ended.stdout else ""
    try:
        answer: dict[str, Any] = json.loads(last.partition("\n")[0])
    except ValueError:
        tail = "\n".join(ended.stderr.strip().splitlines()[-5:])
        return {"error": f"the import ended the process with exit code {ended.returncode}\n{output.clean_lines(tail)}"}
    return {name: output.clean(value) if name == "error" else value for name, value in answer.items()}


def _tell_app(app: dict[str, Any]) -> None:
    for actor in app["actors"]:
        durable = f", {actor['durability']}" if actor["durability"] != "memory" else ""
        output.line(f"{click.style(output.clean(actor['name']), bold=True)}  {output.clean(actor['class'])}{durable}")
        for method in actor["methods"]:
            output.line(f"  {output.clean(method['name'])}{output.clean(method['signature'])}")
        for event in actor["events"]:
            output.line(f"  event {output.clean(event['name'])}: {output.clean(event['payload'])}")
