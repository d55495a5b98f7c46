from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from zocket.control.registry import normal_host
from zocket.errors import Unavailable

if TYPE_CHECKING:
    import httpx

    from tests.unit.control.conftest import MovableClock, OpenControl

pytestmark = pytest.mark.realtime  # SQLite and sockets have threads and times of their own

SECRET = "a shared secret that is long enough for HS256"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FixedKeySets:
    """Key sets that are known without a fetch."""

    def __init__(self, keys: list[dict[str, Any]]) -> None:
        self.key_list = keys

    async def keys(self, url: str, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        if url != "https://keys.example/jwks":
            raise Unavailable("the project's key set cannot be fetched: no such host")
        return [jwt.PyJWK(key, algorithm) for key in self.key_list if key_id in (None, key["kid"])]


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig"}


async def project(control: httpx.AsyncClient, domain: str, **auth: str) -> None:
    body = {"workspaceId": "ws", "slug": domain.replace(".", "-"), "domain": domain, "auth": auth}
    answer = await control.put(f"/api/internal/projects/{domain.replace('.', '_')}", json=body)
    assert answer.status_code == 200, answer.text


async def knock(control: httpx.AsyncClient, host: str, token: str | None) -> tuple[int, dict[str, Any]]:
    answer = await control.post("/api/registry/authorize", json={"host": host, "token": token})
    return answer.status_code, answer.json()


def signed(claims: dict[str, Any], **more: Any) -> str:
    return jwt.encode(claims, more.pop("key", SECRET), **{"algorithm": "HS256", **more})


async def test_the_project_comes_from_the_host_alone(open_control: OpenControl) -> None:
    async with open_control() as control:
        await project(control, "one.example", mode="none")
        await project(control, "two.example", mode="none")
        for host in ("two.example", "TWO.example", "two.example:8443", "two.example."):
            assert await knock(control, host, "anything") == (
                200,
                {"workspaceId": "ws", "projectId": "two_example", "userId": None, "claims": None},
            )
        for host in ("", "three.example", "' OR 1=1 --", "one.example.evil", "_"):
            status, body = await knock(control, host, None)
            assert (status, body["code"]) == (401, "unauthorized")
            assert body["error"]


async def test_in_dev_mode_every_host_is_the_local_project(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        await project(control, "one.example", mode="none")
        status, body = await knock(control, "127.0.0.1:1234", None)
        assert (status, body["projectId"], body["workspaceId"]) == (200, "local-project", "local-workspace")
        assert (await knock(control, "one.example", None))[1]["projectId"] == "one_example"


@pytest.mark.parametrize(
    ("host", "name"),
    [("A.Example:80", "a.example"), ("[::1]:80", "[::1]"), ("[FE80::1]", "[fe80::1]"), ("localhost", "localhost")],
)
def test_a_host_header_is_reduced_to_its_name(host: str, name: str) -> None:
    assert normal_host(host) == name


async def test_a_shared_secret_token_names_its_user(open_control: OpenControl) -> None:
    async with open_control() as control:
        await project(control, "a.example", mode="jwt-secret", secret=SECRET)
        status, body = await knock(control, "a.example", signed({"sub": "u1", "role": "admin"}))
    assert status == 200
    assert (body["userId"], body["claims"]) == ("u1", {"sub": "u1", "role": "admin"})


async def test_a_token_without_a_subject_has_no_user(open_control: OpenControl) -> None:
    async with open_control() as control:
        await project(control, "a.example", mode="jwt-secret", secret=SECRET)
        assert (await knock(control, "a.example", signed({"team": "t"})))[1]["userId"] is None


async def test_expiry_is_honoured_to_the_second(open_control: OpenControl, clock: MovableClock) -> None:
    async with open_control() as control:
        await project(control, "a.example", mode="jwt-secret", secret=SECRET)
        token = signed({"sub": "u1", "exp": int(clock.wall_s) + 10, "nbf": int(clock.wall_s) - 1})
        assert (await knock(control, "a.example", token))[0] == 200
        clock.wall_s += 10
        status, body = await knock(control, "a.example", token)
        assert (status, body["error"]) == (401, "the token is refused: it has expired")
        early = signed({"sub": "u1", "nbf": int(clock.wall_s) + 10})
        assert (await knock(control, "a.example", early))[0] == 401


async def test_issuer_and_audience_count_where_they_are_set(open_control: OpenControl) -> None:
    async with open_control() as control:
        await project(control, "a.example", mode="jwt-secret", secret=SECRET, issuer="https://i", audience="app")
        await project(control, "b.example", mode="jwt-secret", secret=SECRET)
        good = {"sub": "u", "iss": "https://i", "aud": ["other", "app"]}
        assert (await knock(control, "a.example", signed(good)))[0] == 200
        for change in ({"iss": "https://j"}, {"aud": "other"}, {"iss": None}, {"aud": None}):
            claims = {key: value for key, value in (good | change).items() if value is not None}
            assert (await knock(control, "a.example", signed(claims)))[0] == 401
            assert (await knock(control, "b.example", signed(claims)))[0] == 200


def unsigned(claims: dict[str, Any], algorithm: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "not a token",
        "a.b.c",
        "x" * 20_000,
        unsigned({"sub": "u"}, "none"),
        unsigned({"sub": "u"}, "None"),
        unsigned({"sub": "u"}, "HS256"),
        signed({"sub": "u"}, key="another secret that is long enough for it"),
        signed({"sub": "u"}, algorithm="HS512", key=SECRET * 2),
        signed({"sub": "u"}, algorithm="RS256", key=RSA_KEY),
        signed({"sub": 7}),
        signed({"sub": "u", "nbf": "tomorrow"}),
        signed({"sub": "u", "exp": True}),
    ],
)
async def test_a_shared_secret_project_refuses_what_it_did_not_sign(
    open_control: OpenControl, token: str | None
) -> None:
    async with open_control() as control:
        await project(control, "a.example", mode="jwt-secret", secret=SECRET)
        status, body = await knock(control, "a.example", token)
    assert (status, body["code"]) == (401, "unauthorized")
    assert token is None or token == "" or token not in body["error"]


async def test_a_key_set_token_names_its_user(open_control: OpenControl) -> None:
    sets: Any = FixedKeySets([jwk(EC_KEY, "ec"), jwk(RSA_KEY, "rsa")])
    async with open_control(key_sets=sets) as control:
        await project(control, "a.example", mode="jwt-jwks", jwksUrl="https://keys.example/jwks", audience="app")
        claims = {"sub": "u1", "aud": "app"}
        for token in (
            signed(claims, algorithm="RS256", key=RSA_KEY, headers={"kid": "rsa"}),
            signed(claims, algorithm="ES256", key=EC_KEY, headers={"kid": "ec"}),
        ):
            status, body = await knock(control, "a.example", token)
            assert (status, body.get("userId")) == (200, "u1")


async def test_a_key_set_project_refuses_confusion_and_strangers(open_control: OpenControl) -> None:
    sets: Any = FixedKeySets([jwk(RSA_KEY, "rsa")])
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, payload = unsigned({"sub": "u"}, "HS256").split(".")[:2]
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{header}.{payload}".encode(), public)
    confused = f"{header}.{payload}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    async with open_control(key_sets=sets) as control:
        await project(control, "a.example", mode="jwt-jwks", jwksUrl="https://keys.example/jwks")
        for token in (
            confused,
            unsigned({"sub": "u"}, "none"),
            signed({"sub": "u"}, headers={"kid": "rsa"}),
            signed({"sub": "u"}, algorithm="RS256", key=OTHER_KEY, headers={"kid": "rsa"}),
            signed({"sub": "u"}, algorithm="RS256", key=OTHER_KEY),
            signed({"sub": "u"}, algorithm="RS256", key=RSA_KEY, headers={"kid": "unknown"}),
            signed({"sub": "u", "exp": 1}, algorithm="RS256", key=RSA_KEY, headers={"kid": "rsa"}),
        ):
            status, body = await knock(control, "a.example", token)
            assert (status, body["code"]) == (401, "unauthorized")


async def test_a_key_set_that_is_away_is_a_refusal_that_says_so(open_control: OpenControl) -> None:
    sets: Any = FixedKeySets([])
    async with open_control(key_sets=sets) as control:
        await project(control, "a.example", mode="jwt-jwks", jwksUrl="https://away.example/jwks")
        status, body = await knock(control, "a.example", signed({"sub": "u"}, algorithm="RS256", key=RSA_KEY))
    assert (status, body["code"]) == (401, "unavailable")
