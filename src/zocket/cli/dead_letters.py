"""`zocket dead-letters`: what a project's runtimes have given up, straight from NATS.

Rules: no control plane is asked, so whoever may read and write the project's subjects may use it; what a letter says is
shown without control characters; a replay is a new message that nobody waits for, or a reminder that is due at once.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from zocket.cli import options, output, processes
from zocket.cli.failures import needs
from zocket.ids import Scope
from zocket.settings import ProjectSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.runtime.dead_letters import DeadLetter, DeadLetters

T = TypeVar("T")

PAGE: Final = 50
"""Letters that are listed at once, unless another number is asked for."""

_where: Final = options.combined(
    options.nats_url,
    click.option(
        "--workspace",
        "workspace_id",
        metavar="ID",
        help="Id of the workspace.  [WORKSPACE_ID, default local-workspace]",
    ),
    click.option(
        "--project", "-p", "project_id", metavar="ID", help="Id of the project.  [PROJECT_ID, default local-project]"
    ),
)


@click.group(
    "dead-letters",
    cls=options.Commands,
    short_help="List, show and replay messages that were given up.",
    epilog="zocket dead-letters list\nzocket dead-letters replay 17",
)
def dead_letters() -> None:
    """List, show and replay messages and runs of reminders that ended their runtime's process three times.

    They lie in the stream DEADLETTER for 14 days.
    """


@dead_letters.command(
    "list",
    cls=options.Command,
    short_help="List them, newest first.",
    epilog="zocket dead-letters list --workspace ws_1 --project prj_1\nzocket dead-letters list --before 17 --json",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=PAGE, show_default=True, help="Most to list.")
@click.option("--before", type=click.IntRange(1), metavar="ID", help="Only those older than this one.")
@_where
@options.as_json
def list_letters(limit: int, before: int | None, as_json: bool, **flags: str | None) -> None:
    """List the dead letters of a project, newest first."""

    async def work(letters: DeadLetters) -> list[tuple[int, DeadLetter]]:
        return await letters.newest(limit + 1, before)

    found = _with_letters(flags, work)
    shown = found[:limit]
    following = shown[-1][0] if len(found) > limit else None
    if as_json:
        output.data({"items": [_document(*item) for item in shown], "next": following})
        return
    if not shown:
        output.note("There is none.")
        return
    output.table(
        ("ID", "WHEN", "ACTOR", "INSTANCE", "METHOD", "ATTEMPTS", "CAUSE"),
        [
            (number, _time(letter), letter.actor, letter.actor_id, letter.method or "-", letter.attempts, letter.cause)
            for number, letter in shown
        ],
    )
    if following is not None:
        output.note(f"There are more: zocket dead-letters list --before {following}")


@dead_letters.command(
    "show", cls=options.Command, short_help="Show one with its message.", epilog="zocket dead-letters show 17"
)
@click.argument("letter_id", metavar="ID", type=click.IntRange(1))
@_where
@options.as_json
def show_letter(letter_id: int, as_json: bool, **flags: str | None) -> None:
    """Show everything about the dead letter ID: the message's envelope with the caller's claims, or the run."""

    async def work(letters: DeadLetters) -> DeadLetter:
        return await letters.get(letter_id)

    letter = _with_letters(flags, work)
    document = _document(letter_id, letter)
    if as_json:
        output.data(document)
        return
    envelope = document.pop("envelope")
    output.facts(document | {"at": _time(letter)})
    output.line()
    output.line(output.clean_lines(json.dumps(envelope, indent=2, ensure_ascii=False)))


@dead_letters.command(
    "replay",
    cls=options.Command,
    short_help="Send one or all again.",
    epilog="zocket dead-letters replay 17\nzocket dead-letters replay --all",
)
@click.argument("letter_id", metavar="[ID]", type=click.IntRange(1), required=False)
@click.option("--all", "everything", is_flag=True, help="All of the project, oldest first.")
@_where
@options.as_json
def replay_letter(letter_id: int | None, everything: bool, as_json: bool, **flags: str | None) -> None:
    """Send what the dead letter ID has again, and remove the letter.

    A message runs as a new one, after what waits already. Its caller was answered when it was given up and does not
    get its result. A run of a reminder is due at once, beside the schedule. If it ends the process again, it becomes a
    dead letter again.
    """
    if everything == (letter_id is not None):
        raise click.UsageError("give either the ID of a dead letter or --all")

    async def work(letters: DeadLetters) -> list[int]:
        replayed = []
        for number in [letter_id] if letter_id is not None else await letters.ids():
            letter = await letters.replay(number)
            output.note(f"{number} is sent again: {output.clean(letter.actor)}/{output.clean(letter.actor_id)}")
            replayed.append(number)
        return replayed

    replayed = _with_letters(flags, work)
    if as_json:
        output.data({"replayed": replayed})
    elif not replayed:
        output.note("There is none.")


def _with_letters(flags: dict[str, str | None], work: Callable[[DeadLetters], Awaitable[T]]) -> T:
    """What `work` gives, on a connection of its own."""
    settings = processes.settings(ProjectSettings, **flags)
    scope = Scope(settings.workspace_id, settings.project_id)
    with needs("nats"):
        from zocket.broker.access import open_broker
    from zocket.runtime.dead_letters import DeadLetters

    async def main() -> T:
        broker = await open_broker(
            settings.nats_url,
            settings.nats,
            name="zocket dead-letters",
            boot_timeout_s=settings.nats_boot_timeout_s,
        )
        try:
            return await work(DeadLetters(broker, scope))
        finally:
            await broker.aclose()

    return asyncio.run(main())


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.at / 1000, UTC).isoformat(timespec="seconds")


def _document(letter_id: int, letter: DeadLetter) -> dict[str, Any]:
    """A letter as JSON; an envelope that no parser here takes is its text."""
    fields: dict[str, Any] = {"id": letter_id, **msgspec.to_builtins(letter, builtin_types=(msgspec.Raw,))}
    raw = bytes(letter.envelope)
    try:
        fields["envelope"] = json.loads(raw)
    except (ValueError, RecursionError):
        fields["envelope"] = raw.decode("utf-8", "replace")
    return fields
