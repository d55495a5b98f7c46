"""Sign-in with an OpenID Connect issuer: the code flow with PKCE, state and nonce (OpenID Connect Core, RFC 7636).

Rules: the issuer and whatever its document names are https, or http on this machine; no redirects, bounded in size and
time; an ID token counts only with an asymmetric signature of the issuer's key set, for this client, this nonce and
now; a flow is bound to the browser that began it and is good for one answer; where a person goes afterwards is a path
of ours, never another site.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx
import jwt
import msgspec
from sqlalchemy import delete

from zocket.control.credentials import digest
from zocket.control.records import SignInFlow
from zocket.control.tokens import ASYMMETRIC
from zocket.errors import SettingsError, Unauthorized, Unavailable
from zocket.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zocket.clock import Clock
    from zocket.control.database import Database

SCOPES: Final = "openid email profile"
TIMEOUT: Final = httpx.Timeout(5.0)
"""A person waits at the callback meanwhile."""
MAX_ANSWER_BYTES: Final = 262_144
DOCUMENT_AGE_S: Final = 3_600.0
"""How long the issuer's document and key set are used; an unknown key id asks again, at most every `RETRY_S`."""
RETRY_S: Final = 10.0
LEEWAY_S: Final = 60
"""How far the issuer's clock may be ahead of ours."""
FLOW_MS: Final = 600_000
"""How long a person may take at the issuer."""
MAX_PATH_CHARS: Final = 2_000

_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*\Z")


class Refusal(Unauthorized):
    """The issuer, or what came back from it, does not sign anybody in."""

    default_code = "sign_in_failed"


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the issuer vouches for; `email` is in lower case."""

    subject: str
    email: str | None
    email_verified: bool
    name: str


class _Document(msgspec.Struct):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct):
    id_token: str
    access_token: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A flow that has begun: where the browser goes, and the cookie that binds it."""

    url: str
    browser: str


def safe_path(text: str | None) -> str:
    """A path of ours that somebody asked to be sent to, or `/`."""
    return text if text and len(text) <= MAX_PATH_CHARS and _PATH.match(text) else "/"


