"""Batch normalization: minibatch statistics in training, plain networks at evaluation."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from tsframe.augmentations import FlatNoise
from tsframe.inputs import Gaussian
from tsframe.measures.linearized import Linearization
from tsframe.spectra import Sloppy
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import He2015, TorchDefault
from tsframe.students.jacot2018 import Jacot2018
from tsframe.students.layout import Layout
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.adam import Adam
from tsframe.training.backward import backward
from tsframe.training.engine import train_stack
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.folding import folded
from tsframe.training.langevin import Langevin
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, TrainingSet
from tsframe.training.parle import Parle
from tsframe.training.sam import SAM
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation, ZeroTrainError
from tsframe.training.table import Table
from tsframe.trial import train, Trial

DIM, CLASSES, N = 5, 3, 300  # more samples than one block of evaluation has
ENTROPY = Objective("cross_entropy", CLASSES)
PHI = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "identity": lambda z: z,
}
SGDM = SGD(0.1, momentum=0.9, batch_size=20, max_steps=30, stop=ZeroTrainError(check_every=5))
PLAIN = Trial(
    inputs=Gaussian(dim=20, spectrum=Sloppy(0.1)),
    teacher=Teacher(width=10, classes=4),
    student=MLP(8, 2),
    training=SGDM,
    n_train=60,
    n_test=100,
)
NORMED = replace(PLAIN, student=MLP(8, 2, batch_norm=True))


def rows(seed=0, n=N, shift=0.0):
    """Inputs with ones, and classes."""
    rng = np.random.default_rng(seed)
    x = torch.as_tensor(shift + rng.standard_normal((n, DIM)))
    return torch.cat([x, x.new_ones(n, 1)], 1), torch.as_tensor(rng.integers(CLASSES, size=n))


def layers_of(mlp, seed=0):
    """Initial weights with biases that are not zero."""
    rng = np.random.default_rng(seed)
    drawn = mlp.initial_weights(DIM, CLASSES, seed)
    for w in drawn:
        w[:, -1] = rng.standard_normal(len(w))
    return drawn


def seat(mlps, layers):
    arrange = functools.partial(
        Layout.arrange,
        shapes=[(mlp.width, mlp.depth) for mlp in mlps],
        data=[0] * len(mlps),
        dim=DIM,
        outputs=CLASSES,
        share_rows=True,
    )
    like = torch.zeros(0, dtype=torch.float64)
    stack = Stack.zeros(arrange(range(len(mlps))), ACTIVATIONS[mlps[0].activation], like, True)
    for k, weights in enumerate(layers):
        stack.seat(k, weights)
    return stack, arrange


def twin(weights, x, activation):
    """Logits by another road: torch's own layer, whose statistics are those of `x`."""
    h = x[:, :-1]
    for w in weights[:-1]:
        norm = torch.nn.BatchNorm1d(len(w), affine=False, dtype=torch.float64)
        h = PHI[activation](norm(h @ w[:, :-1].T) + w[:, -1])
    return h @ weights[-1][:, :-1].T + weights[-1][:, -1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_outputs_and_gradients_are_those_of_autograd_through_torchs_own_layer(activation, depth):
    mlps = [MLP(7, depth, activation), MLP(4, 1, activation), MLP(7, 0, activation)]
    layers = [layers_of(mlp, seed) for seed, mlp in enumerate(mlps)]
    x, y = rows(n=30, shift=0.5)
    stack, _ = seat(mlps, layers)
    buffers = stack.forward(x[None])
    logits = buffers.logits.clone()
    ENTROPY.gradient_(buffers.logits, y.expand(len(mlps), -1))
    found = [torch.zeros_like(w) for w in stack.weights]

    def keep(index, left, right):
        found[index].copy_(left @ right)

    backward(stack, buffers, x[None], keep)
    views = stack.layout.by_student(found)
    for bucket, gradients in zip(stack.layout.buckets, views, strict=True):
        for (group, place), k in np.ndenumerate(bucket.slots):
            weights = [torch.as_tensor(w).requires_grad_() for w in layers[k]]
            expected = twin(weights, x, activation)
            torch.nn.functional.cross_entropy(expected, y).backward()
            slot = stack.layout.slots.tolist().index(k)
            torch.testing.assert_close(logits[slot].T, expected.detach(), rtol=0, atol=1e-12)
            for gradient, w in zip(gradients, weights, strict=True):
                torch.testing.assert_close(gradient[group, place], w.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_folded_students_give_what_normalization_over_the_training_set_gives(activation):
    mlps = [MLP(6, 3, activation), MLP(9, 1, activation), MLP(5, 0, activation)]
    stack, _ = seat(mlps, [layers_of(mlp, seed) for seed, mlp in enumerate(mlps)])
    x, y = rows(shift=3.0)
    train = SampleSet(x[None], y.expand(len(mlps), -1))
    before = stack.forward(x[None]).logits.clone()
    plain = folded(stack, train)
    assert len(train.blocks()) > 1 and not plain.normalized
    torch.testing.assert_close(plain.forward(x[None]).logits, before, rtol=0, atol=1e-12)
    assert folded(plain, train) is plain
    one = plain.forward(x[None, :1]).logits  # no sample sees the others any more
    torch.testing.assert_close(one[..., 0], before[..., 0], rtol=0, atol=1e-12)


def test_the_scale_of_normalized_weights_is_no_part_of_a_student():
    (mlp, layers), (x, _) = (one := MLP(6, 2), layers_of(one)), rows()

    def logits(*scales):
        scaled = [w.copy() for w in layers]
        for w, scale in zip(scaled, scales, strict=False):
            w[:, :-1] *= scale
        return seat([mlp], [scaled])[0].forward(x[None]).logits.clone()

    small = logits(1e2, 1e2)  # where epsilon is nothing beside the variance
    torch.testing.assert_close(logits(1e4, 1e6), small, rtol=0, atol=1e-7)
    torch.testing.assert_close(logits(1e4, 1e4), logits(1e6, 1e5), rtol=0, atol=1e-11)
    assert (logits(1.0, 1.0) - small).abs().max() < 1e-3


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_full_batches_train_as_a_plain_torch_loop(loss):
    mlp, (x, y) = MLP(7, 2, "tanh", TorchDefault()), rows(n=40)
    layers = layers_of(mlp)
    stack, arrange = seat([mlp], [layers])
    train = TrainingSet(x[None], y[None], [0], len(x))
    steps = [SGD(0.2, momentum=0.9, weight_decay=0.01, max_steps=25)]
    found = list(train_stack(stack, train, Objective(loss, CLASSES), steps, arrange, range(25)))

    weights = [torch.as_tensor(w).clone().requires_grad_() for w in layers]
    descent = torch.optim.SGD(weights, lr=0.2, momentum=0.9, weight_decay=0.01)
    hot = torch.nn.functional.one_hot(y, CLASSES)
    assert len(found) == 26
    for snapshot in found:
        logits = twin(weights, x, "tanh")
        if loss == "mse":
            value = (logits - hot).square().sum(1).mean()
        else:
            value = torch.nn.functional.cross_entropy(logits, y)
        assert snapshot.train_loss[0] == pytest.approx(value.item(), abs=1e-10)
        descent.zero_grad()
        value.backward()
        last = logits.detach()
        descent.step()
    ended = found[-1].stack.forward(x[None]).logits[0].T
    torch.testing.assert_close(ended, last, rtol=0, atol=1e-10)


def kinds(*trials):
    return [replace(trial, seed=seed) for trial in trials for seed in (0, 1)]


MIXED = kinds(
    *(
        replace(PLAIN, student=MLP(width, depth, dropout=rate, batch_norm=normed))
        for width, depth, rate in [(5, 1, 0.0), (12, 2, 0.0), (30, 3, 0.2), (9, 0, 0.0)]
        for normed in (False, True)
    ),
    replace(NORMED, training=replace(SGDM, max_steps=7)),  # whose seat others take
    replace(NORMED, training=replace(SGDM, stop=BestValidation(40, check_every=4))),
    replace(NORMED, training=replace(SGDM, nesterov=True)),
    replace(NORMED, training=Adam(0.01, batch_size=20, max_steps=12)),
    replace(NORMED, training=SAM(SGD(0.1, batch_size=20, max_steps=12))),
    replace(NORMED, training=Langevin(0.1, 1e-4, batch_size=20, max_steps=12)),
    replace(NORMED, training=EntropySGD(SGD(0.1, batch_size=20, max_steps=6), 1.0)),
    replace(NORMED, training=Parle(EntropySGD(SGD(0.1, batch_size=20, max_steps=6), 1.0))),
    replace(NORMED, augmentation=FlatNoise(10, 0.5)),
    replace(NORMED, precision="float64"),
)


def test_a_student_is_the_same_to_the_bit_alone_and_in_any_company(monkeypatch):
    move = Table.moved
    moved: list[Stack] = []

    def spy(tables, layout):
        moved.extend(table.stack for table in tables)
        return move(tables, layout)

    monkeypatch.setattr(Table, "moved", spy)
    trials = [replace(trial, curve_steps=(0, 3, 5)) for trial in MIXED]
    together, reversed_ = (
        train(some, device="cpu", threads=threads)
        for some, threads in ((trials, 2), (trials[::-1], 1))
    )
    assert any(stack.normalized for stack in moved), "seats are taken over by others"
    for k, trial in enumerate(trials):
        alone = train([trial], device="cpu").isel(student=0, drop=True)
        for name in alone.data_vars:
            assert np.array_equal(alone[name], together[name][k], equal_nan=True), (name, trial)
            assert np.array_equal(alone[name], reversed_[name][-1 - k], equal_nan=True), name
    by_depth = together.train_loss.values[:16].reshape(4, 2, 2)  # shape, normed, seed
    assert (by_depth[:3, 0] != by_depth[:3, 1]).all(), "normalization changes what is learned"
    assert (by_depth[3, 0] == by_depth[3, 1]).all(), "and nothing without hidden layers"


def test_curves_start_from_the_folded_initial_weights():
    trial = replace(NORMED, curve_steps=(0,), precision="float64")
    measured = train([trial], device="cpu")
    unmoved = train([replace(trial, training=replace(SGDM, lr=1e-300))], device="cpu")
    assert unmoved.distance_from_init.item() == 0.0 < measured.distance_from_init.item()
    assert measured.train_loss_curve.item() == unmoved.train_loss.item()


def test_a_student_that_has_none_tells_nothing_of_it():
    assert "batch_norm" not in repr(MLP(8)) and "batch_norm" not in repr(MLP(8, batch_norm=False))
    assert "batch_norm=True" in repr(MLP(8, batch_norm=True))
    assert PLAIN.step_key != NORMED.step_key


def test_what_does_not_go_together_is_refused_with_a_sentence():
    with pytest.raises(TypeError, match="batch_norm must be True or False; got batch_norm=1"):
        MLP(8, batch_norm=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="undoes the scales of weights that Jacot2018"):
        MLP(8, initialization=Jacot2018(), batch_norm=True)
    MLP(8, initialization=He2015(), batch_norm=True)
    for changes in (dict(training=SGD(0.1, batch_size=1)), dict(training=SGD(0.1), n_train=1)):
        with pytest.raises(ValueError, match="minibatches of at least 2 samples"):
            replace(NORMED, **changes)
        replace(NORMED, student=MLP(8, 0, batch_norm=True), **changes)
    with pytest.raises(ValueError, match="batch_norm=True and augmentation=None"):
        replace(
            NORMED,
            teacher=LinearTeacher(),
            loss="mse",
            training=SGD(0.1),
            measures=[Linearization()],
        )
