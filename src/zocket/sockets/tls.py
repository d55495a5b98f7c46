"""TLS of a listening port, from two PEM files.

Rule: a file that cannot be used is a `SettingsError` that names its variable, never a traceback of OpenSSL.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from zocket.errors import SettingsError


def server_context(certificate: str, key: str = "") -> ssl.SSLContext:
    """A context for a server, TLS 1.2 and later.

    Args:
        certificate: PEM file of the certificate chain.
        key: PEM file of its private key, without a passphrase; empty if the certificate file holds it too.

    Raises:
        SettingsError: a file is missing, unreadable or no PEM, or the key does not belong to the certificate.
    """
    if not certificate:
        raise SettingsError("TLS_CERTIFICATE: is not set, but TLS_KEY is")
    _check_readable("TLS_CERTIFICATE", certificate)
    if key:
        _check_readable("TLS_KEY", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # what the default is depends on how Python was built
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key or None, password=_refuse_passphrase)
    except ssl.SSLError as error:
        raise SettingsError(_explain(error, certificate, key)) from error
    return context


def _check_readable(variable: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}") from error


def _refuse_passphrase() -> str:
    raise SettingsError("TLS_KEY: the key has a passphrase; a server needs one without")


def _explain(error: ssl.SSLError, certificate: str, key: str) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"TLS_KEY: the key in {key or certificate} does not belong to the certificate in {certificate}"
    where = (
        f"{certificate} and {key}" if key else f"{certificate} (which must hold the key too, since TLS_KEY is empty)"
    )
    return f"TLS_CERTIFICATE: no usable PEM certificate and key in {where}"
