import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tsframe.arrays import ArrayInputs
from tsframe.inputs import Gaussian, Inputs
from tsframe.spectra import (
    Isotropic,
    Measured,
    PowerLaw,
    Sloppy,
    SloppyAsReleased2022,
    Spectrum,
    Spiked,
)
from tsframe.streams import stream

DIM = 40
SPECTRA: list[Spectrum] = [
    Isotropic(),
    Sloppy(0.1),
    Sloppy(0.5, floor=0.01),
    PowerLaw(1.5, trace=3.0),
    Spiked((5.0, 20.0)),
    Measured(tuple(range(1, DIM + 1))),
    SloppyAsReleased2022(0.05),
]


def standard_errors_off(
    x: NDArray[np.float64], eigenvalues: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[float, float]:
    """Largest deviations of a sample covariance, in standard errors of its own law.

    For n Gaussian rows the sample variance along mode i has standard error sqrt(2/n) l_i, and the
    sample covariance of modes i and j sqrt(l_i l_j / n). The first number is the worst entry; the
    second pools all variances, mean_i (variance_i / l_i - 1) in units of sqrt(2 / (n dim)).
    """
    n, dim = x.shape
    standardized = (x @ basis) / np.sqrt(eigenvalues)
    errors = standardized.T @ standardized / n - np.eye(dim)
    worst = np.abs(errors / np.sqrt((1 + np.eye(dim)) / n)).max()
    pooled = abs(np.diag(errors).mean()) / np.sqrt(2 / (n * dim))
    return float(worst), float(pooled)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("spectrum", SPECTRA, ids=lambda s: repr(s)[:25])
def test_the_sample_covariance_converges_to_its_spectrum(spectrum: Spectrum, rotate: bool) -> None:
    inputs = Gaussian(DIM, spectrum, rotate=rotate)
    for n in (1000, 4000, 16000):
        x = inputs.draw(n, seed=1, role="train inputs")
        assert max(standard_errors_off(x, inputs.eigenvalues, inputs.basis(1))) < 5


@pytest.mark.parametrize("rotate", [False, True])
def test_a_wrong_spectrum_is_rejected(rotate: bool) -> None:
    inputs = Gaussian(DIM, Sloppy(0.1), rotate=rotate)
    x = inputs.draw(16000, seed=1, role="train inputs")
    wrong = Gaussian(DIM, Sloppy(0.11)).eigenvalues
    assert min(standard_errors_off(x, wrong, inputs.basis(1))) > 5


def test_a_wrong_basis_is_rejected() -> None:
    inputs = Gaussian(DIM, Sloppy(0.1), rotate=True)
    x = inputs.draw(4000, seed=1, role="train inputs")
    assert standard_errors_off(x, inputs.eigenvalues, inputs.basis(2))[0] > 5
    assert standard_errors_off(x, inputs.eigenvalues, np.eye(DIM))[0] > 5


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("spectrum", SPECTRA, ids=lambda s: repr(s)[:25])
def test_the_same_seed_gives_the_same_normals_at_every_spectrum(
    spectrum: Spectrum, rotate: bool
) -> None:
    inputs = Gaussian(DIM, spectrum, rotate=rotate)
    normals = Gaussian(DIM, Isotropic()).draw(50, seed=3, role="train inputs")
    x = inputs.draw(50, seed=3, role="train inputs")
    np.testing.assert_allclose(
        x @ inputs.basis(3) / np.sqrt(inputs.eigenvalues), normals, rtol=1e-9, atol=1e-9
    )  # rounding, float64: the smallest mode is 1e-5 of the largest, times 1e-16


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    inputs = Gaussian(DIM, Sloppy(0.1))
    long, short = (inputs.draw(n, seed=3, role="train inputs") for n in (1000, 10))
    assert np.array_equal(long[:10], short)


@pytest.mark.parametrize("largest", [0, 100, np.inf])  # rows of a sample that is kept
def test_a_sample_is_the_same_whatever_was_drawn_before(
    largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.inputs.LARGEST", 8 * DIM * largest)
    inputs, most = Gaussian(DIM, Sloppy(0.1)), 1000
    normals = stream(4, "train inputs").standard_normal((most, DIM))
    for n in (3, 50, 10, most, 50, most):  # from the stream, more of it, and what is kept
        x = inputs.draw(n, seed=4, role="train inputs")
        assert np.array_equal(x, normals[:n] * np.sqrt(inputs.eigenvalues))
        x[:] = np.nan  # whose sample it is may do with it what it likes


def test_threads_that_draw_at_once_draw_what_one_draws_alone() -> None:
    def draw(job: int) -> NDArray[np.float64]:
        n, seed = 20 * (1 + job % 7), 100 + job % 3
        return Gaussian(DIM, Sloppy(0.1 * (1 + job % 5)), rotate=True).draw(n, seed, "test inputs")

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(draw, range(200)))
    assert all(np.array_equal(x, draw(job)) for job, x in enumerate(together))
    z = stream(101, "test inputs").standard_normal((20 * 5, DIM))  # job 4
    inputs = Gaussian(DIM, Sloppy(0.5), rotate=True)
    assert np.array_equal(together[4], (z * np.sqrt(inputs.eigenvalues)) @ inputs.basis(101).T)


@pytest.mark.parametrize(
    "inputs",
    [
        *(Gaussian(DIM, spectrum, rotate) for spectrum in SPECTRA for rotate in (False, True)),
        ArrayInputs(np.random.default_rng(0).random((200, DIM)) ** 2),
    ],
    ids=lambda inputs: f"{repr(inputs)[:60]}...{repr(inputs)[-6:]}",
)
def test_projections_are_those_of_the_sample_on_maps_in_the_eigenbasis(inputs: Inputs) -> None:
    maps = np.random.default_rng(1).standard_normal((7, DIM))
    x = inputs.draw(60, 3, "reference inputs")
    found = inputs.project(maps, 60, 3, "reference inputs")
    due = maps @ (x @ inputs.basis(3)).T
    np.testing.assert_allclose(found, due, rtol=0, atol=1e-12 * np.abs(due).max())  # rounding


def test_samples_differ_between_roles_and_between_seeds() -> None:
    inputs = Gaussian(DIM, Isotropic())
    samples = [
        inputs.draw(200, seed, role)
        for seed in (0, 1)
        for role in ("train inputs", "test inputs", "reference inputs")
    ]
    flat = np.corrcoef([x.ravel() for x in samples])
    assert np.abs(flat - np.eye(6)).max() < 5 / np.sqrt(200 * DIM)


@pytest.mark.parametrize("dim", [1, 2, 57])
def test_a_rotated_basis_is_orthonormal(dim: int) -> None:
    basis = Gaussian(dim, Isotropic(), rotate=True).basis(0)
    np.testing.assert_allclose(basis.T @ basis, np.eye(dim), atol=1e-13)


def test_rotations_are_uniform() -> None:
    # Under the Haar law the trace has mean 0 and variance 1 (Diaconis & Shahshahani 1994).
    # Left unfixed, the signs of a QR give it a mean near -0.56 sqrt(dim).
    inputs = Gaussian(10, Isotropic(), rotate=True)
    traces = np.array([np.trace(inputs.basis(seed)) for seed in range(400)])
    assert abs(traces.mean()) < 5 / np.sqrt(400)
    assert abs(traces.var() - 1) < 5 * np.sqrt(2 / 400)  # nearly Gaussian


def test_a_basis_does_not_depend_on_the_spectrum() -> None:
    first, second = (Gaussian(DIM, s, rotate=True).basis(5) for s in SPECTRA[:2])
    assert np.array_equal(first, second)


def test_a_spec_is_a_value() -> None:
    dim: Any = np.int64(DIM)
    inputs = Gaussian(dim, Sloppy(0.1), rotate=True)
    assert repr(inputs) == (
        "Gaussian(dim=40, spectrum=Sloppy(slope=0.1, floor=0.0, trace=None), rotate=True)"
    )
    assert eval(repr(inputs)) == inputs == pickle.loads(pickle.dumps(inputs))
    assert hash(eval(repr(inputs))) == hash(inputs)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Gaussian(0, Isotropic()), "dim must be a whole number >= 1; got dim=0."),
        (lambda: Gaussian(True, Isotropic()), "got dim=True"),
        (lambda: Gaussian(cast(int, 2.0), Isotropic()), "got dim=2.0"),
        (lambda: Gaussian(5, cast(Spectrum, Sloppy)), "Call the class with its parameters."),
        (lambda: Gaussian(5, cast(Spectrum, 0.1)), "got spectrum=0.1"),
        (lambda: Gaussian(5, Measured((1.0, 2.0))), "got dim=5 with 2 eigenvalues. Set dim=2."),
        (lambda: Gaussian(5, Isotropic(), rotate=cast(bool, "no")), "got rotate='no'"),
        (lambda: Gaussian(5, Isotropic()).draw(0, 0, "train inputs"), "got n=0"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        build()
    assert sentence in str(refusal.value)


def test_sample_spectra_are_broader_than_the_spectrum_by_their_law() -> None:
    # Isotropic, S = X^T X / n: E tr S / p = 1 and E tr S^2 / p = 1 + (p + 1) / n.
    n, p, draws = 30, 12, 3000
    inputs = Gaussian(p, Isotropic())
    x = np.stack([inputs.draw(n, seed, "train inputs") for seed in range(draws)])
    s = x.transpose(0, 2, 1) @ x / n
    for moment, law in ((np.trace(s, 0, 1, 2), 1.0), ((s**2).sum((1, 2)), 1 + (p + 1) / n)):
        mean, error = moment.mean() / p, moment.std() / p / np.sqrt(draws)
        assert abs(mean - law) < 4 * error
        assert error < 0.02 * law
