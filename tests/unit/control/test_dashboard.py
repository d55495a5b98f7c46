from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette

from zocket.control.dashboard import dashboard_routes
from zocket.control.dashboard.pages import CONTENT_SECURITY_POLICY, STATIC

if TYPE_CHECKING:
    from pathlib import Path


def client(directory: Path = STATIC) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Starlette(routes=dashboard_routes(directory)))
    return httpx.AsyncClient(transport=transport, base_url="http://control", headers={"accept-encoding": "identity"})


PAGES = [
    "/",
    "/projects",
    "/projects/map-team",
    "/projects/map-team/deployments/dep_1",
    "/settings",
    "/settings/workspaces/wsp_1",
    "/device",
    "/invitations/some-token",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_address_of_the_dashboard_is_the_same_document_under_a_strict_policy(path: str) -> None:
    async with client() as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200
    assert "<title>Zocket</title>" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_policy_lets_only_our_own_files_run_and_no_text_become_markup() -> None:
    rules = dict(rule.split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in CONTENT_SECURITY_POLICY


async def test_every_file_that_the_document_names_is_there_and_may_be_kept_for_ever() -> None:
    async with client() as browser:
        document = (await browser.get("/")).text
        addresses = re.findall(r'(?:src|href)="(/assets/[^"]+)"', document)
        assert len(addresses) >= 6
        for address in addresses:
            answer = await browser.get(address)
            assert answer.status_code == 200, address
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_every_import_of_a_module_leads_to_a_file() -> None:
    modules = sorted(STATIC.rglob("*.js"))
    assert len(modules) > 20
    for module in modules:
        for imported in re.findall(r'from "([^"]+)"', module.read_text()):
            assert imported.startswith("."), (module, imported)
            assert (module.parent / imported).is_file(), (module, imported)


async def test_an_unchanged_file_is_not_sent_again() -> None:
    async with client() as browser:
        address = re.findall(r'src="(/assets/[^"]+main\.js)"', (await browser.get("/")).text)[0]
        first = await browser.get(address)
        again = await browser.get(address, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]


async def test_a_file_is_packed_for_whoever_takes_it_so() -> None:
    async with client() as browser:
        address = re.findall(r'src="(/assets/[^"]+main\.js)"', (await browser.get("/")).text)[0]
        plain = await browser.get(address)
        async with browser.stream("GET", address, headers={"accept-encoding": "gzip, br"}) as answer:
            packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content)


async def test_a_page_from_before_an_update_still_gets_files_and_keeps_none() -> None:
    async with client() as browser:
        answer = await browser.get("/assets/0123456789abcdef/main.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/x/nothing.js",
        "/assets/x/%2e%2e/pages.py",
        "/assets/x/..%2fpages.py",
        "/assets/x//etc/passwd",
        "/assets/x/index.html",
        "/assets/x/views",
    ],
)
async def test_nothing_but_the_known_files_is_served(path: str) -> None:
    async with client() as browser:
        answer = await browser.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text


async def test_another_file_changes_the_address_of_all(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script src="{{assets}}/a.js"></script>')
    (tmp_path / "a.js").write_text("1")
    async with client(tmp_path) as browser:
        before = (await browser.get("/")).text
    (tmp_path / "a.js").write_text("2")
    async with client(tmp_path) as browser:
        after = (await browser.get("/")).text
    assert before != after
    assert before.startswith('<script src="/assets/')


def test_the_pages_load_nothing_from_elsewhere_and_make_no_markup_from_text() -> None:
    for file in sorted(STATIC.rglob("*")):
        if not file.is_file():
            continue
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        placeholders = re.sub(r'(?:placeholder|pattern): "https://[^"]+"', "", text)
        assert "http://" not in placeholders, file
        assert "https://" not in placeholders, file
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="):
            assert forbidden not in text, (file, forbidden)
