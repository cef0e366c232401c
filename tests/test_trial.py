import itertools
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tsframe.inputs import Gaussian
from tsframe.spectra import Isotropic, Sloppy
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.adam import Adam
from tsframe.training.schedules import log_steps
from tsframe.training.sgd import SGD
from tsframe.training.stopping import ZeroTrainError
from tsframe.trial import train, Trial


def trial(**changes):
    fields: dict[str, Any] = dict(
        inputs=Gaussian(dim=20, spectrum=Sloppy(0.1)),
        teacher=Teacher(width=10, classes=4),
        student=MLP(8),
        training=SGD(0.1, momentum=0.9, batch_size=20, max_steps=60),
        n_train=100,
        n_test=150,
    )
    return Trial(**(fields | changes))


def mixed_trials(count):
    """Trials that differ in everything a stack is made of, and stop at different times."""
    rng = np.random.default_rng(0)
    stop = ZeroTrainError(check_every=5)
    students = [MLP(w, d, a) for w in (1, 3, 8, 30) for d in (0, 1, 2, 3) for a in ("relu", "tanh")]
    trainings: list[SGD | Adam] = [
        SGD(0.1, momentum=0.9, batch_size=20, max_steps=60, stop=stop),
        SGD(0.3, momentum=0.9, batch_size=20, max_steps=60, stop=stop),
        SGD(0.1, batch_size=7, max_steps=35),
        SGD(0.5, max_steps=40, weight_decay=0.01, momentum=0.5, stop=stop),
        SGD(0.1, momentum=0.8, nesterov=True, batch_size=1, max_steps=25),
        Adam(0.01, batch_size=20, max_steps=40, stop=stop),
    ]
    teachers: list[Teacher | LinearTeacher] = [
        Teacher(width=10, classes=4),
        LinearTeacher(norm=1.0, noise=0.1),
    ]
    trials = []
    for k in range(count):
        teacher = teachers[k % 5 == 4]
        training = trainings[rng.integers(len(trainings))]
        if teacher is teachers[1] and training.stop is not None:
            training = replace(training, stop=None)
        trials.append(
            trial(
                inputs=Gaussian(dim=20, spectrum=Sloppy([0.0, 0.5][rng.integers(2)])),
                teacher=teacher,
                student=students[rng.integers(len(students))],
                training=training,
                label_noise=0.0 if teacher is teachers[1] else [0.0, 0.2][rng.integers(2)],
                n_train=[100, 37][rng.integers(2)],
                seed=int(rng.integers(3)),
                precision="float64" if k % 13 == 7 else "float32",
            )
        )
    return trials


def product_setting():
    backends: Any = torch.backends
    return backends.mkldnn.matmul.fp32_precision


def assert_same_bits(one, other):
    for name in one.data_vars:
        a, b = one[name].values, other[name].values
        assert np.array_equal(a, b, equal_nan=True), f"{name}: {a} is not {b}"


@pytest.fixture(scope="module")
def together():
    trials = mixed_trials(64)
    return trials, train(trials, device="cpu", threads=2)


@pytest.mark.parametrize("k", range(64))
def test_a_student_has_the_same_bits_alone_and_in_a_batch(together, k):
    trials, batch = together
    alone = train([trials[k]], device="cpu")
    names = list(alone.data_vars)
    assert_same_bits(alone.isel(student=0, drop=True), batch[names].isel(student=k, drop=True))


def test_the_mixed_batch_is_worth_its_name(together):
    trials, batch = together
    assert len({t.step_key for t in trials}) >= 12
    assert batch.steps.to_index().nunique() >= 6, "students must stop at different times"
    assert len({t.sharing_key for t in trials}) < 24, "students must share data sets"


@pytest.mark.parametrize("threads", [1, 3])
def test_order_and_threads_are_irrelevant(together, threads):
    trials, batch = together
    order = np.random.default_rng(1).permutation(64)
    shuffled = train([trials[k] for k in order], device="cpu", threads=threads)
    assert_same_bits(shuffled.drop_vars("student"), batch.isel(student=order).drop_vars("student"))


def test_bits_are_as_independent_where_onednn_is_refused(monkeypatch):
    monkeypatch.setattr("tsframe.training.products._accurate", False)
    trials = [t for t in mixed_trials(64) if t.precision == "float32"][:16]
    batch = train(trials, device="cpu")
    assert batch.attrs["products"] == "blas"
    for k, one in enumerate(trials):
        alone = train([one], device="cpu")
        names = list(alone.data_vars)
        assert_same_bits(alone.isel(student=0, drop=True), batch[names].isel(student=k, drop=True))


def test_the_same_trial_gives_the_same_bits_twice():
    assert_same_bits(train([trial()], device="cpu"), train([trial()], device="cpu"))


