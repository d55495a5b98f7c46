"""What a browser may read of an app's directory, and what it may not, however it asks."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from zocket.dev.pages import CONTENT_TYPES, STATIC, Pages, platform_pages
from zocket.dev.status import StatusFile
from zocket.sockets.http import read_request


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An app's directory with a page, things that are nobody's business, and neighbours."""
    root = tmp_path / "app"
    (root / "sub" / ".hidden").mkdir(parents=True)
    for name in ("index.html", "page.js", "sub/index.html", "sub/icon.SVG", "spaced name.txt"):
        (root / name).write_text(f"content of {name}")
    for name in ("app.py", ".env", ".secret.json", "data.db", "sub/.hidden/x.js", "page.js~", "Makefile"):
        (root / name).write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    (tmp_path / "app-other").mkdir()
    (tmp_path / "app-other" / "x.js").write_text("secret")
    (root / "link.js").symlink_to(tmp_path / "outside.js")
    (root / "linked").symlink_to(tmp_path / "app-other")
    (root / "source.txt").symlink_to(root / "app.py")
    (root / "hidden.js").symlink_to(root / "sub" / ".hidden" / "x.js")
    (root / "inner.js").symlink_to(root / "page.js")
    (root / "loop.js").symlink_to(root / "loop.js")
    (root / "folder.js").mkdir()
    return root


async def get(pages: Pages, path: str) -> tuple[int, str, str]:
    route = pages.get(path)
    if route is None:
        return 404, "", ""
    status, content_type, body = await route()
    return status, content_type, body.decode()


@pytest.mark.parametrize(
    ("path", "name", "content_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/sub/", "sub/index.html", "text/html; charset=utf-8"),
        ("/sub/icon.SVG", "sub/icon.SVG", "image/svg+xml"),
        ("/spaced name.txt", "spaced name.txt", "text/plain; charset=utf-8"),
        ("/inner.js", "page.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_files_of_the_page_are_served_with_their_type(
    site: Path, path: str, name: str, content_type: str
) -> None:
    assert await get(Pages(site), path) == (200, content_type, f"content of {name}")


@pytest.mark.parametrize(
    "path",
    [
        "/app.py",
        "/.env",
        "/.secret.json",
        "/data.db",
        "/page.js~",
        "/Makefile",
        "/sub",
        "/sub/.hidden/x.js",
        "/sub/../app.py",
        "/../outside.js",
        "/sub/../../outside.js",
        "/./page.js",
        "//page.js",
        "//etc/passwd.txt",
        "/sub//index.html",
        "/..\\outside.js",
        "/sub\\index.html",
        "/page.js\0",
        "/app.py\0.js",
        "/%2e%2e/outside.js",
        "/link.js",
        "/linked/x.js",
        "/source.txt",
        "/hidden.js",
        "/loop.js",
        "/folder.js",
        "/missing.js",
        "/" + "x" * 5_000 + ".js",
        "/\udcff.js",
        "page.js",
        "",
    ],
)
async def test_nothing_else_is_served(site: Path, path: str) -> None:
    assert await get(Pages(site), path) == (404, "", "")


@pytest.mark.parametrize(
    "target",
    [
        "/%2e%2e/outside.js",
        "/..%2foutside.js",
        "/%2e%2e%2foutside.js",
        "/%252e%252e/outside.js",
        "/sub/%2e%2e/%2e%2e/outside.js",
        "/..%5coutside.js",
        "/%2eenv",
        "/app%2epy",
        "/app.py%00.js",
        "/http://x/../outside.js",
    ],
)
async def test_no_spelling_of_a_request_target_gets_out_of_the_directory(site: Path, target: str) -> None:
    request = read_request(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), "")
    assert await get(Pages(site), request.head.path) == (404, "", "")


async def test_an_encoded_name_is_the_name(site: Path) -> None:
    target = quote("/spaced name.txt")
    request = read_request(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), "")
    assert (await get(Pages(site), request.head.path))[0] == 200


async def test_a_page_that_is_edited_is_served_as_it_is_now(site: Path) -> None:
    pages = Pages(site)
    assert (await get(pages, "/page.js"))[2] == "content of page.js"
    (site / "page.js").write_text("edited")
    assert (await get(pages, "/page.js"))[2] == "edited"
    route = pages["/page.js"]
    (site / "page.js").unlink()
    assert (await route())[0] == 404


async def test_a_directory_without_an_index_is_no_page_and_serves_nothing_of_its_own(site: Path) -> None:
    (site / "index.html").unlink()
    pages = Pages(site, title="<b>&chat", actors=lambda: ["chat", "</script><script>alert(1)"])
    assert await get(pages, "/page.js") == (404, "", "")
    status, content_type, body = await get(pages, "/")
    assert (status, content_type) == (200, "text/html; charset=utf-8")
    assert "<h1>&lt;b&gt;&amp;chat</h1>" in body
    assert "alert(1)" in body
    assert "</script><script>alert" not in body


async def test_an_app_without_a_directory_has_the_page_about_itself() -> None:
    assert (await get(Pages(None), "/"))[0] == 200


async def test_the_browser_client_is_always_there_unless_the_page_has_its_own(site: Path) -> None:
    pages = Pages(site)
    assert await get(pages, "/zocket.js") == (200, CONTENT_TYPES[".js"], (STATIC / "zocket.js").read_text())
    (site / "zocket.js").write_text("own")
    assert (await get(pages, "/zocket.js"))[2] == "own"


async def test_the_config_says_where_to_connect_or_leaves_it_to_the_pages_origin(site: Path) -> None:
    assert json.loads((await get(Pages(site, url="ws://127.0.0.1:3000"), "/zocket-config.json"))[2]) == {
        "url": "ws://127.0.0.1:3000"
    }
    assert json.loads((await get(Pages(site), "/zocket-config.json"))[2]) == {"url": None}


async def test_the_page_of_the_platform_knows_the_actors_of_its_status_file(tmp_path: Path) -> None:
    with StatusFile(tmp_path / "status.json").published(target="chat:app") as status:
        pages = platform_pages(tmp_path, tmp_path / "status.json")
        assert '{"actors": []}' in (await get(pages, "/"))[2]
        status.update(actors=("chat", "lobby"))
        body = (await get(pages, "/"))[2]
    assert "<h1>chat:app</h1>" in body
    assert '{"actors": ["chat", "lobby"]}' in body


def test_it_lists_what_is_always_there() -> None:
    assert {"/", "/zocket-config.json", "/zocket.js"} <= set(Pages(None))
    assert len(Pages(None)) == len(list(Pages(None)))
