import functools
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import TorchDefault
from tsframe.students.layout import Layout
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.training.adam import Adam
from tsframe.training.batching import stacks_of
from tsframe.training.engine import train_stack
from tsframe.training.looking import evaluate
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, TrainingSet
from tsframe.training.orders import epoch_order
from tsframe.training.products import product_route
from tsframe.training.schedules import Constant, Cosine, StepDecay
from tsframe.training.sgd import SGD
from tsframe.training.stopping import TrainLossBelow, ZeroTrainError

DIM, CLASSES, N = 6, 3, 40
OBJECTIVES = {
    "cross-entropy": Objective("cross_entropy", CLASSES),
    "mse on classes": Objective("mse", CLASSES),
    "regression": Objective("mse", None),
}
OPTIMIZERS = {
    "gradient descent": SGD(0.1, max_steps=7),
    "minibatches": SGD(0.1, batch_size=8, max_steps=7),
    "momentum": SGD(0.1, momentum=0.9, batch_size=8, max_steps=7),
    "momentum and decay": SGD(0.1, momentum=0.9, weight_decay=0.05, max_steps=7),
    "decay": SGD(0.1, weight_decay=0.05, max_steps=7),
    "nesterov": SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01, max_steps=7),
    "cosine": SGD(0.1, momentum=0.5, schedule=Cosine(), max_steps=7),
    "step decay": SGD(0.1, schedule=StepDecay(every=3, factor=0.5), max_steps=7),
    "adam": Adam(0.01, max_steps=7),
    "adam with decay": Adam(0.01, weight_decay=0.05, batch_size=8, max_steps=7),
    "adamw": Adam(0.01, weight_decay=0.05, decoupled=True, max_steps=7),
}


def samples(objective, seed=0, n=N):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, DIM, generator=g, dtype=torch.float64)
    if objective.classes is None:
        return x, torch.randn(n, generator=g, dtype=torch.float64)
    return x, torch.randint(objective.classes, (n,), generator=g)


def training_set(x, y, batch_size=None, students=1):
    inputs = torch.cat([x, x.new_ones(len(x), 1)], 1)[None]
    return TrainingSet(inputs, y.expand(students, -1), [0], batch_size or len(x))


def seat_all(mlps, outputs):
    arrange = functools.partial(
        Layout.arrange,
        shapes=[(m.width, m.depth) for m in mlps],
        data=[0] * len(mlps),
        dim=DIM,
        outputs=outputs,
        share_rows=True,
    )
    stack = Stack.zeros(
        arrange(range(len(mlps))),
        ACTIVATIONS[mlps[0].activation],
        torch.zeros(0, dtype=torch.float64),
    )
    for k, mlp in enumerate(mlps):
        stack.seat(k, mlp.initial_weights(DIM, outputs, seed=k))
    return stack, arrange


def last(snapshots):
    return list(snapshots)[-1]


def flat(stack):
    """All weights of the only student, layer by layer."""
    (layers,) = stack.layout.by_student(stack.weights)
    return [layer[0, 0] for layer in layers]


def network(weights, x, activation):
    h = x.T
    for w in weights[:-1]:
        h = activation(w[:, :-1] @ h + w[:, -1:])
    return weights[-1][:, :-1] @ h + weights[-1][:, -1:]


