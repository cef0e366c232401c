import numpy as np
import pytest
import torch

from tsframe.streams import stream
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import Glorot2010, He2015, Jacot2018, LeCun1998, TorchDefault
from tsframe.students.layout import Layout, VACANT
from tsframe.students.mlp import MLP
from tsframe.students.stack import copy_students, Stack

# law -> variance of a weight for fan_in, fan_out
LAWS = {
    LeCun1998(): lambda i, o: 1 / i,
    LeCun1998(gain=2.0): lambda i, o: 4 / i,
    He2015(): lambda i, o: 2 / i,
    Glorot2010(): lambda i, o: 2 / (i + o),
    TorchDefault(): lambda i, o: 1 / (3 * i),
    Jacot2018(weight_variance=1.5): lambda i, o: 1.5 / i,
}
SHAPES = [(5, 1), (5, 1), (3, 2), (7, 3), (4, 0), (5, 1), (3, 2), (1, 1)]
DATA = [0, 0, 0, 1, 1, 1, 1, 2]


def arrange(students, share_rows=True, **limits):
    return Layout.arrange(students, SHAPES, DATA, dim=6, outputs=4, share_rows=share_rows, **limits)


def drawn_weights(k):
    width, depth = SHAPES[k]
    return MLP(width, depth, "tanh", TorchDefault()).initial_weights(6, 4, seed=k)


def seated(layout, activation="tanh"):
    stack = Stack.zeros(layout, ACTIVATIONS[activation], torch.zeros(0, dtype=torch.float64))
    for k in layout.students:
        stack.seat(k, drawn_weights(k))
    return stack


def one_student_at_a_time(weights, x):
    h = torch.as_tensor(x)
    for layer in weights[:-1]:
        w = torch.as_tensor(layer)
        h = torch.tanh(w[:, :-1] @ h + w[:, -1:])
    w = torch.as_tensor(weights[-1])
    return w[:, :-1] @ h + w[:, -1:]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_weights_have_the_variance_of_their_law(law):
    fan_in, fan_out = 60, 500
    weights = law(fan_in, fan_out, stream(0, "test"))[:, :-1]
    squares = weights**2
    error = squares.std() / np.sqrt(squares.size)
    assert abs(squares.mean() - LAWS[law](fan_in, fan_out)) < 5 * error
    assert abs(weights.mean()) < 5 * weights.std() / np.sqrt(weights.size)
    wrong = 1.1 * LAWS[law](fan_in, fan_out)
    assert abs(squares.mean() - wrong) > 5 * error, "the test must reject 10 % more variance"


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_biases_are_zero_except_for_the_torch_default(law):
    biases = law(20, 300, stream(0, "test"))[:, -1]
    assert (biases != 0).all() if isinstance(law, TorchDefault) else (biases == 0).all()


def test_one_seed_draws_the_same_first_layer_at_every_depth():
    layers = [MLP(7, depth).initial_weights(5, 3, seed=2)[0] for depth in (1, 2, 3)]
    assert all(np.array_equal(layers[0], layer) for layer in layers)


