"""Who a client is: its token checked against the project's auth mode.

Rules: the algorithm is pinned by the mode, never taken from the token (`jwt-secret` is HS256, `jwt-jwks` is
asymmetric only, `none` of JWT is never accepted); the time comes from the clock; a refusal is `Unauthorized` with a
sentence that names the reason and nothing of the token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt

from zocket.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zocket.clock import Clock
    from zocket.control.key_sets import KeySets
    from zocket.control.schemas import AuthConfig

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Algorithms of `jwt-jwks`; an HS algorithm would let anybody who reads the public keys sign tokens."""
MAX_TOKEN_CHARS: Final = 16_384
"""Longest token that is looked at; a header line of a browser is not longer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connects; both are None in mode `none`."""

    user_id: str | None = None
    claims: Mapping[str, Any] | None = None


class TokenChecker:
    """Checks tokens of every project.

    Args:
        clock: tells whether a token has expired.
        key_sets: public keys of `jwt-jwks` projects.
    """

    def __init__(self, clock: Clock, key_sets: KeySets) -> None:
        self._clock = clock
        self._key_sets = key_sets

    async def identify(self, config: AuthConfig, token: str | None) -> Identity:
        """Who the token names.

        Raises:
            Unauthorized: it is missing, malformed, expired, signed otherwise, or for somebody else.
            Unavailable: the project's key set cannot be fetched.
        """
        if config.mode == "none":
            return Identity()
        if not token:
            raise Unauthorized("a token is required")
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized("the token is too long")
        try:
            claims = await self._claims(config, token)
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is refused: {_reason(error)}") from error
        self._check_times(claims)
        return Identity(user_id=claims.get("sub"), claims=claims)

    async def _claims(self, config: AuthConfig, token: str) -> dict[str, Any]:
        if config.mode == "jwt-secret":
            return _decode(config, token, (config.secret or "").encode(), "HS256")
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ASYMMETRIC:
            raise Unauthorized("the token is refused: its algorithm is not allowed with a key set")
        if key_id is not None and not isinstance(key_id, str):
            raise Unauthorized("the token is refused: its key id is no string")
        for key in await self._key_sets.keys(config.jwks_url or "", key_id, algorithm):
            try:
                return _decode(config, token, key, algorithm)
            except jwt.InvalidSignatureError:
                continue
        raise Unauthorized("the token is refused: no key of the project's key set signed it")

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.wall()
        for name, refused in (("exp", "it has expired"), ("nbf", "it is not valid yet")):
            value = claims.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Unauthorized(f"the token is refused: {name} is no number")
            if (value <= now) if name == "exp" else (value > now):
                raise Unauthorized(f"the token is refused: {refused}")


def _decode(config: AuthConfig, token: str, key: Any, algorithm: str) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        issuer=config.issuer,
        audience=config.audience,
        options={
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": config.audience is not None,
            "verify_iss": config.issuer is not None,
            "enforce_minimum_key_length": True,
        },
    )


def _reason(error: jwt.PyJWTError) -> str:
    """The class name in words: the texts of the library may quote parts of the token."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
