from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy import Named, Square
from tsframe.execution import run
from tsframe.spec import fit, spec_of
from tsframe.store import Store
from tsframe.sweep import Sweep


def trial(slope: float, activation: str, seed: int) -> Square:
    return Square(slope + seed)


AXES: dict[str, Any] = {"slope": [0.3, 0.1, 0.2], "activation": ["relu", "tanh"], "seed": range(5)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Store.create(tmp_path / "s.zarr", Sweep(trial, **AXES), (2, 1, 2))
    return tmp_path / "s.zarr"


OTHERS: dict[str, tuple[Any, str]] = {
    "axes": (
        {"seed": range(5), "slope": [0.3]},
        "holds another sweep: its axes are slope, activation, seed, those of this sweep seed, "
        "slope; a store cannot gain, lose or reorder axes: use a new store",
    ),
    "kind": (
        {**AXES, "slope": [1, 2]},
        "slope: store [0.3, 0.1, 0.2], sweep [1, 2], of another type; use a new store",
    ),
    "near": (
        {**AXES, "slope": [0.1 + 0.2]},
        "s.zarr and the sweep together: axis 'slope': 0.3 and 0.30000000000000004 differ by 1 ulp",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_store_refuses_axes_that_do_not_fit(path: Path, case: str) -> None:
    axes, sentence = OTHERS[case]
    function = trial if len(axes) == 3 else lambda seed, slope: Square(seed)
    before = (path / "zarr.json").read_bytes()
    with pytest.raises(ValueError) as caught:
        run(Sweep(function, **axes), path, n_jobs=1)
    assert sentence in str(caught.value)
    assert (path / "zarr.json").read_bytes() == before
    assert not (path / "runs" / "spec-2.json").exists()


def test_a_sweep_is_found_in_the_order_of_its_store() -> None:
    spec = spec_of(Sweep(trial, **AXES))
    other = Sweep(trial, slope=[0.1, 0.15, 0.3], activation=["tanh"], seed=[7, 3])
    found = fit("s.zarr", spec, other)
    assert found.whole.axes == {
        "slope": (0.3, 0.1, 0.2, 0.15),
        "activation": ("relu", "tanh"),
        "seed": (0, 1, 2, 3, 4, 7),
    }
    assert found.values == {"slope": (0.15,), "seed": (7,)}
    assert str(found) == "slope [0.15], seed [7]"
    cells = [found.whole.cell(number) for number in found.cells.reshape(-1).tolist()]
    assert cells == list(other.cells())
    mine = found.spread(np.ones(other.shape, bool))
    assert mine.sum() == other.size
    assert mine[1, 1, 5] and not mine[2].any()
    one = np.zeros(other.shape, bool)
    one[1, 0, 0] = True  # slope 0.15, tanh, seed 7
    assert np.argwhere(found.spread(one)).tolist() == [[3, 1, 5]]


def test_rows_of_a_store_keep_their_place_when_it_grows() -> None:
    found = fit("s.zarr", spec_of(Sweep(trial, **AXES)), Sweep(trial, **{**AXES, "slope": [9.0]}))
    rows = np.arange(3 * 2 * 5 * 2.0).reshape(3, 2, 5, 2)
    assert np.array_equal(found.embedded(rows)[:3], rows)
    assert not found.embedded(rows)[3:].any()


def test_a_store_refuses_a_changed_trial_and_says_what_changed(path: Path) -> None:
    def doubled(slope: float, activation: str, seed: int) -> Square:
        old = trial(slope, activation, seed)
        return Square(old.value, mood=old.mood, scale=2.0)

    def late(slope: float, activation: str, seed: int) -> Square:
        old = trial(slope, activation, seed)
        return Square(old.value, mood=old.mood, scale=2.0 if seed in (1, 2, 3) else 1.0)

    more = {**AXES, "slope": [0.5, 0.3]}  # the old cells are checked, whatever is new
    for axes in (AXES, more):
        with pytest.raises(ValueError) as caught:
            run(Sweep(doubled, **axes), path, n_jobs=1)
        assert (
            "the trial of cell (slope=0.3, activation='relu', seed=0) had scale=1.0, has "
            "scale=2.0; use a new store"
        ) in str(caught.value)
        with pytest.raises(ValueError, match="trials away from the corners of the grid have chan"):
            run(Sweep(late, **axes), path, n_jobs=1)


def test_a_changed_comment_changes_nothing(path: Path) -> None:
    def reworded(slope: float, activation: str, seed: int) -> Square:  # as trial
        return trial(slope, activation, seed)

    assert not Store.open(path).fit(Sweep(reworded, **AXES)).grows


def test_measures_may_be_added_but_not_left_out_or_changed() -> None:
    def measured(*declared: Any) -> Sweep:
        return Sweep(lambda seed: Named(seed, names=declared), seed=range(2))

    curve = ("curve", (("step", (0.0, 1.0)),))
    spec = spec_of(measured(("error_rate", ()), curve))
    for others, sentence in {
        (curve,): "holds other measures: store error_rate, curve (step 2), sweep curve (step 2);",
        (("error_rate", ()), ("curve", (("step", (0.0, 2.0)),))): "(step 2) at other steps; mea",
    }.items():
        with pytest.raises(ValueError) as caught:
            fit("s.zarr", spec, measured(*others))
        assert sentence in str(caught.value)
