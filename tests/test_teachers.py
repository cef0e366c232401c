import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from tsframe.balancing import balancing_biases
from tsframe.inputs import Gaussian
from tsframe.spectra import Isotropic, Sloppy, SloppyAsReleased2022
from tsframe.streams import stream
from tsframe.teachers import (
    ACTIVATIONS,
    class_perplexity,
    LinearTeacher,
    Teacher,
)

DIM = 100
SLOPES = [0.0, 0.01, 0.1, 1.0]
TEACHERS = [
    Teacher(width=50),
    Teacher(width=50, classes=2),
    Teacher(width=50, depth=0),
    Teacher(width=50, depth=3, gain=0.5),
    Teacher(width=50, depth=2, activation="relu", gain=2.0, classes=5),
    Teacher(width=50, activation="erf", balance=False),
    Teacher(width=50, activation="sigmoid"),
    Teacher(width=50, depth=2, activation="identity", gain=None),
    Teacher(width=50, gain=None, balance=False),
    Teacher(width=50, depth=2, balance=False),
]
BALANCED = [teacher for teacher in TEACHERS if teacher.balance]


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_hidden_preactivations_have_the_gain_at_every_slope(teacher: Teacher, slope: float) -> None:
    inputs = Gaussian(DIM, Sloppy(slope), rotate=True)
    drawn = teacher.draw(inputs, seed=0)
    n = 8000
    h = inputs.draw(n, seed=0, role="test inputs")
    exact = np.sqrt(np.diag(drawn.weights[0] @ np.cov(h.T) @ drawn.weights[0].T))
    for w in drawn.weights[:-1]:
        preactivations = h @ w.T
        if teacher.gain is not None:
            squares = (preactivations - preactivations.mean(axis=0)) ** 2
            # Of a variance over n rows, and of the calibration over the 4096 reference rows.
            error = squares.std(axis=0) * np.sqrt(1 / n + 1 / 4096)
            assert np.all(np.abs(squares.mean(axis=0) - teacher.gain**2) < 5 * error)
        h = ACTIVATIONS[teacher.activation](preactivations)
    if teacher.gain is None and teacher.depth > 0:  # control: nothing is calibrated
        assert exact.std() > 1e-3


def test_the_gain_of_the_first_layer_is_exact() -> None:
    inputs = Gaussian(DIM, Sloppy(0.1), rotate=True)
    w = Teacher(width=50, gain=0.7).draw(inputs, seed=0).weights[0]
    basis = inputs.basis(0)
    covariance = basis @ np.diag(inputs.eigenvalues) @ basis.T
    np.testing.assert_allclose(np.sqrt(np.diag(w @ covariance @ w.T)), 0.7, rtol=1e-10)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("teacher", BALANCED, ids=repr)
def test_balanced_classes_are_nearly_equally_likely_on_fresh_inputs(
    teacher: Teacher, slope: float
) -> None:
    inputs = Gaussian(DIM, Sloppy(slope))
    labels = teacher.draw(inputs, seed=1)(inputs.draw(10000, seed=1, role="test inputs"))
    assert labels.dtype == np.int64
    assert 0.97 * teacher.classes < class_perplexity(labels, teacher.classes) <= teacher.classes


