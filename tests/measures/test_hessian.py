"""Hessian and Gauss-Newton products, against autograd, closed forms and finite differences."""

import mpmath
import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian as by_autograd, jacobian as jacobian_of

from tsframe.measures.hessian import Curvature, dense
from tsframe.measures.landscape import flat
from tsframe.students.activations import ACTIVATIONS
from tsframe.training.losses import Objective
from tsframe.training.products import slotwise_product

FUNCTIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "identity": lambda z: z,
}
OBJECTIVES = {
    "cross-entropy": Objective("cross_entropy", 3),
    "squares of classes": Objective("mse", 3),
    "regression": Objective("mse", None),
}
ENTROPY = OBJECTIVES["cross-entropy"]


def draw(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng((seed, *shape)).standard_normal(shape))


def network(dim, depth, outputs, students, width=5):
    sizes = [dim, *[width] * depth, outputs]
    pairs = enumerate(zip(sizes[1:], sizes[:-1], strict=True))
    return [draw(students, out, into + 1, seed=layer) for layer, (out, into) in pairs]


def task(objective, students, n, dim=4):
    x = draw(students, n, dim, seed=1)
    if objective.classes is None:
        return x, draw(students, n, seed=2)
    labels = np.random.default_rng(3).integers(0, objective.classes, (students, n))
    return x, torch.as_tensor(labels)


def curvature_of(activation="tanh", depth=2, objective=ENTROPY, students=2, n=7):
    weights = network(4, depth, objective.classes or 1, students)
    x, y = task(objective, students, n)
    return Curvature(weights, ACTIVATIONS[activation], x, y, objective)


def matrices(curvature, students=2):
    like = curvature.gradient
    return [
        dense(apply, students, curvature.parameters, like, columns_at_once=13)
        for apply in (curvature.hessian, curvature.gauss_newton, curvature.remainder)
    ]


def logits_of(vector, weights, activation, x, student):
    start = 0
    for layer, w in enumerate(weights):
        matrix = vector[start : start + w[0].numel()].view(w[student].shape)
        start += w[0].numel()
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1) @ matrix.T
        if layer < len(weights) - 1:
            x = FUNCTIONS[activation](x)
    return x


def loss_of(logits, targets, objective):
    if objective.loss == "cross_entropy":
        return torch.nn.functional.cross_entropy(logits, targets)
    if objective.classes is None:
        return ((logits[:, 0] - targets) ** 2).mean()
    one_hot = torch.nn.functional.one_hot(targets, objective.classes)
    return ((logits - one_hot) ** 2).sum(1).mean()


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_are_those_of_automatic_differentiation(activation, depth, objective):
    weights = network(4, depth, objective.classes or 1, students=2)
    x, y = task(objective, students=2, n=7)
    curvature = Curvature(weights, ACTIVATIONS[activation], x, y, objective)
    hessians, gauss_newtons, remainders = matrices(curvature)
    vectors = flat(weights)
    for k in range(2):

        def outputs(v, k=k):
            return logits_of(v, weights, activation, x[k], k)

        def loss(v, k=k):
            return loss_of(outputs(v, k), y[k], objective)

        def of_logits(z, k=k):
            return loss_of(z, y[k], objective)

        want = by_autograd(loss, vectors[k])
        unit = 1e-12 * float(want.abs().max())
        torch.testing.assert_close(hessians[k], want, rtol=0.0, atol=unit)
        slope = jacobian_of(loss, vectors[k])
        atol = 1e-12 * float(slope.abs().max())
        torch.testing.assert_close(curvature.gradient[k], slope, rtol=0.0, atol=atol)
        jacobian = jacobian_of(outputs, vectors[k]).flatten(0, 1)
        inner = by_autograd(of_logits, outputs(vectors[k]))
        inner = inner.reshape(len(jacobian), len(jacobian))
        want = jacobian.T @ inner @ jacobian
        torch.testing.assert_close(gauss_newtons[k], want, rtol=0.0, atol=unit)
    torch.testing.assert_close(remainders, hessians - gauss_newtons, rtol=0.0, atol=10 * unit)


