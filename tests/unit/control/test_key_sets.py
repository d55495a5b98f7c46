from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from zocket.control.key_sets import EXPIRE_S, MAX_SET_BYTES, REFRESH_S, RETRY_S, KeySets, is_public
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.unit.control.conftest import MovableClock

pytestmark = pytest.mark.realtime  # SQLite and sockets have threads and times of their own

KEY = ec.generate_private_key(ec.SECP256R1())


def jwk(kid: str, **more: Any) -> dict[str, Any]:
    return {**jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": kid, **more}


class KeyServer:
    """An https server on loopback that answers every request alike and counts them."""

    def __init__(self, directory: Path) -> None:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(KEY.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(KEY, hashes.SHA256())
        )
        pem = directory / "server.pem"
        pem.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self._server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server_context.load_cert_chain(pem)
        self.context = ssl.create_default_context(cafile=str(pem))
        self.requests = 0
        self.head = "HTTP/1.1 200 OK"
        self.body = json.dumps({"keys": [jwk("k1")]}).encode()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[KeyServer]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._server_context)
        async with server:
            self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/jwks"
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        head = f"{self.head}\r\ncontent-length: {len(self.body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + self.body)
        writer.close()


@pytest.fixture
def key_server(tmp_path: Path) -> KeyServer:
    return KeyServer(tmp_path)


def anywhere(_: str) -> bool:
    return True


async def test_a_set_is_fetched_once_and_again_when_it_is_old(key_server: KeyServer, clock: MovableClock) -> None:
    async with key_server.running() as server:
        sets = KeySets(clock, allow=anywhere, context=server.context)
        found = await asyncio.gather(*(sets.keys(server.url, "k1", "ES256") for _ in range(5)))
        assert [len(keys) for keys in found] == [1] * 5
        assert server.requests == 1
        clock.wall_s += REFRESH_S
        server.body = json.dumps({"keys": []}).encode()
        assert await sets.keys(server.url, "k1", "ES256") == []
        assert server.requests == 2


async def test_an_unknown_key_id_fetches_again_but_not_in_a_flood(key_server: KeyServer, clock: MovableClock) -> None:
    async with key_server.running() as server:
        sets = KeySets(clock, allow=anywhere, context=server.context)
        await sets.keys(server.url, "k1", "ES256")
        server.body = json.dumps({"keys": [jwk("k1"), jwk("k2")]}).encode()
        for _ in range(10):
            assert await sets.keys(server.url, "k2", "ES256") == []
        assert server.requests == 1
        clock.wall_s += RETRY_S
        assert len(await sets.keys(server.url, "k2", "ES256")) == 1
        assert server.requests == 2


async def test_a_set_is_kept_while_its_server_is_away_but_not_for_ever(
    key_server: KeyServer, clock: MovableClock
) -> None:
    async with key_server.running() as server:
        sets = KeySets(clock, allow=anywhere, context=server.context)
        await sets.keys(server.url, "k1", "ES256")
        server.head = "HTTP/1.1 500 Oops"
        clock.wall_s += REFRESH_S
        assert len(await sets.keys(server.url, "k1", "ES256")) == 1
        clock.wall_s += EXPIRE_S - REFRESH_S
        with pytest.raises(Unavailable, match="answers 500"):
            await sets.keys(server.url, "k1", "ES256")


async def test_keys_that_could_sign_something_else_are_not_used(key_server: KeyServer, clock: MovableClock) -> None:
    oct_key = {"kty": "oct", "k": "c2VjcmV0", "kid": "h", "alg": "HS256"}
    key_server.body = json.dumps({"keys": [oct_key, jwk("enc", use="enc"), jwk("other", alg="ES384")]}).encode()
    async with key_server.running() as server:
        sets = KeySets(clock, allow=anywhere, context=server.context)
        assert await sets.keys(server.url, None, "HS256") == []
        assert await sets.keys(server.url, None, "ES256") == []


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        ("HTTP/1.1 302 Found\r\nlocation: https://localhost/other", b"", "answers 302"),
        ("HTTP/1.1 200 OK", b"<html>", "no JSON object"),
        ("HTTP/1.1 200 OK", b'{"keys": 1}', "no JSON object"),
        ("HTTP/1.1 200 OK", b" " * (MAX_SET_BYTES + 1), "larger than"),
    ],
)
async def test_an_answer_that_is_no_key_set_is_not_used(
    key_server: KeyServer, clock: MovableClock, head: str, body: bytes, reason: str
) -> None:
    key_server.head, key_server.body = head, body
    async with key_server.running() as server:
        sets = KeySets(clock, allow=anywhere, context=server.context)
        for _ in range(2):
            with pytest.raises(Unavailable, match=reason):
                await sets.keys(server.url, "k1", "ES256")
        assert server.requests == 1


async def test_no_connection_is_made_to_a_private_address(key_server: KeyServer, clock: MovableClock) -> None:
    async with key_server.running() as server:
        sets = KeySets(clock, context=server.context)
        with pytest.raises(Unavailable, match="not on the public internet"):
            await sets.keys(server.url, "k1", "ES256")
        assert server.requests == 0


async def test_plain_http_is_not_fetched(clock: MovableClock) -> None:
    with pytest.raises(Unavailable, match="not https"):
        await KeySets(clock, allow=anywhere).keys("http://127.0.0.1:9/jwks", "k1", "RS256")


async def test_a_certificate_that_nobody_vouches_for_is_refused(key_server: KeyServer, clock: MovableClock) -> None:
    async with key_server.running() as server:
        with pytest.raises(Unavailable, match="cannot be fetched"):
            await KeySets(clock, allow=anywhere).keys(server.url, "k1", "ES256")
        assert server.requests == 0


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2002:a00:1::",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_addresses_inside(address: str) -> None:
    assert not is_public(address)
