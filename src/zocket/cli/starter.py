"""`zocket init`: a project to start from, with an app, a page and a test.

Rules: everything or nothing; a file that is there already is never overwritten; what is written runs as it is.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Final

import click

from zocket.cli import options, output
from zocket.errors import UsageError

FILES: Final = {
    "app.py": "app.py.txt",
    "index.html": "index.html.txt",
    "tests/test_app.py": "tests/test_app.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
}
"""What a new project has, and its templates; these end in `.txt`, so that nothing takes them for sources of ours."""


@click.command(
    cls=options.Command, short_help="Start a new project.", epilog="zocket init\nzocket init my-game --name Game"
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=".", required=False)
@click.option("--name", metavar="NAME", help="How the app is called.  [the directory's name]")
@options.as_json
def init(directory: Path, name: str | None, as_json: bool) -> None:
    """Start a project in DIRECTORY (the working directory if it is not given).

    Writes app.py with one actor, a page for it, a test, pyproject.toml and a README. Overwrites nothing.
    """
    written = write_project(directory, name or directory.resolve().name)
    if as_json:
        output.data({"directory": str(directory.resolve()), "files": written})
        return
    for file in written:
        output.line(f"  {file}")
    output.note("Next:")
    if directory != Path():
        output.note(f"  cd {directory}")
    output.note("  zocket dev app:app")


def write_project(directory: Path, title: str) -> list[str]:
    """Writes a new project; the names of its files.

    Raises:
        UsageError: one of the files is there already, or it cannot be written.
    """
    there = [file for file in FILES if (directory / file).exists() or (directory / file).is_symlink()]
    if there:
        raise UsageError(
            f"{directory.resolve()} has {', '.join(there)} already; nothing was written. Name another directory: "
            "zocket init DIRECTORY"
        )
    readable = "".join(letter for letter in title if letter.isprintable() and letter not in '<>&"\\{}').strip() or "App"
    values = {"title": readable[0].upper() + readable[1:], "name": _project_name(title)}
    templates = resources.files("zocket.cli") / "templates"
    try:
        for file, template in FILES.items():
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text("utf-8")
            for key, value in values.items():
                text = text.replace("{{" + key + "}}", value)
            with path.open("x", encoding="utf-8") as sink:
                sink.write(text)
    except OSError as error:
        raise UsageError(f"{error.filename or directory} cannot be written: {error.strerror or error}") from error
    return list(FILES)


def _project_name(title: str) -> str:
    """A name that packaging tools accept."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "app"
