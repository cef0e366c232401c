import pickle
from typing import Any

import numpy as np
import pytest

from tsframe.arrays import ArrayInputs, OwnLabels
from tsframe.corruptions import (
    Corruption,
    MatchedGaussian,
    RANDOMIZATION_TESTS,
    ShuffledCoordinates,
)
from tsframe.execution import run
from tsframe.inputs import Gaussian
from tsframe.samples import draw_samples
from tsframe.spectra import Isotropic, Sloppy
from tsframe.students.kernel import Kernel, RBF
from tsframe.students.linear import Linear
from tsframe.students.mlp import MLP
from tsframe.students.random_features import RandomFeatures
from tsframe.sweep import Sweep
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.ridge import Ridge
from tsframe.training.sgd import SGD
from tsframe.training.stopping import ZeroTrainError
from tsframe.trial import train, Trial

RNG = np.random.default_rng(0)
ROWS = ArrayInputs(RNG.exponential(RNG.random(12) + 0.1, (900, 12)), RNG.integers(3, size=900))
INPUTS = [
    Gaussian(12, Sloppy(0.4)),
    Gaussian(12, Sloppy(0.4), rotate=True),
    ROWS,
]
CORRUPTIONS: list[Corruption] = [
    ShuffledCoordinates(),
    ShuffledCoordinates(per_sample=True),
    MatchedGaussian(),
    MatchedGaussian(per_coordinate=True),
]
every_input = pytest.mark.parametrize("inputs", INPUTS, ids=repr)
every_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)


def trial(**changes: Any) -> Trial:
    fields: dict[str, Any] = dict(
        inputs=INPUTS[1],
        teacher=Teacher(width=10, classes=3),
        student=MLP(16),
        training=SGD(0.1, momentum=0.9, batch_size=20, max_steps=40),
        n_train=60,
        n_test=80,
    )
    return Trial(**(fields | changes))


def sample(inputs, corruption, n=300, seed=0):
    return draw_samples(inputs, Teacher(width=10), n, n, 0.2, seed, corruption)


def data(inputs, n, seed=0):
    return inputs.draw(n, seed, "train inputs")


@every_corruption
@every_input
def test_labels_stay_those_of_what_the_inputs_were(inputs, corruption):
    true, corrupted = sample(inputs, None), sample(inputs, corruption)
    for name in ("y_train", "y_train_clean", "y_test"):
        assert np.array_equal(getattr(true, name), getattr(corrupted, name))
    for name in ("x_train", "x_test"):
        before, after = getattr(true, name), getattr(corrupted, name)
        assert before.shape == after.shape and after.dtype == np.float64
        assert not np.array_equal(before, after)
    own = draw_samples(ROWS, OwnLabels(3), 300, 300, 0.0, 0, corruption)
    assert np.array_equal(own.y_test, ROWS.labels(300, 0, "test inputs"))


@every_corruption
@every_input
def test_a_longer_sample_begins_with_the_shorter_one(inputs, corruption):
    short, long = (corruption(data(inputs, n), inputs, 0, "train inputs") for n in (20, 50))
    np.testing.assert_allclose(short, long[:20], rtol=1e-10, atol=1e-12)


@every_corruption
def test_the_same_seed_corrupts_alike_at_every_slope_and_another_one_otherwise(corruption):
    steep, flat = (Gaussian(12, spectrum) for spectrum in (Sloppy(0.4), Isotropic()))
    x = np.arange(60.0).reshape(5, 12)
    once, again, other = (
        corruption(x, inputs, seed, "train inputs")
        for inputs, seed in ((steep, 0), (flat, 0), (flat, 1))
    )
    if isinstance(corruption, MatchedGaussian):  # by the same normals
        once = once / np.sqrt(steep.moments(0)[1] if corruption.per_coordinate else 1.0)
    np.testing.assert_allclose(once, again, rtol=1e-12)
    assert not np.allclose(again, other)


@every_input
def test_one_permutation_shuffles_train_and_test_inputs(inputs):
    true, shuffled = sample(inputs, None), sample(inputs, ShuffledCoordinates())
    order = [
        int(np.flatnonzero((true.x_train == column[:, None]).all(axis=0))[0])
        for column in shuffled.x_train.T
    ]
    assert sorted(order) == list(range(12)) != order
    assert np.array_equal(true.x_test[:, order], shuffled.x_test)


@every_input
def test_each_sample_is_shuffled_uniformly_by_a_permutation_of_its_own(inputs):
    corruption, n = ShuffledCoordinates(per_sample=True), 800
    x = data(inputs, n)
    shuffled = corruption(x, inputs, 0, "train inputs")
    assert np.array_equal(np.sort(x, axis=1), np.sort(shuffled, axis=1))
    order = corruption(np.tile(np.arange(12.0), (n, 1)), inputs, 0, "train inputs")
    for number in range(12):
        found = (order == number).mean(axis=0)  # how often it stands at each place
        assert np.all(np.abs(found - 1 / 12) < 5 * np.sqrt(11 / 144 / n))
    others = corruption(np.tile(np.arange(12.0), (n, 1)), inputs, 0, "test inputs")
    assert abs((order == others).mean() - 1 / 12) < 5 * np.sqrt(1 / 12 / n / 12) * 2


