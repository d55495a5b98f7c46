"""`zocket sim`: how it counts, and how it says which seed broke."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from zocket.cli.commands import zocket
from zocket.testing.defects import planted


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_seeds_that_keep_every_promise_end_well(jobs: list[str]) -> None:
    done = CliRunner().invoke(zocket, ["sim", "--seeds", "2", *jobs], standalone_mode=False)
    assert done.return_value == 0
    assert "2 seeds (1 with several runtimes), 200 calls, 12 faults" in done.output
    assert "0 broken" in done.output


def test_a_broken_promise_names_its_seed_and_how_to_replay_it() -> None:
    with planted("no watermark"):
        done = CliRunner().invoke(zocket, ["sim", "--seeds", "30"], standalone_mode=False)
    assert done.return_value == 1
    assert "replay: zocket sim --seed " in done.output


@pytest.mark.parametrize("options", [["--seeds", "0"], ["--seed", "x"]])
def test_numbers_that_are_none_are_usage_errors(options: list[str]) -> None:
    assert CliRunner().invoke(zocket, ["sim", *options]).exit_code == 2