def test_a_hessian_is_the_finite_difference_of_gradients():
    weights, (x, y) = network(4, 2, 3, 1), task(ENTROPY, 1, 7)
    direction = [draw(*w.shape, seed=9) for w in weights]
    step = 1e-5

    def gradient(t):
        moved = [w + t * v for w, v in zip(weights, direction, strict=True)]
        return Curvature(moved, ACTIVATIONS["erf"], x, y, ENTROPY).gradient

    curvature = Curvature(weights, ACTIVATIONS["erf"], x, y, ENTROPY)
    got = curvature.hessian(flat(direction)[:, None])[:, 0]
    want = (gradient(step) - gradient(-step)) / (2 * step)
    torch.testing.assert_close(got, want, rtol=0.0, atol=1e-7 * float(want.abs().max()))


def test_the_hessians_of_all_labels_weighted_by_probability_are_the_fisher_matrix():
    classes, x = 3, draw(1, 1, 4).expand(3, 1, 4)  # a student a label, at equal weights
    weights = [w.expand(classes, -1, -1) for w in network(4, 2, classes, 1)]
    labels = torch.arange(classes)[:, None]
    curvature = Curvature(weights, ACTIVATIONS["tanh"], x, labels, ENTROPY)
    hessians, fishers, remainders = matrices(curvature, students=classes)
    p = torch.softmax(logits_of(flat(weights)[0], weights, "tanh", x[0], 0)[0], 0)
    gradients = curvature.gradient
    by_gradients = torch.einsum("y,yi,yj->ij", p, gradients, gradients)
    by_hessians = torch.einsum("y,yij->ij", p, hessians)
    unit = 1e-13 * float(fishers[0].abs().max())
    torch.testing.assert_close(fishers[0], by_gradients, rtol=0.0, atol=unit)
    torch.testing.assert_close(by_hessians, by_gradients, rtol=0.0, atol=unit)
    assert (remainders.abs().amax((1, 2)) > 0.01).all()  # of a single label they are far apart


def test_linear_regression_has_the_hessian_of_its_inputs():
    x, y = task(OBJECTIVES["squares of classes"], students=1, n=9)
    weights = network(4, 0, 3, 1)
    curvature = Curvature(weights, ACTIVATIONS["relu"], x, y, OBJECTIVES["squares of classes"])
    hessian, gauss_newton, remainder = matrices(curvature, students=1)
    z = torch.cat([x[0], torch.ones(9, 1)], 1)
    want = torch.kron(torch.eye(3).double(), 2.0 / 9.0 * z.T @ z)
    torch.testing.assert_close(hessian[0], want, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gauss_newton[0], want, rtol=1e-13, atol=1e-13)
    assert float(remainder.abs().max()) == 0.0


@pytest.mark.parametrize("classes", [2, 4])
def test_linear_softmax_has_the_hessian_of_logistic_regression(classes):
    objective = Objective("cross_entropy", classes)
    x, y = task(objective, students=1, n=9)
    weights = network(4, 0, classes, 1)
    curvature = Curvature(weights, ACTIVATIONS["relu"], x, y, objective)
    hessian = matrices(curvature, students=1)[0][0]
    z = torch.cat([x[0], torch.ones(9, 1)], 1)
    p = torch.softmax(z @ weights[0][0].T, 1)
    of_logits = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    want = torch.einsum("nab,ni,nj->aibj", of_logits, z, z).reshape(hessian.shape) / 9
    torch.testing.assert_close(hessian, want, rtol=0.0, atol=1e-13)
    if classes == 2:  # twice logistic regression, and zeros along common shifts of the logits
        s = torch.sigmoid(z @ (weights[0][0, 1] - weights[0][0, 0]))
        logistic = torch.linalg.eigvalsh(z.T @ (z * (s * (1 - s))[:, None]) / 9)
        spectrum = torch.cat([torch.zeros(5), 2 * logistic])
        torch.testing.assert_close(torch.linalg.eigvalsh(hessian), spectrum, rtol=0, atol=1e-13)


def test_linear_softmax_at_zero_weights_has_the_spectrum_of_its_inputs():
    x, y = task(ENTROPY, students=1, n=9)
    weights = [torch.zeros(1, 3, 5, dtype=torch.float64)]
    curvature = Curvature(weights, ACTIVATIONS["relu"], x, y, ENTROPY)
    z = torch.cat([x[0], torch.ones(9, 1)], 1)
    modes = torch.linalg.eigvalsh(z.T @ z / 9)
    want = torch.cat([torch.zeros(5), modes / 3, modes / 3]).sort().values
    for matrix in matrices(curvature, students=1)[:2]:
        torch.testing.assert_close(torch.linalg.eigvalsh(matrix[0]), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("a", "b", "s"), [(1.5, 0.8, 1.2), (0.0, 0.0, 1.2), (0.3, -2.0, 1.0)])
