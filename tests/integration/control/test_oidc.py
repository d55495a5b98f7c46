"""Sign-in through a real issuer: HTTP on loopback, RS256 keys, discovery, key set, token and userinfo endpoints."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, select

from zocket.control.callers import COOKIE
from zocket.control.records import Invitation, SignInFlow, User
from zocket.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.integration.control.conftest import OpenWorld, World

pytestmark = pytest.mark.realtime  # databases and sockets have threads and times of their own

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLIENT_ID, CLIENT_SECRET = "zocket", "a secret: with % and ü"
Claims = dict[str, Any]


def jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


@dataclass
class Issuer:
    """An issuer; a test may spoil any of its answers."""

    url: str = ""
    now_s: Callable[[], float] = lambda: 1_700_000_000.0
    claims: Claims = field(
        default_factory=lambda: {"sub": "ada", "email": "Ada@Example.com", "email_verified": True, "name": "Ada"}
    )
    userinfo: Claims | None = None
    spoil: Callable[[Claims], Claims] = lambda claims: claims
    sign: Callable[[Claims], str] = lambda claims: jwt.encode(claims, KEY, "RS256", {"kid": "one"})
    document: Claims = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk(KEY, "one")])
    codes: dict[str, Claims] = field(default_factory=dict)
    seen: list[tuple[str, Claims]] = field(default_factory=list)
    auth_method: str = "client_secret_basic"

    def authorize(self, location: str) -> dict[str, str]:
        """What a person's browser does at the issuer: signs in and comes back with these parameters."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return {"state": query["state"], "code": code}

    def answer(self, verb: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "token_endpoint_auth_methods_supported": [self.auth_method],
                **self.document,
            }
        if path == "/keys":
            return 200, {"keys": self.keys}
        if path == "/userinfo":
            return (200, self.userinfo) if headers.get("authorization") == "Bearer access" else (401, {})
        if (verb, path) == ("POST", "/token"):
            return self._token(headers, {name: values[0] for name, values in parse_qs(body.decode()).items()})
        return 404, {}

    def _token(self, headers: Any, form: dict[str, str]) -> tuple[int, Any]:
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or not self._is_our_client(headers, form):
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if challenge.decode() != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(self.now_s())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        return 200, {"access_token": "access", "id_token": self.sign(self.spoil({**claims, **self.claims}))}

    def _is_our_client(self, headers: Any, form: dict[str, str]) -> bool:
        if self.auth_method == "none":
            return form.get("client_id") == CLIENT_ID and "client_secret" not in form
        if self.auth_method == "client_secret_post":
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        name, _, secret = base64.b64decode(headers.get("authorization", "").partition(" ")[2]).decode().partition(":")
        return (unquote(name), unquote(secret)) == (CLIENT_ID, CLIENT_SECRET)


@contextmanager
def served(issuer: Issuer) -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, content = issuer.answer(self.command, self.path, self.headers, body)
            payload = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(payload)))
            if status == 302:
                self.send_header("location", f"{issuer.url}/keys")
            self.end_headers()
            self.wfile.write(payload)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with served(Issuer()) as running:
        yield running


def open_at(open_world: OpenWorld, issuer: Issuer, **more: Any) -> Any:
    secret = "" if issuer.auth_method == "none" else CLIENT_SECRET
    values = {"oidc_issuer": issuer.url, "oidc_client_id": CLIENT_ID, "oidc_client_secret": secret, **more}
    return open_world(**values)


def cookies_of(answer: httpx.Response) -> dict[str, Any]:
    cookies: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        cookies.load(header)
    return dict(cookies)


