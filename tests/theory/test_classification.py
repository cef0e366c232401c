"""Errors of linear classifiers: exact overlaps, and regression on labels against students."""

import numpy as np
import pytest

from tests.theory.families import ridge_student
from tsframe.theory import (
    argmax_disagreement,
    exponential_label_regression,
    label_regression,
    ridge,
    sign_disagreement,
)


def modes(dim):
    return np.arange(float(dim))


SPECTRA = {
    "isotropic": lambda dim: 0 * modes(dim),
    "power law": lambda dim: -1.5 * np.log1p(modes(dim)),
    "exponential .02": lambda dim: -0.02 * modes(dim),
    "exponential .1": lambda dim: -0.1 * modes(dim),
    "exponential over a floor": lambda dim: np.logaddexp(-0.2 * modes(dim), np.log(0.01)),
}


def test_normals_differ_in_sign_by_the_arc_cosine_of_their_correlation() -> None:
    assert sign_disagreement([1.0, 0.0, -1.0]).values.tolist() == [0.0, 0.5, 1.0]
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, 200_000))
    v = 0.3 * u + np.sqrt(1 - 0.3**2) * v
    flipped = rng.random(len(v)) < 0.1
    for rate, signs in [(0.0, np.sign(v)), (0.1, np.where(flipped, -1, 1) * np.sign(v))]:
        want = float(sign_disagreement(0.3, rate))
        error = np.sqrt(want * (1 - want) / len(v))
        assert abs(np.mean(np.sign(u) != signs) - want) < 5 * error
    assert float(sign_disagreement(0.3)) == pytest.approx(0.40301, abs=5e-6)


@pytest.fixture(scope="module")
def measured():
    """Errors of students on the signs of a teacher with equal power on every coordinate."""
    found = {}
    n, dim, draws = 100, 400, 60
    for name, law in SPECTRA.items():
        rng, scale = np.random.default_rng(0), np.exp(law(dim) / 2)
        for penalty in (0.0, 1.0):
            for flip in (0.0, 0.1):
                errors = []
                for _ in range(draws):
                    x = rng.standard_normal((n, dim)) * scale
                    y = np.sign(x.sum(axis=1)) * np.where(rng.random(n) < flip, -1, 1)
                    w = scale * ridge_student(x, y, penalty)
                    rho = w @ scale / np.linalg.norm(w) / np.linalg.norm(scale)
                    errors.append(np.arccos(rho) / np.pi)
                found[name, penalty, flip] = np.mean(errors), np.std(errors) / np.sqrt(draws - 1)
    return found


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("flip", [0.0, 0.1])
def test_regression_on_labels_errs_as_theory_says(measured, name, penalty, flip) -> None:
    law = label_regression(SPECTRA[name](400), 1.0, 100, penalty, flip, log=True)
    mean, error = measured[name, penalty, flip]
    # The overlay is a heuristic: 0.006 is the largest gap on record, beside the sampling error.
    assert abs(float(law.test_error) - mean) < 0.006 + 3 * error


def test_labels_taken_for_noise_free_are_rejected(measured) -> None:
    # Control: forget that signs are not linear, and treat flips alone as noise.
    gaps = []
    for (name, penalty, flip), (mean, error) in measured.items():
        log_l = SPECTRA[name](400)
        unit = 1 / np.sqrt(np.exp(log_l).sum())
        law = ridge(log_l, unit, 100, penalty, 2 * np.sqrt(flip * (1 - flip)), log=True)
        learned = np.exp(log_l) / (np.exp(log_l) + float(law.kappa))
        m = np.sum(np.exp(log_l) * unit**2 * learned)
        q = float(law.test_error) - 1 + 2 * m
        gaps.append(abs(np.arccos(m / np.sqrt(q)) / np.pi - mean) - 0.006 - 3 * error)
    assert np.mean(np.array(gaps) > 0) > 0.7


@pytest.mark.parametrize(
    ("slope", "n", "flip", "want"),
    [(0.1, 100, 0, 0.368), (0.1, 500, 0, 0.441), (0.1, 100, 0.1, 0.414)],
)
def test_a_pure_exponential_errs_as_its_closed_form(slope, n, flip, want) -> None:
    closed = float(exponential_label_regression(slope, n, flip))
    assert closed == pytest.approx(want, abs=5.1e-4)
    solved = label_regression(-slope * modes(4 * n), 1.0, n, 0.0, flip, log=True).test_error
    assert closed == pytest.approx(float(solved), abs=1e-3)


def test_with_many_rows_or_no_signal_the_error_is_zero_or_chance() -> None:
    log_l = SPECTRA["power law"](50)
    rows = label_regression(log_l, 1.0, [100, 10_000, 10_000_000], log=True).test_error
    assert np.all(np.diff(rows) < 0) and float(rows[-1]) < 2e-3
    assert float(label_regression(log_l, 1.0, 100, flip_rate=0.5, log=True).test_error) == 0.5
    assert float(label_regression(log_l, 1.0, 50, log=True).test_error) == 0.5  # at the peak


def test_the_unit_of_the_inputs_is_irrelevant_however_small() -> None:
    log_l = -0.1 * np.arange(50)
    want = float(label_regression(log_l, 1.0, 20, log=True).test_error)
    for shift in (-300.0, -1000.0):
        found = label_regression(log_l + shift, 1.0, 20, log=True).test_error
        assert float(found) == pytest.approx(want, rel=1e-10)


def test_the_length_of_the_teacher_is_irrelevant() -> None:
    log_l, c = SPECTRA["power law"](50), np.random.default_rng(0).standard_normal(50)
    one, other = (label_regression(log_l, k * c, 30, log=True).test_error for k in (1.0, 1e6))
    assert float(one) == pytest.approx(float(other), rel=1e-10)
    with pytest.raises(ValueError, match="got 50 eigenvalues and 3 coefficients"):
        label_regression(log_l, [1.0] * 3, 30, log=True)
    with pytest.raises(ValueError, match="got a teacher that is zero"):
        label_regression(log_l, 0.0, 30, log=True)


def test_argmax_of_two_classes_is_the_sign_of_their_difference() -> None:
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, 2, 30))
    eigenvalues = np.exp(-0.1 * np.arange(30))
    a, b = teacher[0] - teacher[1], student[0] - student[1]
    rho = (a * eigenvalues) @ b / np.sqrt((a * eigenvalues) @ a * ((b * eigenvalues) @ b))
    share, error = argmax_disagreement(teacher, student, eigenvalues, rng)
    assert abs(share - float(sign_disagreement(rho))) < 5 * error
    noisy, _ = argmax_disagreement(teacher, student, eigenvalues, rng, replaced=0.2)
    assert abs(noisy - (0.1 + 0.8 * float(sign_disagreement(rho)))) < 5 * error


def test_argmax_disagreement_is_that_of_fresh_inputs() -> None:
    rng = np.random.default_rng(1)
    teacher = rng.standard_normal((5, 20))
    student = teacher + 0.7 * rng.standard_normal((5, 20))
    root = rng.standard_normal((20, 20)) / 4
    share, error = argmax_disagreement(teacher, student, root @ root.T, rng)
    x = rng.standard_normal((50_000, 20)) @ root.T
    differ = np.mean(np.argmax(x @ teacher.T, 1) != np.argmax(x @ student.T, 1))
    assert abs(share - differ) < 5 * np.hypot(error, np.sqrt(share * (1 - share) / 50_000))
    with pytest.raises(ValueError, match="must have shape"):
        argmax_disagreement(teacher, student.T, np.ones(20), rng)
