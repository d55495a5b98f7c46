"""A deployment's bundle: fetched, checked, stored, imported (R3, R4).

Rules: size and checksum are checked before anything is imported; the file appears in the bundle directory whole, under
its final name. One process imports one bundle. What a bundle's code raises is reported as the bundle's error.

Where the app is:
- A `.py` file is the module `bundle`; it is in `sys.modules` under that name, so that forward references, dataclasses
  and pickle find it.
- An archive goes to the front of `sys.path`, and its modules keep their own names. Its entry is what `zocket.json`
  names (`{"entry": "module"}` or `{"entry": "module:attribute"}`); without it the archive's only top-level module or
  package, else its `app`, else its `main`.
- In the entry module the app is `registry`, else `app`, else the only `App` there is.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import tempfile
import traceback
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zocket.core import AppDefinition
from zocket.errors import BundleError, ZocketError
from zocket.runtime.archive import check_archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from typing_extensions import Buffer

    from zocket.clock import Clock
    from zocket.runtime.control_plane import ActiveDeployment, ControlPlane

MAX_BUNDLE_BYTES: Final = 128 * 1024 * 1024
"""Largest bundle that is downloaded; the control plane stores none that is larger."""
MANIFEST: Final = "zocket.json"
"""Member of an archive that names its entry."""
_PACKAGE: Final = str(Path(__file__).parent.parent) + os.sep
MODULE_NAME: Final = "bundle"
"""Name under which a `.py` bundle is imported: always the same, so that what it pickled can be read by the next."""

_ENTRY: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<attribute>[^\W\d]\w*))?\Z")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}\Z")

log = logging.getLogger("zocket.runtime")


async def fetch(control_plane: ControlPlane, active: ActiveDeployment, directory: Path, clock: Clock) -> Path:
    """The bundle as a file `bundle-{milliseconds}.pyz` or `.py` of the directory, checked against its checksum.

    Raises:
        BundleError: it cannot be downloaded, is too large, or is not what the control plane announced.
    """
    with _aside(directory) as aside:
        if active.url is not None:
            await _download(control_plane, active, aside)
        elif active.code is not None:
            _write(aside, active.code.encode("utf-8", "surrogatepass"))
        else:
            raise BundleError("bundle: the control plane gave neither a url nor code for this deployment")
        return _keep(aside, directory, int(clock.wall() * 1000))


@contextmanager
def _aside(directory: Path) -> Iterator[Path]:
    """An empty file of the directory, which is gone afterwards unless it was renamed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".incoming-", delete=False) as file:
            path = Path(file.name)
    except OSError as error:
        raise BundleError(f"BUNDLE_DIR: {directory} cannot be written to ({error.strerror or error})") from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _keep(aside: Path, directory: Path, at_ms: int) -> Path:
    path = directory / f"bundle-{at_ms}.{_kind(aside)}"
    aside.replace(path)
    log.info("bundle stored", extra={"path": str(path), "bytes": path.stat().st_size})
    return path


async def _download(control_plane: ControlPlane, active: ActiveDeployment, aside: Path) -> None:
    if active.sha256 is None or not _SHA256.match(active.sha256):
        raise BundleError("bundle: the control plane gave no SHA-256 checksum, so the file cannot be checked")
    limit = MAX_BUNDLE_BYTES if active.size is None else active.size
    if limit > MAX_BUNDLE_BYTES:
        raise BundleError(f"bundle: {limit} bytes, the limit is {MAX_BUNDLE_BYTES}")
    digest, size = hashlib.sha256(), 0
    with aside.open("wb") as file:
        async with control_plane.download(active.url or "") as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise BundleError(f"bundle: the download is larger than the {limit} bytes that were announced")
                digest.update(chunk)
                file.write(chunk)
    if active.size is not None and size != active.size:
        raise BundleError(f"bundle: the download has {size} bytes, {active.size} were announced")
    if not hmac.compare_digest(digest.hexdigest(), active.sha256.lower()):
        raise BundleError(
            f"bundle: the checksum of the download is {digest.hexdigest()}, {active.sha256.lower()} was announced; "
            "the file was changed on its way or in the store"
        )


def _write(path: Path, content: bytes) -> None:
    if len(content) > MAX_BUNDLE_BYTES:
        raise BundleError(f"bundle: {len(content)} bytes, the limit is {MAX_BUNDLE_BYTES}")
    path.write_bytes(content)


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            return "pyz"
    if zipfile.is_zipfile(path):
        raise BundleError("bundle: the archive does not begin with PK; build it without an interpreter line")
    return "py"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an archive's app is; without an attribute it is searched for in the module."""

    module: str
    attribute: str | None = None


