"""What Kubernetes is told of one runtime: a Secret with its environment, and a Deployment of one replica.

Rules: plain dictionaries, checked against the published schemas in the tests; everything secret is in the Secret; the
process gets no token of the cluster, no privilege and a read-only root.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from zocket.control.orchestration.port import Launch

MANAGED_BY: Final = "zocket-control"
SELECTOR: Final = f"app.kubernetes.io/managed-by={MANAGED_BY}"
DEPLOYMENT_LABEL: Final = "zocket/deployment"
PROJECT_LABEL: Final = "zocket/project"
API_PORT: Final = 8080
USER: Final = 10001
"""The image's own user."""
INSTALLATION_SECRET: Final = "zocket-runtime"  # noqa: S105 — a name
"""A Secret that the cluster's operator may make: its entries (such as NATS_URL with credentials) win over ours, and the
control plane never sees them."""
STOP_TIMEOUT_S: Final = 30


def object_name(deployment_id: str) -> str:
    """Name of the objects of a runtime: `dpl_1f…` becomes `runtime-dpl-1f…`."""
    return "runtime-" + deployment_id.replace("_", "-").lower()


def labels(launch: Launch) -> dict[str, str]:
    """What the objects of a runtime are found by."""
    return {
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "app.kubernetes.io/name": "zocket-runtime",
        DEPLOYMENT_LABEL: launch.deployment_id,
        PROJECT_LABEL: launch.project_id,
    }


def secret(launch: Launch, namespace: str) -> dict[str, Any]:
    """The environment of a runtime."""
    environ = {
        **launch.variables,
        **launch.environ,
        "API_HOST": "0.0.0.0",  # noqa: S104 — the kubelet probes it from outside of the container
        "API_PORT": str(API_PORT),
        "BUNDLE_DIR": "/app/bundles",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(launch, namespace),
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in environ.items()},
    }


def deployment(launch: Launch, namespace: str, *, image: str, memory_bytes: int | None) -> dict[str, Any]:
    """The Deployment of a runtime; its pod is ready only while it serves, so one in standby is not."""
    name = object_name(launch.deployment_id)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(launch, namespace),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {DEPLOYMENT_LABEL: launch.deployment_id}},
            "template": {
                "metadata": {"labels": labels(launch)},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": STOP_TIMEOUT_S,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": USER,
                        "fsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(name, image, memory_bytes)],
                    "volumes": [{"name": "bundles", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }


def _metadata(launch: Launch, namespace: str) -> dict[str, Any]:
    return {"name": object_name(launch.deployment_id), "namespace": namespace, "labels": labels(launch)}


def _container(secret_name: str, image: str, memory_bytes: int | None) -> dict[str, Any]:
    limits = {"memory": str(memory_bytes)} if memory_bytes else {}
    return {
        "name": "runtime",
        "image": image,
        "args": ["runtime", "--log-format", "json"],
        "envFrom": [
            {"secretRef": {"name": secret_name}},
            {"secretRef": {"name": INSTALLATION_SECRET, "optional": True}},
        ],
        "ports": [{"name": "http", "containerPort": API_PORT}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "bundles", "mountPath": "/app/bundles"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 — a volume of the pod's own
        ],
    }
