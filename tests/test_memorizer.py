import numpy as np
import pytest
import torch

from tsframe.inputs import Gaussian
from tsframe.samples import draw_samples
from tsframe.spectra import Isotropic, Sloppy
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.layout import Layout
from tsframe.students.memorizer import memorize
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.teachers import Teacher
from tsframe.training.looking import evaluate
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet

INPUTS = [Gaussian(20, Isotropic()), Gaussian(20, Sloppy(1.0)), Gaussian(1, Isotropic())]
every_input = pytest.mark.parametrize("inputs", INPUTS, ids=repr)


def rounding(x, network):
    """What sums of so large terms may lose in float64."""
    z = np.sort(x @ network.direction)
    terms = np.abs(network.readout) * np.maximum(z[-1] - network.knots, 0.0)
    return np.finfo(float).eps * len(z) * terms.sum()


@every_input
@pytest.mark.parametrize("n", [1, 2, 30, 2000])
def test_any_numbers_are_fitted_by_as_many_units_to_rounding(inputs, n):
    x = inputs.draw(n, 0, "train inputs")
    y = np.random.default_rng(0).standard_normal(n)
    network = memorize(x, y)
    assert network.knots.size == n and network.parameters == 2 * n + inputs.dim
    error = np.abs(network(x) - y).max()
    assert error <= rounding(x, network) < 1e-2
    assert inputs.dim == 1 or error < 1e-6


@every_input
def test_the_weights_are_those_that_a_solver_finds(inputs):
    x = inputs.draw(40, 1, "train inputs")
    y = np.random.default_rng(1).standard_normal(40)
    network = memorize(x, y)
    z = np.sort(x @ network.direction)
    triangle = np.maximum(z[:, None] - network.knots, 0.0)
    assert np.all(np.triu(triangle, 1) == 0.0) and np.all(np.diag(triangle) > 0.0)
    solved = np.linalg.solve(triangle, y[np.argsort(x @ network.direction)])
    np.testing.assert_allclose(network.readout, solved, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
def test_random_classes_are_fitted_in_a_stack_by_an_mlp_of_width_n(classes):
    n, dim = 300, 20
    samples = draw_samples(INPUTS[0], Teacher(10, classes=classes), n, 500, 1.0, seed=0)
    network = memorize(samples.x_train, samples.y_train)
    weights = network.weights(classes)
    shapes = MLP(width=n, depth=1).layer_shapes(dim, classes)
    assert [w.shape for w in weights] == [(after, before + 1) for after, before in shapes]
    layout = Layout.arrange([0], [(n, 1)], [0], dim, classes, share_rows=True)
    stack = Stack.zeros(layout, ACTIVATIONS["relu"], torch.zeros(1, dtype=torch.float64))
    stack.seat(0, weights)
    objective = Objective("cross_entropy", classes)

    def error(x, y):
        ones = np.ones((len(x), 1))
        data = SampleSet(torch.as_tensor(np.hstack([x, ones]))[None], torch.as_tensor(y)[None])
        return float(evaluate(stack, data, objective, 1)[0][0])

    assert error(samples.x_train, samples.y_train) == 0.0
    assert np.array_equal(network(samples.x_train).round(), samples.y_train)
    chance = 1 - 1 / classes
    wrong = error(samples.x_test, samples.y_test)
    assert abs(wrong - chance) < 5 * np.sqrt(chance / classes / 500)  # it has learned nothing
    shifted = [weights[0], np.roll(weights[1], 1, axis=1)]
    stack.seat(0, shifted)
    assert error(samples.x_train, samples.y_train) > 0.1, "other weights do not fit"


def test_logits_lead_by_one_at_what_was_memorized():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.integers(4, size=50)
    first, readout = memorize(x, y).weights(4)
    hidden = np.maximum(np.column_stack([x, np.ones(50)]) @ first.T, 0.0)
    logits = np.sort(np.column_stack([hidden, np.ones(50)]) @ readout.T, axis=1)
    np.testing.assert_allclose(logits[:, -1] - logits[:, -2], 1.0, rtol=1e-8)


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0]], [0, 1, 2], "got rows 0 and 2 that fall together"),
        ([[1.0, 2.0]], [0, 1], "x and y must have the same number of rows; got 1 and 2"),
        ([1.0, 2.0], [0, 1], "x must be numbers of shape (rows, dim)"),
        ([[np.nan]], [0], "x must be finite"),
    ],
)
def test_what_no_network_fits_is_refused_with_a_sentence(x, y, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        memorize(x, y)
    assert sentence in str(refusal.value)