@every_input
def test_moments_are_those_of_the_inputs(inputs):
    mean, variance = inputs.moments(3)
    n = 40_000
    x = inputs.draw(n, 3, "reference inputs")
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(variance / n))
    fourth = np.mean((x - mean) ** 4, axis=0)
    deviation = np.sqrt((fourth - variance**2) / n)
    assert np.all(np.abs(((x - mean) ** 2).mean(axis=0) - variance) < 5 * deviation)
    assert np.sum(variance + mean**2) == pytest.approx(np.sum(inputs.eigenvalues), rel=1e-10)


@pytest.mark.parametrize("per_coordinate", [False, True])
@every_input
def test_gaussian_inputs_have_the_mean_and_variance_of_the_data_alone(inputs, per_coordinate):
    corruption, n = MatchedGaussian(per_coordinate), 20_000
    x = inputs.draw(n, 0, "reference inputs")
    z = corruption(x, inputs, 0, "reference inputs")
    mean, variance = inputs.moments(0)
    if not per_coordinate:
        everything = ROWS.x if inputs is ROWS else None
        pooled = variance.mean() + mean.var()
        if everything is not None:
            assert pooled == pytest.approx(everything.var(), rel=1e-10)
        mean, variance = np.full(12, mean.mean()), np.full(12, pooled)
    scaled = (z - mean) / np.sqrt(variance)
    assert np.all(np.abs(scaled.mean(axis=0)) < 5 / np.sqrt(n))
    assert np.all(np.abs(np.cov(scaled.T) - np.eye(12)) < 5 * np.sqrt((1 + np.eye(12)) / n))
    assert abs(np.mean(scaled**3)) < 5 * np.sqrt(15 / n / 12)  # exponential data have 2
    assert abs(np.mean(scaled**4) - 3) < 5 * np.sqrt(96 / n / 12)
    before = (x - x.mean(axis=0)) / x.std(axis=0)
    assert np.all(np.abs(before.T @ scaled / n) < 5 / np.sqrt(n)), "not independent of the data"


def test_a_spectrum_survives_one_shuffle_and_no_shuffle_sample_by_sample():
    inputs, n = Gaussian(12, Sloppy(0.4), rotate=True), 4000
    x = data(inputs, n)

    def eigenvalues(corruption):
        z = corruption(x, inputs, 0, "train inputs")
        return np.linalg.eigvalsh(z.T @ z / n)

    true = np.linalg.eigvalsh(x.T @ x / n)
    np.testing.assert_allclose(eigenvalues(ShuffledCoordinates()), true, rtol=1e-10)
    own = eigenvalues(ShuffledCoordinates(per_sample=True))
    # What is left is the mean of all pairs of coordinates, in expectation.
    second = inputs.basis(0) * inputs.eigenvalues @ inputs.basis(0).T
    common = (second.sum() - np.trace(second)) / (12 * 11)
    expected = np.sort(np.linalg.eigvalsh(np.full((12, 12), common) + np.eye(12) * (1 - common)))
    assert np.all(np.abs(own - expected) < 10 * np.sqrt(12 / n) * expected)
    assert true[-1] > 3 * own[-1]


@pytest.mark.parametrize("student", [Linear(), Kernel(RBF(2.0))], ids=repr)
def test_students_without_places_cannot_tell_one_shuffle_but_the_others(student):
    def solved(corruption):
        one = trial(
            student=student, training=Ridge(), teacher=LinearTeacher(), corruption=corruption
        )
        return train([one]).test_error.item()

    assert solved(ShuffledCoordinates()) == pytest.approx(solved(None), rel=1e-6, abs=1e-20)
    for corruption in CORRUPTIONS[1:]:
        assert solved(corruption) > 3 * solved(None)


def test_corrupted_students_have_the_same_bits_alone_and_in_a_batch():
    stop = ZeroTrainError(check_every=5)
    steps = SGD(0.1, momentum=0.9, batch_size=20, max_steps=40, stop=stop)
    families: list[dict[str, Any]] = [
        dict(student=MLP(16), training=steps),
        dict(student=MLP(5, depth=2), training=steps),
        dict(student=RandomFeatures(20), training=Ridge()),
        dict(student=Kernel(RBF(2.0)), training=Ridge(0.1)),
    ]
    trials = [
        trial(inputs=inputs, corruption=corruption, label_noise=noise, **family)
        for inputs in INPUTS
        for corruption in (None, *CORRUPTIONS)
        for family in families
        for noise in (0.0, 1.0)
    ]
    batch = train(trials, device="cpu", threads=2)
    for k in range(0, len(trials), 7):
        alone = train([trials[k]], device="cpu")
        for name in alone.data_vars:
            a, b = alone[name].values[0], batch[name].values[k]
            assert np.array_equal(a, b, equal_nan=True), f"{name}: {a} is not {b}"
    found = batch.test_loss.values
    assert len(np.unique(found)) > 0.9 * found.size, "kernels alone cannot tell one shuffle"


