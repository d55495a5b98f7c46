from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

import pytest

from zocket.control.environment import check_name
from zocket.control.secrets import Sealed, Vault
from zocket.errors import CallerError, SettingsError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "/nowhere/at/all"


def key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def vault(setting: str, path: Path) -> Vault:
    return Vault.of(setting, path)


def test_a_secret_comes_out_as_it_went_in_and_is_not_in_its_ciphertext(tmp_path: Path) -> None:
    own = vault(key(), tmp_path / "key")
    for secret in ("", "pa$$wörd", "x" * 30_000):
        sealed = own.seal(secret, "prj_1", "NAME")
        assert own.open(sealed, "prj_1", "NAME") == secret
        assert not secret or secret.encode() not in sealed.ciphertext
    assert own.seal("same", "p", "n") != own.seal("same", "p", "n")
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("place", [("prj_2", "NAME"), ("prj_1", "OTHER"), ("prj_1",), ("prj_1", "NAME", "")])
def test_a_ciphertext_that_was_moved_is_worthless(tmp_path: Path, place: tuple[str, ...]) -> None:
    own = vault(key(), tmp_path / "key")
    with pytest.raises(Unavailable, match="changed or moved"):
        own.open(own.seal("secret", "prj_1", "NAME"), *place)


def test_a_ciphertext_that_was_changed_is_refused(tmp_path: Path) -> None:
    own = vault(key(), tmp_path / "key")
    sealed = own.seal("secret", "p", "n")
    for position in (0, 12, len(sealed.ciphertext) - 1):
        changed = bytearray(sealed.ciphertext)
        changed[position] ^= 1
        with pytest.raises(Unavailable):
            own.open(Sealed(bytes(changed), sealed.key_id), "p", "n")


def test_keys_are_changed_one_by_one(tmp_path: Path) -> None:
    old, new = key(), key()
    sealed = vault(old, tmp_path).seal("secret", "p", "n")
    both = vault(f"{new}, {old}", tmp_path)
    assert both.open(sealed, "p", "n") == "secret"
    assert both.seal("secret", "p", "n").key_id != sealed.key_id
    with pytest.raises(Unavailable, match="that is not here"):
        vault(new, tmp_path).open(sealed, "p", "n")


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret.key"
    sealed = vault("", path).seal("secret", "p", "n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert vault("", path).open(sealed, "p", "n") == "secret"
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        vault("", path).seal("x", "p", "n")


@pytest.mark.parametrize(
    "setting",
    ["short", "x" * 44, base64.b64encode(b"x" * 31).decode(), f"{key()},"],
    ids=["short", "no key", "31 bytes", "and an empty one"],
)
def test_what_is_no_key_is_refused_at_the_start(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SettingsError, match="ZOCKET_SECRET_KEY: expected 32 random bytes"):
        vault(setting, tmp_path)


@pytest.mark.parametrize("name", ["API_KEY", "_x", "HANDLER_TIMEOUT_S", "a1"])
def test_a_project_may_set_its_own_variables(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "NATS_URL",
        "DEPLOYMENT_ID",
        "ZOCKET_STANDBY",
        "zocket_dev",
        "PATH",
        "LD_PRELOAD",
        "PYTHONPATH",
        "1X",
        "",
        "A=B",
        "Ä",
    ],
)
def test_a_project_may_not_set_the_platforms(name: str) -> None:
    with pytest.raises(CallerError):
        check_name(name)