class Issuer:
    """The configured issuer.

    Args:
        url: its identifier, exactly as it writes itself in its tokens.
        client_id: what it knows us as.
        client_secret: empty for a public client.
        clock: ages what is cached and checks expiry.
        transport: how it is reached; the network by default.

    Raises:
        SettingsError: the URL is neither https nor on this machine, or the client id is missing.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not _is_safe(url):
            raise SettingsError("OIDC_ISSUER: expected an https URL")
        if not client_id:
            raise SettingsError("OIDC_CLIENT_ID: is not set, and OIDC_ISSUER is")
        self.url = url
        self.client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._transport = transport
        self._document: tuple[float, _Document] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None

    async def sign_in_url(self, redirect_uri: str, *, state: str, nonce: str, code_verifier: str) -> str:
        """Where a browser goes to sign in.

        Raises:
            Unavailable: the issuer does not answer.
        """
        document = await self._read_document()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in document.authorization_endpoint else "?"
        return document.authorization_endpoint + separator + urlencode(query)

    async def redeem(self, code: str, redirect_uri: str, *, nonce: str, code_verifier: str) -> Person:
        """Whom a code stands for.

        Raises:
            Refusal: the issuer refuses it, or its token is not for this flow.
            Unavailable: the issuer does not answer.
        """
        document = await self._read_document()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        headers = {}
        if not self._client_secret:
            form["client_id"] = self.client_id
        elif "client_secret_basic" in document.token_endpoint_auth_methods_supported:
            pair = f"{quote(self.client_id, safe='')}:{quote(self._client_secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {"client_id": self.client_id, "client_secret": self._client_secret}
        body = await self._ask("POST", document.token_endpoint, data=form, headers=headers)
        tokens = _decoded(body, _Tokens)
        claims = await self._checked(tokens.id_token, nonce)
        if "email" not in claims and document.userinfo_endpoint and tokens.access_token:
            bearer = {"authorization": f"Bearer {tokens.access_token}"}
            more = _decoded(await self._ask("GET", document.userinfo_endpoint, headers=bearer), dict[str, Any])
            if more.get("sub") != claims["sub"]:
                raise Refusal("the issuer speaks of two people at once")
            claims = {**more, **claims}
        return _person(claims)

    async def _checked(self, token: str, nonce: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in ASYMMETRIC:
                raise Refusal("the issuer's token is not signed with a key of its own")
            claims = await self._decode(token, str(algorithm), key_id)
        except jwt.PyJWTError as error:
            raise Refusal(f"the issuer's token is refused ({type(error).__name__})") from error
        now, expires = self._clock.wall(), claims["exp"]
        if isinstance(expires, bool) or not isinstance(expires, int | float) or expires <= now:
            raise Refusal("the issuer's token has expired")
        issued = claims["iat"]
        if isinstance(issued, bool) or not isinstance(issued, int | float) or issued > now + LEEWAY_S:
            raise Refusal("the issuer's token is from the future")
        sent = claims.get("nonce")
        if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), nonce.encode()):
            raise Refusal("the issuer's token is for another sign-in")
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != self.client_id:
            raise Refusal("the issuer's token is for another client")
        return claims

    async def _decode(self, token: str, algorithm: str, key_id: Any) -> dict[str, Any]:
        for max_age_s in (DOCUMENT_AGE_S, RETRY_S):
            for key in await self._read_keys(max_age_s):
                if key_id is not None and key.get("kid") != key_id:
                    continue
                if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm or key.get("kty") == "oct":
                    continue
                try:
                    return jwt.decode(
                        token,
                        jwt.PyJWK(key, algorithm),
                        algorithms=[algorithm],
                        issuer=self.url,
                        audience=self.client_id,
                        options={
                            "require": ["iss", "sub", "aud", "exp", "iat"],
                            "verify_exp": False,  # against our clock, not the machine's
                            "verify_iat": False,
                            "verify_nbf": False,
                        },
                    )
                except (jwt.InvalidSignatureError, jwt.InvalidKeyError, jwt.PyJWKError):
                    continue
        raise Refusal("no key of the issuer signed its token")

    async def _read_document(self) -> _Document:
        if self._document is None or self._clock.now() - self._document[0] >= DOCUMENT_AGE_S:
            body = await self._ask("GET", self.url.rstrip("/") + "/.well-known/openid-configuration")
            document = _decoded(body, _Document)
            if document.issuer != self.url:
                raise Unavailable(
                    "the issuer's document is not its own: OIDC_ISSUER must be spelled as the issuer does"
                )
            endpoints = [document.authorization_endpoint, document.token_endpoint, document.jwks_uri]
            if not all(map(_is_safe, [*endpoints, document.userinfo_endpoint or self.url])):
                raise Unavailable("the issuer's document names an address without https")
            self._document = (self._clock.now(), document)
        return self._document[1]

    async def _read_keys(self, max_age_s: float) -> list[dict[str, Any]]:
        if self._keys is None or self._clock.now() - self._keys[0] >= max_age_s:
            document = await self._read_document()
            body = await self._ask("GET", document.jwks_uri)
            self._keys = (self._clock.now(), _decoded(body, _Keys).keys)
        return self._keys[1]

    async def _ask(
        self, verb: str, url: str, *, data: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        wanted = {"accept": "application/json", **(headers or {})}
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, transport=self._transport) as client,
                client.stream(verb, url, data=data, headers=wanted) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise Unavailable("the issuer's answer is too large")
        except httpx.HTTPError as error:
            raise Unavailable(f"the issuer does not answer ({type(error).__name__})") from error
        if verb == "POST" and 400 <= response.status_code < 500:
            raise Refusal("the issuer refuses the code")
        if response.status_code != 200:
            raise Unavailable(f"the issuer answers {response.status_code}")
        return bytes(body)


class SignIn:
    """Flows through the issuer."""

    def __init__(self, database: Database, issuer: Issuer, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self.issuer = issuer

    async def begin(self, redirect_uri: str, next_path: str | None) -> Begun:
        """A new flow.

        Args:
            redirect_uri: our callback, as the issuer has it registered.
            next_path: where the person goes afterwards; anything but a path of ours becomes `/`.

        Raises:
            Unavailable: the issuer does not answer.
        """
        state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
        url = await self.issuer.sign_in_url(redirect_uri, state=state, nonce=nonce, code_verifier=verifier)
        now = self._now_ms()
        async with self._database.session() as session:
            await session.execute(delete(SignInFlow).where(SignInFlow.expires_at <= now))
            session.add(
                SignInFlow(
                    state_hash=digest(state),
                    browser_hash=digest(browser),
                    nonce=nonce,
                    code_verifier=verifier,
                    next_path=safe_path(next_path),
                    expires_at=now + FLOW_MS,
                )
            )
        return Begun(url, browser)

    async def finish(self, redirect_uri: str, *, state: str, code: str, browser: str) -> tuple[Person, str]:
        """Who came back, and where they go now. A flow is used up by it, whatever comes of it.

        Raises:
            Refusal: no such flow of this browser is open, or the issuer's answer does not count.
            Unavailable: the issuer does not answer.
        """
        async with self._database.session() as session:
            flow = await session.get(SignInFlow, digest(state), with_for_update=True)
            if flow is not None:
                await session.delete(flow)
        if flow is None or flow.expires_at <= self._now_ms():
            raise Refusal("this sign-in was not begun here, or has expired; begin again")
        if not hmac.compare_digest(flow.browser_hash, digest(browser)):
            raise Refusal("this sign-in was begun in another browser; begin again")
        person = await self.issuer.redeem(code, redirect_uri, nonce=flow.nonce, code_verifier=flow.code_verifier)
        return person, flow.next_path


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)))


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable("the issuer's answer cannot be read") from error


def _person(claims: Mapping[str, Any]) -> Person:
    subject, email, name = claims["sub"], claims.get("email"), claims.get("name")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or "\0" in subject:
        raise Refusal("the issuer's token names nobody")
    usable = isinstance(email, str) and 3 <= len(email) <= 254 and "@" in email and "\0" not in email
    return Person(
        subject=subject,
        email=email.strip().lower() if usable and isinstance(email, str) else None,
        email_verified=claims.get("email_verified") is True,
        name=name if isinstance(name, str) else "",
    )
