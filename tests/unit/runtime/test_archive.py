from __future__ import annotations

import stat
import zipfile
from typing import TYPE_CHECKING

import pytest

from zocket.errors import BundleError
from zocket.runtime import archive
from zocket.runtime.archive import check_archive

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    target = path / "bundle.pyz"
    with zipfile.ZipFile(target, "w", method) as file:
        for name, content in members:
            if isinstance(name, zipfile.ZipInfo):
                name.compress_type = method
            file.writestr(name, content)
    return target


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_plain_files_and_directories_pass(tmp_path: Path) -> None:
    path = write(
        tmp_path, ("app.py", b"x = 1"), ("pkg/", b""), ("pkg/__init__.py", b""), (with_mode("a..b.txt", 0o100644), b"")
    )
    assert check_archive(path) == ["app.py", "pkg/", "pkg/__init__.py", "a..b.txt"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("../app.py", "outside"),
        ("pkg/../../app.py", "outside"),
        ("..", "outside"),
        ("C:/app.py", "absolute"),
        ("pkg\\app.py", "absolute"),
        ("/", "unusable"),
        (with_mode("link", stat.S_IFLNK | 0o777), "link"),
        (with_mode("pipe", stat.S_IFIFO | 0o777), "special file"),
    ],
)
def test_members_that_could_leave_the_archive_are_refused(
    tmp_path: Path, name: str | zipfile.ZipInfo, reason: str
) -> None:
    with pytest.raises(BundleError, match=reason):
        check_archive(write(tmp_path, ("app.py", b""), (name, b"x")))


def test_a_name_with_a_nul_byte_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ("appXpy", b""))
    path.write_bytes(path.read_bytes().replace(b"appXpy", b"app\0py"))
    with pytest.raises(BundleError, match="unusable"):
        check_archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["app.py", "pkg"])
def test_the_same_name_twice_is_refused(tmp_path: Path, second: str) -> None:
    with pytest.raises(BundleError, match="more than once"):
        check_archive(write(tmp_path, ("app.py", b""), ("pkg/", b""), (second, b"x")))


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    with pytest.raises(BundleError, match="3 members"):
        check_archive(write(tmp_path, ("a", b""), ("b", b""), ("c", b"")))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 10)
    with pytest.raises(BundleError, match="unpacks to 11 bytes"):
        check_archive(write(tmp_path, ("a", b"123456"), ("b", b"12345")))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="200 times"):
        check_archive(write(tmp_path, ("zeros", bytes(4 * 1024 * 1024))))


def test_a_method_that_python_cannot_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="use deflate"):
        check_archive(write(tmp_path, ("app.py", b"x = 1"), method=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("cut", [4, 60])
def test_a_damaged_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, ("app.py", b"x = 1"))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(BundleError, match="damaged"):
        check_archive(path)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, ("app.py", b"x = 1"), method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"x = 1", b"x = 2"))
    with pytest.raises(BundleError, match="damaged"):
        check_archive(path)
