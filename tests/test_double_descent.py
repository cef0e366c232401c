import runpy
from pathlib import Path

import numpy as np
import pytest

from tsframe.trial import train

ROOT = Path(__file__).parents[1]
STUDY = runpy.run_path(str(ROOT / "sweeps" / "double_descent.py"))
ANALYSIS = runpy.run_path(str(ROOT / "analysis" / "double_descent.py"))
FEATURES = list(STUDY["FEATURES"])


def z_score(errors, features, n, width):
    law = float(ANALYSIS["predict"](features, n, width, 1.0))
    return (errors.mean() - law) / (errors.std(ddof=1) / np.sqrt(len(errors)))


@pytest.mark.parametrize(("n", "width"), [(32, 192), (192, 96)])
@pytest.mark.parametrize("features", FEATURES)
def test_theory_of_random_features_holds_for_nonlinear_ones_too(features, n, width):
    trials = [STUDY["trial"](features, n, width, 1.0, seed) for seed in range(24)]
    errors = train(trials, device="cpu").test_error.values
    assert abs(z_score(errors, features, n, width)) < 4.0
    if width == 96:  # control: features that are more or less linear behave otherwise
        others = [abs(z_score(errors, other, n, width)) for other in FEATURES if other != features]
        assert min(others) > 4.0


def test_the_modes_of_a_kernel_have_the_power_of_the_features_and_hold_the_target():
    for features, spec in STUDY["FEATURES"].items():
        eigenvalues, coefficients = ANALYSIS["kernel_modes"](features)
        z = np.sqrt(spec.weight_variance) * np.random.default_rng(0).standard_normal(400_000)
        squares = ANALYSIS["ACTIVATIONS"][spec.activation](z) ** 2
        error = squares.std() / np.sqrt(len(squares))
        assert abs(eigenvalues.sum() - squares.mean()) < 5 * error
        assert np.sum(eigenvalues * coefficients**2) == pytest.approx(1.0)