def test_a_product_of_two_weights_has_the_hessian_of_its_saddle(a, b, s):
    weights = [torch.tensor([[[w, 0.0]]], dtype=torch.float64) for w in (a, b)]
    x, y = torch.ones(1, 1, 1).double(), torch.full((1, 1), s, dtype=torch.float64)
    curvature = Curvature(weights, ACTIVATIONS["identity"], x, y, OBJECTIVES["regression"])
    hessian = matrices(curvature, students=1)[0][0] / 2  # of (a b - s)^2 / 2
    got = hessian[np.ix_([0, 2], [0, 2])]  # biases aside
    want = [[b * b, 2 * a * b - s], [2 * a * b - s, a * a]]
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)


def test_confident_students_lose_no_digits():
    logits = [40.0, 2.0, 0.0, -1.0]
    with mpmath.workdps(60):
        powers = [mpmath.exp(z) for z in logits]
        p = [power / sum(powers) for power in powers]
        matrix = np.array([[float(p[i] * ((i == j) - p[j])) for j in range(4)] for i in range(4)])
        residuals = np.array([float(p[i] - (i == 0)) for i in range(4)])
    weights = [torch.tensor(logits).double()[None, :, None] * torch.tensor([0.0, 1.0]).double()]
    x, y = torch.zeros(1, 1, 1).double(), torch.zeros(1, 1, dtype=torch.int64)
    objective = Objective("cross_entropy", 4)
    curvature = Curvature(weights, ACTIVATIONS["relu"], x, y, objective)
    biases = torch.arange(1, 8, 2)  # with an input of zero only biases matter
    unit = torch.zeros(1, 4, 8, dtype=torch.float64)
    unit[0, torch.arange(4), biases] = 1.0
    np.testing.assert_allclose(curvature.gradient[0, biases], residuals, rtol=1e-14)
    np.testing.assert_allclose(curvature.hessian(unit)[0, :, biases], matrix, rtol=1e-14)


def test_a_spectrum_is_that_of_the_function_not_of_its_units():
    weights, (x, y) = network(4, 2, 3, 1), task(ENTROPY, 1, 7)
    order = torch.tensor([3, 1, 4, 0, 2])
    first, second, last = weights
    with_bias = torch.cat([order, torch.tensor([5])])
    permuted = [first[:, order], second[:, :, with_bias], last]
    spectra = [
        torch.linalg.eigvalsh(
            matrices(Curvature(w, ACTIVATIONS["tanh"], x, y, ENTROPY), students=1)[0]
        )
        for w in (weights, permuted)
    ]
    torch.testing.assert_close(*spectra, rtol=0.0, atol=1e-13)


def test_slots_of_a_product_have_the_same_bits_alone_and_in_any_batch():
    rng = np.random.default_rng(0)
    for _ in range(200):
        slots, a, b, c = (int(size) for size in rng.integers((2, 1, 1, 1), 60))
        c = 1 if b % 4 == 0 else c  # vectors take a kernel of their own
        left, right = draw(slots, b, a).mT if a % 2 else draw(slots, a, b), draw(slots, b, c)
        k = int(rng.integers(slots))
        alone = slotwise_product(left[k : k + 1], right[k : k + 1])
        assert torch.equal(alone[0], slotwise_product(left, right)[k]), (slots, a, b, c)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_a_student_has_the_same_bits_alone_and_in_any_batch(activation, depth):
    weights, (x, y) = network(4, depth, 3, 5, width=9), task(ENTROPY, 5, 33)

    def products(chosen):
        picked = [w[chosen] for w in weights]
        curvature = Curvature(picked, ACTIVATIONS[activation], x[chosen], y[chosen], ENTROPY)
        vectors = draw(5, 3, curvature.parameters)[chosen]
        return curvature.gradient, curvature.hessian(vectors), curvature.remainder(vectors)

    together = products([0, 1, 2, 3, 4])
    for chosen in ([2], [4, 2], [1, 2, 3]):
        place = chosen.index(2)
        for got, want in zip(products(chosen), together, strict=True):
            assert torch.equal(got[place], want[2])
