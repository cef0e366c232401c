import runpy
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tsframe.sweep import Sweep
from tsframe.trial import train

ROOT = Path(__file__).parents[1]
STUDY = runpy.run_path(str(ROOT / "sweeps" / "kernel_interpolation.py"))
ANALYSIS = runpy.run_path(str(ROOT / "analysis" / "kernel_interpolation.py"))


@pytest.fixture(scope="module")
def measured():
    """All kernels on one slope, true labels and random ones, at two sizes."""
    axes = dict(STUDY["sweep"].axes) | dict(
        inputs=["slope 0.1"], n_train=[50, 120], label_noise=[0.0, 1.0], seed=range(4)
    )
    small = Sweep(STUDY["trial"], **axes)
    results = train(small.trials(), device="cpu")
    coords = {name: list(values) for name, values in small.axes.items()}
    return xr.Dataset(
        {
            name: (small.dims, results[name].values.reshape(small.shape))
            for name in ("test_error", "weight_norm", "interpolated")
        },
        coords,
    )


def test_every_student_fits_true_and_random_labels(measured):
    assert (measured.interpolated == 1.0).all()


def test_random_labels_are_learned_at_chance_and_cost_norm(measured):
    true, random = (measured.sel(label_noise=noise) for noise in (0.0, 1.0))
    mean = random.test_error.mean("seed")  # nine classes of ten are wrong
    error = np.sqrt(0.9 * 0.1 / 900 / measured.sizes["seed"])
    # Answers of one student are not independent: thrice the error of as many coins.
    assert np.all(np.abs(mean - 0.9) < 5 * 3 * error)
    assert np.all(true.test_error.mean("seed") < mean - 0.1)
    pairs = random.weight_norm / true.weight_norm
    assert np.all(pairs.mean("seed") > 1.0)


@pytest.mark.parametrize("name", list(STUDY["students"](2)))
def test_kernels_are_one_on_the_diagonal_in_the_mean(name):
    student = STUDY["students"](100)[name]
    x = np.random.default_rng(0).standard_normal((400, 100))
    if hasattr(student, "features"):
        squares = (student.features(x, seed=0) ** 2).sum(1)
    else:
        squares = np.array([student.kernel(row[None], row[None]).item() for row in x])
    assert abs(squares.mean() - 1.0) < 5 * max(squares.std() / 20, 0.02)


def test_the_coefficient_along_one_axis_is_that_of_kendall():
    law = ANALYSIS["together"]
    norm = xr.DataArray([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], dims=("seed", "n"))
    error = xr.DataArray([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], dims=("seed", "n"))
    assert law(norm, error, "n").values.tolist() == [1.0, pytest.approx(-1 / 3)]
    assert law(norm, -error, "n").values.tolist() == [-1.0, pytest.approx(1 / 3)]
