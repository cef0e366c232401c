from pathlib import Path
from typing import Any

import pytest

from tests.toy import Named, Square
from tsframe.execution import run
from tsframe.spec import check_same, spec_of
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
    "axes": ({"seed": range(5), "slope": [0.3]}, "its axes are slope, activation, seed, those"),
    "values": (
        {**AXES, "slope": [0.3, 0.1]},
        "holds another sweep: slope: store [0.3, 0.1, 0.2], sweep [0.3, 0.1]; use a new store",
    ),
    "order": ({**AXES, "slope": [0.1, 0.2, 0.3]}, "slope: store [0.3, 0.1, 0.2], sweep [0.1, 0.2"),
    "kind": (
        {**AXES, "seed": [0, 1, 2, 3, 5]},
        "seed: store [0, 1, 2, 3, 4], sweep [0, 1, 2, 3, 5",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_store_refuses_other_axes(path: Path, case: str) -> None:
    axes, sentence = OTHERS[case]
    function = trial if len(axes) == 3 else lambda seed, slope: Square(seed)
    with pytest.raises(ValueError) as caught:
        run(Sweep(function, **axes), path, n_jobs=1)
    assert sentence in str(caught.value)


def test_a_store_refuses_a_changed_trial_and_says_what_changed(path: Path) -> None:
    def doubled(slope: float, activation: str, seed: int) -> Square:
        old = trial(slope, activation, seed)
        return Square(old.value, mood=old.mood, scale=2.0)

    def late(slope: float, activation: str, seed: int) -> Square:
        old = trial(slope, activation, seed)
        return Square(old.value, mood=old.mood, scale=2.0 if seed in (1, 2, 3) else 1.0)

    with pytest.raises(ValueError) as caught:
        run(Sweep(doubled, **AXES), path, n_jobs=1)
    assert (
        "the trial of cell (slope=0.3, activation='relu', seed=0) had scale=1.0, has scale=2.0; "
        "use a new store"
    ) in str(caught.value)
    with pytest.raises(ValueError, match="trials away from the corners of the grid have changed"):
        run(Sweep(late, **AXES), path, n_jobs=1)


def test_a_changed_comment_changes_nothing(path: Path) -> None:
    def reworded(slope: float, activation: str, seed: int) -> Square:  # as trial
        return trial(slope, activation, seed)

    Store.open(path).check(Sweep(reworded, **AXES))


def test_other_measures_are_refused() -> None:
    def measured(*declared: Any) -> Sweep:
        return Sweep(lambda seed: Named(seed, declared=declared), seed=range(2))

    curve = ("curve", (("step", (0.0, 1.0)),))
    spec = spec_of(measured(("error_rate", ()), curve))
    for others, sentence in {
        (curve,): "holds other measures: store error_rate, curve (step 2), sweep curve (step 2);",
        (("error_rate", ()), ("curve", (("step", (0.0, 2.0)),))): "(step 2) at other steps; use",
    }.items():
        with pytest.raises(ValueError) as caught:
            check_same("s.zarr", spec, measured(*others))
        assert sentence in str(caught.value)
