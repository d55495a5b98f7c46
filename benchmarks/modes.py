"""The modes that are measured: what each starts, and which processes count.

Rules: the commands and settings are those of a user, with every default on; whatever a call passes through is counted.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from processes import BIN, Process, answers, free_port, listens, read, request, serves_calls

from zocket.broker.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

HERE: Final = Path(__file__).resolve().parent
SCOPE: Final = "workspaceId=local-workspace&projectId=local-project"


@dataclass(frozen=True)
class Service:
    """Something that the load generator can be pointed at.

    Attributes:
        pids: of its processes, by role.
        metrics_port: of the process that clients connect to; 0 for none.
    """

    url: str
    pids: Mapping[str, int]
    metrics_port: int


@contextmanager
def standalone(environ: Mapping[str, str], home: Path) -> Iterator[Service]:
    """`zocket serve app:app`."""
    port = free_port()
    metrics = free_port()
    command = [f"{BIN}/zocket", "serve", "app:app", "--port", str(port)]
    with Process("serve", command, home, environ={**environ, "METRICS_PORT": str(metrics)}, directory=HERE) as server:
        yield _ready(server, port, {"serve": server.pid}, metrics)


@contextmanager
def asgi(environ: Mapping[str, str], home: Path) -> Iterator[Service]:
    """`uvicorn app:app`."""
    port = free_port()
    command = [f"{BIN}/uvicorn", "app:app", "--port", str(port), "--loop", "uvloop"]
    with Process("uvicorn", command, home, environ=environ, directory=HERE) as server:
        yield _ready(server, port, {"uvicorn": server.pid})


@contextmanager
def fastapi(environ: Mapping[str, str], home: Path) -> Iterator[Service]:
    """The service written by hand, under the same server with the same options as `asgi`."""
    port = free_port()
    command = [f"{BIN}/uvicorn", "fastapi_rooms:app", "--port", str(port), "--loop", "uvloop"]
    with Process("peer", command, home, environ=environ, directory=HERE / "peers") as server:
        yield _ready(server, port, {"fastapi": server.pid})


@contextmanager
def upgrades(environ: Mapping[str, str], home: Path) -> Iterator[Service]:
    """A server that opens sessions and does nothing else."""
    port = free_port()
    with Process(
        "bare", [sys.executable, "upgrades.py", str(port)], home, environ=environ, directory=HERE / "peers"
    ) as server:
        server.wait_until("its port", partial(listens, port))
        yield Service(f"ws://127.0.0.1:{port}/", {"bare": server.pid}, 0)


def over_nats(environ: Mapping[str, str], home: Path) -> AbstractContextManager[Service]:
    """A deployment with one process of each role."""
    return deployment(environ, home)


@contextmanager
def deployment(
    environ: Mapping[str, str], home: Path, *, workers: int = 1, runtimes: int = 1, nats_config: str = ""
) -> Iterator[Service]:
    """NATS server, control plane, gateway and runtime, with the commands and variables of production.

    Args:
        environ: variables of all processes.
        home: directory of their files.
        workers: gateway processes on the one port.
        runtimes: processes that share the project; `environ` has `PARTITIONS` then, a multiple of them.
        nats_config: further lines of the NATS server's configuration.
    """
    nats = NatsServer(config=nats_config)
    token = secrets.token_hex(16)
    ports = {name: free_port() for name in ("control", "gateway", "metrics")}
    control_url = f"http://127.0.0.1:{ports['control']}"
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(nats.aclose()))
        asyncio.run(nats.start())
        common = {
            "NATS_URL": nats.url,
            "CONTROL_PLANE_URL": control_url,
            "CONTROL_PLANE_INTERNAL_TOKEN": token,
            "HOST": "127.0.0.1",
        }

        def start(role: str, name: str = "", **variables: str) -> Process:
            process = Process(
                name or role, [f"{BIN}/zocket", role], home, environ={**common, **environ, **variables}, directory=home
            )
            return stack.enter_context(process)

        control = start(
            "control",
            PORT=str(ports["control"]),
            DATABASE_URL=f"sqlite+aiosqlite:///{home}/control.db",
            BUNDLE_STORE=str(home / "store"),
        )
        control.wait_until("/api/health", lambda: answers(f"{control_url}/api/health"))
        deployment_id = _deploy(control_url, token)
        serving: dict[str, Process] = {}
        api_ports: dict[str, int] = {}
        for name in _numbered("runtime", runtimes):
            api_ports[name] = free_port()
            serving[name] = start(
                "runtime",
                name,
                DEPLOYMENT_ID=deployment_id,
                BUNDLE_DIR=str(home / f"bundles-{name}"),
                API_HOST="127.0.0.1",
                API_PORT=str(api_ports[name]),
            )
        gateway = start(
            "gateway",
            PORT=str(ports["gateway"]),
            METRICS_PORT=str(ports["metrics"] if workers == 1 else 0),
            WORKERS=str(workers),
        )
        for name, runtime in serving.items():
            runtime.wait_until("/ready", partial(answers, f"http://127.0.0.1:{api_ports[name]}/ready"))
            if runtimes > 1:
                share = int(environ["PARTITIONS"]) // runtimes
                metrics = f"http://127.0.0.1:{api_ports[name]}/metrics"
                runtime.wait_until(f"a share of {share}", partial(_holds, metrics, share))
        if workers > 1:
            gateway.wait_until("all workers", lambda: f"{workers} workers answer" in gateway.log())
        assert nats.pid is not None
        service = _ready(gateway, ports["gateway"], {}, ports["metrics"])
        gateways = [gateway.pid] if workers == 1 else _children(gateway.pid)
        pids = {"nats": nats.pid, **dict(zip(_numbered("gateway", workers), gateways, strict=True))}
        pids |= {name: runtime.pid for name, runtime in serving.items()}
        yield replace(service, pids={**pids, "control": control.pid})


def _numbered(role: str, count: int) -> list[str]:
    return [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _holds(url: str, partitions: int) -> bool:
    """Whether a runtime serves so many partitions."""
    found = [line.split() for line in read(url).splitlines() if line.startswith("zocket_partitions_held")]
    return any(float(value) == partitions for _, value in found)


def _deploy(control_url: str, token: str) -> str:
    """Creates the project of this machine's address, uploads `app.py` as its bundle; the deployment's id."""
    bearer = {"Authorization": f"Bearer {token}"}
    project = b'{"workspaceId":"local-workspace","slug":"benchmarks","domain":"127.0.0.1"}'
    url = f"{control_url}/api/internal"
    request("PUT", f"{url}/projects/local-project", project, {**bearer, "Content-Type": "application/json"})
    headers = {**bearer, "Content-Type": "application/octet-stream"}
    deployment = request("POST", f"{url}/deployments?{SCOPE}", (HERE / "app.py").read_bytes(), headers)
    return str(deployment["deploymentId"])


def _ready(process: Process, port: int, pids: Mapping[str, int], metrics_port: int = 0) -> Service:
    url = f"ws://127.0.0.1:{port}/"
    process.wait_until("a call", lambda: serves_calls(url))
    return Service(url, pids, metrics_port)


MODES: Final[Mapping[str, Callable[[Mapping[str, str], Path], AbstractContextManager[Service]]]] = {
    "standalone": standalone,
    "nats": over_nats,
    "asgi": asgi,
    "peers": fastapi,
}
"""By the name that `--mode` takes; "peers" is the baseline of the ratios."""

BARE: Final = "bare"
"""The mode that shows what the load generator itself can open, for `connect-idle` alone; not among `all`."""

BASELINE: Final = "peers"


@contextmanager
def serving(modes: list[str], environ: Mapping[str, str]) -> Iterator[dict[str, Service]]:
    """Fresh services of these modes, all running during the block."""
    with ExitStack() as stack:
        services: dict[str, Service] = {}
        for mode in modes:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zocket-bench-")))
            services[mode] = stack.enter_context({**MODES, BARE: upgrades}[mode](environ, home))
        yield services