def test_trials_share_inputs_only_under_one_corruption():
    trials = [trial(corruption=corruption) for corruption in (None, *CORRUPTIONS)]
    assert len({one.sharing_key for one in trials}) == len({repr(one) for one in trials}) == 5
    shared = trial(corruption=CORRUPTIONS[0], label_noise=0.5, student=MLP(3))
    assert shared.sharing_key == trials[1].sharing_key
    assert pickle.loads(pickle.dumps(trials)) == trials
    assert "corruption" not in repr(trials[0]), "old stores know trials without the word"
    assert {one.step_key for one in trials} == {trials[0].step_key}, "they step together"


def test_the_six_settings_are_those_of_the_paper():
    trials = [trial(**dict(fields)) for fields in RANDOMIZATION_TESTS.values()]
    assert len(trials) == len({repr(one) for one in trials}) == 6
    true, partly, random, *inputs = trials
    assert (true.label_noise, partly.label_noise, random.label_noise) == (0.0, 0.5, 1.0)
    assert all(one.label_noise == 0.0 and one.corruption is not None for one in inputs)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: trial(corruption="shuffled"), "got corruption='shuffled'. Labels are corrupted"),
        (lambda: trial(corruption=MatchedGaussian), "corruption must be ShuffledCoordinates()"),
        (lambda: ShuffledCoordinates(1), "per_sample must be True or False; got per_sample=1."),  # type: ignore[arg-type]
        (lambda: MatchedGaussian("no"), "per_coordinate must be True or False"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(build, sentence):
    with pytest.raises(TypeError) as refusal:
        build()
    assert sentence in str(refusal.value)


@pytest.fixture(scope="module")
def small_sweep(tmp_path_factory):
    """Sixteen seeds of students wide enough, at three corruptions of the labels and four of x."""
    kinds = {"own": None, "one shuffle": CORRUPTIONS[0], "Gaussian": CORRUPTIONS[2]}

    def cell(inputs, label_noise, width, seed):
        return trial(
            inputs=Gaussian(20, Sloppy(0.05), rotate=True),
            teacher=Teacher(width=30, classes=4),
            corruption=kinds[inputs],
            label_noise=label_noise,
            student=MLP(width),
            training=SGD(0.1, momentum=0.9, max_steps=120, stop=ZeroTrainError(check_every=2)),
            n_train=200,
            n_test=500,
            seed=seed,
        )

    sweep = Sweep(
        cell, inputs=list(kinds), label_noise=[0.0, 0.1, 1.0], width=[2, 64], seed=range(16)
    )
    return run(sweep, tmp_path_factory.mktemp("corrupted") / "s.zarr", n_jobs=1, progress=False)


def interval(values):
    """The mean over seeds, and five of its standard errors."""
    return float(values.mean("seed")), 5 * float(values.std("seed", ddof=1)) / np.sqrt(16)


def test_wide_students_fit_random_labels_and_their_test_error_is_at_chance(small_sweep):
    random = small_sweep.sel(label_noise=1.0)
    assert (random.sel(width=64).train_error == 0.0).all()
    assert (random.sel(width=2).train_error > 0.0).all(), "narrow ones do not"
    for kind in small_sweep.inputs.values:
        mean, width = interval(random.sel(inputs=kind, width=64).test_error)
        assert abs(mean - 0.75) < width < 0.1
    mean, width = interval(small_sweep.sel(inputs="own", label_noise=0.0, width=64).test_error)
    assert mean + width < 0.5, "those of true labels learn"


def test_the_time_to_fit_grows_with_the_corruption_of_labels(small_sweep):
    steps = small_sweep.steps.sel(width=64, inputs="own")
    for low, high in ((0.0, 0.1), (0.1, 1.0)):
        mean, width = interval(steps.sel(label_noise=high) - steps.sel(label_noise=low))
        assert mean - width > 0.0


def test_a_network_cannot_tell_one_shuffle_and_learns_nothing_of_gaussian_inputs(small_sweep):
    error = small_sweep.test_error.sel(width=64, label_noise=0.0)
    mean, width = interval(error.sel(inputs="one shuffle") - error.sel(inputs="own"))
    assert abs(mean) < width < 0.1
    mean, width = interval(error.sel(inputs="Gaussian"))
    assert abs(mean - 0.75) < width < 0.1
