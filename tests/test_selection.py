from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.toy import Square
from tsframe.execution import CellFailed, run
from tsframe.opening import open_store
from tsframe.plan import plan
from tsframe.selection import choose, parse_choice
from tsframe.sweep import Sweep

AXES: dict[str, Any] = {
    "slope": (0.3, 0.1, 0.2),
    "width": (10, 30),
    "bias": (True, False),
    "teacher": ("linear", "mlp"),
}
SHAPE = (3, 2, 2, 2)

CHOICES: dict[str, tuple[dict[str, Any], Callable[..., bool]]] = {
    "one value": ({"width": 10}, lambda s, w, b, t: w == 10),
    "a list": ({"slope": [0.1, 0.3]}, lambda s, w, b, t: s in (0.1, 0.3)),
    "rounded": ({"slope": [0.1 + 0.2]}, lambda s, w, b, t: s == 0.3),
    "array": ({"width": np.array([30])}, lambda s, w, b, t: w == 30),
    "a range": ({"slope": slice(0.2, 0.3)}, lambda s, w, b, t: s >= 0.2),
    "open below": ({"slope": slice(None, 0.1 + 1e-17)}, lambda s, w, b, t: s == 0.1),
    "open above": ({"slope": slice(0.15, None)}, lambda s, w, b, t: s > 0.15),
    "a float for an integer": ({"width": 10.0}, lambda s, w, b, t: w == 10),
    "boolean": ({"bias": False}, lambda s, w, b, t: not b),
    "word": ({"teacher": "mlp"}, lambda s, w, b, t: t == "mlp"),
    "two axes": ({"width": 30, "teacher": ["mlp"]}, lambda s, w, b, t: w == 30 and t == "mlp"),
    "nothing named": ({}, lambda s, w, b, t: True),
}


def expected(rule: Callable[..., bool]) -> list[bool]:
    """The plain road: ask the rule about every cell."""
    cells = Sweep(lambda slope, width, bias, teacher: None, **AXES).cells()
    return [rule(*cell.values()) for cell in cells]


@pytest.mark.parametrize("case", CHOICES)
def test_a_choice_holds_the_cells_that_agree_on_every_axis_named(case: str) -> None:
    only, rule = CHOICES[case]
    assert choose(AXES, only).shape == SHAPE
    assert choose(AXES, only).reshape(-1).tolist() == expected(rule)


WORDS: dict[str, tuple[list[str], Callable[..., bool]]] = {
    "values": (["width=10,30", "slope=0.1"], lambda s, w, b, t: s == 0.1),
    "range": (["slope=0.15:0.3"], lambda s, w, b, t: s > 0.15),
    "half open": (["slope=:0.1", "width=20:"], lambda s, w, b, t: s == 0.1 and w == 30),
    "again": (["teacher=mlp", "teacher=linear"], lambda s, w, b, t: True),
    "values and a range": (["slope=0.1,0.25:"], lambda s, w, b, t: s in (0.1, 0.3)),
    "boolean": (["bias=true"], lambda s, w, b, t: b),
}


@pytest.mark.parametrize("case", WORDS)
def test_the_command_line_chooses_the_same(case: str) -> None:
    words, rule = WORDS[case]
    chosen = choose(AXES, parse_choice(AXES, words))
    assert chosen.reshape(-1).tolist() == expected(rule)


def test_all_cells_are_chosen_by_no_choice() -> None:
    assert choose(AXES, None).all()
    assert parse_choice(AXES, []) is None


def test_a_mask_chooses_by_its_coordinates_whatever_their_order() -> None:
    mask = xr.DataArray(
        [[True, False], [False, True]],
        dims=("width", "slope"),
        coords={"width": [30, 10], "slope": [0.1, 0.3]},
    )
    rule = {(0.1, 30), (0.3, 10)}  # the slope 0.2 is not in the mask, so it is not chosen
    assert choose(AXES, mask).reshape(-1).tolist() == expected(lambda s, w, b, t: (s, w) in rule)


def test_a_plain_mask_is_taken_in_store_order() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[0, 1] = True
    assert (choose(AXES, mask) == mask).all()
    bare = xr.DataArray([True, False], dims="bias")
    assert choose(AXES, bare).reshape(-1).tolist() == expected(lambda s, w, b, t: b)


