"""The `zocket` command.

Rules: a command loads only what it runs; every error that we know is a line that says what to do, and ends with exit
code 1 (2 for a command line that cannot be understood); nothing outside this package prints.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; the exit code.

    Args:
        arguments: the command line behind `zocket`; by default the process's.
    """
    try:
        import click  # noqa: F401
    except ModuleNotFoundError:
        sys.stderr.write('zocket: the command needs more than the base package: pip install "zocket[serve]"\n')
        return 1
    from zocket.cli.commands import run

    return run(arguments)