def test_wide_products_of_a_full_grid_do_not_change_bits():
    trials = [
        trial(
            inputs=Gaussian(dim=50, spectrum=Sloppy(slope)),
            student=MLP(width, depth),
            training=SGD(0.1, momentum=0.9, batch_size=50, max_steps=30),
            n_train=200,
            seed=seed,
        )
        for slope, width, depth, seed in itertools.product((0.0, 0.1), (3, 17, 64), (1, 2), (0, 1))
    ]
    batch = train(trials, device="cpu")
    for k in (0, 7, 13, 23):
        assert_same_bits(
            train([trials[k]], device="cpu").isel(student=0, drop=True),
            batch.isel(student=k, drop=True),
        )


def test_float32_stays_near_float64():
    trials = [
        trial(student=MLP(8, d), precision=p) for d in (0, 1, 2) for p in ("float32", "float64")
    ]
    loss = train(trials, device="cpu").train_loss.values.reshape(3, 2)
    np.testing.assert_allclose(loss[:, 0], loss[:, 1], rtol=1e-3)
    assert (loss[:, 0] != loss[:, 1]).all()


def test_one_seed_pairs_students_by_data_and_start():
    a, b = trial(student=MLP(8)), trial(student=MLP(30, 2))
    assert a.sharing_key == b.sharing_key
    assert a.sharing_key != replace(a, seed=1).sharing_key
    assert a.shape_key != b.shape_key
    assert replace(a, training=replace(a.training, lr=0.7)).shape_key == a.shape_key


def test_curves_end_where_the_student_ends_and_change_nothing():
    plain, steps = trial(), log_steps(60, 8)
    stopping = replace(plain, training=replace(plain.training, stop=ZeroTrainError(check_every=10)))
    for one in (plain, stopping):
        curved = train([replace(one, curve_steps=steps)], device="cpu")
        names = [n for n in curved.data_vars if not str(n).endswith("_curve")]
        assert_same_bits(curved[names], train([one], device="cpu"))
        assert curved.step.values.tolist() == list(steps)
        for name in ("train_error", "test_error", "train_loss", "test_loss"):
            assert curved[f"{name}_curve"].values[0, -1] == curved[name].values[0]
            assert np.isfinite(curved[f"{name}_curve"]).all()


def test_a_curve_is_the_trial_cut_short():
    curve = train([trial(curve_steps=(0, 10, 60))], device="cpu").test_loss_curve.values[0]
    short = train([trial(training=replace(trial().training, max_steps=10))], device="cpu")
    assert curve[1] == short.test_loss.values[0]
    assert len(set(curve)) == 3


def test_trials_without_curves_have_none_in_a_batch_with_curves():
    batch = train([trial(curve_steps=(0, 5)), trial(), trial(curve_steps=(3,))], device="cpu")
    assert batch.step.values.tolist() == [0, 3, 5]
    finite = np.isfinite(batch.test_error_curve.values)
    assert finite.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


def test_noisy_labels_are_fitted_by_wide_students_and_cost_test_error():
    training = SGD(0.1, momentum=0.9, max_steps=1500, stop=ZeroTrainError())
    noises = [0.0, 0.3]
    seeds = range(6)
    trials = [
        trial(student=MLP(200), training=training, label_noise=p, seed=s, n_test=1000)
        for p in noises
        for s in seeds
    ]
    measured = train(trials, device="cpu")
    assert (measured.interpolated == 1).all()
    clean, noisy = measured.test_error.values.reshape(2, -1)
    gap = noisy - clean
    assert gap.mean() > 5 * gap.std(ddof=1) / np.sqrt(len(seeds))


def test_a_diverged_student_is_a_result():
    explosive = trial(training=SGD(1e4, max_steps=50), loss="mse")
    measured = train([explosive, trial()], device="cpu")
    assert measured.diverged.values.tolist() == [True, False]
    assert measured.interpolated.values[0] == 0
    assert_same_bits(
        measured.isel(student=[1]).drop_vars("student"),
        train([trial()], device="cpu").drop_vars("student"),
    )


def test_regression_is_measured_against_the_noise_free_teacher():
    linear = trial(
        inputs=Gaussian(dim=5, spectrum=Isotropic()),
        teacher=LinearTeacher(norm=1.0, noise=0.5),
        student=MLP(1, depth=0),
        training=SGD(0.1, max_steps=400),
        n_train=2000,
        n_test=2000,
    )
    measured = train([linear], device="cpu").isel(student=0)
    # Least squares: excess sigma^2 (d + 1) / (n - d - 2) with the intercept; train error sigma^2.
    assert measured.test_error < 5 * 0.25 * 6 / 2000
    assert abs(measured.train_error - 0.25) < 5 * 0.25 * np.sqrt(2 / 2000)
    assert "class_perplexity" not in measured


def test_declared_measures_are_those_that_come():
    for one in (
        trial(),
        trial(curve_steps=(0, 3)),
        trial(teacher=LinearTeacher(), label_noise=0.0),
    ):
        measured = train([one], device="cpu")
        assert set(measured.data_vars) == {*one.declared, "diverged"}
        for name, inner in one.declared.items():
            assert measured[name].dims == ("student", *inner)


