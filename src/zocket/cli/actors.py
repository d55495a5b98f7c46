"""`zocket actors`: what durable actors have stored; looking at it, deleting it, backing it up and restoring it.

Rules: standard output has the data alone; nothing is deleted or replaced unasked; the store's own process need not run,
and that of a standalone server must not.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from zocket import __version__
from zocket.cli import options, output
from zocket.cli.stores import Choice, choose, open_store, store_options
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.errors import Conflict, StoredStateError, UsageError
from zocket.host.store import Key
from zocket.ids import check_actor_id, check_actor_type
from zocket.upkeep import backup_file, operations

if TYPE_CHECKING:
    from zocket.host.store import Record, Stored

of_instance: Final = options.combined(
    click.argument("actor", metavar="TYPE"), click.argument("actor_id", metavar="ID"), store_options
)


@click.group(
    cls=options.Commands,
    short_help="Look at, delete, back up and restore durable actors.",
    epilog="zocket actors list room\nzocket actors show room general\n"
    "zocket actors backup 2026-11-24.jsonl.gz --nats-url nats://localhost:4222 --workspace acme --project chat",
)
def actors() -> None:
    """Look at, delete, back up and restore what durable actors have stored.

    The store is the file of a standalone server, which must not run meanwhile, or the bucket of a project on NATS. An
    option wins over the environment, that over .zocket/state.db in this directory.
    """


@actors.command(
    "list",
    cls=options.Command,
    short_help="List the instances.",
    epilog="zocket actors list\nzocket actors list room --limit 20 --json",
)
@click.argument("actor", metavar="[TYPE]", required=False)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="No more than so many.")
@store_options
@options.as_json
@pass_surroundings
def list_instances(around: Surroundings, /, actor: str | None, limit: int | None, as_json: bool, **named: Any) -> None:
    """List the instances, of one TYPE or all: type, id, version of the class, changes so far, bytes of the record."""
    found, more = asyncio.run(_list(choose(around, **named), check_actor_type(actor) if actor else "", limit))
    if as_json:
        output.listing([{"actor": key.actor, "actorId": key.actor_id, **about} for key, about in found])
    elif found:
        rows = [(key.actor, key.shown_id, *about.values()) for key, about in found]
        output.table(("TYPE", "ID", "VERSION", "SEQ", "BYTES"), rows)
    else:
        output.note("Nothing is stored here.")
    if more:
        output.note("More are stored than --limit lets through.")


async def _list(choice: Choice, actor: str, limit: int | None) -> tuple[list[tuple[Key, dict[str, int | None]]], bool]:
    found: list[tuple[Key, dict[str, int | None]]] = []
    async with open_store(choice) as store:
        async for key, stored in operations.records(store, await store.keys(actor)):
            if len(found) == limit:
                return found, True
            version, seq = None, None
            try:
                record = operations.decode(key, stored)
                version, seq = record.version, record.seq
            except StoredStateError as error:
                output.warn(error.message)
            found.append((key, {"version": version, "seq": seq, "bytes": len(stored.record)}))
    return found, False


@actors.command(
    cls=options.Command,
    short_help="Show one instance.",
    epilog="zocket actors show room general\nzocket actors show room general --json",
)
@of_instance
@options.as_json
@pass_surroundings
def show(around: Surroundings, /, actor: str, actor_id: str, as_json: bool, **named: Any) -> None:
    """Show one instance: its state, and what is stored with it."""
    key = _key(actor, actor_id)
    stored = asyncio.run(_find(choose(around, **named), key))
    record = operations.decode(key, stored)
    if as_json:
        about = {"actor": key.actor, "actorId": key.actor_id, "bytes": len(stored.record), "revision": stored.revision}
        output.line(_indented(msgspec.json.encode({**about, **_fields(record)})))
        return
    output.facts(
        {
            "instance": key,
            "version": record.version,
            "changes": record.seq,
            "epoch": record.epoch,
            "writer": f"{record.writer}, its commit {record.commit}",
            "size": output.size(len(stored.record)),
            "answers": len(record.answers),
            **{f"read of {source}": f"up to {number}" for source, number in record.watermarks.items()},
        }
    )
    output.line()
    output.line(output.clean_lines(_indented(bytes(record.state))))


@actors.command(
    cls=options.Command,
    short_help="Write the state of one instance as JSON.",
    epilog="zocket actors export room general > general.json\nzocket actors export room general -o general.json",
)
@of_instance
@click.option("--output", "-o", "target", metavar="FILE", help="Instead of standard output.")
@pass_surroundings
def export(around: Surroundings, /, actor: str, actor_id: str, target: str | None, **named: Any) -> None:
    """Write the state of one instance as JSON, as it is stored."""
    key = _key(actor, actor_id)
    state = bytes(operations.decode(key, asyncio.run(_find(choose(around, **named), key))).state)
    if target is None:
        click.echo(state)
        return
    try:
        Path(target).write_bytes(state + b"\n")
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}") from error
    output.note(f"{key}: {output.size(len(state))} are in {target}.")


@actors.command(
    cls=options.Command,
    short_help="Delete one instance.",
    epilog="zocket actors delete room general\nzocket actors delete room general --yes",
)
@of_instance
@options.yes
@pass_surroundings
def delete(around: Surroundings, /, actor: str, actor_id: str, yes: bool, **named: Any) -> None:
    """Delete what is stored of one instance, its reminders, too; its next call finds the initial state.

    Of an actor in memory only its reminders are stored. A runtime that has a durable instance in memory stores it anew
    with its initial state at once.
    """
    key = _key(actor, actor_id)
    asyncio.run(_delete(around, choose(around, **named), key, yes=yes))


async def _delete(around: Surroundings, choice: Choice, key: Key, *, yes: bool) -> None:
    async with open_store(choice) as store:
        if await store.load(*key) is None and await store.alarms.load(*key) is not None:
            around.confirm(f"Delete the reminders of {key}?", yes=yes)
            await store.delete_reminders(key)
            return output.line(f"The reminders of {key} are deleted.")
        stored = await operations.find(store, key)
        around.confirm(f"Delete {key} ({output.size(len(stored.record))})?", yes=yes)
        try:
            await store.delete(key, stored.revision)
        except Conflict as error:
            raise Conflict(f"{key}: was changed meanwhile, and is not deleted; look again") from error
    output.line(f"{key} is deleted.")
    if choice.path is None:
        output.note("A runtime that has it in memory stores its initial state anew; subscribers get a snapshot of it.")
    return None


@actors.command(
    cls=options.Command,
    short_help="Write everything into one file.",
    epilog="zocket actors backup state.jsonl.gz\n"
    "zocket actors backup state.jsonl --nats-url nats://localhost:4222 --workspace acme --project chat",
)
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@store_options
@pass_surroundings
def backup(around: Surroundings, /, target: Path, **named: Any) -> None:
    """Write all instances into FILE, compressed if its name ends in .gz.

    Each instance is as one commit left it; while calls go on, two instances may be of different moments.
    """
    count = asyncio.run(_back_up(choose(around, **named), target, around.wall()))
    output.note(f"{_instances(count)} in {target} ({output.size(target.stat().st_size)}).")


async def _back_up(choice: Choice, target: Path, wall_s: float) -> int:
    at = datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="seconds")
    header = backup_file.Header(backup_file.FORMAT, choice.name, at, __version__)
    async with open_store(choice) as store:
        with backup_file.create(target, header) as writer:
            await operations.back_up(store, writer)
    return writer.instances


@actors.command(
    cls=options.Command,
    short_help="Write a backup into a store.",
    epilog="zocket actors restore state.jsonl.gz --state-file .zocket/state.db\n"
    "zocket actors restore state.jsonl.gz --replace --nats-url nats://localhost:4222",
)
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Overwrite instances that are stored already.")
@store_options
@options.yes
@pass_surroundings
def restore(around: Surroundings, /, source: Path, replace: bool, yes: bool, **named: Any) -> None:
    """Write the instances of a backup into a store; what is stored besides stays.

    FILE is checked to its end before anything is written. The store may be of the other kind than the one that was
    backed up.
    """
    asyncio.run(_restore(around, choose(around, **named), source, replace=replace, yes=yes))


async def _restore(around: Surroundings, choice: Choice, source: Path, *, replace: bool, yes: bool) -> None:
    contents = operations.check(source)
    header = contents.header
    output.note(output.clean(f"backup: of {header.source}, {header.created_at}, Zocket {header.written_by}"))
    async with open_store(choice, make=True) as store:
        planned = await operations.plan(store, contents, replace=replace)
        if planned.replaced:
            around.confirm(f"Replace {_instances(planned.replaced)} of {choice.name}?", yes=yes)
        await operations.restore(store, planned)
    new = len(planned.revisions) - planned.replaced
    output.note(f"{_instances(len(planned.revisions))} restored: {new} new, {planned.replaced} replaced.")
    if choice.path is None and planned.replaced:
        output.note("A runtime that has some of them in memory reads them again; subscribers get a snapshot.")


def _key(actor: str, actor_id: str) -> Key:
    return Key(check_actor_type(actor), check_actor_id(actor_id))


async def _find(choice: Choice, key: Key) -> Stored:
    async with open_store(choice) as store:
        return await operations.find(store, key)


def _indented(encoded: bytes) -> str:
    """The same JSON for a person: what it holds stays as it is, also numbers that Python would round."""
    return msgspec.json.format(encoded, indent=2).decode()


def _fields(record: Record) -> dict[str, Any]:
    """By the names of the stored JSON."""
    return {field.encode_name: getattr(record, field.name) for field in msgspec.structs.fields(record)}


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
