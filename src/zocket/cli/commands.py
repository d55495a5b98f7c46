"""The commands and their options; what they do is in the packages they start.

Rules: an option that is not given leaves the environment and the defaults alone; heavy imports are inside the command.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from zocket import __version__
from zocket.cli import (
    account,
    actors,
    administration,
    banner,
    checking,
    completions,
    dead_letters,
    deploying,
    environment,
    generating,
    logs,
    nats,
    options,
    processes,
    projects,
    simulating,
    starter,
    tokens,
)
from zocket.cli.failures import FAILED, INTERRUPTED, needs
from zocket.cli.modules import Target, load_app
from zocket.cli.project import find_directory, read_config
from zocket.dev.addresses import local_address
from zocket.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zocket.cli.surroundings import Surroundings
    from zocket.dev.deploying import Deployment
    from zocket.dev.plan import Plan


class Root(options.Commands):
    """All commands, in the order in which one meets them."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {
        "On your machine": ["init", "dev", "serve", "check", "gen"],
        "Deploy": ["auth", "link", "deploy", "rollback", "deployments", "logs", "projects", "tokens", "env"],
        "Processes of a deployment": ["runtime", "gateway", "control"],
        "Further": ["actors", "dead-letters", "nats", "sim", "completions"],
    }


def run(arguments: list[str] | None, surroundings: Surroundings | None = None) -> int:
    """Runs one command; the exit code.

    Args:
        arguments: the command line behind `zocket`; None for the process's.
        surroundings: what the command works in; None for the process's.
    """
    try:
        code: int = zocket.main(arguments, prog_name="zocket", standalone_mode=False, obj=surroundings)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has had enough, as `zocket logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code or 0


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="zocket init my-game      a project to start from\n"
    "zocket dev chat:app      the whole platform on this machine, with reload\n"
    "zocket serve chat:app    one process, no NATS\n"
    "zocket deploy            this project, to your control plane",
)
@click.version_option(__version__, message="zocket %(version)s")
def zocket() -> None:
    """Stateful realtime backends: one actor class, called by clients, state that moves.

    `dev` and `serve` are for your machine. `deploy` and its neighbours speak to a control plane. `runtime`, `gateway`
    and `control` are the processes of a deployment, configured by the environment.
    """


@zocket.command(
    cls=options.Command,
    short_help="Run the whole platform on this machine, with reload.",
    epilog="zocket dev chat:app\n"
    "zocket dev chat:app --gen ts=web/zocket.d.ts\n"
    "zocket dev chat:app --port 4000 --no-reload",
)
@click.argument("target", metavar="MODULE:ATTR")
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", help="Address of the gateway and the page.  [127.0.0.1]"
)
@click.option(
    "--port",
    type=options.PORT,
    metavar="PORT",
    help="Port of the gateway and the page; 0 takes a free one.  [3000, or the next free one]",
)
@click.option("--reload/--no-reload", default=True, help="Deploy again when a source of the app changes.")
@click.option("--page/--no-page", default=True, help="Serve the page beside the module, or a page about the app.")
@click.option("--persist", is_flag=True, help="Keep streams and records in .zocket/ for the next start.")
@click.option(
    "--gen",
    "generated",
    metavar="KIND=FILE",
    multiple=True,
    help="Keep what `zocket gen KIND` makes fresh in FILE.  [tool.zocket.gen]",
)
@click.option("--json-status", metavar="FILE", help="Keep addresses and process ids in this file while it runs.")
@options.log_options
def dev(
    target: str,
    host: str,
    port: int | None,
    reload: bool,
    page: bool,
    persist: bool,
    generated: tuple[str, ...],
    json_status: str | None,
    log_format: str,
    log_level: str,
) -> int:
    """Run NATS, control plane, gateway and runtime on this machine, and deploy an app there.

    MODULE:ATTR is found as Python would find it: in the working directory, on PYTHONPATH, among the installed
    packages. When its sources change, a new runtime takes over from the old one; open sockets stay open. Ctrl-C stops
    everything.
    """
    with needs("dev"):
        from zocket.dev import platform
        from zocket.dev.console import Console
        from zocket.dev.plan import Options

    named = Target.parse(target)
    files = generating.wanted_files(generated, read_config(find_directory(Path.cwd())))
    wanted = Options(
        target=str(named),
        host=host,
        port=port,
        reload=reload,
        persist=persist,
        page=page,
        log_level=log_level,
        status_file=Path(json_status) if json_status else None,
    )

    def ready(plan: Plan, serving: Deployment | None) -> None:
        banner.show(
            f"runs {named}",
            {
                "page": plan.page_url if page else "",
                "socket": f"{plan.gateway_url}{banner.beyond(host)}",
                "control": plan.control_url,
                "nats": plan.nats_url,
                "metrics": plan.metrics_url,
                "actors": ", ".join(serving.actor_types) if serving else "none: the app cannot start, see above",
            },
            "Edit the app and it reloads. Ctrl-C stops everything." if reload else "Ctrl-C stops everything.",
        )

    style = "json" if log_format == "json" else "text"
    console = Console(style, colours=sys.stderr.isatty() and "NO_COLOR" not in os.environ)

    def offers(contract: bytes) -> None:
        try:
            written = generating.refresh(files, contract, str(named))
        except UsageError as error:
            console.tell(error.message, level="error")
        else:
            for file in written:
                console.tell(f"{file} was written")

    return asyncio.run(platform.run(wanted, console, ready, offers if files else None))


@zocket.command(
    cls=options.Command,
    short_help="Serve an app in one process, without NATS.",
    epilog="zocket serve chat:app\n"
    "zocket serve chat:app --host 0.0.0.0 --port 443 --tls-certificate cert.pem --tls-key key.pem",
)
@click.argument("target", metavar="MODULE:ATTR")
@options.host("127.0.0.1")
@options.port("8000")
@options.tls_options
@click.option("--page/--no-page", default=True, help="Serve the page beside the module, or a page about the app.")
@options.log_options
def serve(
    target: str,
    host: str | None,
    port: int | None,
    tls_certificate: str | None,
    tls_key: str | None,
    page: bool,
    log_format: str,
    log_level: str,
) -> int:
    """Serve an app in this one process, without NATS.

    MODULE:ATTR is found as Python would find it: in the working directory, on PYTHONPATH, among the installed
    packages. Without :ATTR it is :app. Actors live in memory and are gone when the process ends.
    """
    with needs("serve"):
        from zocket.server import process
    from zocket.settings import ServeSettings

    named = Target.parse(target)
    app, directory = load_app(named)
    settings = processes.settings(
        ServeSettings,
        host=host,
        port=port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        limits=processes.limits_over(app.limits),
    )
    processes.configure_logs(log_format, log_level, process="serve")
    secure = "s" if settings.tls_certificate else ""

    def ready(at: int) -> None:
        where = local_address(settings.host, at)
        banner.show(
            f"serving {named}",
            {
                "page": f"http{secure}://{where}/" if page else "",
                "socket": f"ws{secure}://{where}{banner.beyond(settings.host)}",
                "actors": ", ".join(app.definition.actors),
            },
            "Ctrl-C stops it.",
        )

    from zocket.dev.pages import Pages

    pages = Pages(directory, title=str(named), actors=lambda: list(app.definition.actors)) if page else None
    return processes.run(
        lambda: process.run(app.definition, settings, authorize=app.authorize, pages=pages, ready=ready)
    )


@zocket.command(
    cls=options.Command,
    short_help="Run the actors of one deployment.",
    epilog="DEPLOYMENT_ID=dpl_1f3c NATS_URL=nats://nats:4222 zocket runtime\n"
    "zocket runtime --deployment-id dpl_1f3c --port 0",
)
@click.option("--deployment-id", metavar="ID", help="Which deployment to load.  [DEPLOYMENT_ID, required]")
@options.nats_url
@options.control_plane_url
@options.port("8080", "API_PORT", "Port of /health, /ready and /metrics")
@click.option("--bundle-dir", metavar="DIR", help="Where bundles go.  [BUNDLE_DIR, default /app/bundles]")
@options.log_options
def runtime(log_format: str, log_level: str, port: int | None, **flags: str | None) -> int:
    """Run the actors of one deployment, between NATS and the control plane.

    Configured by the environment; options win over it. Further variables: CONTROL_PLANE_INTERNAL_TOKEN, WORKSPACE_ID,
    PROJECT_ID, API_HOST, STREAM_STORAGE, STREAM_REPLICAS, NATS_USER and its siblings, ACK_WAIT_S, DRAIN_TIMEOUT_S and
    the limits (docs/running.md).
    """
    from zocket.settings import RuntimeSettings

    try:
        settings = processes.settings(RuntimeSettings, api_port=port, **flags)
    except SettingsError as error:
        if not error.message.startswith("DEPLOYMENT_ID"):
            raise
        message = "DEPLOYMENT_ID: is not set; name the deployment to load, there or with --deployment-id"
        raise SettingsError(message) from None
    with needs("nats"):
        from zocket.runtime import process

    processes.configure_logs(
        log_format, log_level, workspace=settings.workspace_id, project=settings.project_id, process="runtime"
    )
    return processes.run(lambda: process.run(settings))


@zocket.command(
    cls=options.Command,
    short_help="Hold the clients' WebSockets.",
    epilog="NATS_URL=nats://nats:4222 CONTROL_PLANE_URL=http://control:3000 zocket gateway\n"
    "zocket gateway --port 3001 --workers 4",
)
@options.host("0.0.0.0")  # noqa: S104 — named in the help, bound by the settings
@options.port("3000")
@options.nats_url
@options.control_plane_url
@options.tls_options
@click.option(
    "--workers", type=click.IntRange(1, 64), metavar="N", help="Processes that share the port.  [WORKERS, default 1]"
)
@click.option("--worker", type=int, hidden=True)
@click.option("--dev-pages", nargs=2, type=click.Path(path_type=Path), hidden=True)
@options.log_options
def gateway(
    log_format: str, log_level: str, dev_pages: tuple[Path, Path] | None, worker: int | None, **flags: Any
) -> int:
    """Hold the clients' WebSockets, and carry their calls to the runtimes over NATS.

    Configured by the environment; options win over it. Further variables: CONTROL_PLANE_INTERNAL_TOKEN, METRICS_HOST,
    METRICS_PORT, STREAM_STORAGE, STREAM_REPLICAS, NATS_USER and its siblings, DRAIN_TIMEOUT_S and the limits
    (docs/running.md).
    """
    from zocket.settings import GatewaySettings

    settings = processes.settings(GatewaySettings, **flags)
    with needs("nats"):
        from zocket.gateway import process

    if worker is not None:
        processes.configure_logs(log_format, log_level, process="gateway", worker=str(worker))
        return processes.run(lambda: process.run(settings, worker=True))
    processes.configure_logs(log_format, log_level, process="gateway")
    if settings.workers > 1:
        from zocket.cli import workers

        log_options = ["--log-format", log_format, "--log-level", log_level]
        return processes.run(lambda: workers.run(settings, flags, log_options))
    pages = None
    if dev_pages is not None:
        from zocket.dev.pages import platform_pages

        pages = platform_pages(*dev_pages)
    return processes.run(lambda: process.run(settings, pages=pages))


@zocket.group(
    cls=options.CommandWithParts,
    short_help="Keep deployments, decide who may connect.",
    epilog="CONTROL_PLANE_INTERNAL_TOKEN=… zocket control --host 0.0.0.0\n"
    "zocket control create-admin ada@example.com\n"
    "zocket control --port 0 --database-url sqlite+aiosqlite:////var/lib/zocket/control.db",
)
@options.host("127.0.0.1")
@options.port("3000")
@options.database_url
@click.option(
    "--bundle-store", metavar="DIR", help="Where uploaded bundles lie.  [BUNDLE_STORE, default .zocket/bundles]"
)
@options.log_options
@click.pass_context
def control(ctx: click.Context, /, log_format: str, log_level: str, **flags: Any) -> int:
    """Keep deployments and their bundles, and decide who may connect.

    Configured by the environment; options win over it. Further variables: CONTROL_PLANE_INTERNAL_TOKEN, PUBLIC_URL.
    """
    from zocket.settings import ControlSettings

    if ctx.invoked_subcommand is not None:
        return 0
    settings = processes.settings(ControlSettings, **flags)
    with needs("control"):
        from zocket.control import process

    processes.configure_logs(log_format, log_level, process="control")
    return processes.run(lambda: process.run(settings))


control.add_command(administration.create_admin)
for command in (
    starter.init,
    checking.check,
    generating.gen,
    account.auth,
    projects.link,
    deploying.deploy,
    deploying.rollback,
    deploying.deployments,
    logs.logs,
    projects.projects,
    tokens.tokens,
    environment.env,
    actors.actors,
    completions.completions,
    nats.nats,
    simulating.sim,
    dead_letters.dead_letters,
):
    zocket.add_command(command)
