"""The Kubernetes orchestrator against a small API server that behaves as the recorded answers of a real one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import pytest
from kubernetes import client

from zocket.clock import SystemClock
from zocket.control.orchestration import kubernetes as module
from zocket.control.orchestration import manifests
from zocket.control.orchestration.kubernetes import KubernetesOrchestrator
from zocket.control.orchestration.port import Launch
from zocket.errors import SettingsError, Unavailable
from zocket.settings import OrchestrationSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.integration.deploy.conftest import Kit

pytestmark = pytest.mark.realtime

LAUNCH = Launch(
    "wsp_1", "prj_1", "dpl_1f", 3, {"DEPLOYMENT_ID": "dpl_1f", "NATS_URL": "nats://n"}, {"KEY": "se cret"}, 2**28
)
SETTINGS = OrchestrationSettings(orchestrator="kubernetes", kube_namespace="apps", runtime_image="zocket:1")


class FakeCluster:
    """Keeps objects as an API server does; what a kubelet would do, the test does.

    Attributes:
        objects: by path.
        calls: (verb, path, query), in order.
        pods: what is listed.
        log: of any pod.
        down: everything is answered 503.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, dict[str, list[str]]]] = []
        self.pods: list[dict[str, Any]] = []
        self.log = ""
        self.down = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                status, answer = fake._answer(self.command, url.path, parse_qs(url.query), body)
                raw = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                kind = "text/plain" if isinstance(answer, str) else "application/json"
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_DELETE = _do

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, verb: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.calls.append((verb, path, query))
        if self.down:
            return 503, failure(503, "ServiceUnavailable")
        if path.endswith("/log"):
            return 200, self.log
        if path.endswith("/pods"):
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods}
        match verb:
            case "POST":
                path = f"{path}/{body['metadata']['name']}"
                if path in self.objects:
                    return 409, failure(409, "AlreadyExists")
                self.objects[path] = body
                return 201, body
            case "PUT":
                self.objects[path] = body
                return 200, body
            case "DELETE":
                found = self.objects.pop(path, None)
                return (200, {"kind": "Status", "status": "Success"}) if found else (404, failure(404, "NotFound"))
        if path.endswith("/deployments"):
            items = [item for place, item in self.objects.items() if place.startswith(path + "/")]
            return 200, {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": items}
        return (200, self.objects[path]) if path in self.objects else (404, failure(404, "NotFound"))


def failure(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}


def pod(state: dict[str, Any], *, restarts: int = 0, last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "runtime-dpl-1f-abc",
            "labels": manifests.labels(LAUNCH),
            "creationTimestamp": "2026-11-24T07:00:00Z",
        },
        "status": {
            "podIP": "10.0.0.7",
            "containerStatuses": [
                {
                    "name": "runtime",
                    "image": "zocket:1",
                    "imageID": "",
                    "ready": False,
                    "restartCount": restarts,
                    "state": state,
                    "lastState": last or {},
                }
            ],
        },
    }


RUNNING = {"running": {"startedAt": "2026-11-24T07:00:01Z"}}
DIED = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-24T07:00:09Z"}}
LOOPING = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    fake = FakeCluster()
    yield fake
    fake.close()


def opened(cluster: FakeCluster) -> AbstractAsyncContextManager[KubernetesOrchestrator]:
    configuration = client.Configuration()
    configuration.host = cluster.url
    configuration.retries = False
    return KubernetesOrchestrator.open(SETTINGS, SystemClock(), api_client=client.ApiClient(configuration))


@pytest.mark.parametrize("memory_bytes", [2**28, None])
def test_what_kubernetes_is_told_fits_its_schemas(memory_bytes: int | None) -> None:
    secret = manifests.secret(LAUNCH, "apps")
    deployment = manifests.deployment(LAUNCH, "apps", image="zocket:1", memory_bytes=memory_bytes)
    for version in ("1.30", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(secret, version, strict=True)
        kubernetes_validate.validate(deployment, version, strict=True)
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["resources"]["limits"] == ({"memory": "268435456"} if memory_bytes else {})
    assert "se cret" not in str(deployment)
    assert "c2UgY3JldA==" in str(secret)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**deployment, "spec": {"replicas": "one"}}, "1.30", strict=True)


