"""Dropout: silent units in training, none at evaluation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.test_batch_norm import PLAIN, SGDM
from tsframe.streams import stream
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import TorchDefault
from tsframe.students.layout import Layout
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.training.cohort import Cohort
from tsframe.training.dropout import Dropout
from tsframe.training.engine import train_stack
from tsframe.training.losses import Objective
from tsframe.training.minibatches import TrainingSet
from tsframe.training.sam import SAM
from tsframe.training.sgd import SGD
from tsframe.trial import train


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "erf"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_gradient_is_that_of_autograd_through_the_masks(activation: str, depth: int) -> None:
    rate, width, n = 0.4, 7, 30
    rng = np.random.default_rng(0)
    x, y = torch.as_tensor(rng.standard_normal((n, 5))), torch.as_tensor(rng.standard_normal(n))
    layout = Layout.arrange([0], [(width, depth)], [0], 5, 1, share_rows=True)
    stack = Stack.zeros(layout, ACTIVATIONS[activation], torch.zeros(0, dtype=torch.float64))
    layers = MLP(width, depth, activation, TorchDefault()).initial_weights(5, 1, seed=0)
    stack.seat(0, layers)
    rows = TrainingSet(torch.cat([x, x.new_ones(n, 1)], 1)[None], y[None], [3], n)
    step = [SGD(1.0, max_steps=1)]
    (end,) = train_stack(
        stack, rows, Objective("mse", None), step, lambda _: layout, dropout=[rate]
    )

    functions = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf}
    weights = [torch.as_tensor(w).requires_grad_() for w in layers]
    draws, h = stream(3, "dropout"), x.T
    for w in weights[:-1]:
        kept = torch.as_tensor(draws.random((width, n), dtype=np.float32) < 1.0 - rate)
        h = functions[activation](w[:, :-1] @ h + w[:, -1:]) * kept / (1.0 - rate)
    outputs = weights[-1][:, :-1] @ h + weights[-1][:, -1:]
    (outputs[0] - y).square().mean().backward()
    (after,) = layout.by_student(end.stack.weights)
    for before, now, w in zip(layers, after, weights, strict=True):
        assert w.grad is not None
        moved = torch.as_tensor(before) - now[0, 0]
        torch.testing.assert_close(moved, w.grad, rtol=1e-7, atol=1e-9)  # masks are float32


def test_a_unit_is_silent_as_often_as_its_rate_says_and_loud_enough_otherwise() -> None:
    layout = Layout.arrange([0, 1, 2], [(50, 2)] * 3, [0, 0, 1], 5, 1, share_rows=True)
    weights = [torch.zeros(shape) for shape in layout.weight_shapes()]
    rates = [0.0, 0.3, 0.75]
    masks = Dropout(rates).masks(Cohort(layout, weights, [None] * 3, [0, 1]), 400, 0)
    assert masks is not None
    for mask, _ in masks[0]:
        for (group, place), student in np.ndenumerate(layout.buckets[0].slots):
            if student >= 0:
                units, rate = mask[group, place].numpy(), rates[student]
                silent = (units == 0.0).mean()
                assert abs(silent - rate) <= 5 * np.sqrt(rate * (1 - rate) / units.size)
                assert np.allclose(units[units > 0], 1 / (1 - rate))


def test_students_of_any_rates_train_in_one_stack_to_their_own_bits() -> None:
    trials = [
        replace(PLAIN, student=MLP(width, depth, act, dropout=rate), seed=seed)
        for rate in (0.0, 0.2, 0.5)
        for width, depth, act in [(5, 1, "tanh"), (12, 2, "tanh"), (30, 0, "tanh")]
        for seed in (0, 1)
    ]
    assert len({trial.step_key for trial in trials}) == 1
    together = train(trials, device="cpu")
    for k, trial in enumerate(trials):
        alone = train([trial], device="cpu").isel(student=0, drop=True)
        for name in alone.data_vars:
            assert np.array_equal(alone[name], together[name][k], equal_nan=True), name
    errors = together.train_loss.values.reshape(3, 3, 2)
    assert (errors[0, :2] != errors[1, :2]).all() and (errors[0, 2] == errors[2, 2]).all()


def test_both_gradients_of_sam_see_the_same_masks() -> None:
    dropped = replace(PLAIN, student=MLP(8, 2, dropout=0.5))
    pair = [dropped, replace(dropped, training=SAM(SGDM, radius=0.0))]
    plain, sam = (train([one], device="cpu").weight_norm.item() for one in pair)
    assert plain == sam


def test_a_student_that_has_no_dropout_tells_nothing_of_it() -> None:
    assert "dropout" not in repr(MLP(8))
    assert "dropout=0.5" in repr(MLP(8, dropout=0.5))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_bad_rates_are_refused_with_a_sentence(rate: float) -> None:
    with pytest.raises(ValueError, match="dropout must be a number in"):
        MLP(8, dropout=rate)
