"""`zocket nats`: users of a NATS server that may do no more than they must, and what an operator makes for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from zocket.cli import options, output, processes
from zocket.cli.failures import needs
from zocket.errors import UsageError
from zocket.ids import Scope

if TYPE_CHECKING:
    from zocket.broker.permissions import Permissions
    from zocket.settings import ProvisionSettings

_scope = options.combined(
    click.option("--workspace", metavar="ID", help="Id of the project's workspace."),
    click.option("--project", metavar="ID", help="Id of the project."),
)


@click.group(
    cls=options.Commands,
    short_help="Users and streams of a NATS server.",
    epilog="zocket nats permissions --role gateway\nzocket nats provision --workspace ws_1 --project prj_1",
)
def nats() -> None:
    """Give each process a NATS user that may do no more than it must (docs/nats.md)."""


@nats.command(
    cls=options.Command,
    short_help="Print a user's permissions.",
    epilog="zocket nats permissions --role gateway\n"
    "zocket nats permissions --role runtime --workspace ws_1 --project prj_1 --actor chat --actor lobby",
)
@click.option("--role", type=click.Choice(["runtime", "gateway"]), required=True, help="What the user is for.")
@_scope
@click.option("--actor", "actors", multiple=True, metavar="TYPE", help="An actor type of the project; repeatable.")
@click.option("--partitions", type=click.IntRange(1, 256), default=1, help="PARTITIONS of the runtimes.")
@options.as_json
def permissions(
    role: str, workspace: str | None, project: str | None, actors: tuple[str, ...], partitions: int, as_json: bool
) -> None:
    """Print a user for `authorization { users: [ … ] }` of a nats-server's configuration.

    The password is a variable of the server's environment; the process gets it as NATS_PASSWORD.
    """
    found = _permissions(role, workspace, project, actors, partitions)
    if as_json:
        output.data(found.as_json())
        return
    variable = re.sub(r"[^A-Z0-9]", "_", f"{found.user}_PASSWORD".upper())
    output.line(found.user_block(f"${variable}").rstrip())
    environment = " ".join(f"{name}={value}" for name, value in found.environment().items())
    output.note(f"The process needs {environment} and NATS_PASSWORD.")


@nats.command(
    cls=options.Command,
    short_help="Make the streams and a project's buckets.",
    epilog="NATS_URL=nats://operator:secret@nats:4222 STREAM_STORAGE=file STREAM_REPLICAS=3 \\\n"
    "  zocket nats provision --workspace ws_1 --project prj_1",
)
@options.nats_url
@_scope
def provision(nats_url: str | None, workspace: str | None, project: str | None) -> int:
    """Make what a runtime with scoped permissions may not make itself; what exists stays as it is.

    Run it as a user of the account without restrictions. Configured by the environment as a gateway is: NATS_URL,
    NATS_USER and its siblings, STREAM_STORAGE, STREAM_REPLICAS, PARTITIONS (docs/nats.md).
    """
    from zocket.settings import ProvisionSettings, check_streams

    settings = processes.settings(ProvisionSettings, nats_url=nats_url)
    check_streams(settings.stream_storage, settings.stream_replicas)
    scope = _required_scope(workspace, project)
    return processes.run(lambda: _provision(settings, scope))


async def _provision(settings: ProvisionSettings, scope: Scope) -> int:
    with needs("nats"):
        from zocket.broker.access import open_broker
        from zocket.broker.streams import dead_letter_stream, transport_streams
    from zocket.protocol import subjects

    broker = await open_broker(settings.nats_url, settings.nats, name="provision", replicas=settings.stream_replicas)
    try:
        streams = transport_streams(settings.stream_storage, settings.partitions, settings.stream_replicas)
        for spec in (*streams, dead_letter_stream(settings.stream_replicas)):
            await broker.ensure_stream(spec)
        for bucket in (subjects.owner_bucket(scope), subjects.state_bucket(scope), subjects.reminder_bucket(scope)):
            await broker.ensure_bucket(bucket)
            output.note(f"{bucket} is there")
    finally:
        await broker.aclose()
    return 0


def _permissions(
    role: str, workspace: str | None, project: str | None, actors: tuple[str, ...], partitions: int
) -> Permissions:
    with needs("nats"):
        from zocket.broker.permissions import gateway_permissions, runtime_permissions
    if role == "gateway":
        return gateway_permissions()
    if not actors:
        raise UsageError("--actor: name each actor type of the project; a runtime has one consumer for each")
    return runtime_permissions(_required_scope(workspace, project), actors, partitions)


def _required_scope(workspace: str | None, project: str | None) -> Scope:
    if not workspace or not project:
        raise UsageError("--workspace, --project: give both")
    return Scope(workspace, project)