@dataclass
class Browser:
    """A person's browser: keeps its cookies."""

    world: World
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        answer = await self.world.call("GET", path, headers if self.cookies else {}, **more)
        for name, morsel in cookies_of(answer).items():
            self.cookies.pop(name, None)
            if morsel["max-age"] != "0":
                self.cookies[name] = morsel.value
        return answer

    async def start(self, **query: str) -> str:
        answer = await self.get("/api/auth/oidc/start", params=query)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def back(self, **query: str) -> str:
        answer = await self.get("/api/auth/oidc/callback", params=query)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def sign_in(self, issuer: Issuer, **query: str) -> str:
        return await self.back(**issuer.authorize(await self.start(**query)))

    async def who(self) -> Any:
        return (await self.get("/api/auth/session")).json()


async def invite(world: World, email: str) -> None:
    async with world.database.session() as session:
        session.add(
            Invitation(
                id="inv_1",
                workspace_id="wsp_a",
                email=email,
                role="viewer",
                token_hash="0" * 64,
                created_at=world.now_ms,
                expires_at=world.now_ms + 1_000_000,
            )
        )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_a_person_whom_the_issuer_knows_signs_in(open_world: OpenWorld, issuer: Issuer, method: str) -> None:
    issuer.auth_method = method
    async with open_at(open_world, issuer, oidc_open=True) as world:
        browser = Browser(world)
        assert (await browser.who())["methods"] == ["oidc"]
        location = await browser.start(next="/projects/alpha?tab=logs")
        query = parse_qs(urlsplit(location).query)
        assert location.startswith(f"{issuer.url}/authorize?")
        assert query["redirect_uri"] == ["https://control.example/api/auth/oidc/callback"]
        assert query["code_challenge_method"] == ["S256"]
        assert query["scope"] == ["openid email profile"]
        assert await browser.back(**issuer.authorize(location)) == "/projects/alpha?tab=logs"
        seen = await browser.who()
        assert (seen["user"]["email"], seen["user"]["name"]) == ("ada@example.com", "Ada")
        assert list(browser.cookies) == [COOKIE]
        [workspace] = (await browser.get("/api/workspaces")).json()["items"]
        assert workspace["role"] == "owner"


async def test_the_same_person_is_the_same_account_also_under_a_new_address(
    open_world: OpenWorld, issuer: Issuer
) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        first, second = Browser(world), Browser(world)
        await first.sign_in(issuer)
        issuer.claims["email"] = "ada@new.example"
        await second.sign_in(issuer)
        assert (await first.who())["user"]["id"] == (await second.who())["user"]["id"]


async def test_an_account_made_by_password_is_joined_when_the_issuer_vouches_for_its_address(
    open_world: OpenWorld, issuer: Issuer
) -> None:
    async with open_at(open_world, issuer) as world:
        issuer.claims |= {"email": "owner@example.com"}
        browser = Browser(world)
        await browser.sign_in(issuer)
        assert (await browser.who())["user"]["id"] == "usr_owner"
        issuer.claims |= {"sub": "somebody else"}
        other = Browser(world)
        assert await other.sign_in(issuer) == "/?signInError=other_identity"
        assert (await other.who())["user"] is None


@one_database
@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_address_that_the_issuer_does_not_vouch_for_opens_nothing(
    open_world: OpenWorld, issuer: Issuer, verified: Any
) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        issuer.claims |= {"email": "owner@example.com", "email_verified": verified}
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/?signInError=unverified_email"
        assert (await browser.who())["user"] is None


async def test_only_who_is_invited_gets_an_account(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer) as world:
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/?signInError=not_invited"
        await invite(world, "ada@example.com")
        assert await browser.sign_in(issuer) == "/"
        assert (await browser.who())["user"]["email"] == "ada@example.com"