def load(path: Path) -> AppDefinition:
    """The app of a stored bundle, imported into this process.

    Raises:
        BundleError: it is not acceptable, cannot be imported, or has no app or several.
    """
    if path.suffix == ".pyz":
        entry = find_entry(path, check_archive(path))
        sys.path.insert(0, str(path))
        importlib.invalidate_caches()
        module = _import(entry.module)
        if entry.attribute is not None:
            return _named_app(module, entry.attribute)
    else:
        module = _import_file(path)
    return find_app(module)


def find_entry(path: Path, names: list[str]) -> Entry:
    """Which module of an archive has the app.

    Raises:
        BundleError: the manifest is wrong, or there is none and several modules could be meant.
    """
    modules = sorted(set(_top_level(names)))
    if "zocket" in modules:
        raise BundleError("bundle: the archive has its own zocket package; leave it out, the runtime brings it")
    if MANIFEST in names:
        with zipfile.ZipFile(path) as archive:
            return _manifest_entry(archive.read(MANIFEST))
    if not modules:
        raise BundleError("bundle: the archive has no Python module at its top level")
    for name in modules if len(modules) == 1 else ("app", "main"):
        if name in modules:
            return Entry(name)
    raise BundleError(
        f"bundle: the archive has the modules {', '.join(modules)}, and nothing says which one has the app; "
        f'add {MANIFEST} with {{"entry": "module:attribute"}}, or call one of them app.py or main.py'
    )


def _top_level(names: list[str]) -> Iterator[str]:
    for name in names:
        first, _, rest = name.partition("/")
        module = first.removesuffix(".py") if not rest else first if rest == "__init__.py" else ""
        if module.isidentifier() and (rest or first.endswith(".py")) and module != "__main__":
            yield module


def _manifest_entry(raw: bytes) -> Entry:
    try:
        entry = json.loads(raw)["entry"]
        match = _ENTRY.match(entry)
    except (ValueError, TypeError, LookupError, RecursionError):
        match = None
    if match is None:
        raise BundleError(f'bundle: {MANIFEST} must be {{"entry": "module"}} or {{"entry": "module:attribute"}}')
    return Entry(match["module"], match["attribute"])


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # border: the bundle's own code, at its top level
        raise _import_failed(error) from error


class _SourceLoader(SourceFileLoader):
    """Writes no bytecode beside a bundle: its file name is never used again."""

    def set_data(self, path: str, data: Buffer, *, _mode: int = 0o666) -> None:
        """See `SourceFileLoader.set_data`."""


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path, loader=_SourceLoader(MODULE_NAME, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # border: the bundle's own code, at its top level
        del sys.modules[MODULE_NAME]
        raise _import_failed(error) from error
    return module


def _import_failed(error: BaseException) -> BundleError:
    """Names the error and the bundle's own line that it comes from, not one of importlib's."""
    message = error.message if isinstance(error, ZocketError) else f"{type(error).__name__}: {error}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and Path(frame.filename).parent.name != "importlib"
    ]
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    log.error("the bundle cannot be imported", exc_info=error)
    return BundleError(f"bundle: the import failed: {message}{where}")


def _definition(value: Any) -> AppDefinition | None:
    try:
        definition = getattr(value, "definition", None)
    except Exception:  # noqa: BLE001 — border: any object of a bundle, asked for an attribute
        return None
    return definition if isinstance(definition, AppDefinition) else None


def _named_app(module: ModuleType, attribute: str) -> AppDefinition:
    definition = _definition(getattr(module, attribute, None))
    if definition is None:
        raise BundleError(f"bundle: {module.__name__}:{attribute} is no App; {_found(module)}")
    return definition


def find_app(module: ModuleType) -> AppDefinition:
    """The app of a module: `registry`, else `app`, else the only one (R4).

    Raises:
        BundleError: there is none, or several of which none has one of the two names.
    """
    for name in ("registry", "app"):
        definition = _definition(vars(module).get(name))
        if definition is not None:
            return definition
    apps = _apps(module)
    distinct = {id(definition): definition for definition in apps.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if apps:
        raise BundleError(
            f"bundle: {module.__name__} has several apps ({', '.join(apps)}); call the one to serve `app` or `registry`"
        )
    raise BundleError(f"bundle: {module.__name__} has no App; {_found(module)}")


def _apps(module: ModuleType) -> dict[str, AppDefinition]:
    found = {name: _definition(value) for name, value in vars(module).items()}
    return {name: definition for name, definition in found.items() if definition is not None}


def _found(module: ModuleType) -> str:
    names = [f"{name} ({type(value).__name__})" for name, value in vars(module).items() if not name.startswith("__")]
    return f"found: {', '.join(names[:40])}" if names else "it is empty"
