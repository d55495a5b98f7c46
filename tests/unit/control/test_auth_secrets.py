"""The shared secret of a project's clients, sealed at rest."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

import pytest

from zocket.control.auth_secrets import AuthSecrets
from zocket.control.records import ProjectAuth
from zocket.control.schemas import AuthConfig
from zocket.control.secrets import Vault
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret of at least thirty-two bytes"


def sealing(tmp_path: Path) -> AuthSecrets:
    return AuthSecrets(Vault.of(base64.b64encode(secrets.token_bytes(32)).decode(), tmp_path / "key"))


def record(secret: str | None, project_id: str = "prj_1") -> ProjectAuth:
    return ProjectAuth(project_id=project_id, mode="jwt-secret", secret=secret, origins=[])


def test_what_is_stored_is_not_the_secret_and_opens_to_it(tmp_path: Path) -> None:
    own = sealing(tmp_path)
    stored = own.seal(SECRET, "prj_1")
    assert stored is not None
    assert SECRET not in stored
    assert own.config(record(stored)).secret == SECRET
    assert own.seal(None, "prj_1") is None


def test_a_secret_that_was_moved_to_another_project_is_worthless(tmp_path: Path) -> None:
    own = sealing(tmp_path)
    with pytest.raises(Unavailable, match="changed or moved"):
        own.config(record(own.seal(SECRET, "prj_1"), "prj_2"))


def test_a_secret_from_before_they_were_sealed_is_read_as_it_is(tmp_path: Path) -> None:
    assert sealing(tmp_path).config(record(SECRET)).secret == SECRET


def test_no_record_means_that_everybody_may_connect(tmp_path: Path) -> None:
    assert sealing(tmp_path).config(None) == AuthConfig()
