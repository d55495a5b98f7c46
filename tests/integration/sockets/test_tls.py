"""The same front behind TLS, with a certificate made for the test."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect

from zocket.errors import SettingsError
from zocket.sockets.tls import server_context

if TYPE_CHECKING:
    from pathlib import Path

Run = Any


def make_certificate(directory: Path, name: str, *, passphrase: bytes | None = None) -> tuple[str, str]:
    """Paths of a self-signed certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    certificate_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection))
    return str(certificate_file), str(key_file)


def test_sockets_and_paths_are_served_over_tls(run: Run, world: Any, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    trusting = ssl.create_default_context(cafile=certificate)

    async def health() -> tuple[int, str, bytes]:
        return 200, "text/plain", b"well"

    def get(url: str) -> bytes:
        with urllib.request.urlopen(url, context=trusting, timeout=10) as response:
            body: bytes = response.read()
            return body

    async def body() -> None:
        async with world.serve(tls=server_context(certificate, key), routes={"/health": health}):
            async with connect(f"wss://127.0.0.1:{world.port}/", ssl=trusting, max_size=None) as client:
                for message in ("small", "x" * 200_000, "after"):
                    await client.send(message)
                    assert await world.within(client.recv()) == message
                await client.send("y" * 300_000)
                await world.within(client.wait_closed())
                assert client.close_code == 1009
            assert await asyncio.to_thread(get, f"https://127.0.0.1:{world.port}/health") == b"well"
            async with connect(f"wss://127.0.0.1:{world.port}/", ssl=trusting) as client:
                await world.within(world.front.close_sockets(1012))
                await world.within(client.wait_closed())
                assert client.close_code == 1012

    run(body())


def test_who_is_known_needs_no_asking_over_tls(run: Run, world: Any, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    trusting = ssl.create_default_context(cafile=certificate)

    async def body() -> None:
        async with (
            world.serve(tls=server_context(certificate, key), known=lambda head: head),
            connect(f"wss://127.0.0.1:{world.port}/", ssl=trusting) as client,
        ):
            await client.send("here")
            assert await world.within(client.recv()) == "here"
            assert not world.heads

    run(body())


def test_a_reader_too_slow_for_its_tls_socket_is_closed(run: Run, world: Any, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    trusting = ssl.create_default_context(cafile=certificate)

    async def body() -> None:
        world.echo = False
        limits = {"max_buffer_bytes": 500_000, "close_timeout_s": 0.2}
        async with world.serve(tls=server_context(certificate, key), limits=limits):
            client = await connect(
                f"wss://127.0.0.1:{world.port}/", ssl=trusting, max_queue=1, ping_interval=None, close_timeout=1
            )
            await world.until(lambda: world.sessions)
            while not world.sessions[0].closed_count:
                world.sessions[0].peer.send(b"t" * 100_000)
                await asyncio.sleep(0.001)
            assert world.front.statistics().slow == 1
            client.transport.abort()
            await client.wait_closed()

    run(body())


def test_plain_http_on_a_tls_port_disturbs_nobody(run: Run, world: Any, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")

    async def body() -> None:
        async with world.serve(tls=server_context(certificate, key)):
            raw = await world.raw(upgrade=False)
            await raw.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await raw.read_to_end()
            trusting = ssl.create_default_context(cafile=certificate)
            async with connect(f"wss://127.0.0.1:{world.port}/", ssl=trusting) as client:
                await client.send("x")
                assert await world.within(client.recv()) == "x"

    run(body())


def test_a_client_that_never_shakes_hands_is_dropped_in_time_and_does_not_hold_up_a_stop(
    run: Run, world: Any, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, "server")

    async def body() -> None:
        world.clients_stay = True
        async with world.serve(tls=server_context(certificate, key), limits={"head_timeout_s": 0.1}):
            silent = await world.raw(upgrade=False)
            assert await silent.read_to_end() == b""
        async with world.serve(tls=server_context(certificate, key), limits={"head_timeout_s": 60}):
            silent = await world.raw(upgrade=False)
            await silent.write(b"\x16\x03")
            trusting = ssl.create_default_context(cafile=certificate)
            async with connect(f"wss://127.0.0.1:{world.port}/", ssl=trusting):
                pass
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 5

    run(body())


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "one")
    _, other_key = make_certificate(tmp_path, "two")
    _, locked_key = make_certificate(tmp_path, "three", passphrase=b"secret")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no PEM")
    for arguments, message in (
        (("", key), "TLS_CERTIFICATE: is not set, but TLS_KEY is"),
        ((str(tmp_path / "missing"), key), "TLS_CERTIFICATE: cannot read .*missing: No such file"),
        ((certificate, str(tmp_path / "missing")), "TLS_KEY: cannot read .*missing: No such file"),
        ((certificate, other_key), "TLS_KEY: the key in .*two.key does not belong to the certificate in .*one.pem"),
        ((certificate, locked_key), "TLS_KEY: the key has a passphrase"),
        ((str(nonsense), key), "TLS_CERTIFICATE: no usable PEM"),
        ((certificate, ""), r"must hold the key too"),
    ):
        with pytest.raises(SettingsError, match=message):
            server_context(*arguments)
    assert server_context(certificate, key).minimum_version >= ssl.TLSVersion.TLSv1_2
