"""Spectra measured from data, and the slope of their straight piece."""

import numpy as np
import pytest

from tsframe.inputs import Gaussian
from tsframe.slopes import fit_slope, longest_piece
from tsframe.spectra import Measured, Sloppy

X = Gaussian(dim=40, spectrum=Sloppy(0.2)).draw(500, seed=0, role="train inputs") + 0.3


def test_a_measured_spectrum_is_that_of_the_second_moment_or_of_the_covariance():
    for centered in (False, True):
        rows = X - X.mean(axis=0) if centered else X
        dense = np.linalg.eigvalsh(rows.T @ rows / 500)[::-1]
        measured = Measured.from_data(X, centered)
        np.testing.assert_allclose(measured(40), dense, rtol=1e-10)
        assert measured.trace == pytest.approx(np.square(rows).sum() / 500, rel=1e-12)


def test_a_steep_spectrum_is_measured_where_a_gram_matrix_shows_a_floor():
    steep = 10.0 ** -np.arange(0.0, 12.0)  # deviations; variances fall to 1e-22
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 12)))
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))
    x = (q * steep * 10.0) @ turn
    np.testing.assert_allclose(Measured.from_data(x)(12), steep**2, rtol=1e-3)
    gram = np.linalg.eigvalsh((x.T @ x / 100).astype(np.float32))[::-1]
    assert gram[-1] / steep[-1] ** 2 < 0.0 or gram[-1] > 1e3 * steep[-1] ** 2


def test_what_rounding_cannot_tell_from_zero_is_raised_to_the_floor_and_said(caplog):
    flat = np.c_[X, np.zeros((500, 2))]
    with caplog.at_level("INFO", "tsframe"):
        measured = Measured.from_data(flat)
    largest = np.linalg.svd(X, compute_uv=False)[0]
    floor = (largest * 500 * np.finfo(float).eps) ** 2 / 500
    np.testing.assert_allclose(measured.eigenvalues[-2:], floor, rtol=1e-12)
    assert "2 of 42 eigenvalues lie below the numerical floor" in caplog.text
    few = Measured.from_data(X[:10])
    assert len(few.eigenvalues) == 40 and few.eigenvalues[9] > 1e6 * few.eigenvalues[10]


def test_a_twin_has_the_second_moments_of_its_data():
    twin = Gaussian(dim=40, spectrum=Measured.from_data(X))
    drawn = twin.draw(20_000, seed=1, role="train inputs")
    off = np.square(drawn).mean(axis=0) / twin.eigenvalues - 1.0
    assert np.abs(off).max() < 5 * np.sqrt(2 / 20_000)


@pytest.mark.parametrize("data", [X[0], X * np.nan, np.zeros((5, 3))], ids=["1d", "nan", "zero"])
def test_data_without_a_spectrum_are_refused(data):
    with pytest.raises(ValueError, match=r"finite numbers of shape|no variance"):
        Measured.from_data(data)


def test_the_interval_of_a_slope_covers_the_truth():
    held = 0
    inputs = Gaussian(dim=30, spectrum=Sloppy(0.3))
    for seed in range(100):
        rows = inputs.draw(2000, seed, "train inputs")
        found = fit_slope(rows, modes=(0, 30))
        held += found.low <= 0.3 <= found.high
    assert 90 <= held <= 99


def test_a_spectrum_is_cut_into_head_straight_piece_and_end():
    modes = np.arange(60.0)
    log = -0.1 * modes
    log[:6] += 0.8 * (6 - modes[:6])
    log[50:] -= 0.7 * (modes[50:] - 50)
    first, last = longest_piece(log)
    assert abs(first - 6) <= 1 and abs(last - 50) <= 1


def test_a_slope_is_that_of_the_modes_it_names():
    found = fit_slope(X)
    line = np.log(np.array(Measured.from_data(X).eigenvalues))[found.first : found.last]
    modes = np.arange(found.first, found.last)
    slope, height = np.polyfit(modes, line, 1)
    assert abs(found.slope + slope) < 5 / 500  # what the jackknife takes off is of order 1 / rows
    np.testing.assert_allclose(np.log(found(modes)).mean(), line.mean(), rtol=1e-9)
    residual = np.sqrt(np.square(line - height - slope * modes).mean())
    np.testing.assert_allclose(found.residual, residual, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(x=X[:39]), "at least 40 rows"),
        (dict(x=X[:, :14]), "at least 15 modes above the numerical floor"),
        (dict(x=X, modes=(0, 41)), "at least 5 of the 40"),
        (dict(x=X, modes=(3, 6)), "at least 5 of the 40"),
        (dict(x=X, confidence=1.0), "confidence must lie in"),
    ],
    ids=["rows", "modes", "beyond", "few", "confidence"],
)
def test_what_has_no_slope_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_slope(**options)


def test_the_digits_are_sloppy():
    digits = pytest.importorskip("sklearn.datasets").load_digits().data
    found = fit_slope(digits)
    assert found.last - found.first > 40 and 0.08 < found.low < found.high < 0.11
    eigenvalues = Measured.from_data(digits).eigenvalues
    assert eigenvalues[found.first] / eigenvalues[found.last - 1] > 30
