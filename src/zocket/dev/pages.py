"""What a browser gets from the port of `zocket serve` and `zocket dev`: the app's page, and our browser client.

Rules: only files of known kinds, below the directory of the app's module, no hidden ones, whatever the path is spelled
like and wherever symbolic links lead; nothing of that directory unless there is an `index.html`, which is how somebody
says that it holds a page. Every request looks again, so an edited page needs no restart.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.dev.status import StatusFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zocket.sockets.connection import Answer, Route

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""Every kind of file that is served; the rest of a project (sources, settings, databases) is not for browsers."""

INDEX: Final = "index.html"
CONFIG_PATH: Final = "/zocket-config.json"
"""Asked by `gatewayUrl()` of the browser client."""

STATIC: Final = Path(__file__).parent / "static"
"""Files that every page can load, such as `/zocket.js`."""
DEFAULT_PAGE: Final = Path(__file__).parent / "default.html"
"""The page of an app that has none."""


class Pages(Mapping[str, "Route"]):
    """Routes by path, for the front; looked up at each request.

    Args:
        directory: where the app's page may be; None for none.
        title: names the app on the default page.
        actors: the actor types, for the default page.
        url: where pages are to connect to; None is the address that the page itself came from, which also holds
            behind a tunnel or a proxy.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        title: str = "",
        actors: Callable[[], Sequence[str]] = tuple,
        url: str | None = None,
    ) -> None:
        self._directory = directory.resolve() if directory is not None else None
        self._title = title
        self._actors = actors
        self._url = url

    def __getitem__(self, path: str) -> Route:
        """The route of a decoded path.

        Raises:
            KeyError: nothing is served there.
        """
        if path == CONFIG_PATH:
            return self._config
        page = self._page_directory()
        for root in (page, STATIC):
            if root is not None and (file := find(root, path)) is not None:
                return _File(file)
        if path == "/":
            return self._default
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        return iter(("/", CONFIG_PATH, *(f"/{file.name}" for file in sorted(STATIC.iterdir()))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _page_directory(self) -> Path | None:
        directory = self._directory
        return directory if directory is not None and (directory / INDEX).is_file() else None

    async def _config(self) -> Answer:
        return 200, CONTENT_TYPES[".json"], json.dumps({"url": self._url}).encode()

    async def _default(self) -> Answer:
        page = await asyncio.to_thread(DEFAULT_PAGE.read_text, "utf-8")
        # Inside a script element only `<` could end it.
        about = json.dumps({"actors": list(self._actors())}).replace("<", "\\u003c")
        page = page.replace("{{about}}", about).replace("{{title}}", html.escape(self._title))
        return 200, CONTENT_TYPES[".html"], page.encode()


def platform_pages(directory: Path, status: Path) -> Pages:
    """The pages of the gateway of `zocket dev`.

    Args:
        directory: where the app's page may be.
        status: the status file of the platform, for the page about the app.
    """
    file = StatusFile(status)
    return Pages(directory, title=file.read().get("target", ""), actors=lambda: file.read().get("actors", ()))


class _File:
    """One file; read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self) -> Answer:
        try:
            content = await asyncio.to_thread(self._path.read_bytes)
        except OSError:  # it went away in between
            return 404, CONTENT_TYPES[".txt"], b"there is nothing at this path\n"
        return 200, CONTENT_TYPES[self._path.suffix.lower()], content


def find(root: Path, path: str) -> Path | None:
    """The file that a decoded path means below a root, or None if it may not be served.

    A directory is its `index.html`. Nothing here trusts the path: it may hold dots, backslashes, zero bytes, anything.
    """
    if not path.startswith("/") or "\\" in path or "\0" in path:
        return None
    parts = path[1:].split("/")
    if parts[-1] == "":
        parts[-1] = INDEX
    if any(part == "" or part.startswith(".") for part in parts):
        return None
    file = root.joinpath(*parts)
    if file.suffix.lower() not in CONTENT_TYPES:
        return None
    try:
        real = file.resolve(strict=True)
        inside = real.is_relative_to(root.resolve()) and real.is_file()
    except (OSError, ValueError, RuntimeError):  # no such file; a name that cannot be; a loop of links
        return None
    hidden = inside and any(part.startswith(".") for part in real.relative_to(root.resolve()).parts)
    return real if inside and not hidden and real.suffix.lower() in CONTENT_TYPES else None
