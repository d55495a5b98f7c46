"""Contracts as the commands get them: from an app, a file, or a server that gives its own at `/schema`.

Rules: what is read is checked to be a contract before anything is made of it; no redirect is followed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.cli.failures import needs
from zocket.cli.modules import Target, load_app
from zocket.contract import Contract, NoContract, contract_of, decode_contract
from zocket.contract.form import MAX_BYTES
from zocket.errors import UsageError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 20.0


def is_address(text: str) -> bool:
    """Whether a text is the address of a contract."""
    return text.startswith(("http://", "https://"))


def is_file(text: str) -> bool:
    """Whether a text names a file rather than a module or a project."""
    return text.endswith(".json") or "/" in text or "\\" in text


def read_contract(source: str, transport: httpx.BaseTransport | None = None) -> Contract:
    """The contract of `module:attribute`, of a file, or at an address.

    Args:
        source: which one.
        transport: instead of the network.

    Raises:
        UsageError: there is none.
        ModuleFailed: the app's module raised.
    """
    if is_address(source):
        return parsed(_fetched(source, transport), source)
    if is_file(source) and not source.endswith(".py"):
        try:
            return parsed(Path(source).read_bytes(), source)
        except OSError as error:
            raise UsageError(f"{source} cannot be read: {error.strerror or error}") from error
    app, _ = load_app(Target.parse(source))
    return contract_of(app.definition)


def parsed(content: bytes, source: str) -> Contract:
    """A contract from its bytes.

    Raises:
        UsageError: they are none; the message names where they came from.
    """
    try:
        return decode_contract(content)
    except NoContract as error:
        raise UsageError(f"{source.partition('?')[0]} is no contract of an app: {error}") from error


def _fetched(address: str, transport: httpx.BaseTransport | None) -> bytes:
    with needs("cli"):
        import httpx
    shown = address.partition("?")[0]  # a token may be behind it
    content = bytearray()
    try:
        with (
            httpx.Client(timeout=TIMEOUT_S, transport=transport, follow_redirects=False) as client,
            client.stream("GET", address, headers={"accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise UsageError(f"{shown} answers {response.status_code}: {_said(response.read())}")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(f"{shown} cannot be read: {error or type(error).__name__}") from error
    return bytes(content)


def _said(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])[:500]
    except (ValueError, LookupError, TypeError):
        return "there is no contract"
