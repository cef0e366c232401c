"""Students of several families in one sweep: the store holds the measures of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tsframe
from tests.toy import Asked
from tsframe import Gaussian, Linear, LinearTeacher, MLP, Ridge, run, SGD, Sloppy, Sweep, Trial
from tsframe.verification import verify


def compared(family: str, n_train: int, seed: int) -> Trial:
    network = family == "network"
    return Trial(
        inputs=Gaussian(dim=6, spectrum=Sloppy(0.1)),
        teacher=LinearTeacher(noise=0.1),
        student=MLP(5) if network else Linear(),
        training=SGD(lr=0.01, max_steps=20) if network else Ridge(),
        curve_steps=(0, 10, 20) if network else (),
        n_train=n_train,
        n_test=30,
        seed=seed,
    )


class Lazy(Asked):
    """Gives no cube of one, though it may have been asked for."""

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        dataset = Asked.train_together(trials, device, threads)
        if "cube" in dataset:
            dataset["cube"] = dataset["cube"].where(dataset["square"] != 1.0)
        return dataset


SWEEP = Sweep(compared, family=["network", "linear"], n_train=[10, 20], seed=range(2))


@pytest.mark.parametrize("chunk", [None, {"family": 1}, {"family": 2}])
def test_a_measure_is_nan_where_a_student_has_none(tmp_path: Path, chunk: dict[str, int]) -> None:
    results = run(SWEEP, tmp_path / "mixed.zarr", n_jobs=1, chunk=chunk, progress=False)
    families = {"steps": "network", "distance_from_init": "network", "rank": "linear"}
    for name, family in families.items():
        there = results[name].notnull()
        assert there.sel(family=family).all()
        assert not there.drop_sel(family=family).any()
    curves = results.train_error_curve.notnull()
    assert curves.sel(family="network").all() and not curves.sel(family="linear").any()
    assert results.test_error.notnull().all()
    for k, trial in enumerate(SWEEP.trials()):
        alone = tsframe.train([trial])
        place = np.unravel_index(k, SWEEP.shape)
        for name in trial.declared:
            assert np.array_equal(results[name].values[place], alone[name].values[0]), name


def test_a_mixed_store_is_settled_and_verified(tmp_path: Path) -> None:
    path = tmp_path / "mixed.zarr"
    before = run(SWEEP, path, n_jobs=1, progress=False)
    number = len(list((path / "runs").iterdir()))
    assert run(SWEEP, path, n_jobs=1, progress=False).identical(before)
    assert len(list((path / "runs").iterdir())) == number  # nothing was trained
    assert verify(path, 4, SWEEP).code == 0


def test_a_mixed_store_grows(tmp_path: Path) -> None:
    path = tmp_path / "mixed.zarr"
    small = run(SWEEP.over(family=["linear"]), path, n_jobs=1, progress=False)
    whole = run(SWEEP, path, n_jobs=1, progress=False)
    assert whole.test_error.notnull().all()
    assert whole["steps"].sel(family="network").notnull().all()
    assert whole["steps"].sel(family="linear").isnull().all()
    old = whole.test_error.sel(family="linear").values
    assert np.array_equal(old, small.test_error.squeeze("family").values)


def test_what_a_trial_declares_it_must_give(tmp_path: Path) -> None:
    sweep = Sweep(lambda x, asked: Lazy(x, asked=("cube",) * asked), x=[1.0, 2.0], asked=[0, 1])
    results = run(sweep, tmp_path / "toy.zarr", n_jobs=1, progress=False)
    assert results["cube"].notnull().values.tolist() == [[False, False], [False, True]]
    assert results["square"].notnull().values.tolist() == [[True, False], [True, True]]
