from __future__ import annotations

from typing import Literal

import pytest
from argon2 import PasswordHasher

from zocket.control.identity.passwords import MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS, Passwords
from zocket.errors import CallerError

pytestmark = pytest.mark.realtime  # hashes are made in threads

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def test_a_password_opens_its_own_hash_and_no_other() -> None:
    passwords = Passwords(CHEAP)
    first, second = [await passwords.hash("correct horse battery") for _ in range(2)]
    assert first != second
    assert await passwords.check("correct horse battery", first)
    assert await passwords.check("correct horse battery", second)
    assert not await passwords.check("correct horse batterz", first)


async def test_the_default_is_argon2id_with_memory_that_hurts() -> None:
    hashed = await Passwords().hash("correct horse battery")
    kind, _, parameters = hashed[1:].split("$")[:3]
    assert kind == "argon2id"
    assert int(parameters.split(",")[0].removeprefix("m=")) >= 19_456  # OWASP's least


@pytest.mark.parametrize("stored", [None, "", "no hash", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA"])
async def test_nothing_opens_what_is_no_hash(stored: str | None) -> None:
    passwords = Passwords(CHEAP)
    assert not await passwords.check("", stored)
    assert not await passwords.check("nobody has this password", stored)


@pytest.mark.parametrize("length", [0, MIN_PASSWORD_CHARS - 1, MAX_PASSWORD_CHARS + 1])
async def test_a_password_has_a_least_and_a_greatest_length(length: int) -> None:
    with pytest.raises(CallerError, match="password: expected"):
        await Passwords(CHEAP).hash("x" * length)


async def test_an_account_that_does_not_exist_costs_a_verification_too() -> None:
    calls: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            calls.append("verify")
            return super().verify(hash, password)

    passwords = Passwords(Counting(time_cost=1, memory_cost=8, parallelism=1))
    await passwords.check("correct horse battery", None)
    assert calls == ["verify"]