def plainly_drawn(
    teacher: Teacher, inputs: Gaussian, seed: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Draw a teacher as its docstring says, on the reference inputs themselves."""
    widths = [inputs.dim, *[teacher.width] * teacher.depth, teacher.classes]
    weights = [
        stream(seed, "teacher", layer).standard_normal((after, before)) / np.sqrt(before)
        for layer, (before, after) in enumerate(pairwise(widths))
    ]
    exact = np.sqrt(weights[0] ** 2 @ inputs.eigenvalues)
    weights[0] = weights[0] @ inputs.basis(seed).T
    h = inputs.draw(4096, seed, "reference inputs")
    for layer in range(teacher.depth):
        if teacher.gain is not None:
            deviation = (h @ weights[layer].T).std(axis=0) if layer else exact
            weights[layer] *= (teacher.gain / deviation)[:, None]
        h = ACTIVATIONS[teacher.activation](h @ weights[layer].T)
    logits = h @ weights[-1].T
    if not teacher.balance:
        return weights, np.zeros(teacher.classes)
    mean, deviation = logits.mean(axis=0), logits.std(axis=0)
    weights[-1] /= deviation[:, None]
    return weights, plain_biases((logits - mean) / deviation) - mean / deviation


def plain_biases(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Balance logits of shape (n, classes) by Newton iterations on plain softmaxes."""
    classes = logits.shape[1]
    biases = np.zeros(classes)
    for temperature in np.repeat([0.5, 0.25, 0.12, 0.06, 0.03], 3):
        p = softmax((logits + biases) / temperature, axis=1)
        hessian = (np.diag(p.mean(axis=0)) - p.T @ p / len(p)) / temperature
        hessian += 1 / classes + 1e-6 * np.eye(classes)
        step = np.linalg.solve(hessian, p.mean(axis=0) - 1 / classes)
        biases -= step * min(1, 2 * temperature / np.abs(step).max())
    return biases


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_a_teacher_is_the_one_that_is_drawn_plainly(teacher: Teacher, rotate: bool) -> None:
    for seed, slope in enumerate((0.0, 0.1, 1.0)):
        inputs = Gaussian(DIM, Sloppy(slope), rotate)
        weights, biases = plainly_drawn(teacher, inputs, seed)
        drawn = teacher.draw(inputs, seed)
        np.testing.assert_allclose(drawn.biases, biases, rtol=0, atol=1e-12)  # rounding
        for mine, due in zip(drawn.weights, weights, strict=True):
            np.testing.assert_allclose(mine, due, rtol=0, atol=1e-12 * np.abs(due).max())
        plain = type(drawn)(tuple(weights), biases, teacher.activation)
        x = inputs.draw(2000, seed, "test inputs")
        assert np.array_equal(drawn(x), plain(x))


@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_reference_inputs_are_drawn_for_what_is_measured_on_them_alone(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles: list[str] = []

    def noted(seed: int, role: str, *keys: int) -> np.random.Generator:
        roles.append(role)
        return stream(seed, role, *keys)

    monkeypatch.setattr("tsframe.inputs.stream", noted)
    teacher.draw(Gaussian(DIM, Sloppy(0.321)), seed=10**6 + TEACHERS.index(teacher))
    measured = teacher.balance or (teacher.gain is not None and teacher.depth > 1)
    assert roles == (["reference inputs"] if measured else [])


def test_logits_far_from_all_others_are_balanced_without_overflow() -> None:
    logits = np.random.default_rng(0).standard_normal((5, 500))
    logits[0, 0], logits[3, 1], logits[:, 2] = 500.0, -500.0, [60.0, -60.0, 0.0, 30.0, -30.0]
    np.testing.assert_allclose(balancing_biases(logits), plain_biases(logits.T), atol=1e-12)


def test_a_teacher_is_drawn_once_for_all_who_learn_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, teacher = Gaussian(DIM, Sloppy(0.123)), Teacher(width=6)
    first = teacher.draw(inputs, seed=0)
    monkeypatch.setattr("tsframe.teachers.balancing_biases", None)  # what is drawn anew fails
    assert Teacher(width=6).draw(Gaussian(DIM, Sloppy(0.123)), seed=0) is first
    others = [(teacher, inputs, 1), (Teacher(width=7), inputs, 0)]
    for other, other_inputs, seed in [*others, (teacher, Gaussian(DIM, Sloppy(0.124)), 0)]:
        with pytest.raises(TypeError, match="not callable"):
            other.draw(other_inputs, seed)
    for array in (*first.weights, first.biases):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0.0


def test_classes_without_balance_are_fewer_where_few_directions_matter() -> None:
    inputs = Gaussian(DIM, Sloppy(1.0))
    x = inputs.draw(10000, seed=1, role="test inputs")
    raw = Teacher(width=50, balance=False).draw(inputs, seed=1)(x)
    balanced = Teacher(width=50).draw(inputs, seed=1)(x)
    assert class_perplexity(raw, 10) < 8 < 9.7 < class_perplexity(balanced, 10)


@pytest.mark.parametrize(
    ("rate", "published"), [(0.001, 9.74), (0.1, 9.01), (0.5, 6.79), (1.0, 5.05)]
)
def test_the_released_recipe_has_its_published_class_perplexity(
    rate: float, published: float
) -> None:
    # Means over 5 draws of a teacher, measured apart from this code; here over 20.
    inputs = Gaussian(200, SloppyAsReleased2022(rate))
    teacher = Teacher(width=50, gain=None, balance=False)
    draws = [
        class_perplexity(teacher.draw(inputs, s)(inputs.draw(4000, s, "test inputs")), 10)
        for s in range(20)
    ]
    assert abs(np.mean(draws) - published) < 5 * np.std(draws) * np.sqrt(1 / 20 + 1 / 5)


def test_the_released_teacher_is_nearly_linear_and_the_calibrated_one_is_not() -> None:
    inputs = Gaussian(200, SloppyAsReleased2022(0.001))
    x = inputs.draw(4000, seed=0, role="test inputs")
    agreement = []
    for gain in (None, 1.0):
        network = Teacher(width=50, gain=gain, balance=False).draw(inputs, seed=0)
        hidden, readout = network.weights
        agreement.append(np.mean(network(x) == (x @ hidden.T @ readout.T).argmax(axis=1)))
    assert agreement[0] == 1.0
    assert agreement[1] < 0.9


@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_the_same_seed_gives_the_same_teacher_and_another_seed_another(teacher: Teacher) -> None:
    inputs = Gaussian(DIM, Sloppy(0.1))
    x = inputs.draw(500, seed=0, role="test inputs")
    first, again, other = (teacher.draw(inputs, seed).logits(x) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("teacher", TEACHERS, ids=repr)
def test_rotating_the_inputs_rotates_the_teacher_along(teacher: Teacher) -> None:
    logits = []
    for rotate in (False, True):
        inputs = Gaussian(DIM, Sloppy(0.1), rotate=rotate)
        logits.append(teacher.draw(inputs, 0).logits(inputs.draw(500, 0, "test inputs")))
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-6, atol=1e-9)  # rounding, float64


def test_the_same_seed_gives_the_same_directions_at_every_slope() -> None:
    steep, flat = (
        Teacher(width=50).draw(Gaussian(DIM, Sloppy(slope)), seed=0).weights[0]
        for slope in (1.0, 0.0)
    )
    cosines = (steep * flat).sum(axis=1) / np.linalg.norm(steep, axis=1)
    np.testing.assert_allclose(cosines / np.linalg.norm(flat, axis=1), 1.0, rtol=1e-10)


@pytest.mark.parametrize("rotate", [False, True])
def test_a_linear_teacher_has_its_norm_and_power(rotate: bool) -> None:
    inputs = Gaussian(DIM, Sloppy(0.1), rotate=rotate)
    squares = []
    for seed in range(200):
        teacher = LinearTeacher(norm=3.0).draw(inputs, seed)
        assert np.linalg.norm(teacher.theta) == pytest.approx(3.0, rel=1e-10)
        squares.append((inputs.basis(seed).T @ teacher.theta) ** 2)
    power = np.mean(squares, axis=0)  # uniform on the sphere: norm^2 / dim on every mode
    assert np.all(np.abs(power - 9 / DIM) < 5 * np.std(squares, axis=0) / np.sqrt(200))


def test_a_linear_teacher_is_linear() -> None:
    inputs = Gaussian(DIM, Isotropic())
    teacher = LinearTeacher().draw(inputs, seed=0)
    x, y = (inputs.draw(20, seed=0, role=role) for role in ("train inputs", "test inputs"))
    np.testing.assert_allclose(teacher(x + 2 * y), teacher(x) + 2 * teacher(y), atol=1e-12)


def test_specs_tell_classification_from_regression() -> None:
    assert (Teacher(width=5, classes=7).outputs, Teacher(width=5, classes=7).classes) == (7, 7)
    assert (LinearTeacher().outputs, LinearTeacher().classes) == (1, None)


@pytest.mark.parametrize(
    ("counts", "perplexity"),
    [([5, 0, 0], 1.0), ([5, 5, 0], 2.0), ([4, 4, 4], 3.0), ([2, 1, 1], 2 * 2**0.5)],
)
def test_class_perplexity_counts_equally_likely_classes(
    counts: list[int], perplexity: float
) -> None:
    labels = np.repeat(np.arange(3), counts)
    assert class_perplexity(labels, 3) == pytest.approx(perplexity, rel=1e-10)


@pytest.mark.parametrize("teacher", [*TEACHERS, LinearTeacher(norm=2.0, noise=0.1)], ids=repr)
def test_a_spec_is_a_value(teacher: Teacher | LinearTeacher) -> None:
    assert eval(repr(teacher)) == teacher == pickle.loads(pickle.dumps(teacher))
    assert hash(eval(repr(teacher))) == hash(teacher)


def test_numpy_scalars_become_python_numbers() -> None:
    given: dict[str, Any] = {"width": np.int64(5), "gain": np.float64(0.5), "balance": np.True_}
    assert repr(Teacher(**given)) == repr(Teacher(width=5, gain=0.5, balance=True))
    assert "np." not in repr(Teacher(**given))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Teacher(width=0), "width must be a whole number >= 1; got width=0."),
        (lambda: Teacher(width=cast(int, 10.0)), "got width=10.0"),
        (lambda: Teacher(width=True), "got width=True"),
        (lambda: Teacher(width=5, depth=-1), "depth must be a whole number >= 0; got depth=-1."),
        (lambda: Teacher(width=5, classes=1), "classes must be a whole number >= 2"),
        (lambda: Teacher(width=5, activation="gelu"), "identity, relu, sigmoid, tanh; got"),
        (lambda: Teacher(width=5, gain=0.0), "gain must be a number > 0; got gain=0.0. Use None"),
        (lambda: Teacher(width=5, balance=cast(bool, 1)), "balance must be True or False"),
        (lambda: LinearTeacher(norm=-1.0), "norm must be a number >= 0; got norm=-1.0."),
        (lambda: LinearTeacher(noise=-1.0), "noise must be a number >= 0; got noise=-1.0."),
        (lambda: LinearTeacher(noise=float("nan")), "got noise=nan"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        build()
    assert sentence in str(refusal.value)
