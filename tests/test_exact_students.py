import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import lstsq

from tsframe.inputs import Gaussian
from tsframe.samples import draw_samples, Samples
from tsframe.solving.kernel_ridge import Gram
from tsframe.spectra import Isotropic, PowerLaw, Sloppy
from tsframe.students.kernel import Kernel, Laplace, NNGP, NTK, PairKernel, RBF
from tsframe.students.linear import Linear
from tsframe.students.mlp import MLP
from tsframe.students.random_features import RandomFeatures
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.ridge import Ridge
from tsframe.training.sgd import SGD
from tsframe.trial import train, Trial

KERNELS: list[PairKernel] = [
    RBF(8.0),
    Laplace(10.0),
    NTK(depth=0),
    NTK(depth=3, bias_variance=0.1),
    NTK(depth=1, activation="erf"),
    NNGP(depth=2),
]
STUDENTS = [
    Linear(),
    RandomFeatures(25),
    RandomFeatures(90, activation="tanh", bias_variance=0.5),
    *(Kernel(kernel) for kernel in KERNELS),
]


def trial(**changes: Any) -> Trial:
    fields: dict[str, Any] = dict(
        inputs=Gaussian(dim=30, spectrum=PowerLaw(1.0)),
        teacher=LinearTeacher(norm=1.0, noise=0.3),
        student=Linear(),
        training=Ridge(),
        n_train=40,
        n_test=80,
    )
    return Trial(**(fields | changes))


def classes(**changes: Any) -> Trial:
    return trial(**(dict(teacher=Teacher(width=10, classes=4), label_noise=0.2) | changes))


def samples_of(one: Trial) -> Samples:
    return draw_samples(one.inputs, one.teacher, one.n_train, one.n_test, one.label_noise, one.seed)


def values(one: Trial) -> dict[str, float]:
    measured = train([one], device="cpu").isel(student=0)
    return {str(name): float(measured[name]) for name in measured.data_vars}


