import runpy
from pathlib import Path

import numpy as np
import pytest

from tsframe.sweep import Sweep
from tsframe.trial import train

ROOT = Path(__file__).parents[1]
STUDY = runpy.run_path(str(ROOT / "sweeps" / "ridgeless.py"))
ANALYSIS = runpy.run_path(str(ROOT / "analysis" / "ridgeless.py"))
N = 64


@pytest.fixture(scope="module")
def measured():
    """The study at a quarter of its size: all spectra, penalties and noises, 30 seeds."""

    def trial(spectrum, n_over_p, penalty_over_n, noise, seed):
        return STUDY["trial"](spectrum, n_over_p, penalty_over_n, noise, seed, n_train=N)

    axes = dict(STUDY["sweep"].axes) | dict(n_over_p=[0.25, 0.64, 1.6], seed=range(30))
    small = Sweep(trial, **axes)
    errors = train(small.trials(), device="cpu").test_error.values.reshape(small.shape)
    coords = {name: list(values) for name, values in small.axes.items()}
    return ANALYSIS["xr"].Dataset({"test_error": (small.dims, errors)}, coords)


def accepted(z):
    share, worst = ANALYSIS["agreement"](z)
    return share >= 0.95 and worst < 6.0


def test_theory_holds_cell_by_cell_at_every_spectrum(measured):
    z = ANALYSIS["residuals"](measured, ANALYSIS["predict"](measured, N).test_error)
    assert np.isfinite(z).sum() == 5 * (3 * 4 - 1)  # without noise and penalty n > p has no error
    assert accepted(z)


def test_control_a_formula_that_is_wrong_is_rejected(measured):
    for name, prediction in ANALYSIS["wrong"](measured, N).items():
        assert not accepted(ANALYSIS["residuals"](measured, prediction)), name