REFUSED: dict[str, tuple[Any, str]] = {
    "axis": ({"widht": 10}, "only names 'widht', which is no axis; did you mean 'width'?"),
    "far axis": ({"x": 10}, "the axes are slope, width, bias, teacher."),
    "value": ({"slope": 0.25}, "axis 'slope' has no value 0.25; the nearest are 0.3 and 0.2."),
    "word": ({"teacher": "mpl"}, "axis 'teacher' has no value 'mpl'; the nearest are 'mlp'."),
    "not a word": ({"teacher": 3}, "axis 'teacher' has no value 3; the nearest are 'linear' or"),
    "not a number": ({"width": "ten"}, "axis 'width' has no value 'ten'; the nearest are"),
    "true is no number": ({"width": True}, "axis 'width' has no value True"),
    "one is not true": ({"bias": 1}, "axis 'bias' has no value 1; the nearest are True or False."),
    "empty range": (
        {"slope": slice(0.4, 0.5)},
        "axis 'slope' has no value from 0.4 to 0.5; it goes from 0.1 to 0.3.",
    ),
    "range of words": ({"teacher": slice("a", "z")}, "axis 'teacher' has no numbers, so no range"),
    "step": ({"slope": slice(0.1, 0.3, 2)}, "by a slice with a step; give low and high alone."),
    "ends": ({"slope": slice("a", None)}, "the ends of a range are numbers."),
    "nothing": ({"slope": []}, "only chooses none of the 24 cells; choose at least one."),
    "empty mask": (np.zeros(SHAPE, bool), "only chooses none of the 24 cells"),
    "shape": (
        np.ones((3, 2), bool),
        "only is a mask of shape (3, 2); the grid is slope 3 x width 2 x bias 2 x teacher 2.",
    ),
    "numbers": (np.ones(SHAPE), "or be a mask of booleans over the grid; got ndarray of float64."),
    "dim": (xr.DataArray([True], dims="step"), "only names 'step', which is no axis"),
    "length": (
        xr.DataArray([True], dims="slope"),
        "only is a mask with 1 values along 'slope' and no coordinates there; the grid is",
    ),
    "coordinate": (
        xr.DataArray([True], dims="slope", coords={"slope": [0.4]}),
        "axis 'slope' has no value 0.4; the nearest are 0.3 and 0.2.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_choice_that_fits_no_cell_is_refused(case: str) -> None:
    only, sentence = REFUSED[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        choose(AXES, only)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("word", ["width", "width=", "=10"])
def test_a_choice_of_the_command_line_needs_an_axis_and_a_value(word: str) -> None:
    with pytest.raises(ValueError, match=r"write axis=value,value or axis=low:high|no axis"):
        parse_choice(AXES, [word])


def test_a_run_trains_what_is_chosen_and_nothing_else(tmp_path: Path) -> None:
    def trial(slope: float, seed: int) -> Square:
        return Square(slope * (seed + 1))

    sweep = Sweep(trial, slope=[0.3, 0.1, 0.2], seed=range(4))
    whole = run(sweep, tmp_path / "whole.zarr", n_jobs=1, progress=False)
    path = tmp_path / "part.zarr"
    only = {"slope": slice(0.2, None), "seed": [0, 3]}
    assert plan(sweep, path, only=only).pending == 4
    part = run(sweep, path, n_jobs=1, chunk={"slope": 2, "seed": 3}, only=only, progress=False)
    chosen = (part["slope"] >= 0.2) & part["seed"].isin([0, 3])
    assert (part["state"] == chosen).all()
    assert (
        part["square"].where(chosen, drop=True).identical(whole["square"].where(chosen, drop=True))
    )

    # what has not been trained yet, as the results themselves say it
    rest = run(sweep, path, n_jobs=1, only=part["state"] == 0, progress=False)
    assert (rest["state"] == 1).all()
    keep = ["square", "curve", "state"]
    assert rest[keep].drop_attrs().identical(whole[keep].drop_attrs())
    attempts = rest["ledger"].sel(entry="attempts")
    assert (attempts == 1).all()


def test_a_run_that_fails_fast_ends_at_the_first_failure_and_keeps_what_was_done(
    tmp_path: Path,
) -> None:
    sweep = Sweep(lambda seed: Square(seed, "raises" if seed == 3 else "well"), seed=range(40))
    path = tmp_path / "s.zarr"
    with pytest.raises(CellFailed) as caught:
        run(sweep, path, n_jobs=1, chunk={"seed": 1}, fail_fast=True, progress=False)
    assert "the cell (seed=3) failed, and this run ends at the first" in str(caught.value)
    assert "ValueError: no square of 3" in str(caught.value)
    state = open_store(path)["state"]
    assert int(state[3]) == 2
    assert 0 < int((state == 0).sum()) < 39
    done = int((state == 1).sum())
    dataset = run(sweep, path, n_jobs=1, only={"seed": slice(0, 2)}, fail_fast=True, progress=False)
    assert done <= int((dataset["state"] == 1).sum()) <= done + 3