def mixture() -> list[Trial]:
    """Trials that share data, features, kernels and factors in part, beside networks."""
    rng = np.random.default_rng(0)
    trials = []
    for k in range(60):
        teacher = [LinearTeacher(noise=0.3), LinearTeacher(), Teacher(width=10, classes=4)][k % 3]
        student = [*STUDENTS, MLP(8), MLP(3, depth=2)][rng.integers(len(STUDENTS) + 2)]
        network = isinstance(student, MLP)
        trials.append(
            trial(
                inputs=Gaussian(30, Sloppy([0.0, 0.9][rng.integers(2)]), rotate=bool(k % 2)),
                teacher=teacher,
                student=student,
                training=SGD(0.05, max_steps=20) if network else Ridge([0.0, 0.1][k // 3 % 2]),
                label_noise=0.2 * (k % 3 == 2),
                n_train=[25, 30, 40][rng.integers(3)],
                seed=int(rng.integers(2)),
            )
        )
    large = dict(inputs=Gaussian(200, PowerLaw(1.5)), n_train=150, n_test=300)
    for student in (Linear(), RandomFeatures(300), Kernel(RBF(20.0))):
        trials += [trial(student=student, training=Ridge(d), **large) for d in (0.0, 1.0)]
    return trials


def test_bits_hang_on_the_trial_alone() -> None:
    trials = mixture()
    kinds = {type(t.student) for t in trials}
    assert kinds == {Linear, RandomFeatures, Kernel, MLP}, "the batch must be a mixture"
    assert len({t.sharing_key for t in trials}) < 30, "students must share data sets"
    together = train(trials, device="cpu", threads=2)
    order = np.random.default_rng(1).permutation(len(trials))
    shuffled = train([trials[k] for k in order], device="cpu", threads=3)
    for name in together.data_vars:
        a, b = together[name].values, shuffled[name].values
        assert np.array_equal(a[order], b, equal_nan=True), name
    for k, one in enumerate(trials):
        alone = train([one], device="cpu", threads=1)
        for name in alone.data_vars:
            assert alone[name].values[0] == together[name].values[k], f"{name} of {one}"


def test_declared_measures_are_those_that_come() -> None:
    for make, student in itertools.product((trial, classes), STUDENTS):
        one = make(student=student)
        assert set(values(one)) == {*one.declared, "diverged"}
    assert {"rank", "condition"} <= set(trial().declared)
    assert not {"steps", "distance_from_init"} & set(trial().declared)


@pytest.mark.parametrize("n", [10, 40])
def test_a_linear_student_is_the_solution_of_lstsq(n: int) -> None:
    one = trial(n_train=n)
    data, measured = samples_of(one), values(one)
    w = lstsq(data.x_train, data.y_train)[0]
    test = np.mean((data.x_test @ w - data.y_test) ** 2)
    train_error = np.mean((data.x_train @ w - data.y_train) ** 2)
    np.testing.assert_allclose(measured["test_error"], test, rtol=1e-8)
    np.testing.assert_allclose(measured["train_error"], train_error, rtol=1e-8, atol=1e-20)
    np.testing.assert_allclose(measured["weight_norm"], np.linalg.norm(w), rtol=1e-8)
    assert measured["rank"] == min(n, 30)
    assert measured["interpolated"] == (n == 10)
    assert measured["test_loss"] == measured["test_error"]


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("n", [10, 40])
def test_ridge_with_a_linear_kernel_is_linear_ridge(n: int, penalty: float) -> None:
    linear = trial(n_train=n, training=Ridge(penalty))
    kernel = replace(linear, student=Kernel(NTK(depth=0, weight_variance=30.0)))
    a, b = values(linear), values(kernel)
    for name in ("train_error", "test_error", "weight_norm"):
        np.testing.assert_allclose(b[name], a[name], rtol=1e-9)


def test_without_penalty_a_linear_kernel_gives_the_linear_student_of_least_norm() -> None:
    for n in (10, 40):  # at 40 the kernel matrix is singular
        linear = trial(n_train=n)
        a, b = values(linear), values(replace(linear, student=Kernel(NTK(0, weight_variance=30.0))))
        np.testing.assert_allclose(b["test_error"], a["test_error"], rtol=1e-8)
        np.testing.assert_allclose(b["weight_norm"], a["weight_norm"], rtol=1e-8)
        assert a["rank"] == b["rank"] == min(n, 30)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_a_kernel_student_solves_the_kernel_system(kernel: PairKernel) -> None:
    one = trial(student=Kernel(kernel), n_train=25, training=Ridge(0.3))
    data, measured = samples_of(one), values(one)
    gram = kernel(data.x_train, data.x_train)
    a = np.linalg.solve(gram + 0.3 * np.eye(25), data.y_train)
    fitted = kernel(data.x_test, data.x_train) @ a
    np.testing.assert_allclose(measured["test_error"], np.mean((fitted - data.y_test) ** 2))
    np.testing.assert_allclose(measured["weight_norm"], np.sqrt(a @ gram @ a))
    top, *_, last = np.linalg.eigvalsh(gram)[::-1] + 0.3
    assert measured["rank"] == 25
    np.testing.assert_allclose(measured["condition"], top / last, rtol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_kernels_are_symmetric_and_treat_pairs_apart(kernel: PairKernel) -> None:
    x, other = np.random.default_rng(0).standard_normal((2, 6, 5))
    gram = kernel(x, x)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gram, kernel(x, x.copy()), rtol=1e-6)
    pairs = [[kernel(a[None], b[None]).item() for b in other] for a in x]
    np.testing.assert_allclose(kernel(x, other), pairs, rtol=1e-12)


def test_distances_of_the_kernels_are_those_of_the_definition() -> None:
    x, other = np.random.default_rng(0).standard_normal((2, 6, 5))
    distance = np.linalg.norm(x[:, None] - other, axis=2)
    np.testing.assert_allclose(RBF(1.7)(x, other), np.exp(-(distance**2) / (2 * 1.7**2)))
    np.testing.assert_allclose(Laplace(1.7)(x, other), np.exp(-distance / 1.7))
    assert (np.diagonal(Laplace(1e-6)(x, x)) == 1.0).all()


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_many_random_features_approach_the_kernel(activation: str) -> None:
    limit = NNGP(depth=1, activation=activation, weight_variance=1.5)
    data = samples_of(trial())
    gram, gaps = limit(data.x_train, data.x_train), []
    for width in (400, 6400):
        spec = RandomFeatures(width, activation, weight_variance=1.5)
        found = [spec.features(data.x_train, seed) for seed in range(20)]
        gaps.append(np.sqrt(np.mean([(f @ f.T - gram) ** 2 for f in found])))
        mean = np.mean([f @ f.T for f in found], axis=0)
        error = np.std([f @ f.T for f in found], axis=0, ddof=1) / np.sqrt(20)
        assert np.sqrt(np.mean(((mean - gram) / error) ** 2)) < 1.5  # 1.08, by Student's t of 19
    assert 3.5 < gaps[0] / gaps[1] < 4.5  # as 1 / sqrt(width)
    kernel = trial(student=Kernel(limit), training=Ridge(0.1))
    wide = replace(kernel, student=RandomFeatures(20_000, activation, weight_variance=1.5))
    np.testing.assert_allclose(values(wide)["test_error"], values(kernel)["test_error"], rtol=0.05)


def test_features_of_a_wider_student_begin_with_those_of_a_narrower_one() -> None:
    x = np.random.default_rng(0).standard_normal((7, 5))
    for spec in (RandomFeatures(4), RandomFeatures(4, "tanh", bias_variance=1.0)):
        narrow = spec.features(x, seed=3) * np.sqrt(4)
        wide = replace(spec, width=9).features(x, seed=3) * np.sqrt(9)
        np.testing.assert_allclose(wide[:, :4], narrow, rtol=1e-13)
        assert np.abs(spec.features(x, seed=4) * 2 - narrow).max() > 0.1


def test_features_are_those_of_a_drawn_layer() -> None:
    spec = RandomFeatures(3, "tanh", weight_variance=4.0, bias_variance=2.0)
    first = spec.features(np.zeros((1, 2)), seed=0)
    bias = np.arctanh(first * np.sqrt(3.0 / 4.0)) / np.sqrt(2.0)
    eye = np.arctanh(spec.features(np.eye(2), seed=0) * np.sqrt(3.0 / 4.0))
    many = RandomFeatures(20_000, "identity", 4.0, 2.0).features(np.ones((1, 2)), seed=0)
    weights = (eye - np.sqrt(2.0) * bias) / np.sqrt(4.0 / 2.0)
    np.testing.assert_allclose(
        spec.features(np.ones((1, 2)), 0),
        2 / np.sqrt(3) * np.tanh(np.sqrt(2.0) * weights.sum(0) + np.sqrt(2.0) * bias),
    )
    # Variance of a feature before its scale: 4 |x|^2 / dim + 2 = 6, over 20,000 of them.
    assert abs(np.mean(many**2) * 20_000 / 4.0 - 6.0) < 5 * 6.0 * np.sqrt(2 / 20_000)


@pytest.mark.parametrize("student", STUDENTS, ids=repr)
def test_errors_and_losses_are_those_of_the_objective(student: Any) -> None:
    one = classes(student=student, training=Ridge(0.05))
    data, measured = samples_of(one), values(one)
    if isinstance(student, Kernel):
        train_x, test_x = (student.kernel(x, data.x_train) for x in (data.x_train, data.x_test))
        hot = np.eye(4)[data.y_train]
        w = np.linalg.solve(train_x + 0.05 * np.eye(40), hot)
    else:
        train_x, test_x = data.x_train, data.x_test
        if isinstance(student, RandomFeatures):
            train_x, test_x = (student.features(x, one.seed) for x in (train_x, test_x))
        w = np.linalg.solve(
            train_x.T @ train_x + 0.05 * np.eye(train_x.shape[1]),
            train_x.T @ np.eye(4)[data.y_train],
        )
    for name, x, y in (("train", train_x, data.y_train), ("test", test_x, data.y_test)):
        logits, targets = torch.as_tensor((x @ w).T[None]), torch.as_tensor(y[None])
        error = one.objective.sample_errors(logits, targets).mean().item()
        loss = one.objective.sample_losses(logits, targets).mean().item()
        assert measured[f"{name}_error"] == error
        np.testing.assert_allclose(measured[f"{name}_loss"], loss, rtol=1e-7)
    assert measured["class_perplexity"] == data.perplexity


def test_two_classes_are_the_sign_of_a_regression_on_labels_of_either_sign() -> None:
    one = classes(teacher=Teacher(width=10, classes=2), n_test=500)
    data = samples_of(one)
    w = lstsq(data.x_train, 2.0 * data.y_train - 1.0)[0]
    assert values(one)["test_error"] == np.mean((data.x_test @ w > 0) != data.y_test)


def test_enough_features_interpolate_noisy_classes() -> None:
    narrow, wide = (values(classes(student=RandomFeatures(k))) for k in (20, 400))
    assert (narrow["interpolated"], wide["interpolated"]) == (0, 1)
    assert narrow["train_error"] > 0 == wide["train_error"]


def test_steep_spectra_are_interpolated_and_say_how_ill_they_are() -> None:
    steep = values(trial(inputs=Gaussian(30, Sloppy(4.0)), n_train=20))
    assert steep["interpolated"] == 1 and steep["rank"] == 20
    assert steep["condition"] > 1e14 and not steep["diverged"]
    rotated = values(trial(inputs=Gaussian(30, Sloppy(4.0), rotate=True), n_train=25))
    assert rotated["rank"] < 25 and rotated["interpolated"] == 0
    kernel = values(trial(student=Kernel(NTK(0)), inputs=Gaussian(30, Sloppy(4.0)), n_train=20))
    assert kernel["rank"] < rotated["rank"] and kernel["condition"] < 1e16


def test_a_teacher_has_the_coefficients_it_is_given() -> None:
    coefficients = np.arange(1.0, 31.0)
    teacher = LinearTeacher(norm=2.0, coefficients=tuple(coefficients))
    inputs = Gaussian(30, Isotropic(), rotate=True)
    theta = inputs.basis(3).T @ teacher.draw(inputs, seed=3).theta
    np.testing.assert_allclose(theta, 2 * coefficients / np.linalg.norm(coefficients), rtol=1e-12)
    plain = LinearTeacher(coefficients=np.arange(1, 31)[::-1])  # type: ignore[arg-type]
    assert plain.coefficients == tuple(coefficients[::-1]) and hash(plain) == hash(plain)


def test_work_and_bytes_grow_with_the_student() -> None:
    one = trial()
    for larger in (
        replace(one, n_train=400),
        replace(one, n_test=4000),
        replace(one, inputs=Gaussian(300, PowerLaw(1.0))),
        replace(one, student=RandomFeatures(500)),
        replace(one, student=Kernel(RBF(1.0)), n_train=400),
    ):
        assert larger.flops > one.flops > 0
        assert larger.bytes > one.bytes > 0
    assert replace(one, training=Ridge(1.0)).flops > one.flops
    assert one.shape_key != replace(one, student=RandomFeatures(30)).shape_key


def twisted(x1: Any, x2: Any) -> Any:
    return np.ones((len(x2), len(x1)))


def blown(x1: Any, x2: Any) -> Any:
    return np.full((len(x1), len(x2)), np.inf)


def test_a_kernel_that_is_none_fails_with_a_sentence() -> None:
    for kernel, sentence in ((twisted, "must give one number a pair"), (blown, "must give finite")):
        with pytest.raises(ValueError, match=sentence):
            train([trial(student=Kernel(kernel))], device="cpu")
    with pytest.raises(ValueError, match="must be positive semidefinite; got a kernel matrix"):
        Gram.decompose(np.array([[0.0, 1.0], [1.0, 0.0]]))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: trial(student=MLP(5)), "Ridge solves students that are linear in their weights"),
        (lambda: trial(training=SGD(0.1)), "or take steps with MLP(width=1, depth=0)."),
        (lambda: trial(training=SGD(0.1), student=RandomFeatures(3)), "RandomFeatures takes no st"),
        (lambda: trial(training=SGD(0.1), student=Kernel(RBF(1.0))), "Kernel takes no steps"),
        (lambda: classes(loss="cross_entropy"), "Ridge minimizes squares, of one-hot labels"),
        (lambda: trial(curve_steps=(1,)), "Ridge takes none; got (1,)."),
        (lambda: trial(precision="float32"), "Ridge is solved in float64 only"),
        (lambda: trial(precision="half"), "precision must be one of float32, float64"),
        (lambda: trial(teacher=LinearTeacher(coefficients=(1.0,))), "1 coefficients with dim=30"),
        (lambda: LinearTeacher(coefficients=(0.0, 0.0)), "must be finite and not all zero"),
        (lambda: LinearTeacher(coefficients="ab"), "must be a tuple of numbers"),  # type: ignore[arg-type]
        (lambda: Ridge(-1.0), "penalty must be a finite number >= 0; got penalty=-1.0."),
        (lambda: Ridge(float("inf")), "got penalty=inf"),
        (lambda: Ridge("no"), "got penalty='no'"),  # type: ignore[arg-type]
        (lambda: RandomFeatures(0), "width must be a whole number >= 1; got width=0."),
        (lambda: RandomFeatures(3, "gelu"), "activation must be one of erf, identity, relu"),
        (lambda: RandomFeatures(3, weight_variance=0.0), "must be a finite number > 0; got weig"),
        (lambda: RandomFeatures(3, bias_variance=-1.0), "must be a finite number >= 0; got bias"),
        (lambda: RBF(0.0), "bandwidth must be a finite number > 0; got bandwidth=0.0."),
        (lambda: Laplace(True), "bandwidth must be a finite number > 0; got bandwidth=True."),
        (lambda: NTK(-1), "depth must be a whole number >= 0; got depth=-1."),
        (lambda: NNGP(1, "tanh"), "activation must be one of erf, relu, whose kernels are known"),
        (lambda: Kernel(RBF), "kernel must be RBF(bandwidth), Laplace"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(build: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        build()
    assert sentence in str(refusal.value)
