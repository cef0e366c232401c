"""What may differ from student to student inside of one stack, and still concerns it alone."""

from collections.abc import Callable
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
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.langevin import Langevin
from tsframe.training.parle import Parle
from tsframe.training.sam import SAM
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
MOMENTUM = SGD(0.1, momentum=0.9, batch_size=20, max_steps=40)
ADAM = Adam(0.02, batch_size=20, max_steps=40)
SPECS: dict[str, Callable[..., Any]] = {  # of student k, changed
    "gradient descent": lambda k, **changes: replace(SGD(0.1, max_steps=40), **changes),
    "momentum": lambda k, **changes: replace(MOMENTUM, **changes),
    "nesterov": lambda k, **changes: replace(MOMENTUM, nesterov=True, **changes),
    "step decay": lambda k, **changes: replace(MOMENTUM, schedule=StepDecay(10, 0.5), **changes),
    "adam": lambda k, **changes: replace(ADAM, **changes),
    "adamw": lambda k, **changes: replace(ADAM, decoupled=True, **changes),
    "sam": lambda k, **changes: SAM(replace(MOMENTUM, **changes), radius=0.03 * k),
    "sam on adam": lambda k, **changes: SAM(replace(ADAM, **changes), radius=0.03 * k),
    "two radii": lambda k, **changes: SAM(replace(MOMENTUM, **changes), 0.05, 0.01 * k),
    "langevin": lambda k, **changes: replace(
        Langevin(0.1, 1e-4 * k, batch_size=20, max_steps=40), **changes
    ),
    "entropy": lambda k, **changes: EntropySGD(
        replace(MOMENTUM, **changes), 0.1 + 0.1 * k, inner_steps=3, temperature=1e-4 * k
    ),
    "parle": lambda k, **changes: Parle(
        EntropySGD(replace(MOMENTUM, **changes), inner_steps=2, temperature=1e-4), 2, 0.05 * k
    ),
}
PLAIN = Trial(
    inputs=Gaussian(dim=20, spectrum=Sloppy(0.1)),
    teacher=Teacher(width=10, classes=4),
    student=MLP(8),
    training=MOMENTUM,
    n_train=60,
    n_test=100,
)


def same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in one.data_vars:
        assert np.array_equal(one[name].values, other[name].values, equal_nan=True), name


def students(spec: Callable[..., Any]) -> list[Trial]:
    return [
        replace(PLAIN, training=spec(k, **changes), student=MLP(width, depth), seed=seed)
        for k, changes in enumerate(DIFFERENCES)
        for width, depth in [((5, 1), (12, 1), (30, 2))[k % 3]]
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_students_that_differ_in_what_is_theirs_alone_train_in_one_stack_to_their_own_bits(
    spec: Callable[..., Any],
) -> None:
    trials = students(spec)
    assert len({trial.step_key for trial in trials}) == 1
    together = train(trials, device="cpu")
    assert len(set(together.steps.values)) >= 4, "they must stop at different times"
    for k in range(1, len(trials), 3):
        alone = train([trials[k]], device="cpu").isel(student=0, drop=True)
        same_bits(alone, together.isel(student=k, drop=True))


@pytest.mark.parametrize("kind", ["sam", "langevin", "parle"])
def test_their_bits_are_as_independent_where_onednn_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.training.products._accurate", False)
    trials = students(SPECS[kind])
    together = train(trials, device="cpu")
    assert together.attrs["products"] == "blas"
    for k in range(2, len(trials), 5):
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
    trials = [replace(PLAIN, training=replace(MOMENTUM, weight_decay=d)) for d in (0.0, 0.1)]
    free, decayed = train(trials, device="cpu").weight_norm.values
    assert decayed < 0.8 * free


def test_sam_without_a_radius_among_others_is_sgd_to_the_bit() -> None:
    trials = [replace(PLAIN, training=SAM(MOMENTUM, radius)) for radius in (0.1, 0.0, 0.3)]
    same_bits(
        train([PLAIN], device="cpu").isel(student=0, drop=True),
        train(trials, device="cpu").isel(student=1, drop=True),
    )


def test_replicas_of_parle_see_minibatches_and_noise_of_their_own() -> None:
    entropy = EntropySGD(MOMENTUM, inner_steps=2, temperature=1e-3)
    trials = [replace(PLAIN, training=t) for t in (entropy, Parle(entropy, 1), Parle(entropy, 2))]
    alone, one, two = train(trials, device="cpu").train_loss.values
    assert one == alone
    assert two != alone


def test_noise_is_that_of_the_seed() -> None:
    trials = [replace(PLAIN, training=Langevin(0.1, 1e-3, max_steps=5), seed=s) for s in (0, 1, 0)]
    first, other, again = train(trials, device="cpu").distance_from_init.values
    assert first == again != other
