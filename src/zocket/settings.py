"""One reader of the environment into frozen dataclasses, one class a process, read once in `main`.

Rules: nothing else reads the environment; every field has its variable, unit, range and default here; a value that
cannot be used is a `SettingsError` that names the variable; `repr` hides secrets.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints
from urllib.parse import urlsplit

from zocket.errors import SettingsError

MAX_PARTITIONS: Final = 256
"""Of one project; each has a host, an owner record and consumers of its own."""

MIN_RESUME_SECRET_CHARS: Final = 32
"""Of `openssl rand -hex 16`: 128 random bits."""

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

DEVELOPMENT_TOKEN: Final = "zocket-internal-dev-token"  # noqa: S105 — published, refused outside development
"""The published default of CONTROL_PLANE_INTERNAL_TOKEN: refused unless every peer is loopback or in dev mode."""


def setting(
    variable: str,
    default: Any = dataclasses.MISSING,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    secret: bool = False,
) -> Any:
    """A field read from `variable`; without a default it is required."""
    meta = {"variable": variable, "low": low, "high": high}
    return field(default=default, repr=not secret, metadata=meta)


def read(cls: type[T], environ: Mapping[str, str], **overrides: Any) -> T:
    """An instance of a settings class; an override that is not None wins over the environment.

    Raises:
        SettingsError: a required variable is missing, or a value is of the wrong type or out of range.
    """
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        override = overrides.pop(item.name, None)
        if override is not None:
            values[item.name] = override
        elif dataclasses.is_dataclass(hints[item.name]):
            values[item.name] = read(hints[item.name], environ)
        elif (text := environ.get(item.metadata["variable"], "")) != "":
            values[item.name] = _convert(hints[item.name], text, item.metadata)
        elif item.default is dataclasses.MISSING:
            raise SettingsError(f"{item.metadata['variable']}: is not set, and there is no default")
    if overrides:
        raise TypeError(f"{cls.__name__} has no setting {', '.join(sorted(overrides))}")
    return cls(**values)


def _convert(kind: Any, text: str, meta: Mapping[str, Any]) -> Any:
    variable, low, high = meta["variable"], meta["low"], meta["high"]
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise SettingsError(f'{variable}: expected true or false, got "{text}"')
    if kind in (int, float):
        name = "an integer" if kind is int else "a number"
        bounds = f" {low:g}–{high:g}" if high < math.inf else (f" of at least {low:g}" if low > -math.inf else "")
        try:
            number = kind(text)
        except ValueError:
            raise SettingsError(f'{variable}: expected {name}{bounds}, got "{text}"') from None
        if not low <= number <= high:
            raise SettingsError(f'{variable}: expected {name}{bounds}, got "{text}"')
        return number
    return text


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every bound of one process; reaching one is answered with a coded error."""

    max_frame_bytes: int = setting("MAX_FRAME_BYTES", 256_000, low=1_024, high=8_000_000)
    """One WebSocket frame from a client; a larger one closes the socket with 1009."""
    max_json_depth: int = setting("MAX_JSON_DEPTH", 64, low=4, high=512)
    """Nesting of arrays and objects in a frame; below the recursion limit of every parser in the chain."""
    max_result_bytes: int = setting("MAX_RESULT_BYTES", 1_048_576, low=1_024)
    """The JSON of one result or one event payload."""
    max_state_bytes: int = setting("MAX_STATE_BYTES", 8_388_608, low=1_024)
    """The JSON of one instance's state, estimated from its patches."""
    max_pending_calls: int = setting("MAX_PENDING_CALLS", 256, low=1)
    """Calls of one session that wait for their result."""
    max_subscriptions: int = setting("MAX_SUBSCRIPTIONS", 1_000, low=1)
    """Event and state subscriptions of one session together."""
    max_instances: int = setting("MAX_INSTANCES", 100_000, low=1)
    """Live instances of one runtime; at it the least recently used one that can be loaded again makes room."""
    max_memory_bytes: int = setting("MAX_MEMORY_BYTES", 268_435_456, low=0)
    """The states of all live instances together, as JSON; above it the least recently used ones that can be loaded
    again leave memory. 0 for no limit. Python objects take several times the bytes of their JSON, so this default
    stands for one to two GiB of a process."""
    idle_after_s: float = setting("IDLE_AFTER_S", 300.0, low=0)
    """A durable instance that nobody used or watched for so long leaves memory, if its class does not say otherwise
    (`idle_after`); 0 for never."""
    max_buffer_bytes: int = setting("MAX_BUFFER_BYTES", 16_777_216, low=65_536)
    """Bytes that wait for one socket whose client does not read; beyond it the socket is closed with 1013. Twice the
    largest state, since a snapshot may wait while the next frames come; less shuts out who watches larger states."""
    slow_reader_bytes: int = setting("SLOW_READER_BYTES", 65_536, low=1_024)
    """Unsent bytes above which a socket's backlog is watched: about the 256 patches that an instance keeps, or what a
    line of 10 Mbit/s and 50 ms holds. While the backlog grows, state frames are left out for a snapshot."""
    slow_reader_timeout_s: float = setting("SLOW_READER_TIMEOUT_S", 30.0, low=0.2)
    """A socket whose backlog does not shrink by SLOW_READER_BYTES in so long is closed with 1013."""
    max_buffered_total_bytes: int = setting("MAX_BUFFERED_TOTAL_BYTES", 536_870_912, low=1_048_576)
    """Unsent bytes of all sockets with a backlog together; beyond it the largest backlogs are closed with 1013."""
    max_ack_pending: int = setting("MAX_ACK_PENDING", 256, low=1, high=65_536)
    """Calls of one actor type in progress: the max ack pending of its consumer (R5)."""
    rate_per_s: float = setting("RATE_LIMIT_PER_S", 0.0, low=0)
    """Frames a second of one session, 0 for no limit; a deployment sets 200."""
    rate_burst: int = setting("RATE_LIMIT_BURST", 400, low=1)
    """Frames that a session may send at once before the rate counts."""
    handler_timeout_s: float = setting("HANDLER_TIMEOUT_S", 30.0, low=0.001)
    """Longest run of one handler; its changes are dropped after it."""
    call_timeout_s: float = setting("CALL_TIMEOUT_S", 60.0, low=0.001)
    """A call without a result for so long is answered with the code `timeout`."""
    overload_wait_s: float = setting("OVERLOAD_WAIT_S", 1.0, low=0)
    """An instance whose oldest call waits longer, while it holds half of the window, refuses further calls."""


