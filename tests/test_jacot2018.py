"""The NTK parametrization: the engine's steps against a plain loop over the definition."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tsframe.inputs import Gaussian
from tsframe.spectra import Sloppy
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import He2015, Jacot2018
from tsframe.students.layout import Layout
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.adam import Adam
from tsframe.training.engine import train_stack
from tsframe.training.losses import Objective
from tsframe.training.minibatches import TrainingSet
from tsframe.training.orders import epoch_order
from tsframe.training.sgd import SGD
from tsframe.training.stopping import TrainLossBelow
from tsframe.trial import train, Trial

DIM, N = 6, 24
LAWS = [
    Jacot2018(),
    Jacot2018(1.5, bias_variance=0.3),
    Jacot2018(2.0, 0.1, output_scale=3.0),
    Jacot2018(1.0, 0.2, output_scale=0.5, mirrored=True),
]
OPTIMIZERS = [
    SGD(0.3, max_steps=8),
    SGD(0.2, momentum=0.6, batch_size=8, max_steps=8),
    SGD(0.2, momentum=0.6, nesterov=True, max_steps=8),
]


def samples():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, DIM, generator=g, dtype=torch.float64)
    return x, torch.randn(N, generator=g, dtype=torch.float64)


def seated(mlp):
    arrange = functools.partial(
        Layout.arrange, shapes=[(mlp.width, mlp.depth)], data=[0], dim=DIM, outputs=1,
        share_rows=True,
    )  # fmt: skip
    zeros = torch.zeros(0, dtype=torch.float64)
    stack = Stack.zeros(arrange([0]), ACTIVATIONS[mlp.activation], zeros)
    stack.seat(0, mlp.initial_weights(DIM, 1, seed=3))
    return stack, arrange


def layers_of(stack):
    (layers,) = stack.layout.by_student(stack.weights)
    return [layer[0, 0].clone() for layer in layers]


def outputs(parameters, law, x, phi):
    """The network of the definition: standard normal parameters, factors in front."""
    h = x
    for k, (w, b) in enumerate(parameters):
        z = (law.weight_variance / w.shape[1]) ** 0.5 * h @ w.T + law.bias_variance**0.5 * b
        h = phi(z) if k < len(parameters) - 1 else z
    return law.output_scale * h[:, 0]


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["plain", "momentum", "nesterov"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_its_steps_are_those_of_normal_parameters_with_one_rate(law, optimizer, depth):
    law = replace(law, mirrored=law.mirrored and depth > 0)
    mlp = MLP(8, depth, "tanh", law)
    stack, arrange = seated(mlp)
    x, y = samples()
    train_set = TrainingSet(
        torch.cat([x, x.new_ones(N, 1)], 1)[None], y[None], [0], optimizer.batch_size or N
    )
    (*_, after) = train_stack(
        stack, train_set, Objective("mse", None), [optimizer], arrange,
        scales=[mlp.rates(DIM, 1) or ()],
    )  # fmt: skip

    scales = [law.output_scale if k == depth else 1.0 for k in range(depth + 1)]
    parameters = []
    for layer, scale in zip(layers_of(stack), scales, strict=True):
        w = layer[:, :-1] / scale / (law.weight_variance / (layer.shape[1] - 1)) ** 0.5
        b = layer[:, -1] / scale / (law.bias_variance**0.5 or 1.0)
        parameters.append((w.requires_grad_(), b.requires_grad_()))
    flat = [p for pair in parameters for p in pair]
    rate = optimizer.lr / law.output_scale**2
    theirs = torch.optim.SGD(flat, rate, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    size = optimizer.batch_size or N
    for step in range(optimizer.max_steps):
        epoch, place = divmod(step, N // size)
        rows = torch.arange(N)
        if size < N:
            rows = torch.as_tensor(epoch_order(0, N, epoch))[place * size : (place + 1) * size]
        theirs.zero_grad()
        fitted = outputs(parameters, law, x[rows], torch.tanh)
        (fitted - y[rows]).square().mean().backward()
        theirs.step()
    before = layers_of(stack)
    for k, (layer, (w, b)) in enumerate(zip(layers_of(after.stack), parameters, strict=True)):
        w_factor = scales[k] * (law.weight_variance / w.shape[1]) ** 0.5
        b_factor = scales[k] * (law.bias_variance**0.5 or 1.0)
        assert (layer - before[k])[:, :-1].abs().max() > 1e-4, "it must move"
        torch.testing.assert_close(layer[:, :-1], w_factor * w.detach(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(layer[:, -1], b_factor * b.detach(), rtol=1e-9, atol=1e-12)


def test_without_bias_variance_there_are_no_biases():
    measured = MLP(8, 2, initialization=Jacot2018()).rates(DIM, 1)
    assert measured is not None
    assert [bias for _, bias in measured] == [0.0, 0.0, 0.0]
    assert MLP(8, 2).rates(DIM, 1) is None


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_mirrored_students_begin_at_zero_and_their_weights_keep_their_law(depth):
    law = Jacot2018(2.0, 0.5, output_scale=4.0, mirrored=True)
    mlp = MLP(400, depth, "relu", law)
    stack, _ = seated(mlp)
    x, _ = samples()
    inputs = torch.cat([x, x.new_ones(N, 1)], 1)[None]
    assert stack.forward(inputs).logits.abs().max() < 1e-12
    plain, _ = seated(replace(mlp, initialization=replace(law, mirrored=False)))
    assert plain.forward(inputs).logits.abs().max() > 1.0
    for layer, expected in zip(layers_of(stack), layers_of(plain), strict=True):
        independent = max(2, layer[:, :-1].numel() // 2)
        allowed = 5 * (2 / independent) ** 0.5
        assert abs(layer[:, :-1].square().mean() / expected[:, :-1].square().mean() - 1) < allowed
    first = layers_of(stack)[0]
    torch.testing.assert_close(first[:200], first[200:], rtol=0, atol=0)


TRIAL = Trial(
    inputs=Gaussian(dim=10, spectrum=Sloppy(0.1)),
    teacher=LinearTeacher(norm=1.0, noise=0.3),
    student=MLP(8, initialization=Jacot2018()),
    training=SGD(0.1, max_steps=40),
    n_train=30,
    n_test=50,
)


def test_a_student_has_the_same_bits_alone_and_in_any_batch():
    laws: list[Any] = [*LAWS, He2015()]
    trials = [
        replace(
            TRIAL,
            student=MLP(width, depth, initialization=law),
            training=SGD(lr, momentum=0.5, max_steps=40, stop=TrainLossBelow(level, 5)),
            seed=seed,
            precision=precision,
        )
        for k, law in enumerate(laws)
        for width, depth, lr, level in ((6, 1, 0.1, 0.5), (40, 1, 0.2, 0.1), (12, 3, 0.05, 0.3))
        for seed in (0, 1)
        for precision in ("float32", "float64")
    ]
    together = train(trials, device="cpu")
    assert len(set(together.steps.values)) > 3, "they must leave at different times"
    assert len({trial.step_key for trial in trials}) == 4, "laws with rates of their own stay apart"
    for k in range(0, len(trials), 3):
        alone = train([trials[k]], device="cpu")
        for name in alone.data_vars:
            assert alone[name].values[0] == together[name].values[k], (name, trials[k])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Jacot2018(weight_variance=0.0), "weight_variance must be a number > 0"),
        (lambda: Jacot2018(bias_variance=-1.0), "bias_variance must be a number >= 0"),
        (lambda: Jacot2018(output_scale=0.0), "output_scale must be a number > 0"),
        (lambda: Jacot2018(mirrored=1), "mirrored must be True or False; got mirrored=1."),  # type: ignore[arg-type]
        (lambda: MLP(7, initialization=Jacot2018(mirrored=True)), "it takes an even width"),
        (lambda: MLP(8, 0, initialization=Jacot2018(mirrored=True)), "and a hidden layer"),
        (lambda: replace(TRIAL, training=Adam()), "as only SGD without weight decay takes it"),
        (lambda: replace(TRIAL, training=SGD(0.1, weight_decay=0.1)), "Use SGD(lr), or another"),
    ],
)
def test_what_is_no_ntk_parametrization_is_refused(make, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        make()
    assert sentence in str(refusal.value)


def test_classes_learn_in_it_too():
    one = replace(
        TRIAL,
        teacher=Teacher(width=10, classes=3),
        student=MLP(64, initialization=Jacot2018(mirrored=True)),
        training=SGD(0.5, max_steps=200),
    )
    measured = train([one], device="cpu")
    assert float(measured.train_error[0]) < 0.1
    assert np.isfinite(measured.test_loss.values).all()
