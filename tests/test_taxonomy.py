import runpy
from pathlib import Path

import numpy as np
import pytest

from tsframe import theory
from tsframe.trial import train

ROOT = Path(__file__).parents[1]
STUDY = runpy.run_path(str(ROOT / "sweeps" / "taxonomy.py"))
ANALYSIS = runpy.run_path(str(ROOT / "analysis" / "taxonomy.py"))


@pytest.mark.parametrize("name", ["power law 1.5", "power law 3", "log-corrected 2"])
def test_modes_that_are_left_out_act_as_the_penalty_that_stands_for_them(name):
    n = 300  # of the study, where the rest matters most
    log_k = np.log(np.arange(1.0, 3e5))
    law = STUDY["SPECTRA"][name]
    logs = -law.exponent * log_k - law.log_exponent * np.log1p(log_k)
    behind = (
        STUDY["rest"](law) - np.exp(logs[STUDY["DIM"] :]).sum()
    )  # of modes that are not in this list either
    assert -1e-12 < behind < 0.2
    full = theory.ridge(logs, 0.0, n, max(behind, 0.0), noise=1.0, log=True)
    e0 = float(full.overfitting_coefficient)
    assert ANALYSIS["predict"](name, n) == pytest.approx(e0, rel=5e-3)


@pytest.mark.parametrize("name", ["power law 2", "log-corrected 3", "exponential 0.1"])
def test_students_amplify_noise_as_their_class_says(name):
    measured = train([STUDY["trial"](name, 30, seed) for seed in range(40)], device="cpu")
    e0 = 1.0 + measured.test_error.values
    error = e0.std(ddof=1) / np.sqrt(len(e0))
    others = [other for other in STUDY["SPECTRA"] if other != name]
    assert abs(e0.mean() - ANALYSIS["predict"](name, 30)) < 5 * error
    apart = [abs(e0.mean() - ANALYSIS["predict"](other, 30)) > 5 * error for other in others]
    assert sum(apart) >= 7  # control: students of one class are not those of another


def test_limits_of_the_taxonomy_are_those_of_theory_at_large_n():
    logs = -2.0 * np.log(np.arange(1.0, 1e6))
    law = theory.ridge(logs, 0.0, [300], noise=1.0, log=True).overfitting_coefficient
    assert float(law[0]) == pytest.approx(ANALYSIS["limit"]("power law 2"), rel=2e-3)
    assert ANALYSIS["limit"]("log-corrected 2") == 1.0
    assert ANALYSIS["limit"]("exponential 0.1") == np.inf
