"""Archives with any members, whole or damaged: refused with a coded error, or harmless beside another project's files.

The victim is a neighbour's directory. What passes the check is unpacked naively, name by name, and nothing outside of
its own root changes.
"""

from __future__ import annotations

import contextlib
import io
import stat
import tempfile
import warnings
import zipfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zocket.errors import BundleError
from zocket.runtime.archive import check_archive

NAMES = [
    "app.py",
    "App.py",
    "pkg/__init__.py",
    "pkg/",
    "pkg",
    "./app.py",
    "../victim/app.py",
    "pkg/../../victim/app.py",
    "..",
    "/etc/passwd",
    "//victim/app.py",
    "C:\\app.py",
    "..\\victim\\app.py",
    "app.py\x00.txt",
    "zocket.json",
    "a" * 300,
    "é.py",
    "",
    "/",
    " ",
]
names = st.sampled_from(NAMES) | st.text(max_size=12)
modes = st.sampled_from([0, stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777, stat.S_IFIFO, 0xFFFF])
contents = st.sampled_from([b"", b"app = 1", b"../victim/app.py", b"\x00" * 1_100_000]) | st.binary(max_size=30)
members = st.lists(st.tuples(names, modes, contents, st.booleans(), st.integers(0, 3)), max_size=5)
damage = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), max_size=3)


def archive(chosen: list[tuple[str, int, bytes, bool, int]], damaged: list[tuple[int, bytes]]) -> bytes:
    """An archive with these members, some of its bytes replaced."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name that is there already
        with zipfile.ZipFile(buffer, "w") as file:
            for name, mode, content, packed, flags in chosen:
                info = zipfile.ZipInfo("placeholder")
                info.filename = name
                info.external_attr = mode << 16
                info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                file.writestr(info, content)
                info.flag_bits |= flags
    whole = bytearray(buffer.getvalue())
    for place, octets in damaged:
        place %= len(whole)
        whole[place : place + len(octets)] = octets
    return bytes(whole)


def unpack_naively(file: Path, passed: list[str], root: Path) -> None:
    """As somebody would who trusts the check."""
    with zipfile.ZipFile(file) as opened:
        for name in passed:
            target = root / name
            assert target.resolve().is_relative_to(root.resolve()), name
            if name.endswith("/"):
                continue
            if len(name.encode()) < 200 and not target.is_dir() and not target.parent.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(opened.read(name))
                assert not target.is_symlink()


@settings(
    max_examples=settings().max_examples // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(members, damage)
def test_no_archive_reaches_a_neighbours_files(
    chosen: list[tuple[str, int, bytes, bool, int]], damaged: list[tuple[int, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        victim, root, file = home / "victim", home / "attacker", home / "bundle.pyz"
        victim.mkdir()
        root.mkdir()
        (victim / "app.py").write_bytes(b"the victim's app")
        file.write_bytes(archive(chosen, damaged))
        with contextlib.suppress(BundleError):
            unpack_naively(file, check_archive(file), root)
        assert sorted(path.name for path in home.iterdir()) == ["attacker", "bundle.pyz", "victim"]
        assert [path.name for path in victim.iterdir()] == ["app.py"]
        assert (victim / "app.py").read_bytes() == b"the victim's app"
