"""What may differ from student to student inside of one stack, and still concerns it alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tsframe.inputs import Gaussian
from tsframe.spectra import Sloppy
from tsframe.students.mlp import MLP
from tsframe.teachers import Teacher
from tsframe.training.adam import Adam
from tsframe.training.schedules import Cosine, StepDecay
from tsframe.training.sgd import SGD
from tsframe.training.stopping import TrainLossBelow, ZeroTrainError
from tsframe.trial import train, Trial

DIFFERENCES: list[dict[str, Any]] = [
    dict(),
    dict(lr=0.3),
    dict(weight_decay=0.01),
    dict(lr=0.02, weight_decay=0.3),
    dict(max_steps=11),
    dict(max_steps=50, weight_decay=0.1),
    dict(stop=ZeroTrainError(check_every=3)),
    dict(stop=ZeroTrainError(check_every=7), weight_decay=0.001),
    dict(stop=TrainLossBelow(0.9, check_every=4), max_steps=45),
]
BASES: dict[str, SGD | Adam] = {
    "gradient descent": SGD(0.1, max_steps=40),
    "momentum": SGD(0.1, momentum=0.9, batch_size=20, max_steps=40),
    "nesterov": SGD(0.1, momentum=0.8, nesterov=True, batch_size=20, max_steps=40),
    "step decay": SGD(0.1, momentum=0.5, max_steps=40, schedule=StepDecay(10, 0.5)),
    "adam": Adam(0.02, batch_size=20, max_steps=40),
    "adamw": Adam(0.02, decoupled=True, max_steps=40),
}
PLAIN = Trial(
    inputs=Gaussian(dim=20, spectrum=Sloppy(0.1)),
    teacher=Teacher(width=10, classes=4),
    student=MLP(8),
    training=BASES["momentum"],
    n_train=60,
    n_test=100,
)


def same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in one.data_vars:
        assert np.array_equal(one[name].values, other[name].values, equal_nan=True), name


def students(base: SGD | Adam) -> list[Trial]:
    return [
        replace(PLAIN, training=replace(base, **changes), student=MLP(width, depth), seed=seed)
        for k, changes in enumerate(DIFFERENCES)
        for width, depth in [((5, 1), (12, 1), (30, 2))[k % 3]]
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_students_that_differ_in_what_is_theirs_alone_train_in_one_stack_to_their_own_bits(
    base: SGD | Adam,
) -> None:
    trials = students(base)
    assert len({trial.step_key for trial in trials}) == 1
    together = train(trials, device="cpu")
    assert len(set(together.steps.values)) >= 4, "they must stop at different times"
    for k in range(0, len(trials), 2):
        alone = train([trials[k]], device="cpu").isel(student=0, drop=True)
        same_bits(alone, together.isel(student=k, drop=True))


def test_budgets_of_a_schedule_that_stretches_with_them_do_not_mix() -> None:
    long = replace(PLAIN, training=SGD(0.1, max_steps=40, schedule=Cosine()))
    short = replace(PLAIN, training=SGD(0.1, max_steps=20, schedule=Cosine()))
    assert long.step_key != short.step_key
    same_bits(
        train([short], device="cpu").isel(student=0, drop=True),
        train([long, short], device="cpu").isel(student=1, drop=True),
    )


def test_a_student_does_not_diverge_earlier_for_being_watched_with_others() -> None:
    # It explodes at once and is told so at its own next look, not at that of its mate.
    wild = replace(PLAIN, training=SGD(1e4, max_steps=30, stop=ZeroTrainError(check_every=10)))
    tame = replace(PLAIN, training=SGD(0.1, max_steps=30, stop=ZeroTrainError(check_every=1)))
    ended = train([wild, tame], device="cpu")
    assert ended.diverged.values.tolist() == [True, False]
    assert ended.steps.values[0] == 10


def test_weight_decay_shrinks_the_student_it_was_given_to_alone() -> None:
    trials = [
        replace(PLAIN, training=replace(BASES["momentum"], weight_decay=d)) for d in (0.0, 0.1)
    ]
    free, decayed = train(trials, device="cpu").weight_norm.values
    assert decayed < 0.8 * free
