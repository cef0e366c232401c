"""Sensitivities, Gram matrices and start rows against dense Jacobians by autograd."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.measures.networks import (
    dense_factor,
    draw,
    jacobian,
    network,
    outputs_of,
    passed_of,
    PHI,
)
from tsframe.measures import gram as gram_module
from tsframe.measures.eigen import eigenvectors
from tsframe.measures.gram import (
    gram,
    gram_trace,
    parameter_eigenvectors,
    parameter_gram,
    pull_back,
    row_sum,
)
from tsframe.measures.sensitivities import forward, sensitivities, students
from tsframe.measures.start_rows import (
    draw_labels,
    every_output,
    fisher_factor,
    label_gradients,
    loss_gradients,
    one_output,
)
from tsframe.students.activations import ACTIVATIONS
from tsframe.training.losses import Objective

X = draw((6, 5), 7)


@pytest.mark.parametrize("activation", PHI)
@pytest.mark.parametrize("depth", range(4))
def test_both_sides_equal_those_of_the_dense_jacobian(depth, activation):
    weights = network(depth)
    passed = passed_of(weights, activation, X)
    torch.testing.assert_close(passed.outputs, outputs_of(weights, activation, X))
    deltas = sensitivities(passed, every_output(passed.outputs))
    for layers in [None, *([k] for k in range(depth + 1)), list(range(depth + 1))[1:] or None]:
        dense = jacobian(lambda w: outputs_of(w, activation, X), weights, layers)
        for found, truth in (
            (gram(passed, deltas, layers), dense @ dense.T),
            (parameter_gram(passed, deltas, layers), dense.T @ dense),
            (torch.cat([r.flatten() for r in row_sum(passed, deltas, layers)]), dense.sum(0)),
        ):
            torch.testing.assert_close(found, truth, rtol=0, atol=1e-13 * float(truth.abs().max()))
        trace = gram_trace(passed, deltas, layers)
        assert trace == pytest.approx(float(dense.square().sum()), rel=1e-13)


def test_blocks_of_any_size_give_one_gram(monkeypatch):
    passed = passed_of(network(2), "tanh", X)
    deltas = sensitivities(passed, fisher_factor(passed.outputs))
    whole, weights = gram(passed, deltas), parameter_gram(passed, deltas)
    assert torch.equal(whole, whole.T)
    for block in (1, 30, 100):
        monkeypatch.setattr(gram_module, "BLOCK", block)
        torch.testing.assert_close(gram(passed, deltas), whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(parameter_gram(passed, deltas), weights, rtol=0, atol=1e-12)


def test_start_rows_and_contractions_of_one_gram_agree():
    n, k = 6, 3
    passed = passed_of(network(2), "tanh", X)
    every = sensitivities(passed, every_output(passed.outputs))
    whole = gram(passed, every).view(n, k, n, k)
    labels = torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0], [1, 2], [2, 1]])
    for start in (
        fisher_factor(passed.outputs),
        label_gradients(passed.outputs, labels),
        one_output(passed.outputs, 1),
    ):
        contracted = torch.einsum("iak,ikjm,jbm->iajb", start, whole, start)
        direct = gram(passed, sensitivities(passed, start))
        side = n * start.shape[1]
        torch.testing.assert_close(direct, contracted.reshape(side, side), rtol=0, atol=1e-12)


def test_eigenvectors_of_the_rows_give_those_of_the_weights():
    weights = network(2)
    passed = passed_of(weights, "tanh", X)
    start = fisher_factor(passed.outputs)
    deltas = sensitivities(passed, start)
    found = eigenvectors(gram(passed, deltas), 8)
    parts = parameter_eigenvectors(passed, deltas, found.values, found.vectors)
    assert [tuple(p.shape) for p in parts] == [(8, *w.shape) for w in weights]
    u = torch.cat([part.flatten(1) for part in parts], dim=1)
    torch.testing.assert_close(u @ u.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-10)
    dense = jacobian(lambda w: (start * outputs_of(w, "tanh", X)[:, None]).sum(2), weights)
    torch.testing.assert_close(
        dense.T @ (dense @ u.T), u.T * torch.as_tensor(found.values), rtol=0, atol=1e-10
    )
    v = draw((12, 3), 3)
    pulled = torch.cat([part.flatten(1) for part in pull_back(passed, deltas, v)], dim=1)
    torch.testing.assert_close(pulled.T, dense.T @ v, rtol=0, atol=1e-12)
    one = pull_back(passed, deltas, v, layers=[1])
    torch.testing.assert_close(one[0], pull_back(passed, deltas, v)[1], rtol=0, atol=0)
    noise = np.r_[found.values[:2], 1e-18]
    with pytest.raises(ValueError, match=r"above the numerical floor .* at place 2"):
        parameter_eigenvectors(passed, deltas, noise, found.vectors[:, :3])


def exact_covariance(p):
    p = [Fraction(float(value)) for value in p]
    total = sum(p)
    p = [value / total for value in p]
    return [[(a if i == j else 0) - a * b for j, b in enumerate(p)] for i, a in enumerate(p)]


@pytest.mark.parametrize("gap", [0.0, 1.0, 10.0, 40.0])
def test_the_factor_keeps_every_digit_of_confident_students(gap):
    logits = torch.tensor([[gap, 2.0, 0.0, -1.0], [0.0, -1.0, 2.0, gap]], dtype=torch.float64)
    factor = fisher_factor(logits)
    assert factor.shape == (2, 3, 4)
    p = torch.softmax(logits, dim=1)
    for k in range(2):
        truth = exact_covariance(p[k])
        columns = [[Fraction(float(v)) for v in column] for column in factor[k]]
        for i in range(4):
            for j in range(4):
                product = sum(column[i] * column[j] for column in columns)
                scale = max(abs(truth[i][j]), min(truth[i][i], truth[j][j]))
                assert abs(product - truth[i][j]) <= Fraction(1e-14) * scale
    assert torch.isfinite(fisher_factor(torch.tensor([[800.0, 0.0, -800.0]]).double())).all()


def test_the_factor_of_two_classes_is_the_deviation_of_a_coin():
    p = torch.softmax(draw((4, 2)), dim=1)
    root = p.prod(1).sqrt()
    truth = torch.stack([root, -root], dim=1)[:, None]
    torch.testing.assert_close(fisher_factor(p.log()), truth, rtol=1e-14, atol=0)


def test_gradients_by_labels_are_those_of_the_losses():
    logits, targets = draw((6, 3), 1), torch.tensor([0, 1, 2, 2, 1, 0])
    for loss, classes, y in (
        ("cross_entropy", 3, targets),
        ("mse", 3, targets),
        ("mse", None, draw((6,), 2)),
    ):
        objective = Objective(loss, classes)
        outputs = (logits if classes else logits[:, :1]).clone().requires_grad_()
        target = y[None]
        loss_of = objective.sample_losses(outputs.T[None], target).sum()
        (truth,) = torch.autograd.grad(loss_of, outputs)
        found = loss_gradients(outputs.detach(), y, objective)
        torch.testing.assert_close(found[:, 0], truth, rtol=1e-13, atol=1e-15)
    sure = label_gradients(torch.tensor([[90.0, 0.0]]).double(), torch.tensor([[0]]))
    np.testing.assert_allclose(
        sure[0, 0].numpy(), np.exp(-90.0) * np.array([-1.0, 1.0]), rtol=1e-13
    )


def test_drawn_labels_have_the_frequencies_of_the_softmax():
    logits = draw((3, 4), 5)
    uniforms = torch.rand(
        3, 20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    labels = draw_labels(logits, uniforms)
    p = torch.softmax(logits, dim=1)
    counts = torch.stack([(labels == k).double().mean(1) for k in range(4)], dim=1)
    assert ((counts - p).abs() < 5 * (p * (1 - p) / 20_000).sqrt()).all()
    edge = draw_labels(torch.zeros(1, 3).double(), torch.tensor([[0.0, 1 - 2**-53]]).double())
    assert edge.tolist() == [[0, 2]]


def test_a_student_has_the_same_bits_alone_and_in_any_stack():
    stack = [torch.stack([network(2, seed=s)[k] for s in range(5)]) for k in range(3)]

    def grams(weights):
        for own in students(weights):
            passed = forward(own, ACTIVATIONS["tanh"], X)
            yield gram(passed, sensitivities(passed, fisher_factor(passed.outputs)))

    together = list(grams(stack))
    for k in (0, 3):
        assert torch.equal(next(grams([w[k : k + 1] for w in stack])), together[k])


def test_what_does_not_fit_is_refused_with_a_sentence():
    weights = network(1)
    passed = passed_of(weights, "relu", X)
    deltas = sensitivities(passed, every_output(passed.outputs))
    with pytest.raises(ValueError, match=r"must be float64; got torch\.float32"):
        forward(weights, ACTIVATIONS["relu"], X.float())
    with pytest.raises(ValueError, match=r"x must have shape \(n, 5\)"):
        forward(weights, ACTIVATIONS["relu"], X[:, :4])
    with pytest.raises(ValueError, match=r"start rows must have shape \(6, rows, 3\)"):
        sensitivities(passed, every_output(passed.outputs)[:5])
    for layers in ([], [2], [0, 0]):
        with pytest.raises(ValueError, match=r"layers must be some of 0\.\.1"):
            gram(passed, deltas, layers)
    with pytest.raises(ValueError, match=r"index must lie in \[0, 3\)"):
        one_output(passed.outputs, 3)


def test_the_factor_has_one_column_fewer_than_the_textbook_one_and_the_same_product():
    logits = draw((5, 4), 9)
    mine, textbook = fisher_factor(logits), dense_factor(logits)
    torch.testing.assert_close(mine.mT @ mine, textbook.mT @ textbook, rtol=0, atol=1e-15)
