"""Early stopping: the student of the best look, and nothing else about it changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tsframe.arrays import ArrayInputs, OwnLabels
from tsframe.inputs import Gaussian
from tsframe.samples import draw_samples
from tsframe.spectra import Sloppy
from tsframe.students.mlp import MLP
from tsframe.tasks import draw_tasks, draw_validation
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation
from tsframe.trial import train, Trial

ENDLESS = SGD(0.3, momentum=0.9, batch_size=30, max_steps=120)
RULE = BestValidation(rows=200, check_every=10)
PLAIN = Trial(
    inputs=Gaussian(dim=20, spectrum=Sloppy(0.1)),
    teacher=Teacher(width=10, classes=4),
    student=MLP(40),
    training=ENDLESS,
    n_train=60,
    n_test=200,
    label_noise=0.3,
)


def stopped(rule: BestValidation = RULE, **changes: object) -> Trial:
    return replace(PLAIN, training=replace(ENDLESS, stop=rule), **changes)  # type: ignore[arg-type]


def validation_errors(trial: Trial, steps: list[int]) -> np.ndarray:
    """The slow road: train afresh to each step and try the student on the rows that follow.

    The validation sample takes the place of the test sample; its labels are the noisy ones.
    """
    assert isinstance(trial.inputs, Gaussian) and isinstance(trial.training, SGD)
    assert isinstance(trial.training.stop, BestValidation)
    n = trial.n_train + trial.training.stop.rows
    longer = draw_samples(trial.inputs, trial.teacher, n, 1, trial.label_noise, trial.seed)
    x, y = longer.x_train[trial.n_train :], longer.y_train[trial.n_train :]
    found = []
    for step in steps:
        weights = trained_weights(trial, step)
        h = np.maximum(x @ weights[0][:, :-1].T + weights[0][:, -1], 0.0)
        logits = h @ weights[1][:, :-1].T + weights[1][:, -1]
        found.append((logits.argmax(1) != y).mean())
    return np.array(found)


def trained_weights(trial: Trial, steps: int) -> list[np.ndarray]:
    """Plain gradient descent of one student of depth 1, by autograd."""
    assert isinstance(trial.student, MLP) and isinstance(trial.training, SGD)
    sample = draw_tasks([trial])[0]
    x, y = torch.as_tensor(sample.x_train), torch.as_tensor(sample.y_train)
    layers = trial.student.initial_weights(20, 4, trial.seed)
    weights = [torch.as_tensor(w).requires_grad_() for w in layers]
    for _ in range(steps):
        h = torch.relu(x @ weights[0][:, :-1].T + weights[0][:, -1])
        logits = h @ weights[1][:, :-1].T + weights[1][:, -1]
        gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y), weights)
        with torch.no_grad():
            for w, g in zip(weights, gradients, strict=True):
                w -= trial.training.lr * g
    return [w.detach().numpy() for w in weights]


def test_the_student_is_that_of_the_look_with_the_least_validation_error() -> None:
    slow = SGD(1.0, max_steps=60)
    trial = stopped(precision="float64", n_train=30)
    trial = replace(trial, training=replace(slow, stop=RULE))
    looks = list(range(0, 61, 10))
    errors = validation_errors(trial, looks)
    best = looks[int(errors.argmin())]
    assert 0 < best < 60, "the best must lie inside"
    kept = train([trial], device="cpu")
    assert kept["steps"].item() == best
    short = replace(trial, training=replace(slow, max_steps=best))
    until = train([short], device="cpu")
    for name in until.data_vars:
        assert np.array_equal(until[name], kept[name]), f"{name} is not that of step {best}"


def test_students_with_and_without_it_walk_the_same_way() -> None:
    trials = [replace(one, curve_steps=(0, 10, 50)) for one in (PLAIN, stopped())]
    curves = train(trials, device="cpu").test_loss_curve.values
    assert np.array_equal(curves[0], curves[1])


def test_a_student_has_the_same_bits_alone_and_in_a_batch_that_shrinks() -> None:
    trials = [
        stopped(BestValidation(200, every, patience), student=MLP(width), seed=seed)
        for every, patience, width in [(10, None, 5), (7, 1, 20), (5, 2, 40), (10, 3, 30)]
        for seed in (0, 1)
    ]
    assert len({trial.step_key for trial in trials}) == 1
    together = train(trials, device="cpu")
    assert len(set(together.steps.values)) > 3
    for k, trial in enumerate(trials):
        alone = train([trial], device="cpu").isel(student=0, drop=True)
        for name in alone.data_vars:
            assert np.array_equal(alone[name], together[name][k], equal_nan=True), name


def test_patience_ends_a_student_so_many_looks_after_its_best() -> None:
    # A best look that comes after three in a row without one is never reached.
    wait = stopped(BestValidation(200, check_every=5, patience=3))
    ended, free = train(
        [wait, stopped(BestValidation(200, check_every=5))], device="cpu"
    ).steps.values
    curve = replace(wait, curve_steps=tuple(range(0, 121, 5)))
    losses = train([curve], device="cpu").train_loss_curve.values[0]
    last = int(np.flatnonzero(np.diff(losses))[-1] + 1) * 5
    assert ended <= free
    assert last == ended + 15 < 120, "it goes on for three looks after its best, no more, no less"


def test_it_lowers_the_test_error_of_students_that_overfit_noise() -> None:
    # Linear students on a few more rows than dimensions, whose labels are half noise.
    linear = replace(
        PLAIN,
        teacher=LinearTeacher(noise=1.0),
        student=MLP(1, 0),
        n_train=30,
        label_noise=0.0,
        loss=None,
    )
    plain = replace(linear, training=SGD(0.1, max_steps=600))
    early = replace(linear, training=SGD(0.1, max_steps=600, stop=RULE))
    pairs = [replace(one, seed=seed) for seed in range(16) for one in (plain, early)]
    errors = np.log(train(pairs, device="cpu").test_error.values.reshape(16, 2))
    gain = errors[:, 0] - errors[:, 1]
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(16)


def test_the_validation_sample_follows_the_training_sample_and_shares_its_noise_law() -> None:
    trial = stopped(n_train=500)
    sample, fresh = draw_tasks([trial])[0], draw_validation([trial], 2000)[0]
    longer = draw_samples(trial.inputs, trial.teacher, 2500, 1, 0.3, 0)
    assert np.array_equal(longer.x_train[:500], sample.x_train)
    assert np.array_equal(fresh.x_train, longer.x_train[500:])
    noisy = (fresh.y_train != fresh.y_train_clean).mean()
    assert abs(noisy - 0.3 * 0.75) < 5 * np.sqrt(0.225 * 0.775 / 2000)


def test_validation_rows_of_real_data_are_no_others_and_must_be_there() -> None:
    rng = np.random.default_rng(0)
    data = ArrayInputs(rng.standard_normal((100, 20)), rng.integers(0, 4, 100))
    teacher = OwnLabels(classes=4)
    trial = stopped(BestValidation(20), inputs=data, teacher=teacher, n_test=20)
    sample, fresh = draw_tasks([trial])[0], draw_validation([trial], 20)[0]
    rows = [tuple(x) for x in (*sample.x_train, *fresh.x_train, *sample.x_test)]
    assert len(set(rows)) == 100
    with pytest.raises(ValueError, match="100 rows"):
        stopped(BestValidation(21), inputs=data, teacher=teacher, n_test=20)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(rows=0), "rows must be a whole number >= 1; got rows=0."),
        (dict(rows=10, patience=0), "Use None to go on to the end of the budget."),
        (dict(rows=10, check_every=0), "check_every must be an integer >= 1"),
    ],
)
def test_bad_rules_are_refused_with_a_sentence(arguments: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        BestValidation(**arguments)
    assert sentence in str(refusal.value)