@dataclass(frozen=True, kw_only=True)
class NatsAccess:
    """How a process proves to NATS who it is; a user and password or a token may stand in `NATS_URL` instead."""

    user: str = setting("NATS_USER", "")
    password: str = setting("NATS_PASSWORD", "", secret=True)
    token: str = setting("NATS_TOKEN", "", secret=True)
    credentials_file: str = setting("NATS_CREDS", "")
    """Path of a `.creds` file: JWT and seed of a user."""
    seed_file: str = setting("NATS_NKEY_SEED", "")
    """Path of a file with the seed of an NKEY."""
    inbox_prefix: str = setting("NATS_INBOX_PREFIX", "_INBOX")
    """Beginning of the private inboxes of the process; one of its own keeps others from reading them."""
    tls_ca: str = setting("NATS_TLS_CA", "")
    """PEM file of the authorities that may have signed the server's certificate; the machine's by default."""
    tls_certificate: str = setting("NATS_TLS_CERTIFICATE", "")
    """PEM file of this process's certificate chain, for servers that verify clients."""
    tls_key: str = setting("NATS_TLS_KEY", "")
    """PEM file of that certificate's private key."""


def check_streams(storage: str, replicas: int) -> None:
    """Refuses what no stream can be.

    Raises:
        SettingsError: another storage than `memory` or `file`, or a number of replicas other than 1, 3 or 5.
    """
    if storage not in ("memory", "file"):
        raise SettingsError(f'STREAM_STORAGE: expected memory or file, got "{storage}"')
    if replicas not in (1, 3, 5):
        raise SettingsError(f'STREAM_REPLICAS: expected 1, 3 or 5, got "{replicas}"')