async def test_what_the_id_token_lacks_is_asked_for(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        issuer.claims = {"sub": "ada"}
        issuer.userinfo = {"sub": "ada", "email": "ada@example.com", "email_verified": True, "name": "Ada L."}
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/"
        assert (await browser.who())["user"]["name"] == "Ada L."
        issuer.userinfo |= {"sub": "bob"}
        assert await Browser(world).sign_in(issuer) == "/?signInError=sign_in_failed"


def hs256_with_the_public_key(claims: Claims) -> str:
    """The attack on a verifier that lets the token choose between a key pair and a shared secret."""
    secret = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = ".".join(plain(part) for part in ({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims))
    return f"{signed}.{plain(hmac.digest(secret, signed.encode(), 'sha256'))}"


def plain(part: Claims | bytes) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(claims: Claims) -> str:
    return jwt.encode(claims, "", "none", {"kid": "one"})


def signed_by_another(claims: Claims) -> str:
    return jwt.encode(claims, OTHER_KEY, "RS256", {"kid": "one"})


@one_database
@pytest.mark.parametrize(
    "spoil",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another client"]},
        {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
        {"iss": "https://another.example"},
        {"exp": 1_699_999_999},
        {"exp": "never"},
        {"exp": True},
        {"iat": 1_700_000_100},
        {"sub": ""},
        {"sub": "x" * 300},
        {"sub": "a\0b"},
        {"exp": ...},
        {"sub": ...},
        {"aud": ...},
        {"iat": ...},
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_this_sign_in_signs_nobody_in(
    open_world: OpenWorld, issuer: Issuer, spoil: Claims
) -> None:
    issuer.spoil = lambda claims: {name: value for name, value in {**claims, **spoil}.items() if value is not ...}
    async with open_at(open_world, issuer, oidc_open=True) as world:
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/?signInError=sign_in_failed"
        assert (await browser.who())["user"] is None


@one_database
@pytest.mark.parametrize("sign", [hs256_with_the_public_key, unsigned, signed_by_another, lambda _: "no.token.atall"])
async def test_a_token_that_the_issuer_did_not_sign_signs_nobody_in(
    open_world: OpenWorld, issuer: Issuer, sign: Callable[[Claims], str]
) -> None:
    issuer.sign = sign
    async with open_at(open_world, issuer, oidc_open=True) as world:
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/?signInError=sign_in_failed"
        assert (await browser.who())["user"] is None


@one_database
async def test_a_symmetric_key_in_the_set_is_never_used(open_world: OpenWorld, issuer: Issuer) -> None:
    secret = base64.urlsafe_b64encode(b"s" * 32).rstrip(b"=").decode()
    issuer.keys = [{"kty": "oct", "k": secret, "kid": "one", "alg": "RS256"}]
    issuer.sign = lambda claims: jwt.encode(claims, b"s" * 32, "HS256", {"kid": "one"})
    async with open_at(open_world, issuer, oidc_open=True) as world:
        assert await Browser(world).sign_in(issuer) == "/?signInError=sign_in_failed"


async def test_a_new_key_of_the_issuer_is_found(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        issuer.now_s = world.clock.wall
        await Browser(world).sign_in(issuer)
        issuer.keys.append(jwk(OTHER_KEY, "two"))
        issuer.sign = lambda claims: jwt.encode(claims, OTHER_KEY, "RS256", {"kid": "two"})
        world.clock.wall_s += 11
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/"
        assert (await browser.who())["user"] is not None


async def test_a_code_and_a_state_are_good_for_one_answer(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        browser = Browser(world)
        query = issuer.authorize(await browser.start())
        flow = dict(browser.cookies)
        assert await browser.back(**query) == "/"
        replay = Browser(world, flow)
        assert await replay.back(**query) == "/?signInError=sign_in_failed"
        assert (await replay.who())["user"] is None
        async with world.database.reading() as session:
            assert await session.scalar(select(func.count()).select_from(SignInFlow)) == 0


async def test_another_browser_cannot_finish_a_sign_in(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        attacker, victim = Browser(world), Browser(world)
        query = issuer.authorize(await attacker.start())
        assert await victim.back(**query) == "/?signInError=sign_in_failed"
        await victim.start()
        assert await victim.back(**issuer.authorize(await attacker.start())) == "/?signInError=sign_in_failed"
        assert (await victim.who())["user"] is None


@one_database
@pytest.mark.parametrize(
    "query", [{}, {"state": "x"}, {"code": "x"}, {"state": "x", "code": "x"}, {"error": "access_denied", "state": "x"}]
)
async def test_a_callback_without_a_flow_signs_nobody_in(
    open_world: OpenWorld, issuer: Issuer, query: dict[str, str]
) -> None:
    async with open_at(open_world, issuer) as world:
        browser = Browser(world)
        await browser.start()
        assert await browser.back(**query) == "/?signInError=sign_in_failed"
        assert (await browser.who())["user"] is None


async def test_a_flow_expires(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        issuer.now_s = world.clock.wall
        browser = Browser(world)
        query = issuer.authorize(await browser.start())
        world.clock.wall_s += 601
        assert await browser.back(**query) == "/?signInError=sign_in_failed"


@one_database
@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example"])
async def test_nobody_is_sent_to_another_site(open_world: OpenWorld, issuer: Issuer, target: str) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        assert await Browser(world).sign_in(issuer, next=target) == "/"


async def test_the_cookie_that_binds_a_flow_is_out_of_reach(open_world: OpenWorld, issuer: Issuer) -> None:
    async with open_at(open_world, issuer) as world:
        answer = await Browser(world).get("/api/auth/oidc/start")
        [cookie] = cookies_of(answer).values()
        assert (cookie["httponly"], cookie["secure"], cookie["samesite"].lower()) == (True, True, "lax")
        assert cookie["path"] == "/api/auth/oidc"
        assert answer.headers["cache-control"] == "no-store"


async def test_passwords_are_off_where_an_issuer_is_configured(
    open_world: OpenWorld, issuer: Issuer, password: str
) -> None:
    async with open_at(open_world, issuer) as world:
        body = {"email": "owner@example.com", "password": password}
        answer = await world.call("POST", "/api/auth/login", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "no_passwords")


@one_database
@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://another.example"},
        {"token_endpoint": "http://issuer.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": 5},
    ],
)
async def test_a_document_that_is_not_the_issuers_own_is_not_used(
    open_world: OpenWorld, issuer: Issuer, document: Claims
) -> None:
    issuer.document = document
    async with open_at(open_world, issuer) as world:
        answer = await Browser(world).get("/api/auth/oidc/start")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@one_database
@pytest.mark.parametrize(
    "broken", [(500, {}), (302, {}), (200, b"no JSON"), (200, b"[" * 100_000), (200, b"x" * 300_000)]
)
async def test_an_issuer_that_is_broken_is_said_to_be_away(
    open_world: OpenWorld, issuer: Issuer, broken: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_at(open_world, issuer) as world:
        monkeypatch.setattr(Issuer, "answer", lambda *_: broken)
        answer = await Browser(world).get("/api/auth/oidc/start")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_an_issuer_that_is_away_is_said_to_be(open_world: OpenWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    async with open_at(open_world, Issuer(url)) as world:
        answer = await Browser(world).get("/api/auth/oidc/start")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_half_a_configuration_is_an_error_of_the_start(open_world: OpenWorld) -> None:
    with pytest.raises(SettingsError, match="OIDC_CLIENT_ID"):
        async with open_world(oidc_issuer="https://issuer.example"):
            raise AssertionError("it started")


async def test_what_the_issuer_says_of_a_person_is_stored_whole_or_not_at_all(
    open_world: OpenWorld, issuer: Issuer
) -> None:
    async with open_at(open_world, issuer, oidc_open=True) as world:
        issuer.claims |= {"name": "A\0" + "x" * 500}
        browser = Browser(world)
        assert await browser.sign_in(issuer) == "/"
        async with world.database.reading() as session:
            user = await session.scalar(select(User).where(User.email == "ada@example.com"))
            assert user is not None
            assert (user.name, user.password_hash) == ("A" + "x" * 199, None)
