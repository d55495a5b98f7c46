"""A connection to NATS as the settings of a process say: who it is, and whom it trusts.

Rules: a file that cannot be used is an error that names its variable, before anything is contacted.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from zocket.broker.credentials import Credentials
from zocket.broker.nats import NatsBroker
from zocket.errors import BootError, SettingsError

if TYPE_CHECKING:
    from zocket.settings import NatsAccess


async def open_broker(
    url: str, access: NatsAccess, *, name: str, boot_timeout_s: float = 10.0, replicas: int = 1
) -> NatsBroker:
    """A connection with the credentials, certificates and inboxes of `access`; the rest as of `NatsBroker.open`.

    Raises:
        SettingsError: the variables contradict each other, or a certificate cannot be used.
        BootError: a file of credentials cannot be read, or see `NatsBroker.open`.
    """
    return await NatsBroker.open(
        url,
        name=name,
        boot_timeout_s=boot_timeout_s,
        credentials=credentials(access),
        tls=tls_context(access),
        replicas=replicas,
    )


def credentials(access: NatsAccess) -> Credentials:
    """Who the process is.

    Raises:
        SettingsError: two kinds of credentials at once, or an inbox prefix that is no subject.
        BootError: a file of credentials cannot be read.
    """
    kinds = {
        "NATS_USER": access.user,
        "NATS_TOKEN": access.token,
        "NATS_CREDS": access.credentials_file,
        "NATS_NKEY_SEED": access.seed_file,
    }
    given = [variable for variable, value in kinds.items() if value]
    if len(given) > 1:
        raise SettingsError(f"{', '.join(given)}: set one of them")
    if access.password and not access.user:
        raise SettingsError("NATS_PASSWORD: needs NATS_USER")
    tokens = access.inbox_prefix.split(".")
    if not all(token and not set(token) & set(" *>\t\r\n") for token in tokens):
        raise SettingsError(f'NATS_INBOX_PREFIX: expected tokens without wildcards, got "{access.inbox_prefix}"')
    for variable in ("NATS_CREDS", "NATS_NKEY_SEED"):
        if kinds[variable]:
            _check_readable(variable, kinds[variable])
    return Credentials(
        user=access.user,
        password=access.password,
        token=access.token,
        credentials_file=access.credentials_file,
        seed_file=access.seed_file,
        inbox_prefix=access.inbox_prefix,
    )


def tls_context(access: NatsAccess) -> ssl.SSLContext | None:
    """Whom the process trusts and what it shows; None for the defaults of the machine.

    Raises:
        SettingsError: a file cannot be used; the message names the variables.
    """
    if access.tls_key and not access.tls_certificate:
        raise SettingsError("NATS_TLS_KEY: needs NATS_TLS_CERTIFICATE")
    if not access.tls_ca and not access.tls_certificate:
        return None
    try:
        context = ssl.create_default_context(cafile=access.tls_ca or None)
    except (OSError, ValueError) as error:
        raise SettingsError(f"NATS_TLS_CA: {access.tls_ca} cannot be used: {error}") from None
    if access.tls_certificate:
        try:
            context.load_cert_chain(access.tls_certificate, access.tls_key or None)
        except (OSError, ValueError) as error:
            raise SettingsError(f"NATS_TLS_CERTIFICATE, NATS_TLS_KEY: they cannot be used: {error}") from None
    return context


def _check_readable(variable: str, file: str) -> None:
    try:
        Path(file).read_bytes()
    except OSError as error:
        raise BootError(f"{variable}: {file} cannot be read: {error.strerror}") from None
