"""Augmentations: what the law of the inputs does not notice, and labels do not either."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tsframe.arrays import ArrayInputs
from tsframe.augmentations import Augmentation, FlatNoise, SignFlips
from tsframe.corruptions import ShuffledCoordinates
from tsframe.inputs import Gaussian
from tsframe.spectra import Sloppy
from tsframe.students.layout import Layout
from tsframe.students.linear import Linear
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.minibatches import Seated, TrainingSet
from tsframe.training.ridge import Ridge
from tsframe.training.sam import SAM
from tsframe.training.sgd import SGD
from tsframe.trial import train, Trial

DIM, FIRST = 12, 4
INPUTS = {rotate: Gaussian(DIM, Sloppy(0.3), rotate=rotate) for rotate in (False, True)}
BLIND = LinearTeacher(coefficients=tuple([1.0] * FIRST + [0.0] * (DIM - FIRST)))
KINDS: list[Augmentation] = [FlatNoise(FIRST), FlatNoise(FIRST, 0.4), SignFlips(FIRST)]
PLAIN = Trial(
    inputs=INPUTS[False],
    teacher=BLIND,
    student=MLP(8),
    training=SGD(0.02, momentum=0.5, batch_size=20, max_steps=30),
    n_train=40,
    n_test=100,
)


def varied(kind: Augmentation, rotate: bool, n: int = 40000) -> tuple[np.ndarray, np.ndarray]:
    """Some inputs before and after, in their eigenbasis."""
    inputs, draws = INPUTS[rotate], np.random.default_rng(7)
    x = inputs.draw(n, 1, "train inputs")
    return x @ inputs.basis(1), kind(x, inputs, 1, draws) @ inputs.basis(1)


@pytest.mark.parametrize("rotate", INPUTS)
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_the_law_of_the_inputs_stays_and_stiff_directions_are_left_alone(
    kind: Augmentation, rotate: bool
) -> None:
    before, after = varied(kind, rotate)
    np.testing.assert_allclose(after[:, :FIRST], before[:, :FIRST], rtol=1e-9, atol=1e-12)
    assert (np.abs(after[:, FIRST:] - before[:, FIRST:]).max(0) > 0.0).all()
    scaled = after / np.sqrt(INPUTS[rotate].eigenvalues)
    covariance, n = scaled.T @ scaled / len(scaled), len(scaled)
    error = np.sqrt((1.0 + np.eye(DIM)) / n)
    assert (np.abs(covariance - np.eye(DIM)) < 5 * error).all()
    fourth = (scaled**4).mean(0)  # 3 for a normal, whose eighth moment is 105
    assert (np.abs(fourth - 3.0) < 5 * np.sqrt(96.0 / n)).all()
    shrunk = (0.9 * scaled[:, FIRST]) ** 2
    assert abs(shrunk.mean() - 1.0) > 5 * error[0, 0], "it must tell 10 percent less"


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_noise_is_as_strong_as_it_says(strength: float) -> None:
    before, after = varied(FlatNoise(FIRST, strength), False)
    scale = INPUTS[False].eigenvalues[FIRST:]
    overlap = (before[:, FIRST:] * after[:, FIRST:]).mean(0) / scale
    assert (np.abs(overlap - np.sqrt(1 - strength**2)) < 5 * np.sqrt(2 / len(before))).all()


@pytest.mark.parametrize("rotate", INPUTS)
def test_labels_stay_where_the_teacher_does_not_look(rotate: bool) -> None:
    inputs = INPUTS[rotate]
    teacher, x = BLIND.draw(inputs, 3), inputs.draw(50, 3, "train inputs")
    for kind in KINDS:
        moved = kind(x, inputs, 3, np.random.default_rng(0))
        np.testing.assert_allclose(teacher(moved), teacher(x), rtol=1e-10, atol=1e-12)


def test_a_minibatch_is_varied_once_and_the_next_one_anew() -> None:
    x = torch.as_tensor(INPUTS[False].draw(30, 0, "train inputs"))
    rows = torch.cat([x, x.new_ones(30, 1)], 1)[None]

    def vary(z: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        return FlatNoise(FIRST)(z, INPUTS[False], 0, draws)

    data = TrainingSet(rows.clone(), torch.zeros(1, 30), [0], 30, [vary])
    seated = Seated(data, Layout.arrange([0], [(3, 1)], [0], DIM, 1, share_rows=True))
    first, again = (data.batch(seated, 0)[0].clone() for _ in range(2))
    other = data.batch(seated, 1)[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(other[..., :FIRST], rows[..., :FIRST]), "nor may it pile up"
    assert torch.equal(data.inputs, rows), "the data stay as they are"
    assert (other[..., -1] == 1.0).all()


def test_students_with_and_without_share_a_stack_to_their_own_bits() -> None:
    trials = [
        replace(PLAIN, augmentation=kind, student=MLP(width), seed=seed, inputs=INPUTS[rotate])
        for kind in (None, *KINDS)
        for width, rotate in [(5, False), (20, False), (5, True)]
        for seed in (0, 1)
    ]
    assert len({trial.step_key for trial in trials}) == 1
    together = train(trials, device="cpu")
    for k, trial in enumerate(trials):
        alone = train([trial], device="cpu").isel(student=0, drop=True)
        for name in alone.data_vars:
            assert np.array_equal(alone[name], together[name][k], equal_nan=True), name
    assert len(set(together.test_error.values)) == len(trials)


def test_both_gradients_of_sam_see_the_same_inputs() -> None:
    noisy = replace(PLAIN, augmentation=FlatNoise(FIRST))
    sam = replace(noisy, training=SAM(PLAIN.training, radius=0.0))  # type: ignore[arg-type]
    norms = [train([one], device="cpu").weight_norm.item() for one in (noisy, sam)]
    assert norms[0] == norms[1]


def test_students_learn_better_for_being_told_where_the_teacher_does_not_look() -> None:
    sgd = SGD(0.05, max_steps=400)
    trials = [
        replace(PLAIN, training=sgd, student=MLP(1, 0), n_train=14, augmentation=kind, seed=seed)
        for seed in range(12)
        for kind in (None, FlatNoise(FIRST))
    ]
    errors = np.log(train(trials, device="cpu").test_error.values.reshape(12, 2))
    gain = errors[:, 0] - errors[:, 1]
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(12)


DATA = ArrayInputs(np.random.default_rng(0).standard_normal((200, DIM)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(augmentation=SignFlips(2)), "zero from 2 on"),
        (dict(augmentation=SignFlips(4), teacher=Teacher(5, 3)), "Use FlatNoise"),
        (dict(augmentation=SignFlips(4), teacher=LinearTeacher()), "that it does not look"),
        (dict(augmentation=FlatNoise(DIM)), "first < dim=12"),
        (dict(augmentation=FlatNoise(4), inputs=DATA), "inputs whose law is known"),
        (dict(augmentation="flips"), "must be FlatNoise(first), SignFlips(first) or None"),
        (dict(augmentation=FlatNoise(4), corruption=ShuffledCoordinates()), "not corrupted"),
        (dict(augmentation=FlatNoise(4), student=Linear(), training=Ridge()), "takes steps"),
    ],
)
def test_what_would_be_noticed_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        replace(PLAIN, **changes)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("arguments", [(-1,), (1, 0.0), (1, 1.5)], ids=repr)
def test_bad_numbers_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        FlatNoise(*arguments)
