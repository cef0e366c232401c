"""The closed forms that the study of gradient noise draws, against chains that are simulated."""

import runpy
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tsframe.measures.curvature import minibatch_factor

ROOT = Path(__file__).parents[1]
STUDY = runpy.run_path(str(ROOT / "sweeps" / "gradient_noise.py"))
ANALYSIS = runpy.run_path(str(ROOT / "analysis" / "gradient_noise.py"))
LR, CURVATURES, CHAINS, STEPS, EVERY = 0.1, np.array([0.3, 2.0]), 400, 1500, 5


@pytest.fixture(scope="module")
def chains():
    """Gradient descent with noise of variance one in two modes, from the stationary law."""
    rng, kept = np.random.default_rng(0), 1.0 - LR * CURVATURES
    x = np.empty((CHAINS, 2, STEPS))
    x[:, :, 0] = rng.standard_normal((CHAINS, 2)) / np.sqrt(1.0 - kept**2)
    for step in range(1, STEPS):
        x[:, :, step] = kept * x[:, :, step - 1] + rng.standard_normal((CHAINS, 2))
    return x


def within(draws, expected, errors=5.0):
    """Whether the mean over chains is what is expected, in standard errors."""
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    return np.abs(draws.mean(0) - expected) < errors * error


def test_a_valley_has_the_displacement_of_its_chains(chains):
    law, lags = ANALYSIS["Valley"](np.r_[CURVATURES, -1.0], LR), np.array([1, 7, 40, 300])
    each = np.stack([ANALYSIS["displacement"](chain, lags) for chain in chains])
    unit = (2.0 / (1.0 + law.kept)).mean()  # after one step, by hand
    assert within(each, law.displacement(lags) * unit).all()
    assert not within(each, lags * unit)[2:].any()  # a Brownian particle gets farther


def test_a_valley_has_the_memory_and_the_spectrum_of_its_chains(chains):
    law = ANALYSIS["Valley"](CURVATURES, LR)
    increments = np.diff(chains[:, :, ::EVERY], axis=2)
    variance = np.square(increments).mean()
    lagged = np.stack(
        [(increments[:, :, k:] * increments[:, :, :-k]).mean((1, 2)) for k in (1, 2, 5)], axis=1
    )
    expected = law.autocorrelation(5, EVERY)[[0, 1, 4]]
    assert within(lagged / variance, expected).all()
    assert not within(lagged / variance, 1.2 * expected)[0]
    f, density = zip(*(ANALYSIS["power"](chain) for chain in increments), strict=True)
    ratio = np.stack(density) / law.power(f[0], EVERY)
    low, high = ratio[:, 2:20].mean(1), ratio[:, 60:].mean(1)
    assert abs(low.mean() - 1.0) < 0.05
    assert abs(high.mean() - 1.0) < 0.05


def test_increments_of_what_is_new_at_each_pass_have_the_spectrum_drawn():
    fresh = np.random.default_rng(0).standard_normal((200, 201))
    f, density = ANALYSIS["power"](np.diff(fresh, axis=1))
    drawn = ANALYSIS["renewed"](f)
    error = drawn / np.sqrt(200)
    assert (np.abs(density - drawn)[10:] < 6 * error[10:]).all()
    memory = ANALYSIS["autocorrelation"](np.diff(fresh, axis=1), 3).mean(0)
    np.testing.assert_allclose(memory, [-0.5, 0.0, 0.0], atol=0.02)


def test_the_control_has_the_trace_of_the_minibatches():
    for depth, size in product((1, 2, 3), (12, 24, 48)):
        trial = STUDY["trial"]("isotropic", depth, size, "trajectory", 0)
        a_step = 2 * trial.training.lr * trial.training.temperature
        weights = trial.student_shape.parameters
        assert a_step * weights == pytest.approx(trial.training.lr**2 * STUDY["TRACE"][depth, size])
    ratio = [STUDY["TRACE"][1, size] / minibatch_factor(240, size) for size in (12, 24, 48)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.1)  # of single samples it hardly moves


def test_single_steps_and_wide_ones_are_told_apart():
    single, wide = ANALYSIS["runs"](np.array([5, 6, 7, 8, 28, 48, 68]))
    assert (single.tolist(), wide.tolist()) == ([0, 1, 2, 3], [3, 4, 5, 6])
