"""Secrets at rest: AES-256-GCM under a key of the installation.

Rules: a ciphertext is bound to its place (a project and a name), so that moving it to another row makes it worthless;
each names the key that made it, so keys can be changed one by one; a key is never logged, and its file is for its owner
alone.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zocket.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""Of GCM; random ones of this size are good for 2^32 secrets under one key."""
KEY_ID_CHARS: Final = 16
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Sealed(NamedTuple):
    """A ciphertext, nonce in front, and the key that made it."""

    ciphertext: bytes
    key_id: str


class Vault:
    """Seals and opens secrets.

    Args:
        keys: gives the keys at the first use, 32 bytes each; the first one seals, all of them open.
    """

    def __init__(self, keys: Callable[[], list[bytes]]) -> None:
        self._load = keys

    @classmethod
    def of(cls, setting: str, path: Path) -> Vault:
        """From ZOCKET_SECRET_KEY, or else from a file that is made at the first use if it does not exist.

        A file that is readable by others, or cannot be made, is a `SettingsError` of that first use.

        Raises:
            SettingsError: a key of the setting is none.
        """
        if setting:
            keys = [_parse(part, "ZOCKET_SECRET_KEY") for part in setting.split(",")]
            return cls(lambda: keys)
        return cls(lambda: [_parse(part, str(path)) for part in _key_file(path).split(",")])

    @cached_property
    def _keys(self) -> dict[str, AESGCM]:
        return {_key_id(key): AESGCM(key) for key in self._load()}

    @property
    def _first(self) -> str:
        return next(iter(self._keys))

    def seal(self, secret: str, *place: str) -> Sealed:
        """Encrypts a secret for a place."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._keys[self._first].encrypt(nonce, secret.encode("utf-8", "surrogatepass"), _bound(place))
        return Sealed(nonce + sealed, self._first)

    def open(self, sealed: Sealed, *place: str) -> str:
        """The secret of a place.

        Raises:
            Unavailable: its key is not here, or it was changed or moved.
        """
        key = self._keys.get(sealed.key_id)
        name = "/".join(place)
        if key is None:
            raise Unavailable(
                f"the secret {name} was sealed with a key ({sealed.key_id}) that is not here: add it to "
                "ZOCKET_SECRET_KEY, or set the variable again",
                code="sealed",
            )
        try:
            plain = key.decrypt(sealed.ciphertext[:NONCE_BYTES], sealed.ciphertext[NONCE_BYTES:], _bound(place))
        except InvalidTag:
            raise Unavailable(f"the secret {name} was changed or moved; set it again", code="sealed") from None
        return plain.decode("utf-8", "surrogatepass")


def _bound(place: tuple[str, ...]) -> bytes:
    return b"\0".join(part.encode() for part in ("zocket secret", *place))


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"zocket key id\0" + key).hexdigest()[:KEY_ID_CHARS]


def _parse(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip().translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{where}: expected {KEY_BYTES} random bytes in base64 (openssl rand -base64 32)")
    return key


def _key_file(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
        if path.stat().st_mode & _OTHERS:
            raise SettingsError(f"ZOCKET_SECRET_KEY_FILE: {path} can be read by others; chmod 600 it")
        return path.read_text()
    except OSError as error:
        raise SettingsError(f"ZOCKET_SECRET_KEY_FILE: {path} cannot be used ({error.strerror or error})") from error
