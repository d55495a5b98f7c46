"""Serves the dashboard: one document for every page of it, and the files that it loads.

Rules: a fixed list of files is read at the start, so no path of a request ever reaches the disk; the document is never
stored by a browser, a file for ever, because its address holds a digest of all files; every answer carries the same
strict policy, under which nothing runs that is not one of these files.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

STATIC: Final = Path(__file__).parent / "static"
DOCUMENT: Final = "index.html"
ASSETS_MARK: Final = "{{assets}}"
"""Stands in the document where the directory of the files goes."""

PAGES: Final = (
    "/",
    "/projects",
    "/projects/{path:path}",
    "/settings",
    "/settings/{path:path}",
    "/device",
    "/invitations/{path:path}",
)
"""Addresses that people see; which page each one is, the document's router decides."""

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Trusted types: not even our own files may turn a text into markup."""

HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # addresses of invitations and devices are not for others
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"
GZIP_FROM_BYTES: Final = 1_000
"""Below this the packing costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent.

    Attributes:
        packed: the same by gzip, or None where that saves nothing.
        etag: quoted digest of the content.
    """

    content: bytes
    packed: bytes | None
    content_type: str
    etag: str


class Dashboard:
    """The files, read once.

    Attributes:
        digest: of all files, in the address of each.
    """

    def __init__(self, directory: Path = STATIC) -> None:
        files = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.suffix in CONTENT_TYPES
        }
        document = files.pop(DOCUMENT)
        self.digest = _digest(files)
        self._assets = {name: _asset(name, content) for name, content in files.items()}
        self._document = _asset(DOCUMENT, document.replace(ASSETS_MARK.encode(), f"/assets/{self.digest}".encode()))

    async def page(self, request: Request) -> Response:
        """The document."""
        return _answer(request, self._document, "no-store")

    async def asset(self, request: Request) -> Response:
        """A file; one that is asked for under another digest is what there is now, not to be kept.

        So a page that was loaded just before an update, or from another replica, still starts.
        """
        found = self._assets.get(request.path_params["path"])
        if found is None:
            return Response("there is nothing at this path\n", 404, {**HEADERS, "cache-control": "no-store"})
        return _answer(request, found, FOR_EVER if request.path_params["digest"] == self.digest else "no-cache")


def dashboard_routes(directory: Path = STATIC) -> list[BaseRoute]:
    """The routes of the dashboard, to be put behind those of the API."""
    dashboard = Dashboard(directory)
    pages: list[BaseRoute] = [Route(path, dashboard.page, methods=["GET"], include_in_schema=False) for path in PAGES]
    return [*pages, Route("/assets/{digest}/{path:path}", dashboard.asset, methods=["GET"], include_in_schema=False)]


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _asset(name: str, content: bytes) -> Asset:
    packed = gzip.compress(content, mtime=0) if len(content) >= GZIP_FROM_BYTES else None
    return Asset(content, packed, CONTENT_TYPES[Path(name).suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _answer(request: Request, asset: Asset, cache: str) -> Response:
    headers = {**HEADERS, "cache-control": cache, "etag": asset.etag, "vary": "accept-encoding"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    content = asset.content
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content = asset.packed
        headers["content-encoding"] = "gzip"
    return Response(content, 200, headers, media_type=asset.content_type)
