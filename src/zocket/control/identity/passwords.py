"""Passwords: hashed with argon2id in a thread, a few at a time.

Rules: an unknown account costs as much as a wrong password, so that nobody learns which addresses have one; at most
`CONCURRENT` hashes run at once, since each takes the memory that makes it expensive to guess.
"""

from __future__ import annotations

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from zocket.errors import CallerError

MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 256
CONCURRENT: Final = 2
"""Hashes at once: 64 MiB each, with the parameters of RFC 9106's second recommendation."""


class Passwords:
    """Hashes and checks passwords; `hasher` may be a cheap one in tests."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turns = asyncio.Semaphore(CONCURRENT)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """How a password is stored.

        Raises:
            CallerError: it is too short or too long.
        """
        if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
            raise CallerError(f"password: expected {MIN_PASSWORD_CHARS}-{MAX_PASSWORD_CHARS} characters")
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def check(self, password: str, stored: str | None) -> bool:
        """Whether a password is the stored one; takes its time also where none is stored."""
        async with self._turns:
            if stored is None and self._nobody is None:
                self._nobody = await asyncio.to_thread(self._hasher.hash, "nobody has this password")
            matches = await asyncio.to_thread(self._verify, stored or self._nobody or "", password)
            return matches and stored is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