def check_resume_secret(secret: str) -> None:
    """Refuses what could be guessed.

    Raises:
        SettingsError: it is shorter than 32 characters, and not empty.
    """
    if secret and len(secret) < MIN_RESUME_SECRET_CHARS:
        raise SettingsError(f"RESUME_SECRET: expected at least {MIN_RESUME_SECRET_CHARS} characters, got {len(secret)}")


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """Environment of a runtime process."""

    deployment_id: str = setting("DEPLOYMENT_ID")
    """Which deployment to load."""
    nats_url: str = setting("NATS_URL", "nats://localhost:4222")
    """NATS servers, comma-separated."""
    control_plane_url: str = setting("CONTROL_PLANE_URL", "http://localhost:3000")
    """Base URL of the control plane."""
    internal_token: str = setting("CONTROL_PLANE_INTERNAL_TOKEN", DEVELOPMENT_TOKEN, secret=True)
    """Bearer for internal calls."""
    workspace_id: str = setting("WORKSPACE_ID", "local-workspace")
    project_id: str = setting("PROJECT_ID", "local-project")
    api_host: str = setting("API_HOST", "0.0.0.0")  # noqa: S104 — orchestrators probe it from outside the container
    """Address of the health port."""
    api_port: int = setting("API_PORT", 8080, low=0, high=65_535)
    """Health port; 0 takes a free one and logs it."""
    bundle_dir: str = setting("BUNDLE_DIR", "/app/bundles")
    """Where bundles are downloaded to."""
    nats_boot_timeout_s: float = setting("NATS_BOOT_TIMEOUT_S", 10.0, low=0.1)
    """How long boot waits for NATS before it fails."""
    ack_wait_s: float = setting("ACK_WAIT_S", 30.0, low=0.2)
    """Redelivery time of a message that is neither acknowledged nor reported in progress."""
    drain_timeout_s: float = setting("DRAIN_TIMEOUT_S", 10.0, low=0)
    """How long a clean stop finishes what is queued before it gives the rest back."""
    stream_storage: str = setting("STREAM_STORAGE", "memory")
    """Storage of streams that this process creates: memory or file."""
    partitions: int = setting("PARTITIONS", 1, low=1, high=MAX_PARTITIONS)
    """Parts that the project is divided into, so that several runtimes of one deployment share it; the same in every
    runtime and gateway on this NATS server, as the stream of requests is made for it."""
    lease_s: float = setting("LEASE_S", 1.25, low=0.2)
    """With PARTITIONS: a runtime that says nothing for so long is given up, and the others take its part."""
    stream_replicas: int = setting("STREAM_REPLICAS", 1)
    """Servers that keep a copy of what this process creates: 1, or 3 or 5 in a cluster of at least so many."""
    standby: bool = setting("ZOCKET_STANDBY", False)
    """Boots without touching a consumer, reports `standby`, and takes over when the control plane says so."""
    crashpoint: str = setting("ZOCKET_CRASHPOINT", "")
    """For tests: where the process kills itself with which probability (`after_commit:0.002,before_ack:0.001`)."""
    dev_mode: bool = setting("ZOCKET_DEV", False)
    """Exceptions reach the client with their text; the published token is accepted."""
    nats: NatsAccess = field(default_factory=NatsAccess)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class ProjectSettings:
    """Environment of a command that looks at a project's messages in NATS; variables and defaults of its runtime."""

    nats_url: str = setting("NATS_URL", "nats://localhost:4222")
    workspace_id: str = setting("WORKSPACE_ID", "local-workspace")
    project_id: str = setting("PROJECT_ID", "local-project")
    nats_boot_timeout_s: float = setting("NATS_BOOT_TIMEOUT_S", 10.0, low=0.1)
    nats: NatsAccess = field(default_factory=NatsAccess)


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Environment of a gateway process."""

    host: str = setting("HOST", "0.0.0.0")  # noqa: S104 — a gateway is what the world connects to
    """Address of the WebSocket port."""
    port: int = setting("PORT", 3000, low=0, high=65_535)
    """WebSocket port; 0 takes a free one and logs it."""
    workers: int = setting("WORKERS", 1, low=1, high=64)
    """Processes that share the port; each is a gateway of its own, and every limit is one's."""
    metrics_host: str = setting("METRICS_HOST", "127.0.0.1")
    metrics_port: int = setting("METRICS_PORT", 9464, low=0, high=65_535)
    """Port of `/metrics` and `/ready`, apart from the public one; 0 takes a free one and logs it. The second of
    several workers has the next one, and so on."""
    nats_url: str = setting("NATS_URL", "nats://localhost:4222")
    control_plane_url: str = setting("CONTROL_PLANE_URL", "http://localhost:3000")
    internal_token: str = setting("CONTROL_PLANE_INTERNAL_TOKEN", DEVELOPMENT_TOKEN, secret=True)
    nats_boot_timeout_s: float = setting("NATS_BOOT_TIMEOUT_S", 10.0, low=0.1)
    stream_storage: str = setting("STREAM_STORAGE", "memory")
    partitions: int = setting("PARTITIONS", 1, low=1, high=MAX_PARTITIONS)
    """Of the stream of requests, if this process creates it."""
    stream_replicas: int = setting("STREAM_REPLICAS", 1)
    tls_certificate: str = setting("TLS_CERTIFICATE", "")
    """PEM file of the certificate chain; with it the port speaks TLS."""
    tls_key: str = setting("TLS_KEY", "")
    """PEM file of the certificate's private key."""
    drain_timeout_s: float = setting("DRAIN_TIMEOUT_S", 10.0, low=0)
    """How long a clean stop waits for open calls before it closes the sockets with 1012."""
    resume_secret: str = setting("RESUME_SECRET", "", secret=True)
    """Signs the tokens by which clients resume dropped sessions, at least 32 characters: the same in every gateway of
    an installation. Without one each makes its own, and sessions are resumed only at the gateway that has lost them."""
    dev_mode: bool = setting("ZOCKET_DEV", False)
    nats: NatsAccess = field(default_factory=NatsAccess)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class ProvisionSettings:
    """Environment of `zocket nats provision`."""

    nats_url: str = setting("NATS_URL", "nats://localhost:4222")
    stream_storage: str = setting("STREAM_STORAGE", "memory")
    stream_replicas: int = setting("STREAM_REPLICAS", 1)
    partitions: int = setting("PARTITIONS", 1, low=1, high=MAX_PARTITIONS)
    nats: NatsAccess = field(default_factory=NatsAccess)


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Environment of the standalone server."""

    host: str = setting("HOST", "127.0.0.1")
    """Address of the port."""
    port: int = setting("PORT", 8000, low=0, high=65_535)
    """WebSocket and page port; 0 takes a free one and logs it."""
    metrics_host: str = setting("METRICS_HOST", "127.0.0.1")
    metrics_port: int = setting("METRICS_PORT", 0, low=0, high=65_535)
    """Port of `/metrics`; 0 takes a free one and logs it."""
    tls_certificate: str = setting("TLS_CERTIFICATE", "")
    """PEM file of the certificate chain; with it the port speaks TLS."""
    tls_key: str = setting("TLS_KEY", "")
    """PEM file of the certificate's private key."""
    drain_timeout_s: float = setting("DRAIN_TIMEOUT_S", 10.0, low=0)
    """How long a clean stop waits for open calls."""
    state_file: str = setting("STATE_FILE", ".zocket/state.db")
    """Where durable actors are kept; made if there are any."""
    dev_mode: bool = setting("ZOCKET_DEV", False)
    """Unexpected exceptions reach the client with their text."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class OrchestrationSettings:
    """How the control plane runs the runtimes of deployments."""

    orchestrator: str = setting("ORCHESTRATOR", "local")
    """`local` (processes here), `kubernetes`, `external` (somebody else runs what is written down), or `none`."""
    runtime_nats_url: str = setting("RUNTIME_NATS_URL", "nats://localhost:4222")
    """`NATS_URL` of the runtimes; the control plane itself never connects to it."""
    stream_storage: str = setting("STREAM_STORAGE", "memory")
    """Storage of streams that a runtime creates: memory or file (which durable actors need)."""
    partitions: int = setting("PARTITIONS", 1, low=1, high=MAX_PARTITIONS)
    """`PARTITIONS` of the runtimes."""
    stream_replicas: int = setting("STREAM_REPLICAS", 1)
    """Copies of what a runtime creates: 1, or 3 or 5 in a cluster of NATS servers."""
    runtime_dir: str = setting("RUNTIME_DIR", ".zocket/runtimes")
    """Directory of the runtimes' bundles and logs; with `external`, of what should run."""
    runtime_user: str = setting("RUNTIME_USER", "")
    """`local`: name of the user that runtimes run as; needs root."""
    runtime_memory_bytes: int = setting("RUNTIME_MEMORY_BYTES", 4 * 1024**3, low=0)
    """Address space of one runtime (`local`) or its memory limit (`kubernetes`); 0 for no limit."""
    runtime_open_files: int = setting("RUNTIME_OPEN_FILES", 4_096, low=0)
    """`local`: files and sockets of one runtime; 0 for no limit of its own."""
    runtime_processes: int = setting("RUNTIME_PROCESSES", 0, low=0)
    """`local`: processes and threads of the runtimes' user, counted over all of them; 0 for no limit of its own."""
    standby_timeout_s: float = setting("RUNTIME_STANDBY_TIMEOUT_S", 60.0, low=0.1)
    """How long a new runtime may take until it is in standby."""
    takeover_timeout_s: float = setting("RUNTIME_TAKEOVER_TIMEOUT_S", 20.0, low=0.1)
    """How long it may take from the activation until it is ready."""
    grace_s: float = setting("RUNTIME_GRACE_S", 5.0, low=0)
    """How long the old runtime stays as a spare after that, in case the new one dies."""
    runtime_image: str = setting("RUNTIME_IMAGE", "zocket:latest")
    """`kubernetes`: image of the runtimes."""
    kube_namespace: str = setting("KUBE_NAMESPACE", "zocket")
    """`kubernetes`: namespace of the runtimes."""
    kube_config: str = setting("KUBE_CONFIG_FILE", "")
    """`kubernetes`: kubeconfig file; inside a cluster its own service account."""
    bundles_kept: int = setting("BUNDLES_KEPT", 20, low=1)
    """Bundles of a project that are kept besides the active and the previous one's."""
    secret_key: str = setting("ZOCKET_SECRET_KEY", "", secret=True)
    """Keys of secrets at rest, comma-separated, 32 bytes in base64 each; the first one encrypts."""
    secret_key_file: str = setting("ZOCKET_SECRET_KEY_FILE", ".zocket/secret.key")
    """Where a key is kept, and made at the first use, if ZOCKET_SECRET_KEY is not set."""


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Environment of the control plane."""

    host: str = setting("HOST", "127.0.0.1")
    port: int = setting("PORT", 3000, low=0, high=65_535)
    database_url: str = setting("DATABASE_URL", "sqlite+aiosqlite:///.zocket/control.db")
    """SQLAlchemy URL of the records."""
    bundle_store: str = setting("BUNDLE_STORE", ".zocket/bundles")
    """Directory of the stored bundles, or `s3://bucket/prefix?endpoint=URL`, or `nats://host:4222/bucket`."""
    public_url: str = setting("PUBLIC_URL", "")
    """How runtimes reach this service; empty means as they called it."""
    dashboard_url: str = setting("DASHBOARD_URL", "")
    """How people reach this service (links, OpenID Connect callback); empty means as they called it."""
    project_domain: str = setting("PROJECT_DOMAIN", "localhost")
    """A project without a host name of its own is served at `{slug}.` and this."""
    gateway_url: str = setting("GATEWAY_URL", "ws://{domain}:3000")
    """How clients reach a project's sockets; `{domain}` in it becomes the project's host name."""
    oidc_issuer: str = setting("OIDC_ISSUER", "")
    """Issuer of OpenID Connect that people sign in with; empty for passwords."""
    oidc_client_id: str = setting("OIDC_CLIENT_ID", "")
    oidc_client_secret: str = setting("OIDC_CLIENT_SECRET", "", secret=True)
    """Empty for a public client."""
    oidc_open: bool = setting("OIDC_OPEN", False)
    """Whoever the issuer knows gets an account; otherwise only who is invited, or has one."""
    trusted_proxies: str = setting("TRUSTED_PROXIES", "")
    """Addresses, comma-separated, of proxies whose X-Forwarded-For and X-Forwarded-Proto count."""
    internal_token: str = setting("CONTROL_PLANE_INTERNAL_TOKEN", DEVELOPMENT_TOKEN, secret=True)
    dev_mode: bool = setting("ZOCKET_DEV", False)
    orchestration: OrchestrationSettings = field(default_factory=OrchestrationSettings)


def is_loopback(url: str) -> bool:
    """Whether every server of a (comma-separated) URL is this machine itself."""
    hosts = [urlsplit(part if "//" in part else "//" + part).hostname for part in url.split(",")]
    return all(host in ("localhost", "::1") or (host or "").startswith("127.") for host in hosts)


def check_internal_token(token: str, peers: list[str], *, dev_mode: bool) -> None:
    """Refuses the published token where a peer is another machine.

    Raises:
        SettingsError: the token is empty, or it is the published one and a peer of `peers` (URLs) is not loopback.
    """
    if not token:
        raise SettingsError("CONTROL_PLANE_INTERNAL_TOKEN: may not be empty")
    if token == DEVELOPMENT_TOKEN and not dev_mode and not all(map(is_loopback, peers)):
        raise SettingsError(
            "CONTROL_PLANE_INTERNAL_TOKEN: the published development token is only accepted while every peer is on "
            "this machine; set a secret of your own in every process"
        )
