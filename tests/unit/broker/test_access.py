"""Settings of the connection to NATS: what contradicts itself or cannot be read is named before any contact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zocket.broker.access import credentials, tls_context
from zocket.errors import BootError, SettingsError, ZocketError
from zocket.settings import NatsAccess, check_streams, read

if TYPE_CHECKING:
    from pathlib import Path


def test_every_variable_reaches_the_credentials(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.write_text("SU…")
    made = credentials(read(NatsAccess, {"NATS_USER": "u", "NATS_PASSWORD": "p", "NATS_INBOX_PREFIX": "_INBOX_a.b"}))
    assert (made.user, made.password, made.inbox_prefix) == ("u", "p", "_INBOX_a.b")
    assert credentials(read(NatsAccess, {"NATS_TOKEN": "t"})).token == "t"
    assert credentials(read(NatsAccess, {"NATS_CREDS": str(seed)})).credentials_file == str(seed)
    assert credentials(read(NatsAccess, {"NATS_NKEY_SEED": str(seed)})).seed_file == str(seed)
    assert credentials(read(NatsAccess, {})).inbox_prefix == "_INBOX"
    assert tls_context(read(NatsAccess, {})) is None


@pytest.mark.parametrize(
    ("environ", "message", "kind"),
    [
        ({"NATS_USER": "u", "NATS_TOKEN": "t"}, "NATS_USER, NATS_TOKEN: set one of them", SettingsError),
        ({"NATS_PASSWORD": "p"}, "NATS_PASSWORD: needs NATS_USER", SettingsError),
        ({"NATS_CREDS": "/nowhere/x.creds"}, "NATS_CREDS: /nowhere/x.creds cannot be read", BootError),
        ({"NATS_NKEY_SEED": "/nowhere/seed"}, "NATS_NKEY_SEED: /nowhere/seed cannot be read", BootError),
        ({"NATS_INBOX_PREFIX": "_INBOX.>"}, "NATS_INBOX_PREFIX", SettingsError),
        ({"NATS_INBOX_PREFIX": "a..b"}, "NATS_INBOX_PREFIX", SettingsError),
        ({"NATS_INBOX_PREFIX": "a b"}, "NATS_INBOX_PREFIX", SettingsError),
    ],
)
def test_credentials_that_cannot_be_used_name_their_variable(
    environ: dict[str, str], message: str, kind: type[ZocketError]
) -> None:
    with pytest.raises(kind, match=message):
        credentials(read(NatsAccess, environ))


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"NATS_TLS_CA": "/nowhere/ca.pem"}, "NATS_TLS_CA"),
        ({"NATS_TLS_CERTIFICATE": "/nowhere/c.pem"}, "NATS_TLS_CERTIFICATE"),
        ({"NATS_TLS_KEY": "/nowhere/k.pem"}, "NATS_TLS_KEY: needs NATS_TLS_CERTIFICATE"),
    ],
)
def test_certificates_that_cannot_be_used_name_their_variable(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        tls_context(read(NatsAccess, environ))


def test_a_secret_is_in_no_text() -> None:
    assert "s3cret" not in repr(read(NatsAccess, {"NATS_USER": "u", "NATS_PASSWORD": "s3cret", "NATS_TOKEN": "s3cret"}))


@pytest.mark.parametrize(
    ("storage", "replicas", "variable"), [("disk", 1, "STREAM_STORAGE"), ("file", 2, "STREAM_REPLICAS")]
)
def test_what_no_stream_can_be_is_refused(storage: str, replicas: int, variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        check_streams(storage, replicas)
    check_streams("file", 3)