@pytest.mark.parametrize("share_rows", [True, False])
def test_the_stack_equals_one_student_at_a_time(share_rows):
    stack = seated(arrange(range(8), share_rows))
    x = torch.randn(3, 11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([x, torch.ones(3, 11, 1, dtype=torch.float64)], 2)
    buffers = stack.forward(inputs[torch.as_tensor(stack.layout.data)])
    seen = []
    for slot, k in enumerate(stack.layout.slots):
        if k != VACANT:
            expected = one_student_at_a_time(drawn_weights(k), x[DATA[k]].T)
            torch.testing.assert_close(buffers.logits[slot], expected, rtol=1e-12, atol=1e-12)
            seen.append(k)
    assert sorted(seen) == list(range(8))


def test_hidden_units_may_be_permuted():
    layout = Layout.arrange([0], [(5, 1)], [0], 6, 4, share_rows=True)
    stack = Stack.zeros(layout, ACTIVATIONS["relu"], torch.zeros(0, dtype=torch.float64))
    first, last = MLP(5, 1).initial_weights(6, 4, seed=0)
    inputs = torch.ones(1, 9, 7, dtype=torch.float64)
    stack.seat(0, [first, last])
    before = stack.forward(inputs).logits[0].clone()
    order = [3, 1, 4, 0, 2]
    stack.seat(0, [first[order], last[:, [*order, 5]]])
    torch.testing.assert_close(stack.forward(inputs).logits[0], before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("share_rows", [True, False])
def test_every_student_has_exactly_one_seat(share_rows):
    for students in ([0], [7, 2], [1, 3, 5], range(8)):
        layout = arrange(students, share_rows, min_slots=2, min_work=4096, fewest_rows=3)
        assert layout.students.tolist() == sorted(students)
        for bucket in layout.buckets:
            for (group, _), k in np.ndenumerate(bucket.slots):
                if k != VACANT:
                    assert (bucket.width, bucket.depth) == SHAPES[k]
                    assert layout.data[group] == DATA[k]


def test_no_product_of_first_layers_is_smaller_than_the_route_demands():
    for students in ([0], [7], [4], range(8)):
        layout = arrange(students, min_slots=2, min_work=4096, fewest_rows=3)
        groups, rows, columns = layout.weight_shapes()[0]
        assert groups >= 2
        assert groups * rows * columns * 3 > 4096


def test_students_keep_their_weights_when_others_leave():
    everyone = seated(arrange(range(8)))
    some = arrange([1, 3, 6], min_slots=3)
    moved = Stack.zeros(some, everyone.activation, everyone.weights[0])
    copy_students(everyone.layout, some, everyone.weights, moved.weights)
    for bucket, layers in zip(some.buckets, some.by_student(moved.weights), strict=True):
        for seat, k in np.ndenumerate(bucket.slots):
            for layer, expected in zip(layers, drawn_weights(max(k, 0)), strict=False):
                assert k == VACANT or np.array_equal(layer[seat].numpy(), expected)


def test_only_chosen_students_are_copied():
    source, target = seated(arrange(range(8))), arrange(range(8))
    out = Stack.zeros(target, source.activation, source.weights[0])
    copy_students(source.layout, target, source.weights, out.weights, np.arange(8) == 3)
    for bucket, layers in zip(target.buckets, target.by_student(out.weights), strict=True):
        for seat, k in np.ndenumerate(bucket.slots):
            assert all(bool(layer[seat].any()) == (k == 3) for layer in layers)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_pullbacks_equal_autograd(name):
    z = torch.linspace(-3, 3, 41, dtype=torch.float64).reshape(1, 1, 41).requires_grad_()
    phi = ACTIVATIONS[name]
    references = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "erf": torch.erf,
        "identity": lambda t: t,
    }
    expected = references[name](z)
    expected.sum().backward()
    value, gradient = torch.empty_like(z.detach()), z.detach().clone()
    phi.value(z.detach(), value)
    phi.pullback_(torch.ones_like(value), value, gradient)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=1e-14)
    z_gradient = z.grad
    assert z_gradient is not None
    inside = z.detach() != 0  # at 0 the derivative of relu is a convention
    torch.testing.assert_close(gradient[inside], z_gradient[inside], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(width=0), "width must be an integer >= 1; got width=0."),
        (dict(width=2.5), "width must be an integer >= 1; got width=2.5."),
        (dict(width=5, depth=-1), "Depth 0 is the linear model."),
        (dict(width=5, activation="swish"), "activation must be one of relu, tanh"),
        (dict(width=5, initialization="he"), "must be a law such as He2015"),
    ],
)
def test_bad_students_are_refused_with_a_sentence(arguments, sentence):
    with pytest.raises((ValueError, TypeError)) as refusal:
        MLP(**arguments)
    assert sentence in str(refusal.value)


def test_a_gain_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="gain must be a positive number"):
        He2015(gain=0.0)
