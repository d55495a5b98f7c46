"""Who may open a socket: the control plane says it, by the host name and the token (spec: control plane).

Rules: every answer comes from the control plane; a positive one counts for a few seconds more, but never beyond the
token's own end; equal questions that are asked at the same time are asked once; a page of an origin that the project
does not list is refused, also where the answer is remembered; no token is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import httpx
import msgspec

from zocket.errors import SettingsError, Unauthorized, Unavailable
from zocket.gateway.session import Identity, SessionLimits
from zocket.ids import Scope
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from zocket.clock import Clock
    from zocket.sockets.port import Head

_log: Final = logging.getLogger("zocket.gateway")

AUTHORIZE_PATH: Final = "/api/registry/authorize"
REMEMBERED_S: Final = 5.0
"""How long a positive answer counts: a page that opens several sockets, or a reconnect, asks once. A revoked token may
open a socket for so much longer."""
MAX_REMEMBERED: Final = 10_000
"""Positive answers kept; the oldest goes first."""
TIMEOUT: Final = httpx.Timeout(3.0, connect=2.0, pool=5.0)
"""All phases together stay below the front's own limit for an undecided upgrade."""
CONNECTIONS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=64)
"""To the control plane; kept open, since clients come in crowds after a restart."""
MAX_MESSAGE_CHARS: Final = 200
"""Of the control plane's reason that is passed on."""


class _Ask(NamedTuple):
    host: str
    token: str | None


class _Answer(NamedTuple):
    identity: Identity
    until: float


class _Limits(msgspec.Struct, rename="camel"):
    rate_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    burst: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _Authorized(msgspec.Struct, rename="camel"):
    workspace_id: str
    project_id: str
    user_id: str | None = None
    claims: msgspec.Raw = msgspec.Raw(b"null")
    origins: list[str] | None = None
    limits: _Limits | None = None


class _Rejected(msgspec.Struct):
    error: str = ""


class _Expiry(msgspec.Struct):
    exp: float | None = None


_encode_ask: Final = msgspec.json.Encoder().encode
_decode_authorized: Final = msgspec.json.Decoder(_Authorized).decode
_decode_rejected: Final = msgspec.json.Decoder(_Rejected).decode
_decode_expiry: Final = msgspec.json.Decoder(_Expiry | None).decode


def control_plane(url: str, internal_token: str) -> httpx.AsyncClient:
    """A client for the control plane: its bearer goes nowhere else, since redirects and proxies are not followed."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {internal_token}", "Content-Type": "application/json"},
        timeout=TIMEOUT,
        limits=CONNECTIONS,
        trust_env=False,
    )


class ControlPlaneAuthorizer:
    """Admits sockets by `POST /api/registry/authorize`; an `Admit` of the socket front."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        """`client` speaks to the control plane with the internal bearer, see `control_plane`."""
        self._client = client
        self._clock = clock
        self._remembered: dict[_Ask, _Answer] = {}
        self._asking: dict[_Ask, asyncio.Future[Identity | Refused | None]] = {}

    async def __call__(self, head: Head) -> Identity:
        """Who knocks.

        Raises:
            Refused: with 401 the token or the host is none that may open a socket, with 403 the page is none, with
                503 nobody can say it now.
        """
        identity = await self._identify(_Ask(head.host, head.token))
        _check_origin(head, identity)
        return identity

    def known(self, head: Head) -> Identity | None:
        """Who knocks, where a remembered answer says it; None if the control plane has to be asked.

        Raises:
            Refused: with 403, the page is none that may open a socket.
        """
        identity = self._recall(_Ask(head.host, head.token))
        if identity is not None:
            _check_origin(head, identity)
        return identity

    async def renew(self, host: str, token: str) -> Identity:
        """Whose a further token of a socket is, which was let in under this host name; errors as of a call."""
        return await self._identify(_Ask(host, token))

    async def _identify(self, ask: _Ask) -> Identity:
        remembered = self._recall(ask)
        if remembered is not None:
            return remembered
        answer = None
        while answer is None:
            asking = self._asking.get(ask)
            answer = await (self._ask_for_all(ask) if asking is None else asyncio.shield(asking))
        if isinstance(answer, Refused):
            raise Refused(answer.status, answer.code, answer.message)
        return answer

    def _recall(self, ask: _Ask) -> Identity | None:
        answer = self._remembered.get(ask)
        if answer is None:
            return None
        expires_at = answer.identity.expires_at
        if self._clock.now() < answer.until and (expires_at is None or self._clock.wall() < expires_at):
            return answer.identity
        del self._remembered[ask]
        return None

    def _remember(self, ask: _Ask, identity: Identity) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[ask] = _Answer(identity, self._clock.now() + REMEMBERED_S)

    async def _ask_for_all(self, ask: _Ask) -> Identity | Refused | None:
        """Asks, and tells those who wait for the same answer; None tells them that nobody asks any more."""
        waiting: asyncio.Future[Identity | Refused | None] = asyncio.get_running_loop().create_future()
        self._asking[ask] = waiting
        answer: Identity | Refused | None = None
        try:
            answer = await self._ask(ask)
            if isinstance(answer, Identity):
                self._remember(ask, answer)
            return answer
        finally:
            del self._asking[ask]
            waiting.set_result(answer)

    async def _ask(self, ask: _Ask) -> Identity | Refused:
        try:
            body = _encode_ask({"host": ask.host, "token": ask.token})
        except UnicodeEncodeError:
            return Refused(401, Unauthorized.default_code, "the token is no valid text")
        try:
            response = await self._client.post(AUTHORIZE_PATH, content=body)
        except httpx.HTTPError as error:
            return _unavailable(type(error).__name__)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return Refused(401, Unauthorized.default_code, _reason(response.content))
        if response.status_code != httpx.codes.OK:
            return _unavailable(f"status {response.status_code}")
        try:
            return self._identity(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, SettingsError) as error:
            return _unavailable(f"an answer that cannot be used ({type(error).__name__})")

    def _identity(self, body: bytes) -> Identity | Refused:
        body.decode()
        authorized = _decode_authorized(body)
        identity = Identity(
            scope=Scope(authorized.workspace_id, authorized.project_id),
            user_id=authorized.user_id,
            claims=bytes(authorized.claims),
            expires_at=_expires_at(authorized.claims),
            origins=frozenset(map(str.lower, authorized.origins)) if authorized.origins else None,
            limits=_own_limits(authorized.limits),
        )
        if identity.expires_at is not None and identity.expires_at <= self._clock.wall():
            return Refused(401, Unauthorized.default_code, "the token has expired")
        return identity


def _check_origin(head: Head, identity: Identity) -> None:
    """A browser always names the page's origin, and no page can change it; other programs name none and may connect."""
    origin = head.headers.get("origin")
    if identity.origins is not None and origin is not None and origin.lower() not in identity.origins:
        raise Refused(403, "origin_refused", "pages of this origin may not connect")


def _own_limits(limits: _Limits | None) -> SessionLimits | None:
    return None if limits is None else SessionLimits(limits.rate_per_s, limits.burst)


def _expires_at(claims: msgspec.Raw) -> float | None:
    try:
        expiry = _decode_expiry(claims)
    except msgspec.DecodeError:
        return None
    return None if expiry is None else expiry.exp


def _reason(body: bytes) -> str:
    try:
        reason = _decode_rejected(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        reason = ""
    return reason[:MAX_MESSAGE_CHARS] or "the token is missing, wrong or expired"


def _unavailable(why: str) -> Refused:
    _log.warning("the control plane cannot authorize: %s", why)
    return Refused(503, Unavailable.default_code, "the control plane does not answer; try again")