def test_distance_and_norm_of_weights_are_those_of_all_layers():
    still = train([trial(training=SGD(1e-30, max_steps=1))], device="cpu").isel(student=0)
    weights = MLP(8).initial_weights(20, 4, seed=0)
    assert still.distance_from_init < 1e-29
    norm = np.sqrt(sum(np.square(w.astype(np.float32).astype(float)).sum() for w in weights))
    np.testing.assert_allclose(float(still.weight_norm), norm, rtol=1e-12)
    moved = train([trial()], device="cpu").isel(student=0)
    assert 0.1 < moved.distance_from_init < 2 * moved.weight_norm


def test_a_trial_is_a_value():
    one = trial()
    assert one == trial() and hash(one) == hash(trial())
    assert pickle.loads(pickle.dumps(one)) == one
    names = dict(Trial=Trial, Gaussian=Gaussian, Sloppy=Sloppy, Teacher=Teacher, MLP=MLP, SGD=SGD)
    from tsframe.students.initializations import He2015
    from tsframe.training.schedules import Constant

    assert eval(repr(one), names | dict(He2015=He2015, Constant=Constant)) == one


def test_work_grows_with_steps_width_and_batch():
    assert trial(student=MLP(100)).flops > trial().flops
    longer = replace(trial().training, max_steps=120)
    assert trial(training=longer).flops == pytest.approx(2 * trial().flops, rel=0.1)


@pytest.mark.parametrize("arguments", [(0,), (-1,), (2.5,), (10, 2)])
def test_a_log_scale_without_steps_is_refused(arguments):
    with pytest.raises((TypeError, ValueError), match="must be a whole number >= "):
        log_steps(*arguments)


def test_steps_of_a_log_scale_are_ascending_and_end_at_the_budget():
    for budget in (1, 2, 10, 5000):
        steps = log_steps(budget, 20)
        assert steps[0] == 0 and steps[-1] == budget
        assert list(steps) == sorted(set(steps)) and len(steps) <= 20


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(n_train=0), "n_train must be a whole number >= 1; got n_train=0."),
        (dict(n_test=1.5), "n_test must be a whole number >= 1; got n_test=1.5."),
        (dict(seed=-1), "seed must be a whole number >= 0; got seed=-1."),
        (dict(label_noise=1.2), "label_noise must be a number in [0, 1]"),
        (dict(teacher=LinearTeacher(), label_noise=0.1), "Use LinearTeacher(noise=...)"),
        (dict(teacher=LinearTeacher(), loss="cross_entropy"), "Use loss='mse'."),
        (dict(loss="hinge"), "loss must be one of cross_entropy, mse; got loss='hinge'."),
        (dict(n_train=10), "batch_size must be at most n_train=10; got batch_size=20."),
        (dict(curve_steps=(3, 1)), "curve_steps must be ascending integers >= 0"),
        (dict(curve_steps=(0, 61)), "curve_steps must not pass max_steps=60; got 61."),
        (dict(curve_steps=10), "curve_steps must be a list of whole numbers, e.g. [0, 100]; got"),
        (dict(curve_steps=[0.5]), "curve_steps must be a list of whole numbers"),
        (dict(measure_steps="1"), "measure_steps must be a list of whole numbers"),
        (dict(own_order="yes"), "own_order must be True or False; got own_order='yes'."),
        (dict(precision="bf16"), "precision must be one of float32, float64"),
        (dict(student=5), "student must be MLP or Linear or RandomFeatures or Kernel; got 5."),
        (dict(training="sgd"), "Parle or Ridge; got 'sgd'."),
        (dict(inputs=np.zeros(3)), "inputs must be Gaussian"),
        (dict(teacher=MLP(3)), "teacher must be Teacher or LinearTeacher"),
    ],
)  # fmt: skip
def test_bad_trials_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        trial(**changes)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(trials=[]), "train needs at least one trial"),
        (dict(trials=trial()), "got one alone. Write train([trial])."),
        (dict(trials=[3]), "trials must be Trial objects; got 3 at position 0."),
        (dict(device="tpu"), "device must be auto, cpu, cuda or cuda:N; got 'tpu'."),
        (dict(device="cuda:99"), "GPUs found. Use device='cpu'."),
        (dict(threads=0), "threads must be at least 1; got threads=0."),
    ],
)
def test_bad_calls_are_refused_with_a_sentence(arguments, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        train(**(dict(trials=[trial()]) | arguments))
    assert sentence in str(refusal.value)


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu_within_rounding():
    trials = [t for t in mixed_trials(64) if t.precision == "float64"]
    cpu, gpu = train(trials, device="cpu"), train(trials, device="cuda")
    np.testing.assert_allclose(gpu.train_loss, cpu.train_loss, rtol=1e-6, atol=1e-9)