def torch_loss(objective, logits, y):
    if objective.loss == "cross_entropy":
        return torch.nn.functional.cross_entropy(logits.T, y)
    if objective.classes is None:
        return (logits[0] - y).square().mean()
    return (logits.T - torch.nn.functional.one_hot(y, objective.classes)).square().sum(1).mean()


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "erf", "identity"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_the_gradient_equals_that_of_autograd(objective, activation, depth):
    references = {"erf": torch.erf, "identity": lambda z: z}
    phi = references.get(activation) or getattr(torch, activation)
    outputs = objective.classes or 1
    x, y = samples(objective)
    mlp = MLP(7, depth, activation, TorchDefault())
    stack, arrange = seat_all([mlp], outputs)
    before = [w.clone() for w in flat(stack)]
    step = SGD(1.0, max_steps=1)
    after = last(train_stack(stack, training_set(x, y), objective, [step], arrange))
    weights = [w.clone().requires_grad_() for w in before]
    torch_loss(objective, network(weights, x, phi), y).backward()
    for w0, w1, w in zip(before, flat(after.stack), weights, strict=True):
        torch.testing.assert_close(w0 - w1, w.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_optimizer_takes_the_steps_of_torch(optimizer):
    objective = OBJECTIVES["cross-entropy"]
    x, y = samples(objective)
    stack, arrange = seat_all([MLP(5, 2, "tanh", TorchDefault())], CLASSES)
    weights = [w.clone().requires_grad_() for w in flat(stack)]
    train = training_set(x, y, optimizer.batch_size)
    after = last(train_stack(stack, train, objective, [optimizer], arrange))

    common = dict(lr=optimizer.lr, weight_decay=optimizer.weight_decay)
    theirs: torch.optim.Optimizer
    if isinstance(optimizer, SGD):
        theirs = torch.optim.SGD(
            weights, momentum=optimizer.momentum, nesterov=optimizer.nesterov, **common
        )
    else:
        theirs = (torch.optim.AdamW if optimizer.decoupled else torch.optim.Adam)(weights, **common)
    size = optimizer.batch_size or N
    for step in range(optimizer.max_steps):
        epoch, place = divmod(step, N // size)
        rows = torch.as_tensor(epoch_order(0, N, epoch))[place * size : (place + 1) * size]
        theirs.param_groups[0]["lr"] = optimizer.lr * optimizer.schedule(step, optimizer.max_steps)
        theirs.zero_grad()
        torch_loss(objective, network(weights, x[rows], torch.tanh), y[rows]).backward()
        theirs.step()
    for ours, reference in zip(flat(after.stack), weights, strict=True):
        torch.testing.assert_close(ours, reference.detach(), rtol=1e-9, atol=1e-11)


def test_gradient_descent_on_a_linear_student_follows_the_closed_form():
    objective = OBJECTIVES["regression"]
    x, y = samples(objective)
    stack, arrange = seat_all([MLP(1, depth=0)], 1)
    lr, steps = 0.05, 30
    w0 = flat(stack)[0][0].clone()
    gd = SGD(lr, max_steps=steps)
    w = flat(last(train_stack(stack, training_set(x, y), objective, [gd], arrange)).stack)
    a = torch.cat([x, x.new_ones(N, 1)], 1)
    hessian = 2 * a.T @ a / N
    best = torch.linalg.lstsq(a, y[:, None]).solution[:, 0]
    power = torch.linalg.matrix_power(torch.eye(DIM + 1, dtype=torch.float64) - lr * hessian, steps)
    torch.testing.assert_close(w[0][0], best + power @ (w0 - best), rtol=1e-10, atol=1e-12)


def test_an_epoch_visits_every_row_once():
    assert sorted(epoch_order(3, 50, 2)) == list(range(50))
    assert list(epoch_order(3, 50, 2)) != list(epoch_order(3, 50, 1))
    assert list(epoch_order(3, 50, 2)) != list(epoch_order(4, 50, 2))


def test_a_state_ignores_the_other_steps_asked_for():
    objective = OBJECTIVES["cross-entropy"]
    x, y = samples(objective)
    stack, arrange = seat_all([MLP(5), MLP(9, 2)], CLASSES)
    train = functools.partial(
        train_stack,
        stack,
        training_set(x, y, 8, 2),
        objective,
        [SGD(0.1, max_steps=20)] * 2,
        arrange,
    )
    few, many = last(train()), last(train(snapshot_steps=range(20)))
    assert all(
        torch.equal(a, b) for a, b in zip(few.stack.weights, many.stack.weights, strict=True)
    )


def test_snapshots_come_at_the_steps_asked_for():
    objective = OBJECTIVES["cross-entropy"]
    x, y = samples(objective)
    stack, arrange = seat_all([MLP(5)], CLASSES)
    snapshots = train_stack(
        stack, training_set(x, y), objective, [SGD(1.0, max_steps=9)], arrange, (0, 4, 9)
    )
    assert [snapshot.step for snapshot in snapshots] == [0, 4, 9]


@pytest.mark.parametrize(
    "stop", [ZeroTrainError(check_every=3), TrainLossBelow(0.3, check_every=3)], ids=repr
)
@pytest.mark.parametrize("rows", [N, 300])  # 300 are three blocks of a look
def test_a_student_stops_at_the_first_look_that_satisfies_its_rule(stop, rows):
    objective = OBJECTIVES["cross-entropy"]
    x, y = samples(objective, n=rows)
    if rows > N:  # random labels of so many could not be fitted
        y = x[:, :CLASSES].argmax(1)
    mlps = [MLP(40), MLP(3), MLP(60, 2), MLP(2), MLP(90), MLP(30)]
    stack, arrange = seat_all(mlps, CLASSES)
    train = training_set(x, y, students=len(mlps))
    endless = [SGD(lr, max_steps=240) for lr in (0.3, 0.3, 0.3, 0.3, 0.6, 0.2)]
    free = train_stack(stack, train, objective, endless, arrange, range(0, 241, 3))
    expected = np.full(len(mlps), 240)
    for snapshot in free:
        error, loss = evaluate(snapshot.stack, train, objective, len(mlps))
        reached = stop.reached(error, loss) & (expected == 240)
        expected[reached] = snapshot.step
    stopping = [replace(sgd, stop=stop) for sgd in endless]
    ended = last(train_stack(stack, train, objective, stopping, arrange))
    assert ended.steps.tolist() == expected.tolist()
    assert len(set(expected)) > 3, (
        "the students must stop at different times for this test to mean anything"
    )
    error, loss = evaluate(ended.stack, train, objective, len(mlps))
    assert stop.reached(error, loss).tolist() == (expected < 240).tolist()


@pytest.mark.parametrize("tables", [1, 2])
def test_a_look_is_over_when_nobody_looked_at_can_stop(tables, monkeypatch):
    blocks = []
    forward = Stack.forward

    def spy(stack, inputs, masks=None):
        blocks.append(inputs.shape[1])
        return forward(stack, inputs, masks)

    monkeypatch.setattr(Stack, "forward", spy)
    x, y = samples(OBJECTIVES["cross-entropy"], n=600)
    stack, arrange = seat_all([MLP(5), MLP(6)], CLASSES)
    stop = ZeroTrainError(check_every=5)
    sgds = [SGD(lr, max_steps=20, stop=stop) for lr in (0.01, 0.02)]
    train = training_set(x, y, students=2)
    cut = {1: lambda some: [some], 2: lambda some: [[i] for i in some]}[tables]
    end = last(train_stack(stack, train, OBJECTIVES["cross-entropy"], sgds, arrange, cut=cut))
    assert blocks.count(600) == 20 * tables, "one a step"
    looks = 4 * 1 + 5  # one block at 0, 5, 10 and 15 steps, all five at the end
    assert blocks.count(120) == looks * tables
    error, _ = evaluate(end.stack, train, OBJECTIVES["cross-entropy"], 2)
    assert end.train_error.tolist() == error.tolist()


def test_how_long_others_are_looked_at_changes_nothing():
    objective = OBJECTIVES["regression"]
    x, y = samples(objective, n=600)
    x[300] *= 1e8  # so that the whole loss is beyond the bound of divergence, but no first glance
    stack, arrange = seat_all([MLP(5), MLP(5), MLP(5)], 1)
    train = training_set(x, y, students=3)
    whole = evaluate(stack, train, objective, 3)[1]
    watched = [
        SGD(1e-30, max_steps=9, stop=TrainLossBelow(level, check_every=2))
        for level in (1e-9, 0.999 * float(whole[1]), 1e-9)
    ]
    together = last(train_stack(stack, train, objective, watched, arrange))
    alone, arrange = seat_all([MLP(5)], 1)
    by_itself = last(train_stack(alone, training_set(x, y), objective, watched[:1], arrange))
    assert together.diverged.tolist() == [True] * 3
    assert together.steps.tolist() == [9, 9, 9] and by_itself.steps.tolist() == [9]
    assert by_itself.diverged[0] and by_itself.train_loss[0] == together.train_loss[0]


def test_divergence_of_one_student_is_its_own():
    objective = OBJECTIVES["regression"]
    x, y = samples(objective)
    stack, arrange = seat_all([MLP(5), MLP(5), MLP(5)], 1)
    stop = TrainLossBelow(1e-9, check_every=20)
    sgds = [SGD(lr, max_steps=400, stop=stop) for lr in (0.01, 50.0, 0.01)]
    train = training_set(x, y, students=3)
    end = last(train_stack(stack, train, objective, sgds, arrange))
    assert end.diverged.tolist() == [False, True, False]
    assert end.steps.tolist() == [400, 20, 400]


def test_a_student_with_the_weights_of_its_teacher_has_no_error():
    stack, _ = seat_all([MLP(8, 1, "tanh"), MLP(8, 1, "tanh")], CLASSES)
    objective = OBJECTIVES["cross-entropy"]
    x, _ = samples(objective, n=3000)  # several blocks of rows
    labels = network(
        [w[0, 0] for w in stack.layout.by_student(stack.weights)[0]], x, torch.tanh
    ).argmax(0)
    test = SampleSet(torch.cat([x, x.new_ones(len(x), 1)], 1)[None], torch.stack([labels, labels]))
    error, _ = evaluate(stack, test, objective, 2)
    assert error[0] == 0.0
    assert error[1] > 0.1, "another student must err"


def test_a_sample_set_is_evaluated_whole_whatever_its_blocks():
    objective = OBJECTIVES["regression"]
    stack, _ = seat_all([MLP(4)], 1)
    x, y = samples(objective, n=2500)
    test = SampleSet(torch.cat([x, x.new_ones(len(x), 1)], 1)[None], y[None])
    error, loss = evaluate(stack, test, objective, 1)
    residual = network(flat(stack), x, torch.relu)[0] - y
    np.testing.assert_allclose(error[0], float(residual.square().mean()), rtol=1e-12)
    assert error[0] == loss[0]


def test_the_route_of_products_is_restored_and_precise():
    backends: Any = torch.backends
    matmul = backends.mkldnn.matmul
    found = matmul.fp32_precision
    with product_route(torch.device("cpu")) as route:
        a, b = torch.randn(2, 64, 300), torch.randn(2, 300, 50)
        error = ((a @ b).double() - a.double() @ b.double()).norm() / (
            a.double() @ b.double()
        ).norm()
        assert error < 1e-6
        with product_route(torch.device("cpu")) as inner:
            assert inner == route
    assert matmul.fp32_precision == found
    with pytest.raises(KeyError), product_route(torch.device("cpu")):
        raise KeyError
    assert matmul.fp32_precision == found


@pytest.mark.parametrize("off", [0.0, 1e-7])
def test_sums_are_fused_only_where_that_changes_no_bit(off, monkeypatch):
    def sums(*arguments, **options):
        return (1.0 + off) * torch.addcmul(*arguments, **options)

    monkeypatch.setattr("tsframe.training.products._fuses", None)
    monkeypatch.setattr("tsframe.training.products.torch", StandIn(torch, addcmul=sums))
    with product_route(torch.device("cpu")) as route:
        assert route.products.fused_sums == (route.name == "onednn" and off == 0.0)


class StandIn:
    """A module in which some names mean something else."""

    def __init__(self, module, **changes):
        self._module = module
        vars(self).update(changes)

    def __getattr__(self, name):
        return getattr(self._module, name)


def test_stacks_hold_students_that_step_together_and_fit():
    keys = ["a", "a", "b", "a", "a", "b", "a", "a"]
    data = [0, 1, 0, 0, 1, 1, 2, 2]
    shapes = [(5, 1), (5, 1), (5, 1), (9, 1), (9, 1), (5, 1), (5, 1), (9, 1)]
    stacks = stacks_of(keys, data, shapes, [1.0] * 8, limits=[4.0] * 8)
    assert sorted(i for stack in stacks for i in stack) == list(range(8))
    assert all(len({keys[i] for i in stack}) == 1 and len(stack) <= 4 for stack in stacks)
    assert len(stacks) == 3, "three data sets of equal composition fit two by two"


def test_schedules_start_at_one_and_end_where_they_say():
    assert [Constant()(s, 10) for s in (0, 9)] == [1.0, 1.0]
    assert Cosine(final=0.1)(0, 10) == 1.0
    assert Cosine(final=0.1)(10, 10) == pytest.approx(0.1)
    assert [StepDecay(2, 0.5)(s, 10) for s in (0, 1, 2, 4)] == [1.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SGD(lr=-0.1), "lr must be a positive number; got lr=-0.1."),
        (lambda: SGD(lr=0.1, momentum=1.0), r"momentum must lie in [0, 1); got momentum=1.0."),
        (lambda: SGD(lr=0.1, batch_size=0), "Use None for full batch."),
        (lambda: SGD(lr=0.1, max_steps=cast(int, 2.5)), "an integer >= 1; got max_steps=2.5."),
        (lambda: SGD(lr=0.1, weight_decay=-1), "weight_decay must be a number >= 0"),
        (lambda: SGD(lr=0.1, nesterov=True), "nesterov needs momentum > 0"),
        (lambda: Adam(beta1=1.0), "beta1 must lie in [0, 1)"),
        (lambda: Adam(epsilon=0.0), "epsilon must be a number > 0"),
        (lambda: Adam(lr=float("nan")), "lr must be a positive number"),
        (lambda: Cosine(final=2.0), "final must lie in [0, 1]"),
        (lambda: StepDecay(every=0), "every must be an integer >= 1"),
        (lambda: StepDecay(every=1, factor=0.0), "factor must lie in (0, 1]"),
        (lambda: ZeroTrainError(check_every=0), "check_every must be an integer >= 1"),
        (lambda: TrainLossBelow(0.0), "For zero train error use ZeroTrainError()."),
    ],
)  # fmt: skip
def test_bad_training_is_refused_with_a_sentence(make, sentence):
    with pytest.raises(ValueError) as refusal:
        make()
    assert sentence in str(refusal.value)


def test_ties_and_nan_count_as_errors():
    objective = Objective("cross_entropy", 3)
    logits = torch.tensor(
        [[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [torch.nan, 1.0, 0.0], [0.0, 1.0, 2.0]]
    )
    targets = torch.zeros(1, 4, dtype=torch.int64)
    wrong = objective.sample_errors(logits.T[None], targets)
    assert wrong.tolist() == [[0.0, 1.0, 1.0, 1.0]]
    assert objective.sample_errors(logits.flip(1).T[None], targets)[0, 2] == 1.0
