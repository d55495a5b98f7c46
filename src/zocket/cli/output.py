"""What commands write: data on standard output, everything about the work on standard error.

Rules: what came from a server or a log is written without control characters, so that no text of somebody else steers
the terminal; progress and colours only on a terminal; `--json` leaves standard output to one JSON document.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_CONTROLS: Final = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09}
CHUNK_BYTES: Final = 64 * 1024
"""Between two steps of an upload's progress."""

TONES: Final = {
    "active": "green",
    "failed": "red",
    "starting": "yellow",
    "smoke": "yellow",
    "stored": "yellow",
    "deploying": "yellow",
}
"""Colours of the words for how a deployment or a project is."""


class Styled(str):
    """Text of our own making, with colours: written as it is."""

    __slots__ = ()


def clean(text: object) -> str:
    """Text without control characters; None is empty."""
    if isinstance(text, Styled):
        return text
    return "" if text is None else str(text).translate(_CONTROLS)


def data(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def listing(items: Sequence[Any]) -> None:
    """A whole list as one document, in the form that the API gives its pages."""
    data({"items": list(items), "next": None})


def line(text: str = "") -> None:
    """One line for a person, on standard output."""
    click.echo(text)


def note(text: str) -> None:
    """One line about the work, on standard error."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """One line that should not be missed, on standard error."""
    click.echo(f"{click.style('warning:', fg='yellow')} {text}", err=True)


def status(word: str) -> Styled:
    """A status in its colour."""
    return Styled(click.style(clean(word), fg=TONES.get(word)))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their content, on standard output."""
    lines = [[click.style(title, bold=True) for title in titles]]
    lines += [list(map(clean, row)) for row in rows]
    widths = [max(len(click.unstyle(row[column])) for row in lines) for column in range(len(titles))]
    for row in lines:
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def facts(values: Mapping[str, object]) -> None:
    """Names and values below each other; empty values are left out."""
    shown = {name: value for name, value in values.items() if value not in (None, "")}
    width = max(map(len, shown), default=0) + 2
    for name, value in shown.items():
        click.echo(f"{click.style(name.ljust(width), dim=True)}{clean(value)}")


def ago(at_ms: int | None, now_s: float) -> str:
    """How long ago it was, for a list."""
    if at_ms is None:
        return "never"
    seconds = max(0.0, now_s - at_ms / 1000)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def size(count: int) -> str:
    """Bytes in a unit that is easy to read."""
    if count < 10_000:
        return f"{count} B"
    return f"{count / 1_000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def uploading(content: bytes) -> Iterator[bytes]:
    """The pieces of an upload; draws its progress on a terminal."""
    pieces = (content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES))
    if not sys.stderr.isatty():
        yield from pieces
        return
    with click.progressbar(length=len(content), label="uploading", file=sys.stderr) as bar:
        for piece in pieces:
            yield piece
            bar.update(len(piece))


def clean_lines(text: str) -> str:
    """The same for several lines."""
    return "\n".join(map(clean, text.split("\n")))
