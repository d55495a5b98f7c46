"""What the command line remembers and is told: the environment, and `~/.zocket/config.json`.

Rules: variables are read here and nowhere else; the file is written whole or not at all, and only its owner may read
it; a token belongs to the address of one control plane and is never sent to another.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from zocket.errors import SettingsError
from zocket.settings import setting

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONTROL_URL: Final = "http://localhost:3000"
"""Where `zocket control` listens if nobody says otherwise."""
DEPLOY_PREFIX: Final = "zkd_"
"""How the deploy token of a project begins."""


@dataclass(frozen=True, kw_only=True)
class CliSettings:
    """Environment of the commands that speak to a control plane."""

    token: str = setting("ZOCKET_TOKEN", "", secret=True)
    """CLI token or deploy token; wins over the sign-in of `zocket auth login`."""
    control_url: str = setting("ZOCKET_CONTROL_URL", "")
    """The control plane; wins over `.zocket.json` and the last sign-in."""
    project: str = setting("ZOCKET_PROJECT", "")
    """Slug or id of the project; wins over `.zocket.json`."""
    home: str = setting("ZOCKET_HOME", "~/.zocket")
    """Directory of `config.json`."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A token of one control plane, and whose it is; `expires_at` in milliseconds since the epoch."""

    token: str
    email: str = ""
    expires_at: int | None = None


def normal_url(text: str) -> str:
    """The base URL of a control plane as it is stored and compared.

    Raises:
        SettingsError: it is no http(s) address.
    """
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f'the control plane must be an address such as https://control.example.com, not "{text}"')
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


class ConfigFile:
    """`config.json`: `{controlUrl, controlPlanes: {URL: {token, email, expiresAt}}}`.

    Args:
        directory: where it is; made when something is written.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "config.json"

    @property
    def control_url(self) -> str:
        """The control plane of the last sign-in, or empty."""
        url = self._read().get("controlUrl", "")
        return url if isinstance(url, str) else ""

    def sign_in(self, url: str) -> SignIn | None:
        """What is stored for a control plane."""
        entry = self._read()["controlPlanes"].get(url)
        if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
            return None
        return SignIn(entry["token"], str(entry.get("email", "")), entry.get("expiresAt"))

    def remember(self, url: str, sign_in: SignIn) -> None:
        """Stores a sign-in; its control plane is the current one from now on."""
        content = self._read()
        content["controlUrl"] = url
        content["controlPlanes"][url] = {
            "token": sign_in.token,
            "email": sign_in.email,
            "expiresAt": sign_in.expires_at,
        }
        self._write(content)

    def forget(self, url: str) -> None:
        """Drops the sign-in of a control plane."""
        content = self._read()
        if content["controlPlanes"].pop(url, None) is not None:
            self._write(content)

    def _read(self) -> dict[str, Any]:
        try:
            text = self.path.read_text("utf-8")
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)
        except FileNotFoundError:
            return {"controlPlanes": {}}
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.path} cannot be read: {error}") from error
        try:
            content = json.loads(text)
            usable = isinstance(content, dict) and isinstance(content.setdefault("controlPlanes", {}), dict)
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError(f"{self.path} is damaged; delete it and sign in again: zocket auth login")
        return dict(content)

    def _write(self, content: Mapping[str, Any]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(content, indent=2) + "\n", mode=0o600)
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be written: {error.strerror or error}") from error


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Writes a file so that a reader sees the old content or the new one.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    real = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
