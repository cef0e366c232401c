"""What a spectrum says of itself: floor, tail, head; and spectra of inputs and activations."""

import numpy as np
import pytest
import torch

from tests.measures.networks import draw, jacobian, network, outputs_of, passed_of
from tsframe.measures.activations import (
    activation_gradient_spectra,
    activation_spectra,
    row_spectrum,
)
from tsframe.measures.curvature import jacobian_spectrum
from tsframe.measures.sensitivities import sensitivities
from tsframe.measures.start_rows import loss_gradients
from tsframe.slopes import fit_eigenvalues
from tsframe.training.losses import Objective

MODES = 60
PLANTED = np.exp(-np.arange(MODES, dtype=float))  # eigenvalues


def planted_rows(n=80, seed=0):
    left, _ = torch.linalg.qr(draw((n, MODES), seed))
    right, _ = torch.linalg.qr(draw((MODES, MODES), seed + 1))
    return (left * torch.as_tensor(np.sqrt(n * PLANTED))) @ right.T


def linear_student(rows):
    """A student whose Jacobian of its one output is these rows, and a column of bias."""
    return passed_of([torch.zeros(1, rows.shape[1] + 1, dtype=torch.float64)], "relu", rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_floor_is_honest_on_a_planted_exponential(seed):
    rows = planted_rows(seed=10 * seed)
    spectrum = row_spectrum(rows)
    known = len(spectrum.resolved)
    assert known == MODES  # squared singular values reach down to 1e-30
    np.testing.assert_allclose(spectrum.resolved, PLANTED, rtol=0.1)
    # The same matrix by a Gram matrix: the mean row leaves the span that the bias adds.
    rows -= rows.mean(0)
    truth = row_spectrum(rows).resolved
    gram = jacobian_spectrum(linear_student(rows))
    assert gram.decomposed in ("rows", "weights")
    values = gram.resolved[np.abs(gram.resolved - 1.0) > 1e-9]  # the bias itself: mean of ones
    assert 25 < len(values) < 40
    np.testing.assert_allclose(values, truth[: len(values)], rtol=0.1)
    for some in (spectrum, gram):
        tail = some.tail()
        assert tail is not None and tail.last <= len(some.resolved)
        assert tail.slope == pytest.approx(1.0, rel=0.02)
        assert tail(tail.last - 1) > some.floor / 2


def test_noise_below_the_floor_never_enters_a_slope():
    noise = 1e-17 * np.abs(np.random.default_rng(0).standard_normal(100))
    values = np.sort(np.r_[np.exp(-np.arange(30.0)), noise])[::-1]
    honest = fit_eigenvalues(values, floor=130 * 2.2e-16)
    assert honest.slope == pytest.approx(1.0, rel=1e-2) and honest.last <= 30
    fooled = fit_eigenvalues(values)
    assert fooled.slope < 0.5


def test_the_interval_of_a_tail_is_as_wide_as_the_tail_is_bent():
    modes = np.arange(60.0)
    straight = fit_eigenvalues(np.exp(-0.2 * modes), modes=(10, 50))
    assert straight.low == pytest.approx(0.2, abs=1e-12) == straight.high
    assert straight.height == pytest.approx(0.0, abs=1e-11) and straight.residual < 1e-12
    bent = fit_eigenvalues(np.exp(-0.2 * modes - 0.002 * modes**2), modes=(10, 50))
    assert bent.low < bent.slope < bent.high and bent.high - bent.low > 0.01
    for wrong, sentence in (
        (dict(eigenvalues=[1.0, 2.0]), "that descend"),
        (dict(eigenvalues=np.exp(-modes), modes=(0, 4)), "at least 5 of the 60"),
        (dict(eigenvalues=np.exp(-modes), floor=1e-3), "at least 15 modes above"),
        (dict(eigenvalues=np.exp(-modes), confidence=1.0), "confidence must lie"),
    ):
        with pytest.raises(ValueError, match=sentence):
            fit_eigenvalues(**wrong)


def test_long_spectra_are_cut_near_their_borders():
    head, tail = np.linspace(9.0, 2.0, 300), 2.0 - 0.01 * np.arange(2000.0)
    end = tail[-1] - 0.2 * np.arange(1.0, 200.0)
    found = fit_eigenvalues(np.exp(np.r_[head, tail, end]))
    assert abs(found.first - 300) < 60 and abs(found.last - 2300) < 60
    assert found.slope == pytest.approx(0.01, rel=0.02)


def test_the_head_stands_above_the_line_of_the_tail():
    values = np.exp(-0.1 * np.arange(80.0))
    head = values.copy()
    head[:6] *= np.exp(3.0)
    rows = torch.as_tensor(np.diag(np.sqrt(80 * head)))
    spectrum = row_spectrum(rows)
    tail = spectrum.tail()
    assert tail is not None
    assert spectrum.head_drop(tail) == pytest.approx(3.0, abs=0.01) and tail.first >= 5
    plain = row_spectrum(torch.as_tensor(np.diag(np.sqrt(80 * values))))
    assert plain.head_drop(plain.tail()) == pytest.approx(0.0, abs=1e-10)
    cut = plain.tail((10, 200))
    assert cut is not None and cut.last == 80
    assert plain.tail((78, 200)) is None
    assert np.isnan(plain.head_drop(None))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_spectra_of_activations_and_their_gradients_are_those_of_dense_moments(depth, centered):
    n, weights = 9, network(depth)
    x, y = draw((n, 5), 3), draw((n,), 4)
    objective = Objective("mse", None)
    weights[-1] = weights[-1][:1]
    passed = passed_of(weights, "tanh", x)
    deltas = sensitivities(passed, loss_gradients(passed.outputs, y, objective))

    def dense(rows):
        rows = rows - rows.mean(0) if centered else rows
        return np.linalg.eigvalsh((rows.T @ rows / n).numpy())[::-1]

    # The other road: autograd by what enters and what leaves each activation function.
    h, entering, leaving = x, [], []
    for k, layer in enumerate(weights):
        z = (h @ layer[:, :-1].T + layer[:, -1]).detach().requires_grad_()
        if k < depth:
            entering.append(z)
            h = torch.tanh(z)
            leaving.append(h)
    for k in range(depth):
        # d z_{k+1} / d z_k, ..., chained by autograd over the whole network
        def later(start, k=k):
            value = torch.tanh(start)
            for layer in weights[k + 1 : -1]:
                value = torch.tanh(value @ layer[:, :-1].T + layer[:, -1])
            return (value @ weights[-1][:, :-1].T + weights[-1][:, -1])[:, 0]

        before = entering[k].detach().requires_grad_()
        (g,) = torch.autograd.grad((later(before) - y).square().sum(), before)
        found = activation_gradient_spectra(passed, deltas, centered=centered)[k]
        np.testing.assert_allclose(found.values, dense(g), rtol=0, atol=1e-13 * found.norm)
        after = g / (1 - torch.tanh(before.detach()) ** 2)
        found = activation_gradient_spectra(passed, deltas, before=False, centered=centered)[k]
        np.testing.assert_allclose(found.values, dense(after), rtol=0, atol=1e-12 * found.norm)
        found = activation_spectra(passed, centered)[k]
        truth = dense(torch.tanh(entering[k].detach()))
        np.testing.assert_allclose(found.values, truth, rtol=0, atol=1e-13 * found.norm)
        assert found.trace == pytest.approx(truth.sum(), rel=1e-12)
        assert found.frobenius == pytest.approx(np.linalg.norm(truth), rel=1e-12)
        assert found.centered is centered


def test_a_mean_that_was_taken_off_leaves_its_rounding_below_the_floor():
    rows = planted_rows() * 1e-6 + 1e3
    spectrum = row_spectrum(rows, centered=True)
    exact = planted_rows() * 1e-6
    truth = row_spectrum(exact - exact.mean(0)).values
    known = len(spectrum.resolved)
    assert 5 < known < 40
    np.testing.assert_allclose(spectrum.resolved, truth[:known], rtol=0.1)


def test_a_layer_without_samples_or_units_has_no_eigenvalues():
    assert row_spectrum(torch.zeros(4, 0, dtype=torch.float64)).values.shape == (0,)
    assert row_spectrum(torch.zeros(4, 3, dtype=torch.float64)).resolved.shape == (0,)
    assert jacobian(lambda w: outputs_of(w, "relu", draw((2, 5))), network(0)).shape == (6, 18)
