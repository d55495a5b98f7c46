"""Which NATS servers, and who this process is to them.

Rules: no secret is shown or logged; a file with a secret is read when it is needed, and not kept.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from zocket.errors import BootError

DEFAULT_PORT: Final = 4222

_JWT: Final = re.compile(rb"BEGIN NATS USER JWT-+\r?\n([^\r\n]+)")
_SEED: Final = re.compile(rb"BEGIN USER NKEY SEED-+\r?\n([^\r\n]+)")


@dataclass(frozen=True)
class Credentials:
    """How to authenticate; a user and password or a token may stand in the URL instead."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials_file: str = ""
    """Path of a `.creds` file (JWT and seed); needs the package `nkeys`."""
    seed_file: str = ""
    """Path of an NKEY seed; needs the package `nkeys`."""
    inbox_prefix: str = "_INBOX"
    """Under which this process may subscribe to its private inboxes."""

    def answer(self, nonce: str) -> dict[str, Any]:
        """The fields of `CONNECT` that authenticate to a server that sent this nonce; reads files.

        Raises:
            BootError: a file cannot be read, or holds no credentials.
        """
        if self.credentials_file:
            content = _read(self.credentials_file)
            token, seed = _JWT.search(content), _SEED.search(content)
            if token is None or seed is None:
                raise BootError(f"{self.credentials_file}: holds no user JWT with its seed")
            return {"jwt": token[1].decode(), **_signed(seed[1], nonce, self.credentials_file)}
        if self.seed_file:
            return _signed(_read(self.seed_file).strip(), nonce, self.seed_file, with_key=True)
        if self.token:
            return {"auth_token": self.token}
        return {"user": self.user, "pass": self.password} if self.user else {}


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BootError(f"{path}: cannot be read ({error.strerror or error})") from error


def _signed(seed: bytes, nonce: str, path: str, *, with_key: bool = False) -> dict[str, str]:
    try:
        import nkeys  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise BootError("NATS credentials of this kind need the package nkeys: pip install nkeys") from None
    try:
        pair = nkeys.from_seed(bytearray(seed))
        signature = base64.b64encode(pair.sign(nonce.encode())).decode()
        key = pair.public_key.decode()
    except Exception as error:  # border: the package has errors of its own for every kind of damage
        raise BootError(f"{path}: holds no usable NKEY seed") from error
    return {"sig": signature, **({"nkey": key} if with_key else {})}


@dataclass(frozen=True)
class Servers:
    """The servers of a comma-separated URL, without the credentials that stood in it."""

    urls: tuple[str, ...]
    credentials: Credentials

    @classmethod
    def parse(cls, url: str, credentials: Credentials) -> Servers:
        """Reads `nats://a:4222,tls://user:password@b`.

        Raises:
            BootError: a part has no host, a bad port or another scheme.
        """
        urls = []
        for part in filter(None, (piece.strip() for piece in url.split(","))):
            split = urlsplit(part if "://" in part else f"nats://{part}")
            try:
                host, port = split.hostname, split.port or DEFAULT_PORT
            except ValueError:
                host, port = None, 0
            if not host or split.scheme not in ("nats", "tls"):
                raise BootError(f"NATS_URL: expected nats://host:port or tls://host:port, got {_without_user(part)!r}")
            if split.username and not (credentials.user or credentials.token):
                credentials = _with_user(credentials, unquote(split.username), split.password)
            urls.append(f"{split.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        if not urls:
            raise BootError("NATS_URL: names no server")
        return cls(tuple(urls), credentials)

    def __str__(self) -> str:
        return ",".join(self.urls)


def _with_user(credentials: Credentials, user: str, password: str | None) -> Credentials:
    if password is None:
        return replace(credentials, token=user)
    return replace(credentials, user=user, password=unquote(password))


def _without_user(url: str) -> str:
    return url.rpartition("@")[2]
