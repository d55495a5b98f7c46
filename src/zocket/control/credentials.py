"""Tokens and codes: made here, stored as their SHA-256, shown once.

Rules: every token is 256 random bits behind a prefix that names its kind, so that it is recognised where it leaks; a
hash without salt suffices because nobody can guess 256 bits. Nothing here is ever logged.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, NamedTuple

CLI: Final = "zkc_"
DEPLOY: Final = "zkd_"
INTERNAL: Final = "zki_"
INVITATION: Final = "zkv_"
SESSION: Final = "zks_"
DEVICE: Final = "zkf_"

SHOWN_CHARS: Final = 12
"""How much of a token stays visible in lists: its kind and 8 of its 43 random characters."""
MAX_TOKEN_CHARS: Final = 512
"""A longer bearer is none of ours and is not even hashed."""

USER_CODE_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""Letters of a user code: no vowels, so that it spells nothing (RFC 8628 section 6.1)."""
USER_CODE_CHARS: Final = 8
"""20^8 codes, 34 bits: with a handful of guesses a minute and ten minutes of life nobody hits one."""


class Minted(NamedTuple):
    """A fresh token; only `token_hash` and `prefix` are stored."""

    token: str
    token_hash: str
    prefix: str


def mint(kind: str) -> Minted:
    """A fresh token of a kind."""
    token = kind + secrets.token_urlsafe(32)
    return Minted(token, digest(token), token[:SHOWN_CHARS])


def digest(token: str) -> str:
    """How a token is stored and found."""
    return hashlib.sha256(token.encode()).hexdigest()


def csrf_of(session_token: str) -> str:
    """What a signed-in page sends along to show that it is ours; only who has the cookie can compute it."""
    return hashlib.sha256(b"zocket csrf\0" + session_token.encode()).hexdigest()


def new_user_code() -> str:
    """A code that a person reads off a terminal, such as `BCDF-GHJK`."""
    letters = "".join(secrets.choice(USER_CODE_ALPHABET) for _ in range(USER_CODE_CHARS))
    return f"{letters[:4]}-{letters[4:]}"


def normal_user_code(text: str) -> str:
    """What a person typed, as it is stored."""
    letters = "".join(character for character in text.upper() if character.isascii() and character.isalpha())
    return f"{letters[:4]}-{letters[4:]}"
