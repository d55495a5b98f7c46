"""`zocket gen`: code and documents for those who have not the app's code.

Rules: a file is written only if its content changes, and whole or not at all; without a file the text goes to standard
output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from zocket.cli import options
from zocket.cli.config import write_whole
from zocket.cli.contracts import parsed, read_contract
from zocket.cli.output import line
from zocket.cli.output import note as tell
from zocket.cli.surroundings import Surroundings, pass_surroundings
from zocket.contract.asyncapi import asyncapi, json_schemas
from zocket.contract.python import python
from zocket.contract.typescript import typescript
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from zocket.cli.project import ProjectConfig
    from zocket.contract import Contract

GENERATORS: Final[Mapping[str, Callable[[Contract, str], str]]] = {
    "ts": lambda contract, _: typescript(contract),
    "python": lambda contract, _: python(contract),
    "asyncapi": lambda contract, title: _json(asyncapi(contract, title)),
    "contract": lambda contract, _: contract.text(),
}
"""What can be made of a contract and a title, by the name of the command."""


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


def wanted_files(given: Sequence[str], config: ProjectConfig) -> dict[Path, str]:
    """Which files `zocket dev` keeps fresh, and what is in each.

    Args:
        given: `KIND=FILE` of the command line, from the working directory.
        config: what it adds to, from the directory of the project.

    Raises:
        UsageError: a kind that nobody can make.
    """
    pairs = [(kind, config.directory / file) for kind, file in config.gen.items()]
    for text in given:
        kind, equals, file = text.partition("=")
        if not equals or not file:
            raise UsageError(f'--gen: expected KIND=FILE, such as ts=web/zocket.d.ts, got "{text}"')
        pairs.append((kind, Path(file)))
    unknown = [kind for kind, _ in pairs if kind not in GENERATORS]
    if unknown:
        raise UsageError(f"nothing makes {', '.join(unknown)}; there are {', '.join(GENERATORS)}")
    return {path: kind for kind, path in pairs}


def refresh(files: Mapping[Path, str], contract: bytes, title: str) -> list[Path]:
    """Writes the files whose content is another one for this contract; gives those.

    Raises:
        UsageError: a file cannot be written, or the contract is none.
    """
    made = parsed(contract, title)
    return [path for path, kind in files.items() if write_if_changed(path, GENERATORS[kind](made, title))]


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
    _make("ts", around, app, output)


@gen.command(
    "python", cls=options.Command, short_help="A Python module.", epilog="zocket gen python chat:app -o chat_client.py"
)
@_app
@_into
@pass_surroundings
def python_module(around: Surroundings, app: str | None, output: str | None) -> None:
    """Write a Python module with models and classes that type `client.actor(CLASS, "id")`."""
    _make("python", around, app, output)


@gen.command(
    "asyncapi",
    cls=options.Command,
    short_help="AsyncAPI 3 and JSON Schemas.",
    epilog="zocket gen asyncapi chat:app -o asyncapi.json --json-schema schemas/",
)
@_app
@_into
@click.option("--json-schema", metavar="DIR", help="Write each schema as a file there, too.")
@pass_surroundings
def asyncapi_document(around: Surroundings, app: str | None, output: str | None, json_schema: str | None) -> None:
    """Write an AsyncAPI 3 document of an app, as JSON."""
    made = _make("asyncapi", around, app, output)
    if json_schema is not None:
        schemas = json_schemas(made)
        for name, schema in schemas.items():
            write_if_changed(Path(json_schema) / name, _json(schema))
        tell(f"{len(schemas)} schemas are in {json_schema}")


@gen.command(
    "contract", cls=options.Command, short_help="The contract.", epilog="zocket gen contract chat:app -o contract.json"
)
@_app
@_into
@pass_surroundings
def contract_document(around: Surroundings, app: str | None, output: str | None) -> None:
    """Write the contract of an app: what `zocket check --against FILE` compares with."""
    _make("contract", around, app, output)


def _make(kind: str, around: Surroundings, app: str | None, into: str | None) -> Contract:
    source = app or around.project_config.app
    if source is None:
        raise UsageError(f"nothing says which app: name it (zocket gen {kind} chat:app), or set [tool.zocket] app")
    made = read_contract(source, around.transport)
    text = GENERATORS[kind](made, source)
    if into is None:
        line(text.rstrip("\n"))
    else:
        tell(f"{into} {'was written' if write_if_changed(Path(into), text) else 'is up to date'}")
    return made


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
