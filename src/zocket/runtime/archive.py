"""Checks of a bundle archive before anything in it is imported.

Rules: an archive is refused whole, with the member's name in the message; what passes has only plain files and
directories below its root, each once, within the limits, and Python can import from it.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from zocket.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

MAX_MEMBERS: Final = 10_000
"""Files and directories of one archive; an app with all its dependencies has some thousands."""
MAX_TOTAL_BYTES: Final = 512 * 1024 * 1024
"""All files together, unpacked."""
MAX_RATIO: Final = 200
"""Unpacked size over packed size of a file of more than a megabyte; source code reaches 5 to 20."""
RATIO_FROM_BYTES: Final = 1024 * 1024

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_archive(path: Path) -> list[str]:
    """The names of an archive's members, all of them harmless.

    Raises:
        BundleError: the archive is damaged, or one of its members is not acceptable; the message names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise BundleError(f"bundle: the archive has {len(members)} members, the limit is {MAX_MEMBERS}")
            seen: set[str] = set()
            for member in members:
                _check_member(member)
                name = member.filename.rstrip("/")
                if name in seen:
                    raise BundleError(f"bundle: the archive has {name!r} more than once")
                seen.add(name)
            total = sum(member.file_size for member in members)
            if total > MAX_TOTAL_BYTES:
                raise BundleError(f"bundle: the archive unpacks to {total} bytes, the limit is {MAX_TOTAL_BYTES}")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise BundleError(f"bundle: the archive is damaged: {error}") from error
    if damaged is not None:
        raise BundleError(f"bundle: the archive is damaged: {damaged!r} has a wrong checksum")
    return [member.filename for member in members]


def _check_member(member: zipfile.ZipInfo) -> None:
    # `orig_filename` is what the file says; `filename` is already cut at a NUL byte and has its separators changed.
    name = member.orig_filename
    path = PurePosixPath(name)
    if not name.strip("/") or "\0" in name or "\\" in name or path.is_absolute() or name[1:2] == ":":
        raise BundleError(f"bundle: the archive has a member with an unusable or absolute path: {name[:200]!r}")
    if ".." in path.parts:
        raise BundleError(f"bundle: the archive has a member outside of its root: {name[:200]!r}")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BundleError(f"bundle: the archive has a link or a special file: {name[:200]!r}")
    if member.flag_bits & 0x1:
        raise BundleError(f"bundle: the archive has an encrypted member: {name[:200]!r}")
    if member.compress_type not in _METHODS:
        raise BundleError(f"bundle: {name[:200]!r} is packed in a way Python cannot import; use deflate")
    if member.file_size > RATIO_FROM_BYTES and member.file_size > MAX_RATIO * max(1, member.compress_size):
        raise BundleError(f"bundle: {name[:200]!r} unpacks to more than {MAX_RATIO} times its size")
