"""Runtimes in Kubernetes: a Deployment each, through the official client.

Rules: the client blocks, so every call runs in a thread; how the pods are is asked for regularly, and whoever wants to
know gets the last answer; the kubelet starts again what ends. A project has one Deployment, and two while a new version
takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zocket.control.deployment_schemas import LogLine
from zocket.control.orchestration import manifests
from zocket.control.orchestration.port import Exit, Observation
from zocket.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from zocket.clock import Clock
    from zocket.control.orchestration.port import Launch, Watcher
    from zocket.settings import OrchestrationSettings

T = TypeVar("T")

POLL_S: Final = 1.0
"""How often the pods are looked at."""
STOP_TIMEOUT_S: Final = 60.0
"""Longest wait until a deleted Deployment is gone: the pod's own time to end is half of it."""
CALL_TIMEOUT_S: Final = (5, 30)
"""To connect, and between two bytes."""
NOT_FOUND: Final = 404
CONFLICT: Final = 409

log = logging.getLogger("zocket.control")


class KubernetesOrchestrator:
    """Deployments of one namespace; made by `open`. See `Orchestrator`."""

    def __init__(self, settings: OrchestrationSettings, clock: Clock, api_client: Any) -> None:
        from kubernetes import client

        self._settings = settings
        self._namespace = settings.kube_namespace
        self._clock = clock
        self._apps: Any = client.AppsV1Api(api_client)
        self._core: Any = client.CoreV1Api(api_client)
        self._observed: dict[str, Observation] = {}
        self._pods: dict[str, str] = {}
        self._changed: Callable[[str], None] = lambda _: None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: OrchestrationSettings, clock: Clock, *, api_client: Any = None
    ) -> AsyncIterator[KubernetesOrchestrator]:
        """Watches the namespace during the block; what runs there goes on running after it.

        Args:
            settings: namespace, image, and how to reach the cluster.
            clock: time between looks.
            api_client: a client that is configured already, in tests.

        Raises:
            SettingsError: the package is not installed, or there is no cluster to be reached.
        """
        orchestrator = cls(settings, clock, api_client or await asyncio.to_thread(_api_client, settings))
        looking = asyncio.create_task(orchestrator._look())
        try:
            yield orchestrator
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def watch(self, watcher: Watcher) -> None:
        """See `Orchestrator.watch`."""
        self._changed = watcher.changed

    async def start(self, launch: Launch) -> None:
        """See `Orchestrator.start`."""
        memory_bytes = launch.memory_bytes or self._settings.runtime_memory_bytes or None
        secret = manifests.secret(launch, self._namespace)
        body = manifests.deployment(
            launch, self._namespace, image=self._settings.runtime_image, memory_bytes=memory_bytes
        )
        await self._apply(self._core.create_namespaced_secret, self._core.replace_namespaced_secret, secret)
        await self._apply(self._apps.create_namespaced_deployment, self._apps.replace_namespaced_deployment, body)
        self._observed.setdefault(launch.deployment_id, Observation("starting", self._now_ms()))

    async def stop(self, deployment_id: str) -> None:
        """See `Orchestrator.stop`."""
        name = manifests.object_name(deployment_id)
        await self._delete(self._apps.delete_namespaced_deployment, name, propagation_policy="Foreground")
        deadline = self._clock.now() + STOP_TIMEOUT_S
        while await self._exists(name):
            if self._clock.now() > deadline:
                raise Unavailable(f"Kubernetes: the Deployment {name} was not gone after {STOP_TIMEOUT_S:g} s")
            await self._clock.sleep(POLL_S / 2)
        await self._delete(self._core.delete_namespaced_secret, name)
        self._observed.pop(deployment_id, None)
        self._pods.pop(deployment_id, None)
        self._changed(deployment_id)

    async def sweep(self, keep: Collection[str]) -> None:
        """See `Orchestrator.sweep`."""
        found = await self._call(
            lambda: self._apps.list_namespaced_deployment(
                self._namespace, label_selector=manifests.SELECTOR, _request_timeout=CALL_TIMEOUT_S
            )
        )
        for item in found.items:
            deployment_id = item.metadata.labels.get(manifests.DEPLOYMENT_LABEL, "")
            if deployment_id and deployment_id not in keep:
                await self.stop(deployment_id)

    def observe(self, deployment_id: str) -> Observation | None:
        """See `Orchestrator.observe`."""
        return self._observed.get(deployment_id)

    async def logs(self, deployment_id: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """See `Orchestrator.logs`; what is to come is asked for again and again, since a pod may be replaced."""
        last_at, wanted = "", lines
        while True:
            pod = self._pods.get(deployment_id)
            text = await self._pod_log(pod, wanted) if pod is not None else ""
            for raw in text.splitlines():
                stamp, _, line = raw.partition(" ")
                if stamp > last_at:  # RFC 3339 in UTC: the order of the texts is that of the times
                    last_at = stamp
                    yield LogLine(at=_milliseconds(stamp), stream="stdout", line=line)
            if not follow or deployment_id not in self._observed:
                return
            wanted = 1_000
            await self._clock.sleep(POLL_S)

    async def _pod_log(self, pod: str, lines: int) -> str:
        def read() -> str:
            answer = self._core.read_namespaced_pod_log(
                pod,
                self._namespace,
                tail_lines=lines,
                timestamps=True,
                _preload_content=False,
                _request_timeout=CALL_TIMEOUT_S,
            )
            return bytes(answer.data).decode("utf-8", "replace")

        try:
            return await self._call(read)
        except Unavailable:  # it is just being made, or just gone
            return ""

    # -- looking ---------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            try:
                pods = await self._call(
                    lambda: self._core.list_namespaced_pod(
                        self._namespace, label_selector=manifests.SELECTOR, _request_timeout=CALL_TIMEOUT_S
                    )
                )
                self._compare(pods.items)
            except Unavailable as error:
                log.warning("the cluster cannot be asked: %s", error.message)
            await self._clock.sleep(POLL_S)

    def _compare(self, pods: list[Any]) -> None:
        newest: dict[str, Any] = {}
        for pod in pods:
            deployment_id = (pod.metadata.labels or {}).get(manifests.DEPLOYMENT_LABEL, "")
            before = newest.get(deployment_id)
            if deployment_id and (before is None or _created(pod) >= _created(before)):
                newest[deployment_id] = pod
        for deployment_id, pod in newest.items():
            before = self._observed.get(deployment_id)
            self._pods[deployment_id] = pod.metadata.name
            seen = _observation(pod, self._now_ms())
            if before is not None and replace(seen, since_ms=before.since_ms) == before:
                continue
            self._observed[deployment_id] = seen
            self._changed(deployment_id)

    # -- calls -----------------------------------------------------------------------------------------------------

    async def _apply(self, create: Any, put: Any, body: dict[str, Any]) -> None:
        try:
            await self._call(lambda: create(self._namespace, body, _request_timeout=CALL_TIMEOUT_S))
        except _Refusal as error:
            if error.status != CONFLICT:
                raise
            name = body["metadata"]["name"]
            await self._call(lambda: put(name, self._namespace, body, _request_timeout=CALL_TIMEOUT_S))

    async def _delete(self, delete: Any, name: str, **more: Any) -> None:
        with contextlib.suppress(_Missing):
            await self._call(lambda: delete(name, self._namespace, _request_timeout=CALL_TIMEOUT_S, **more))

    async def _exists(self, name: str) -> bool:
        try:
            await self._call(
                lambda: self._apps.read_namespaced_deployment(name, self._namespace, _request_timeout=CALL_TIMEOUT_S)
            )
        except _Missing:
            return False
        return True

    async def _call(self, call: Callable[[], T]) -> T:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return await asyncio.to_thread(call)
        except ApiException as error:
            kind = _Missing if error.status == NOT_FOUND else _Refusal
            raise kind(f"Kubernetes answers {error.status} {error.reason}", error.status) from error
        except (HTTPError, OSError) as error:
            raise Unavailable(f"Kubernetes does not answer: {type(error).__name__}") from error

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


class _Refusal(Unavailable):
    """The API server answered with an error."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class _Missing(_Refusal):
    """There is no such object."""


def _api_client(settings: OrchestrationSettings) -> Any:
    try:
        from kubernetes import client
        from kubernetes import config as untyped
    except ModuleNotFoundError as error:
        raise SettingsError("ORCHESTRATOR: kubernetes needs its client; pip install 'zocket[kubernetes]'") from error
    config: Any = untyped
    try:
        if settings.kube_config:
            return config.new_client_from_config(config_file=settings.kube_config)
        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        return client.ApiClient(configuration)
    except config.ConfigException as error:
        raise SettingsError(f"KUBE_CONFIG_FILE: there is no cluster to be reached ({error})") from error


def _observation(pod: Any, now_ms: int) -> Observation:
    status = next(iter(pod.status.container_statuses or ()), None)
    address = f"http://{pod.status.pod_ip}:{manifests.API_PORT}" if pod.status.pod_ip else None
    if status is None:
        return Observation("starting", now_ms)
    ended = (status.state and status.state.terminated) or (status.last_state and status.last_state.terminated)
    last_exit = None
    if ended is not None:
        said = f": {ended.message.strip()}" if ended.message else ""
        reason = f" ({ended.reason})" if ended.reason and ended.reason != "Error" else ""
        last_exit = Exit(ended.exit_code, _at(ended.finished_at, now_ms), _farewell(ended.exit_code) + reason + said)
    waiting = status.state.waiting if status.state else None
    if status.state and status.state.running:
        return Observation("running", now_ms, status.restart_count, None, last_exit, address)
    if waiting is not None and waiting.reason == "CrashLoopBackOff":
        return Observation("crash_loop", now_ms, status.restart_count, None, last_exit)
    if waiting is not None and waiting.reason in ("ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"):
        failure = Exit(None, now_ms, f"Kubernetes cannot start the runtime: {waiting.reason} {waiting.message or ''}")
        return Observation("waiting", now_ms, status.restart_count, None, failure)
    return Observation("waiting" if last_exit else "starting", now_ms, status.restart_count, None, last_exit)


def _farewell(code: int) -> str:
    return f"the runtime ended with code {code}"


def _created(pod: Any) -> datetime:
    at: datetime | None = pod.metadata.creation_timestamp
    return at or datetime.min.replace(tzinfo=UTC)


def _at(at: datetime | None, otherwise_ms: int) -> int:
    return int(at.timestamp() * 1000) if at is not None else otherwise_ms


def _milliseconds(stamp: str) -> int:
    """Of a time with nanoseconds, which `fromisoformat` of Python 3.11 does not cut by itself."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    try:
        at = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(at.timestamp() * 1000) + int((fraction + "000")[:3] or 0)
