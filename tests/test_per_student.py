"""What may differ from student to student inside of one stack, and still concerns it alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tsframe.inputs import Gaussian
from tsframe.spectra import Sloppy
from tsframe.students.layout import Layout
from tsframe.students.mlp import MLP
from tsframe.teachers import Teacher
from tsframe.training.adam import Adam
from tsframe.training.cohort import Cohort
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
    dict(schedule=Cosine()),
    dict(schedule=Cosine(), max_steps=17),
    dict(schedule=Cosine(0.1), max_steps=23),
    dict(schedule=StepDecay(7, 0.5), weight_decay=0.01),
]
MOMENTA: list[dict[str, Any]] = [
    dict(momentum=0.5),
    dict(momentum=0.01, lr=0.3, stop=TrainLossBelow(1.0, check_every=3)),
    dict(momentum=0.99, schedule=StepDecay(5, 0.3), max_steps=20),
    dict(weight_decay=0.1, momentum=0.7),
]
MOMENTS: list[dict[str, Any]] = [
    dict(beta1=0.0),
    dict(beta1=0.5, beta2=0.99, epsilon=1e-3),
    dict(beta2=0.0, schedule=Cosine(), max_steps=31),
    dict(epsilon=1.0, weight_decay=0.1),
]
MOMENTUM = SGD(0.1, momentum=0.9, batch_size=20, max_steps=40)
ADAM = Adam(0.02, batch_size=20, max_steps=40)
SPECS: dict[str, Callable[..., Any]] = {  # of student k, changed
    "gradient descent": lambda k, **changes: replace(SGD(0.1, max_steps=40), **changes),
    "momentum": lambda k, **changes: replace(MOMENTUM, **changes),
    "nesterov": lambda k, **changes: replace(MOMENTUM, nesterov=True, **changes),
    "adam": lambda k, **changes: replace(ADAM, **changes),
    "adamw": lambda k, **changes: replace(ADAM, decoupled=True, **changes),
    "sam": lambda k, **changes: SAM(replace(MOMENTUM, **changes), radius=0.03 * k),
    "sam on adam": lambda k, **changes: SAM(replace(ADAM, **changes), radius=0.03 * k),
    "two radii": lambda k, **changes: SAM(replace(MOMENTUM, **changes), 0.05, 0.01 * k),
    "langevin": lambda k, **changes: replace(
        Langevin(0.1, 1e-4 * k, batch_size=20, max_steps=40), **changes
    ),
    "entropy": lambda k, **changes: EntropySGD(
        replace(MOMENTUM, **changes),
        0.1 + 0.1 * k,
        inner_steps=3,
        temperature=1e-4 * k,
        averaging=1.0 - 0.05 * k,
        growth=0.01 * (k // 2),
    ),
    "parle": lambda k, **changes: Parle(
        EntropySGD(
            replace(MOMENTUM, **changes), inner_steps=2, temperature=1e-4, growth=0.01 * (k % 3)
        ),
        2,
        0.05 * k,
    ),
}
OWN: dict[str, list[dict[str, Any]]] = {  # what has no meaning for others
    "gradient descent": [dict(momentum=m) for m in (0.9, 0.0, 0.5)],
    "langevin": [dict()],
    **{kind: MOMENTS for kind in ("adam", "adamw", "sam on adam")},
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


def students(kind: str) -> list[Trial]:
    return [
        replace(PLAIN, training=SPECS[kind](k, **changes), student=MLP(width, depth), seed=seed)
        for k, changes in enumerate([*DIFFERENCES, *OWN.get(kind, MOMENTA)])
        for width, depth in [((5, 1), (12, 1), (30, 2))[k % 3]]
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("kind", SPECS)
def test_students_that_differ_in_what_is_theirs_alone_train_in_one_stack_to_their_own_bits(
    kind: str,
) -> None:
    trials = students(kind)
    assert len({trial.step_key for trial in trials}) == 1
    together = train(trials, device="cpu")
    assert len(set(together.steps.values)) >= 4, "they must stop at different times"
    for k in range(1, len(trials), 3):
        alone = train([trials[k]], device="cpu").isel(student=0, drop=True)
        same_bits(alone, together.isel(student=k, drop=True))


@pytest.mark.parametrize("kind", ["momentum", "nesterov", "sam", "langevin", "parle"])
def test_their_bits_are_as_independent_where_onednn_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.training.products._accurate", False)
    trials = students(kind)
    together = train(trials, device="cpu")
    assert together.attrs["products"] == "blas"
    for k in range(2, len(trials), 5):
        alone = train([trials[k]], device="cpu").isel(student=0, drop=True)
        same_bits(alone, together.isel(student=k, drop=True))


@pytest.mark.parametrize("batch_size", [20, None])  # all 500: more than BLAS takes in one block
@pytest.mark.parametrize("route", ["fuses", "refuses", "blas"])
def test_students_of_one_momentum_have_the_bits_that_they_have_among_others(
    batch_size: int | None, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if route == "refuses":
        monkeypatch.setattr("tsframe.training.products._fuses", False)
    if route == "blas":
        monkeypatch.setattr("tsframe.training.products._accurate", False)
    trials = [
        replace(PLAIN, n_train=500, training=kind(spec), student=MLP(width), seed=seed)
        for kind in (replace, partial(SAM, radius=0.05))
        for momentum in (0.9, 0.5)
        for spec in (SGD(0.1, momentum, batch_size, max_steps=15),)
        for width, seed in ((8, 0), (8, 1), (47, 0))
    ]
    alike = [0, 1, 2, 6, 7, 8]
    mixed = train(trials, device="cpu").isel(student=alike)
    same_bits(train([trials[k] for k in alike], device="cpu"), mixed)


def test_numbers_of_students_lie_in_their_rows_and_vacant_slots_have_none() -> None:
    layout = Layout.arrange(range(3), [(2, 2), (2, 2), (3, 1)], [0, 0, 1], 4, 2, share_rows=True)
    cohort = Cohort(layout, [torch.ones(shape) for shape in layout.weight_shapes()], [5, 6, 7], [])
    laid = cohort.lay(lambda spec: spec)
    assert laid[0][..., 0].tolist() == [[0, 0, 0, 5, 5, 6, 6], [7, 7, 7, 0, 0, 0, 0]]
    assert [one[:, :, 0].tolist() for one in laid[1:]] == [
        [[0, 0], [7, 7]],
        [[5, 5], [6, 6], [0, 0], [0, 0]],
        [[5, 5], [6, 6], [0, 0], [0, 0]],
    ]


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
