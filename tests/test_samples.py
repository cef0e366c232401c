from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from tsframe.inputs import Gaussian
from tsframe.samples import draw_samples, Samples
from tsframe.spectra import Isotropic, Sloppy
from tsframe.teachers import class_perplexity, LinearTeacher, Teacher

INPUTS = Gaussian(20, Sloppy(0.1))
TEACHERS: list[Teacher | LinearTeacher] = [
    Teacher(width=20),
    Teacher(width=20, classes=2, balance=False),
    LinearTeacher(),
    LinearTeacher(noise=0.5),
]


def draw(
    teacher: Teacher | LinearTeacher = TEACHERS[0],
    n_train: int = 500,
    n_test: int = 300,
    label_noise: float = 0.0,
    seed: int = 0,
    inputs: Gaussian = INPUTS,
) -> Samples:
    return draw_samples(inputs, teacher, n_train, n_test, label_noise, seed)


@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_arrays_have_their_shapes_and_types(teacher: Teacher | LinearTeacher) -> None:
    samples = draw(teacher)
    kind = np.float64 if isinstance(teacher, LinearTeacher) else np.int64
    assert samples.x_train.shape == (500, 20) and samples.x_train.dtype == np.float64
    assert samples.x_test.shape == (300, 20) and samples.x_test.dtype == np.float64
    for y, n in ((samples.y_train, 500), (samples.y_train_clean, 500), (samples.y_test, 300)):
        assert y.shape == (n,) and y.dtype == kind
    assert samples.outputs == teacher.outputs


@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_clean_labels_are_those_of_the_teacher(teacher: Teacher | LinearTeacher) -> None:
    samples = draw(teacher)
    drawn = teacher.draw(INPUTS, seed=0)
    assert np.array_equal(drawn(samples.x_train), samples.y_train_clean)
    assert np.array_equal(drawn(samples.x_test), samples.y_test)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("label_noise", [0.1, 0.5, 1.0])
def test_label_noise_makes_its_fraction_of_labels_wrong(label_noise: float, classes: int) -> None:
    n = 50000
    samples = draw(Teacher(width=20, classes=classes), n_train=n, label_noise=label_noise)
    wrong = samples.y_train != samples.y_train_clean
    fraction = label_noise * (classes - 1) / classes
    assert abs(wrong.mean() - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / n)
    assert abs(wrong.mean() - label_noise) > 5 * np.sqrt(fraction * (1 - fraction) / n)
    counts = np.bincount(samples.y_train[wrong].astype(np.int64), minlength=classes)
    expected = wrong.sum() / classes  # up to the imbalance of the clean classes, below 5 percent
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected) + 0.05 * expected)


def test_no_noise_leaves_every_label() -> None:
    samples = draw(label_noise=0.0)
    assert np.array_equal(samples.y_train, samples.y_train_clean)


def test_test_labels_are_never_noisy() -> None:
    assert np.array_equal(draw(label_noise=1.0).y_test, draw(label_noise=0.0).y_test)
    noisy, exact = draw(LinearTeacher(noise=2.0)), draw(LinearTeacher())
    assert np.array_equal(noisy.y_test, exact.y_test)


def test_labels_wrong_at_one_noise_stay_the_same_at_a_higher_one() -> None:
    low, high = (draw(n_train=5000, label_noise=p) for p in (0.1, 0.2))
    wrong = low.y_train != low.y_train_clean
    assert np.array_equal(low.y_train[wrong], high.y_train[wrong])
    assert (high.y_train != high.y_train_clean).sum() > wrong.sum()


@pytest.mark.parametrize(
    ("teacher", "label_noise"), [(TEACHERS[0], 0.3), (LinearTeacher(noise=0.5), 0.0)], ids=repr
)
def test_a_larger_training_sample_begins_with_the_smaller_one(
    teacher: Teacher | LinearTeacher, label_noise: float
) -> None:
    small, large = (draw(teacher, n_train=n, label_noise=label_noise) for n in (100, 400))
    assert np.array_equal(small.x_train, large.x_train[:100])
    np.testing.assert_allclose(small.y_train, large.y_train[:100], rtol=1e-10)
    assert np.array_equal(small.x_test, large.x_test)


def test_the_noise_of_a_linear_teacher_is_a_standard_deviation() -> None:
    n = 20000
    samples = draw(LinearTeacher(noise=0.5), n_train=n)
    residual = samples.y_train - samples.y_train_clean
    assert abs(residual.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * n)
    assert abs(residual.mean()) < 5 * 0.5 / np.sqrt(n)


def test_the_same_inputs_are_relabeled_at_every_slope_by_the_same_noise() -> None:
    steep, flat = (
        draw(label_noise=0.2, inputs=Gaussian(20, s)) for s in (Sloppy(0.5), Isotropic())
    )
    scale = np.sqrt(Sloppy(0.5)(20))
    np.testing.assert_allclose(steep.x_train / scale, flat.x_train, rtol=1e-10)
    both = (steep.y_train != steep.y_train_clean) & (flat.y_train != flat.y_train_clean)
    assert both.sum() > 50  # the replaced rows are the same: 100 of 500 in the mean
    assert np.array_equal(steep.y_train[both], flat.y_train[both])


def test_the_perplexity_is_that_of_the_clean_labels() -> None:
    samples = draw(label_noise=0.5)
    labels = np.concatenate([samples.y_train_clean, samples.y_test])
    assert samples.perplexity == class_perplexity(labels, 10)
    assert np.isnan(draw(LinearTeacher()).perplexity)


@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_the_same_seed_gives_the_same_samples(teacher: Teacher | LinearTeacher) -> None:
    first, again, other = (draw(teacher, seed=seed) for seed in (0, 0, 1))
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: draw(label_noise=1.2),
            "label_noise must be a number in [0, 1]; got label_noise=1.2",
        ),
        (lambda: draw(label_noise=-0.1), "the probability that a training label is replaced"),
        (lambda: draw(label_noise=float("nan")), "got label_noise=nan"),
        (lambda: draw(label_noise=cast(float, "0.1")), "got label_noise='0.1'"),
        (lambda: draw(LinearTeacher(), label_noise=0.1), "Use LinearTeacher(noise=...)"),
        (lambda: draw(n_train=0), "must be a whole number >= 1; got n=0"),
        (lambda: draw(n_test=-1), "n must be a whole number >= 1; got n=-1"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        build()
    assert sentence in str(refusal.value)
