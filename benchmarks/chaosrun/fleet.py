"""What is broken and mended: NATS with file storage, a control plane, gateways and runtimes, with proxies in between.

Rules: commands and variables are those of production; whatever is started here is ended here, also if it is stopped or
hangs; every process has a log of its own under the home directory.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from processes import BIN, Process, answers, request

from chaosrun.load import CALL_TIMEOUT_S
from chaosrun.proxy import Proxy
from chaosrun.waiting import ChaosError, until
from zocket.broker.server import NatsServer

if TYPE_CHECKING:
    from types import TracebackType

LEDGER: Final = Path(__file__).parent / "ledger.py"
SCOPE: Final = "workspaceId=local-workspace&projectId=local-project"
READY: Final = "runtime is ready"
BOOTS: Final = 5
"""Started in a row until one serves: a boot may meet a NATS that is away."""
DRAIN_TIMEOUT_S: Final = "1"
"""Of the runtimes: after one that is killed while it drains, the next one waits so long and 7 s more."""
GATEWAY_PORTS: Final = r"answers on port (\d+)"


@dataclass
class Gateway:
    """One gateway: its port stays the same over restarts.

    Attributes:
        clients: what its clients connect to.
    """

    number: int
    clients: Proxy
    port: int = 0
    process: Process | None = None


@dataclass
class Fleet:
    """All processes of a run; `async with` runs them.

    Args:
        home: of logs, streams and records.
        gateways_wanted: how many gateways.
        replicas: runtimes that share the project; more than one only with partitions.
        partitions: 1 for none.
    """

    home: Path
    gateways_wanted: int = 2
    replicas: int = 1
    partitions: int = 1
    runtimes: list[Process] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    _started: list[Process] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _token: str = field(default_factory=lambda: secrets.token_hex(16))

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _start(self) -> None:
        self.nats = NatsServer(store_dir=self.home / "streams")
        await self.nats.start()
        to_nats = lambda: self.nats.port  # noqa: E731 — it moves when the server is started
        self.nats_of_runtimes = await self._stack.enter_async_context(Proxy.open(to_nats))
        self.nats_of_gateways = await self._stack.enter_async_context(Proxy.open(to_nats))
        await self._start_control_plane()
        for number in range(self.gateways_wanted):
            await self._add_gateway(number)
        for _ in range(self.replicas):
            await self.ready(self.launch_runtime())

    async def _start_control_plane(self) -> None:
        control = self._launch(
            "control",
            CONTROL_PLANE_INTERNAL_TOKEN=self._token,
            PORT="0",
            HOST="127.0.0.1",
            DATABASE_URL=f"sqlite+aiosqlite:///{self.home}/control.db",
            BUNDLE_STORE=str(self.home / "bundles"),
            RUNTIME_DIR=str(self.home / "runtimes"),
            ZOCKET_SECRET_KEY_FILE=str(self.home / "secret.key"),
            ORCHESTRATOR="none",
        )
        self._control_url = await self._logged(control, r'"url": ?"(http:[^"]+)"')
        self._deployment_id = await asyncio.to_thread(self._deploy)

    def _deploy(self) -> str:
        assert answers(f"{self._control_url}/api/health")
        bearer = {"Authorization": f"Bearer {self._token}"}
        url = f"{self._control_url}/api/internal"
        project = b'{"workspaceId":"local-workspace","slug":"chaos","domain":"127.0.0.1"}'
        request("PUT", f"{url}/projects/local-project", project, {**bearer, "Content-Type": "application/json"})
        headers = {**bearer, "Content-Type": "application/octet-stream"}
        return str(request("POST", f"{url}/deployments?{SCOPE}", LEDGER.read_bytes(), headers)["deploymentId"])

    async def _add_gateway(self, number: int) -> None:
        clients = await self._stack.enter_async_context(Proxy.open(lambda: self.gateways[number].port))
        self.gateways.append(Gateway(number, clients))
        await self.start_gateway(self.gateways[number])

    async def _end(self) -> None:
        for process in self._started:
            process.send(signal.SIGKILL)
            process.__exit__(None, None, None)
        await self._stack.aclose()
        if self.nats.running:
            shutil.copy(self.nats.log_path, self.home / "nats.log")
        await self.nats.kill()
        await self.nats.aclose()

    def _launch(self, role: str, **environ: str) -> Process:
        name = f"{len(self._started):03}-{role}"
        command = [f"{BIN}/zocket", role, "--log-format", "json"]
        process = Process(name, command, self.home, environ=environ, directory=self.home).__enter__()
        self._started.append(process)
        return process

    async def _logged(self, process: Process, pattern: str) -> str:
        """What the pattern's group is in a process's log."""
        match: re.Match[str] | None = None

        def found() -> bool:
            nonlocal match
            match = re.search(pattern, process.log())
            if match is None and process.code is not None:
                raise ChaosError(f"{process.name} ended with {process.code}:\n{process.log_end()}")
            return match is not None

        await until(found, f"{process.name}: {pattern}")
        assert match is not None
        return match[match.re.groups and 1]

    def _common(self, nats: Proxy) -> dict[str, str]:
        common = {
            "NATS_URL": f"nats://127.0.0.1:{nats.port}",
            "CONTROL_PLANE_URL": self._control_url,
            "CONTROL_PLANE_INTERNAL_TOKEN": self._token,
            "STREAM_STORAGE": "file",
        }
        return common | ({"PARTITIONS": str(self.partitions)} if self.partitions > 1 else {})

    # -- gateways ------------------------------------------------------------------------------------------------

    @property
    def client_urls(self) -> list[str]:
        """Where clients connect, one address a gateway."""
        return [f"ws://127.0.0.1:{gateway.clients.port}/" for gateway in self.gateways]

    async def start_gateway(self, gateway: Gateway) -> None:
        """Starts it, again on its port if it had one; once more if it met a NATS that was away and gave up."""
        for left in reversed(range(BOOTS)):
            try:
                await self._boot_gateway(gateway)
                return
            except ChaosError:
                if gateway.process is None or gateway.process.code is None or not left:
                    raise

    async def _boot_gateway(self, gateway: Gateway) -> None:
        gateway.process = self._launch(
            "gateway",
            HOST="127.0.0.1",
            PORT=str(gateway.port),
            METRICS_PORT="0",
            CALL_TIMEOUT_S=str(CALL_TIMEOUT_S),
            **self._common(self.nats_of_gateways),
        )
        gateway.port = int(await self._logged(gateway.process, GATEWAY_PORTS))

    # -- runtimes ------------------------------------------------------------------------------------------------

    def launch_runtime(self, crashpoint: str = "") -> Process:
        """A runtime that is only being started; it belongs to the fleet from now on."""
        process = self._launch(
            "runtime",
            DEPLOYMENT_ID=self._deployment_id,
            BUNDLE_DIR=str(self.home / "fetched"),
            API_HOST="127.0.0.1",
            API_PORT="0",
            ZOCKET_CRASHPOINT=crashpoint,
            DRAIN_TIMEOUT_S=DRAIN_TIMEOUT_S,
            **self._common(self.nats_of_runtimes),
        )
        self.runtimes.append(process)
        return process

    async def ready(self, process: Process, limit_s: float = 60.0) -> bool:
        """Whether the runtime serves; False if it ended before that."""
        await until(
            lambda: READY in process.log() or process.code is not None,
            f"{process.name} is ready or ended\n{process.log_end()}",
            limit_s,
        )
        return READY in process.log()

    def sweep(self) -> None:
        """Forgets the runtimes that have ended."""
        self.runtimes = [process for process in self.runtimes if process.code is None]

    async def fill_up(self) -> None:
        """As many runtimes as there should be are ready, and no more."""
        self.sweep()
        while len(self.runtimes) > self.replicas:
            await self.retire(self.runtimes[0])
        for _ in range(BOOTS):
            while len(self.runtimes) < self.replicas:
                self.launch_runtime()
            if all([await self.ready(process) for process in self.runtimes]):
                return
            self.sweep()
        raise ChaosError(f"no runtime stays, of {BOOTS} that were started")

    async def retire(self, process: Process) -> None:
        """Asks a runtime to end and waits; one that had ended by itself is fine, too."""
        process.send(signal.SIGTERM)
        await self.gone(process)

    async def gone(self, process: Process, limit_s: float = 60.0) -> None:
        """The process has ended."""
        await until(lambda: process.code is not None, f"{process.name} ends", limit_s)
        self.sweep()

    async def kill(self, process: Process) -> None:
        """As the kernel does it."""
        process.send(signal.SIGKILL)
        await self.gone(process)
