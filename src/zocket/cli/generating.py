"""`zocket gen`: code and documents for those who have not the app's code.

Rules: a file is written only if its content changes, and whole or not at all; without a file the text goes to standard
output.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zocket.cli import options, output
from zocket.cli.config import write_whole
from zocket.cli.contracts import read_contract
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.contract.typescript import typescript
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zocket.contract import Contract

GENERATORS: Final[Mapping[str, Callable[[Contract], str]]] = {"ts": typescript}
"""What can be made of a contract, by the name of its command."""


def write_if_changed(path: Path, text: str) -> bool:
    """Writes a file unless it has this content already; whether it did.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if path.is_file() and path.read_text("utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return True


@click.group(
    cls=options.Commands,
    short_help="Make typed clients and documents of an app.",
    epilog="zocket gen ts chat:app -o web/zocket.d.ts\n"
    "zocket gen python https://chat.example.com/schema -o chat_client.py\n"
    "zocket gen asyncapi chat:app --json-schema schemas/",
)
def gen() -> None:
    """Make typed clients and documents of an app, for those who have not its code.

    APP is MODULE:ATTR, a file with a contract, or the address of one (`/schema` of a server); by default what
    `[tool.zocket] app` says.
    """


_app: Final = click.argument("app", required=False)
_into: Final = click.option("--output", "-o", metavar="FILE", help="Write there.  [standard output]")


@gen.command(cls=options.Command, short_help="TypeScript declarations.", epilog="zocket gen ts chat:app -o zocket.d.ts")
@_app
@_into
@pass_surroundings
def ts(around: Surroundings, app: str | None, output: str | None) -> None:
    """Write TypeScript declarations of an app's actors: states, methods, events and streams."""
    _deliver(typescript(_contract(around, app)), output)


def _contract(around: Surroundings, app: str | None) -> Contract:
    source = app or around.project_config.app
    if source is None:
        raise UsageError("nothing says which app: name it (zocket gen ts chat:app), or set [tool.zocket] app")
    return read_contract(source, around.transport)


def _deliver(text: str, into: str | None) -> None:
    if into is None:
        output.line(text.rstrip("\n"))
    else:
        output.note(f"{into} {'written' if write_if_changed(Path(into), text) else 'is up to date'}")
