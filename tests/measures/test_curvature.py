"""Spectra of Jacobian, Fisher information, Gauss-Newton and gradient noise, two roads to each."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tests.measures.networks import dense_factor, draw, jacobian, network, outputs_of, passed_of
from tsframe.measures.curvature import (
    fisher_spectrum,
    gauss_newton_spectrum,
    gradient_noise_spectrum,
    jacobian_spectrum,
    minibatch_factor,
    rank_bound,
)
from tsframe.measures.sensitivities import sensitivities
from tsframe.measures.start_rows import fisher_factor, loss_gradients
from tsframe.training.losses import Objective

N = 7
X = draw((N, 5), 7)
Y = torch.tensor([0, 2, 1, 1, 2, 0, 2])
ENTROPY = Objective("cross_entropy", 3)


def losses(outputs, y, objective):
    return objective.sample_losses(outputs.T[None], y[None])[0]


def check(spectrum, dense):
    """Compare with the dense matrix of the weights, and hold what the spectrum says of itself."""
    truth = np.linalg.eigvalsh(dense.numpy())[::-1]
    top = truth[0]
    found = spectrum.values
    k = min(len(found), len(truth))
    np.testing.assert_allclose(found[:k], truth[:k], rtol=0, atol=1e-13 * top)
    np.testing.assert_allclose(np.r_[found[k:], truth[k:]], 0.0, atol=1e-13 * top)
    assert spectrum.trace == pytest.approx(float(dense.trace()), rel=1e-12)
    assert spectrum.frobenius == pytest.approx(float(dense.norm()), rel=1e-12)
    assert spectrum.residual < 1e-12
    assert np.all(truth[spectrum.rank_bound :] < 1e-13 * top)
    assert spectrum.norm == pytest.approx(top, rel=1e-12)
    assert spectrum.participation_ratio == pytest.approx(truth.sum() ** 2 / (truth @ truth))
    assert spectrum.effective_rank == pytest.approx(truth.sum() / top)
    assert len(spectrum.resolved) == np.sum(found[: spectrum.rank_bound] > spectrum.floor)


@pytest.mark.parametrize("width", [2, 9], ids=["few weights", "few rows"])
@pytest.mark.parametrize("depth", range(4))
def test_every_spectrum_is_that_of_the_dense_matrix(depth, width):
    weights = network(depth, width=width)
    passed = passed_of(weights, "tanh", X)
    chosen = [None, *([k] for k in range(depth + 1))]
    p = torch.softmax(passed.outputs, dim=1)
    drawn = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0], [1, 2], [2, 1], [1, 1]])
    for layers in chosen:
        j = jacobian(lambda w: outputs_of(w, "tanh", X), weights, layers)
        check(jacobian_spectrum(passed, layers=layers), j.T @ j / N)
        check(jacobian_spectrum(passed, output=1, layers=layers), j[1::3].T @ j[1::3] / N)
        f = torch.einsum("iak,ikw->iaw", dense_factor(passed.outputs), j.view(N, 3, -1))
        fisher = f.flatten(0, 1).T @ f.flatten(0, 1) / N
        check(fisher_spectrum(passed, layers=layers), fisher)
        check(gauss_newton_spectrum(passed, ENTROPY, layers), fisher)
        check(gauss_newton_spectrum(passed, Objective("mse", 3), layers), 2 / N * j.T @ j)
        rows = p[:, None] - torch.nn.functional.one_hot(drawn, 3)
        g = torch.einsum("iak,ikw->iaw", rows, j.view(N, 3, -1)).flatten(0, 1)
        check(fisher_spectrum(passed, drawn, layers), g.T @ g / (2 * N))
        for objective in (ENTROPY, Objective("mse", 3)):
            start = loss_gradients(passed.outputs, Y, objective)
            g = torch.einsum("iak,ikw->iw", start, j.view(N, 3, -1))
            spectrum = gradient_noise_spectrum(passed, Y, objective, layers=layers)
            check(spectrum, torch.cov(g.T, correction=0))
            assert spectrum.centered and spectrum.rank_bound <= N - 1


def test_both_sides_are_taken_and_agree():
    sides = set()
    for width in (1, 2, 9):
        passed = passed_of(network(1, width=width), "tanh", X)
        spectrum = fisher_spectrum(passed)
        sides.add(spectrum.decomposed)
        weights = sum(passed.parameters)
        assert len(spectrum.values) == min(2 * N, weights)
        assert spectrum.rank_bound == min(2 * N, weights - (width + 1))
    assert sides == {"rows", "weights"}


def test_expected_hessians_over_labels_sum_to_the_fisher_information():
    weights = network(2)
    shapes = [w.shape for w in weights]
    flat = torch.cat([w.flatten() for w in weights])

    def split(v):
        return [
            p.view(s) for p, s in zip(v.split([s.numel() for s in shapes]), shapes, strict=True)
        ]

    x, total = X[:1], torch.zeros(len(flat), len(flat), dtype=torch.float64)
    p = torch.softmax(outputs_of(weights, "tanh", x), dim=1)[0]
    for y in range(3):
        total += p[y] * torch.autograd.functional.hessian(
            lambda v, y=y: losses(outputs_of(split(v), "tanh", x), torch.tensor([y]), ENTROPY)[0],
            flat,
        )
    check(fisher_spectrum(passed_of(weights, "tanh", x)), total)


def test_a_linear_softmax_at_zero_has_the_spectrum_of_its_inputs():
    x, classes = draw((40, 6), 1) * torch.exp(-0.4 * torch.arange(6.0)), 4
    zero = [torch.zeros(classes, 7, dtype=torch.float64)]
    spectrum = fisher_spectrum(passed_of(zero, "relu", x))
    ones = torch.cat([x, x.new_ones(40, 1)], dim=1)  # the bias is an input of one
    inputs = np.linalg.eigvalsh((ones.T @ ones / 40).numpy())[::-1]
    truth = np.append(np.repeat(inputs / classes, classes - 1), np.zeros(7))
    np.testing.assert_allclose(spectrum.values, truth, rtol=0, atol=1e-14 * truth[0])
    assert spectrum.rank_bound == (classes - 1) * 7 == len(spectrum.resolved)


def test_networks_of_relu_have_a_null_vector_for_each_hidden_unit():
    weights = network(2, dim=3, width=3, outputs=2, bias=0.0)
    passed = passed_of(weights, "relu", draw((60, 3), 2))
    spectrum = jacobian_spectrum(passed)
    j = jacobian(lambda w: outputs_of(w, "relu", draw((60, 3), 2)), weights)
    null = torch.zeros(j.shape[1], 6, dtype=torch.float64)
    for k in range(6):  # the weights into a unit against those out of it
        layer, unit = divmod(k, 3)
        parts = [torch.zeros_like(w) for w in weights]
        parts[layer][unit] = weights[layer][unit]
        parts[layer + 1][:, unit] = -weights[layer + 1][:, unit]
        null[:, k] = torch.cat([part.flatten() for part in parts])
    assert float((j @ null).abs().max()) < 1e-13 * float(j.abs().max())
    assert spectrum.decomposed == "weights"
    assert np.sum(spectrum.values < spectrum.floor) >= torch.linalg.matrix_rank(null).item() >= 5


def test_the_noise_is_the_covariance_of_all_minibatch_gradients():
    n, batch = 6, 3
    weights = network(1, width=2)
    x, y = X[:n], Y[:n]
    g = jacobian(lambda w: losses(outputs_of(w, "tanh", x), y, ENTROPY), weights)
    means = torch.stack([g[list(some)].mean(0) for some in combinations(range(n), batch)])
    truth = torch.cov(means.T, correction=0)
    passed = passed_of(weights, "tanh", x)
    check(gradient_noise_spectrum(passed, y, ENTROPY, batch), truth)
    assert minibatch_factor(n, n) == 0.0 and minibatch_factor(n, 1) == 1.0
    assert minibatch_factor(1, 1) == 0.0
    for batch in (0, n + 1):
        with pytest.raises(ValueError, match=r"batch_size must lie in \[1, n=6\]"):
            minibatch_factor(n, batch)


def test_means_over_samples_do_not_feel_duplicates():
    weights = network(2)
    once, twice = (passed_of(weights, "tanh", x) for x in (X, X.repeat(2, 1)))
    y = Y.repeat(2)
    for few, many in (
        (fisher_spectrum(once), fisher_spectrum(twice)),
        (jacobian_spectrum(once), jacobian_spectrum(twice)),
        (
            gradient_noise_spectrum(once, Y, ENTROPY),
            gradient_noise_spectrum(twice, y, ENTROPY),
        ),
    ):
        k = len(few.resolved)
        np.testing.assert_allclose(many.values[:k], few.values[:k], rtol=0, atol=1e-13 * few.norm)
        assert many.trace == pytest.approx(few.trace, rel=1e-12)


def test_spectra_do_not_feel_the_names_of_units_their_signs_or_the_axes_of_inputs():
    weights = network(2)
    order = torch.tensor([2, 0, 3, 1])
    renamed = [weights[0][order], weights[1][:, [2, 0, 3, 1, 4]], weights[2]]
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    flipped = [weights[0] * signs[:4, None], weights[1] * signs, weights[2]]
    turn, _ = torch.linalg.qr(draw((5, 5), 4))
    turned = [torch.cat([weights[0][:, :5] @ turn, weights[0][:, 5:]], dim=1), *weights[1:]]
    truth = fisher_spectrum(passed_of(weights, "tanh", X)).values
    for other, x in ((renamed, X), (flipped, X), (turned, X @ turn)):
        found = fisher_spectrum(passed_of(other, "tanh", x)).values
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-12 * truth[0])


def test_scaling_inputs_scales_the_block_of_the_first_layer_alone():
    weights = network(2, bias=0.0)
    passed = passed_of(weights, "tanh", X)
    scaled = passed_of([weights[0] / 3.0, *weights[1:]], "tanh", 3.0 * X)
    # The bias of the first layer does not scale: only differences of traces tell its share.
    before, after = ([fisher_spectrum(p, layers=[k]) for k in range(3)] for p in (passed, scaled))
    for k in (1, 2):
        np.testing.assert_allclose(after[k].values, before[k].values, rtol=0, atol=1e-13)
    bias = float(sensitivities(passed, fisher_factor(passed.outputs))[0].square().sum()) / N
    assert after[0].trace - bias == pytest.approx(9.0 * (before[0].trace - bias), rel=1e-12)


def test_kl_between_near_students_is_the_fisher_information():
    weights, step = network(1), network(1, seed=5)
    x = X[:1]
    j = jacobian(lambda w: outputs_of(w, "tanh", x), weights)
    direction = torch.cat([w.flatten() for w in step])
    f = dense_factor(outputs_of(weights, "tanh", x))[0] @ j
    quadratic = float((f @ direction).square().sum()) / 2
    size = 1e-3
    near = [w + size * d for w, d in zip(weights, step, strict=True)]
    a, b = (torch.log_softmax(outputs_of(w, "tanh", x), dim=1) for w in (weights, near))
    kl = float((a.exp() * (a - b)).sum())
    assert kl / size**2 == pytest.approx(quadratic, rel=1e-2)
    check(fisher_spectrum(passed_of(weights, "tanh", x)), f.T @ f)


def test_confident_students_keep_the_digits_of_their_doubt():
    weights = network(0)
    weights[0] *= 30.0
    passed = passed_of(weights, "relu", X)
    y = passed.outputs.argmax(1)
    spectrum = gradient_noise_spectrum(passed, y, ENTROPY)
    assert 0.0 < spectrum.trace < 1e-3 and spectrum.residual < 1e-12
    huge = [1e3 * weights[0]]  # every doubt underflows
    empty = fisher_spectrum(passed_of(huge, "relu", X))
    assert empty.trace == 0.0 and len(empty.resolved) == 0 and empty.tail() is None
    assert np.isnan(empty.participation_ratio) and np.isnan(empty.effective_rank)


def test_rank_bounds_count_what_can_differ_from_zero():
    passed = passed_of(network(1, width=30), "tanh", X)
    assert rank_bound(passed, 2) == 2 * N
    assert rank_bound(passed, 1, centered=True) == N - 1
    assert rank_bound(passed_of(network(0), "tanh", X), 3) == 18
    assert jacobian_spectrum(passed_of(network(0), "tanh", X), output=0).rank_bound == 6


def test_a_softmax_of_one_logit_is_refused():
    with pytest.raises(ValueError, match="needs at least 2 logits; got 1"):
        fisher_spectrum(passed_of(network(1, outputs=1), "relu", X))
