"""What a new version would break: its contract compared with that of the version that serves, or another one.

Rules: every difference is told, what breaks clients first; a project of which nothing serves has nothing to break.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from zocket.cli import output
from zocket.cli.contracts import is_address, is_file, parsed, read_contract
from zocket.cli.paths import project_path
from zocket.contract.changes import compare_contracts
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zocket.cli.surroundings import Surroundings
    from zocket.contract import Contract
    from zocket.contract.comparing import Change

PRODUCTION: Final = "production"
"""Names the project of this directory: what of it serves."""
NO_CONTRACT: Final = "no_contract"


def contract_to_compare(around: Surroundings, against: str) -> Contract:
    """The contract that `--against` names.

    Args:
        around: knows the project of this directory and its control plane.
        against: `production`, another project by slug or id, a file, or an address.

    Raises:
        UsageError: there is none.
    """
    if is_address(against) or is_file(against):
        return read_contract(against, around.transport)
    if against != PRODUCTION:
        around.choose(project=against)
    found = serving_contract(around)
    if found is None:
        raise UsageError(
            "nothing serves there, or its runtime is too old to say what it offers: nothing to compare with"
        )
    return found


def serving_contract(around: Surroundings) -> Contract | None:
    """The contract of what serves the project; None if nothing does, or nobody knows it.

    Raises:
        ZocketError: the control plane is away or refuses.
    """
    from zocket.cli.api_client import ApiError

    project = around.project
    try:
        document = around.api().get(project_path(project, "/schema"))
    except ApiError as error:
        if error.code == NO_CONTRACT:
            return None
        raise
    return parsed(json.dumps(document).encode(), f"what project {project} serves")


def compare(old: Contract, new: str) -> list[Change]:
    """What became of a contract; `new` is the text of one."""
    return compare_contracts(old, parsed(new.encode(), "this version"))


def tell_changes(changes: Sequence[Change], against: str) -> None:
    """Every change, on standard error."""
    if not changes:
        output.note(f"Clients see no difference to {output.clean(against)}.")
        return
    output.note(f"What clients see, compared with {output.clean(against)}:")
    for change in changes:
        mark = click.style("breaks ", fg="red", bold=True) if change.breaking else "differs"
        output.note(f"  {mark}  {output.clean(change.where)}: {output.clean(change.what)}")