async def test_a_runtime_is_started_changed_and_stopped(cluster: FakeCluster) -> None:
    async with opened(cluster) as orchestrator:
        await orchestrator.start(LAUNCH)
        await orchestrator.start(LAUNCH)
        assert sorted(cluster.objects) == [
            "/api/v1/namespaces/apps/secrets/runtime-dpl-1f",
            "/apis/apps/v1/namespaces/apps/deployments/runtime-dpl-1f",
        ]
        assert [verb for verb, path, _ in cluster.calls if "pods" not in path] == ["POST", "POST"] + [
            "POST",
            "PUT",
        ] * 2
        first = orchestrator.observe("dpl_1f")
        assert first is not None
        assert first.state == "starting"
        await orchestrator.stop("dpl_1f")
        await orchestrator.stop("dpl_1f")
        assert cluster.objects == {}
        assert orchestrator.observe("dpl_1f") is None
        deleted = next(query for verb, _, query in cluster.calls if verb == "DELETE")
        assert deleted == {"propagationPolicy": ["Foreground"]}


async def test_how_the_pods_are_is_seen(cluster: FakeCluster, kit: Kit) -> None:
    changes: list[str] = []

    class Watching:
        def changed(self, deployment_id: str) -> None:
            found = orchestrator.observe(deployment_id)
            changes.append(found.state if found is not None else "gone")

    async with opened(cluster) as orchestrator:
        orchestrator.watch(Watching())
        await orchestrator.start(LAUNCH)
        for state in (pod(RUNNING), pod(LOOPING, restarts=5, last=DIED), pod(RUNNING, restarts=6, last=DIED)):
            cluster.pods = [state]
            await one_more(changes, kit)
        assert changes == ["running", "crash_loop", "running"]
        seen = orchestrator.observe("dpl_1f")
        assert seen is not None
        assert (seen.restarts, seen.address) == (6, "http://10.0.0.7:8080")
        assert seen.last_exit is not None
        assert (seen.last_exit.code, seen.last_exit.message) == (137, "the runtime ended with code 137 (OOMKilled)")
        listed = [query for verb, path, query in cluster.calls if path.endswith("/pods")]
        assert {"labelSelector": ["app.kubernetes.io/managed-by=zocket-control"]} in listed
        cluster.pods = [pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})]
        await kit.until(lambda: changes[-1] == "waiting", "the image is missing")
        seen = orchestrator.observe("dpl_1f")
        assert seen is not None
        assert seen.last_exit is not None
        assert "ImagePullBackOff no such image" in seen.last_exit.message


async def one_more(changes: list[str], kit: Kit) -> None:
    before = len(changes)
    await kit.until(lambda: len(changes) > before, "a change")


async def test_what_an_earlier_control_plane_left_is_swept_away(cluster: FakeCluster) -> None:
    async with opened(cluster) as orchestrator:
        await orchestrator.start(LAUNCH)
        await orchestrator.sweep({"dpl_1f"})
        assert len(cluster.objects) == 2
        await orchestrator.sweep(set())
        assert cluster.objects == {}


async def test_the_log_of_a_pod_is_read_and_followed(cluster: FakeCluster, kit: Kit) -> None:
    async with opened(cluster) as orchestrator:
        await orchestrator.start(LAUNCH)
        cluster.pods = [pod(RUNNING)]
        cluster.log = "2026-11-24T07:00:02.123456789Z one\n2026-11-24T07:00:03.5Z two with spaces\n"
        await kit.until(lambda: orchestrator._pods, "the pod is seen")
        read = [entry async for entry in orchestrator.logs("dpl_1f", lines=10, follow=False)]
        assert [(entry.at % 10_000, entry.line) for entry in read] == [(2_123, "one"), (3_500, "two with spaces")]
        following = orchestrator.logs("dpl_1f", lines=10, follow=True)
        assert [(await anext(following)).line for _ in range(2)] == ["one", "two with spaces"]
        cluster.log += "2026-11-24T07:00:04Z three\n"
        assert (await anext(following)).line == "three"
        await orchestrator.stop("dpl_1f")
        assert [entry async for entry in following] == []


async def test_a_cluster_that_is_away_is_said_so(cluster: FakeCluster) -> None:
    async with opened(cluster) as orchestrator:
        cluster.down = True
        with pytest.raises(Unavailable, match="Kubernetes answers 503"):
            await orchestrator.start(LAUNCH)


async def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    for settings in (
        OrchestrationSettings(kube_config=str(tmp_path / "missing")),
        OrchestrationSettings(),
    ):
        with pytest.raises(SettingsError, match="KUBE_CONFIG_FILE"):
            async with KubernetesOrchestrator.open(settings, SystemClock()):
                raise AssertionError("it was opened")
