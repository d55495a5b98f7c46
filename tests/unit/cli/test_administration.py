"""`zocket control create-admin`: the first account, and the ones after it."""

from __future__ import annotations

import io
import sqlite3
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Cli, Ended

PASSWORD = "correct horse battery staple"


def test_an_account_needs_a_password_and_is_not_replaced_by_accident(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "control.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{database}")

    def create(password: str, *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO(password))
        return cli("control", "create-admin", "Ada@example.com", *arguments)

    assert "there is no password on standard input" in create("").err
    assert not database.exists()
    assert (create("short\n").code, database.exists()) == (1, False)
    made = create(PASSWORD + "\n", "--name", "Ada", "--json")
    assert (made.code, made.json["email"]) == (0, "ada@example.com")
    again = create(PASSWORD + "\n")
    assert again.code == 1
    assert "has an account already; --replace" in again.err
    assert create(PASSWORD + "\n", "--replace").code == 0
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT email, name, is_admin FROM users").fetchall()
    connection.close()
    assert rows == [("ada@example.com", "Ada", 1)]
