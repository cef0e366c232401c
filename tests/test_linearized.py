"""Width to infinity: kernels against their limits, students against their linearizations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tsframe.augmentations import FlatNoise
from tsframe.inputs import Gaussian
from tsframe.measures.linearized import Linearization, WideLimit
from tsframe.measures.sensitivities import forward
from tsframe.measures.tangent import tangent_kernel
from tsframe.samples import draw_samples
from tsframe.spectra import Isotropic, Sloppy
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.initializations import He2015, Jacot2018
from tsframe.students.kernel import Kernel, NNGP, NTK
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.ridge import Ridge
from tsframe.training.schedules import Cosine
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation, TrainLossBelow
from tsframe.trial import train, Trial

DIM = 5
PROBES = np.random.default_rng(0).standard_normal((4, DIM))
TRIAL = Trial(
    inputs=Gaussian(dim=8, spectrum=Sloppy(0.2)),
    teacher=LinearTeacher(norm=1.0, noise=0.3),
    student=MLP(32, 1, "relu", Jacot2018(mirrored=True)),
    training=SGD(0.2, max_steps=60),
    n_train=20,
    n_test=40,
    precision="float64",
    measures=[Linearization(probe=30), WideLimit(probe=30)],
)


def weights_of(mlp, dim=DIM, seed=0):
    return [torch.as_tensor(w) for w in mlp.initial_weights(dim, 1, seed)]


def kernel_of(mlp, seed, rates=True):
    found = tangent_kernel(
        weights_of(mlp, seed=seed),
        ACTIVATIONS[mlp.activation],
        torch.as_tensor(PROBES),
        mlp.rates(DIM, 1) if rates else None,
    )
    return found[0]


@pytest.mark.parametrize("law", [Jacot2018(2.0, 0.3, 5.0), He2015()], ids=repr)
@pytest.mark.parametrize("depth", [0, 2])
def test_the_tangent_kernel_is_the_product_of_jacobians_at_its_rates(law, depth):
    mlp = MLP(6, depth, "tanh", law)
    weights = [w.requires_grad_() for w in weights_of(mlp)]
    rates = mlp.rates(DIM, 1) or [(1.0, 1.0)] * (depth + 1)
    rows = []
    for x in torch.as_tensor(PROBES):
        out = forward(weights, ACTIVATIONS["identity"], x[None]).outputs if depth == 0 else None
        if out is None:
            h = x
            for w in weights[:-1]:
                h = torch.tanh(w[:, :-1] @ h + w[:, -1])
            out = weights[-1][:, :-1] @ h + weights[-1][:, -1]
        gradients = torch.autograd.grad(out.sum(), weights)
        scaled = [
            torch.cat([g[:, :-1] * w**0.5, g[:, -1:] * b**0.5], 1).flatten()
            for g, (w, b) in zip(gradients, rates, strict=True)
        ]
        rows.append(torch.cat(scaled))
    jacobian = torch.stack(rows)
    found, outputs = tangent_kernel(
        [w.detach() for w in weights], ACTIVATIONS["tanh"], torch.as_tensor(PROBES),
        mlp.rates(DIM, 1),
    )  # fmt: skip
    np.testing.assert_allclose(found, jacobian @ jacobian.T, rtol=1e-11, atol=1e-13)
    assert outputs.shape == (4, 1)


SEEDS = 12


@pytest.mark.parametrize(
    ("activation", "depth", "bias", "mirrored"),
    [
        ("relu", 1, 0.0, False),
        ("erf", 1, 0.4, True),
        ("relu", 1, 0.2, True),
        pytest.param("relu", 2, 0.1, False, marks=pytest.mark.slow),
        pytest.param("erf", 2, 0.1, True, marks=pytest.mark.slow),
    ],
)
def test_the_ntk_at_width_4096_is_within_sampling_error_of_its_limit(
    activation, depth, bias, mirrored
):
    law = Jacot2018(1.7, bias, output_scale=3.0, mirrored=mirrored)
    mlp = MLP(4096, depth, activation, law)
    found = np.array([kernel_of(mlp, seed) for seed in range(SEEDS)])
    limit = NTK(depth, activation, 1.7, bias)(PROBES, PROBES)
    error = found.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    assert np.all(np.abs(found.mean(axis=0) - limit) < 5 * error)
    assert np.all(found.std(axis=0) < 0.1 * np.abs(np.diag(limit)).max()), "it must concentrate"
    for wrong in (NNGP(depth, activation, 1.7, bias), NTK(depth, activation, 1.8, bias)):
        assert np.any(np.abs(found.mean(axis=0) - wrong(PROBES, PROBES)) > 5 * error)
    mistaken = kernel_of(mlp, 0, rates=False)
    assert np.any(np.abs(mistaken - limit) > 5 * found.std(axis=0, ddof=1))


@pytest.mark.parametrize("mirrored", [False, True])
def test_deeper_kernels_approach_their_limit_as_one_over_the_root_of_the_width(mirrored):
    law, limit = Jacot2018(2.0, 0.1, mirrored=mirrored), NTK(3, "relu", 2.0, 0.1)(PROBES, PROBES)
    spreads = []
    for width in (64, 512):
        mlp = MLP(width, 3, "relu", law)
        found = np.array([kernel_of(mlp, seed) for seed in range(SEEDS)])
        error = found.std(axis=0, ddof=1) / np.sqrt(SEEDS)
        bias = 3 * 3 / width * np.diag(limit).max()  # of order depth / width
        assert np.all(np.abs(found.mean(axis=0) - limit) < 5 * error + bias)
        spreads.append(found.std(axis=0).mean())
    # Eight times the width; with 12 seeds a ratio of standard deviations is known to 30 percent.
    assert 8**0.5 / 2 < spreads[0] / spreads[1] < 8**0.5 * 2


def test_outputs_at_initialization_have_the_covariance_of_the_nngp():
    mlp = MLP(256, 2, "erf", Jacot2018(1.5, 0.3))
    draws = 200
    found = np.array(
        [
            forward(weights_of(mlp, seed=s), ACTIVATIONS["erf"], torch.as_tensor(PROBES))
            .outputs[:, 0]
            .numpy()
            for s in range(draws)
        ]
    )
    products = found[:, :, None] * found[:, None, :]
    error = products.std(axis=0, ddof=1) / np.sqrt(draws)
    limit = NNGP(2, "erf", 1.5, 0.3)(PROBES, PROBES)
    assert np.all(np.abs(products.mean(axis=0) - limit) < 5 * error)
    wrong = NTK(2, "erf", 1.5, 0.3)(PROBES, PROBES)
    assert np.any(np.abs(products.mean(axis=0) - wrong) > 5 * error)


def descend_linearized(one):
    """The linear model of a student, step by step, from a Jacobian by autograd."""
    data = draw_samples(one.inputs, one.teacher, one.n_train, one.n_test, 0.0, one.seed)
    layers = [torch.as_tensor(w) for w in one.student.initial_weights(8, 1, one.seed)]
    sizes = [w.shape for w in layers]
    start = torch.cat([w.flatten() for w in layers])
    x = torch.as_tensor(np.concatenate([data.x_train, data.x_test[:30]]))
    phi = {"relu": torch.relu, "tanh": torch.tanh}[one.student.activation]

    def outputs(flat):
        h, at = x, 0
        for k, shape in enumerate(sizes):
            w = flat[at : at + shape.numel()].view(shape)
            z = h @ w[:, :-1].T + w[:, -1]
            h, at = phi(z) if k < len(sizes) - 1 else z, at + shape.numel()
        return h[:, 0]

    jacobian = torch.autograd.functional.jacobian(outputs, start)
    given = one.student.rates(8, 1) or [(1.0, 1.0)] * len(sizes)
    rates = torch.cat(
        [
            torch.tensor([[w] * (b - 1) + [c]] * a, dtype=torch.float64).flatten()
            for (a, b), (w, c) in zip(sizes, given, strict=True)
        ]
    )
    begun, moved = outputs(start), torch.zeros_like(start)
    y = torch.as_tensor(data.y_train)
    n = one.n_train
    for _ in range(one.training.max_steps):
        fitted = begun[:n] + jacobian[:n] @ moved
        moved = moved - one.training.lr * rates * (2 / n * jacobian[:n].T @ (fitted - y))
    return (begun[n:] + jacobian[n:] @ moved).numpy(), data


@pytest.mark.parametrize(
    "student",
    [
        MLP(12, 2, "relu", Jacot2018(2.0, 0.1, output_scale=0.7)),
        MLP(12, 1, "tanh", He2015(gain=0.3)),
    ],
    ids=["ntk", "standard"],
)
def test_the_linearized_student_is_descent_on_its_tangent_model(student):
    one = replace(
        TRIAL, student=student, training=SGD(0.02, max_steps=50), measures=[Linearization(30)]
    )
    linear, data = descend_linearized(one)
    measured = train([one], device="cpu").isel(student=0)
    expected = np.mean((linear - data.y_test[:30]) ** 2)
    np.testing.assert_allclose(float(measured.linearized_error), expected, rtol=1e-9)
    still = train([replace(one, training=SGD(1e-30, max_steps=50))], device="cpu").isel(student=0)
    assert float(still.linearized_distance) == pytest.approx(0.0, abs=1e-12)
    assert float(still.kernel_drift) == pytest.approx(0.0, abs=1e-12)
    assert float(measured.linearized_distance) > 1e-4
    assert float(measured.kernel_drift) > 1e-4


def test_a_linear_student_is_its_own_linearization():
    one = replace(
        TRIAL, student=MLP(1, 0, "relu", Jacot2018(1.0)), n_test=30, measures=[Linearization(30)]
    )
    measured = train([one], device="cpu").isel(student=0)
    assert float(measured.linearized_distance) < 1e-12
    assert float(measured.kernel_drift) < 1e-14
    np.testing.assert_allclose(measured.linearized_error, measured.test_error, rtol=1e-10)


def test_large_scales_are_lazy_as_one_over_their_square_if_outputs_begin_at_zero():
    # Chizat, Oyallon & Bach 2019, theorem 2.3; units must be smooth, for kinks cost a power.
    scales = (0.3, 10.0, 100.0)
    for mirrored in (True, False):
        laws = [Jacot2018(2.0, output_scale=scale, mirrored=mirrored) for scale in scales]
        measured = train(
            [replace(TRIAL, student=MLP(32, 1, "erf", law)) for law in laws], device="cpu"
        )
        for name in ("linearized_distance", "kernel_drift"):
            rich, lazy, lazier = measured[name].values
            if mirrored:
                assert rich > 0.1
                assert lazy / lazier == pytest.approx(100.0, rel=0.02)
            else:  # the outputs at the start grow with the scale and have to be unlearned
                assert lazy / lazier < 2.0


def test_wide_students_are_the_kernel_student_of_their_limit():
    law = Jacot2018(2.0, 0.1, mirrored=True)
    one = replace(
        TRIAL,
        student=MLP(4096, 1, "relu", law),
        training=SGD(0.3, max_steps=20_000, stop=TrainLossBelow(1e-9)),
        inputs=Gaussian(8, Isotropic()),
        n_train=12,
        n_test=200,
        measures=[Linearization(), WideLimit()],
    )
    exact = replace(
        one, student=Kernel(NTK(1, "relu", 2.0, 0.1)), training=Ridge(), measures=(), precision=None
    )
    wide, kernel = (train([trial], device="cpu").isel(student=0) for trial in (one, exact))
    assert float(wide.train_loss) < 1e-9
    gap = abs(float(wide.test_error) ** 0.5 - float(kernel.test_error) ** 0.5)
    assert gap <= float(wide.limit_distance) + 1e-3
    assert float(wide.limit_distance) < 0.05
    assert float(wide.linearized_distance) < float(wide.limit_distance)
    assert float(wide.ntk_distance) < 5 / 4096**0.5
    assert float(wide.nngp_distance) < 5 / 4096**0.5


def test_measures_are_those_of_the_steps_a_student_has_done():
    stopped = replace(
        TRIAL, training=SGD(0.2, max_steps=60, stop=TrainLossBelow(0.1, 5)), measure_steps=(0, 4)
    )
    measured = train([stopped], device="cpu").isel(student=0)
    done = int(measured.steps)
    assert 4 < done < 60
    exact = train([replace(TRIAL, training=SGD(0.2, max_steps=done))], device="cpu")
    for name in ("linearized_distance", "limit_distance", "kernel_drift"):
        assert float(measured[name]) == float(exact[name][0]), name
    curve = measured.linearized_distance_curve.values
    assert curve[0] < 1e-12 < curve[1]


def test_of_a_student_stopped_early_the_step_counts_whose_weights_are_kept():
    stop = BestValidation(rows=200, check_every=5)
    one = replace(TRIAL, training=SGD(0.2, max_steps=600, stop=stop))
    measured = train([one], device="cpu").isel(student=0)
    kept = int(measured.steps)
    assert 0 < kept < 600
    exact = train([replace(TRIAL, training=SGD(0.2, max_steps=kept))], device="cpu")
    for name in ("linearized_distance", "limit_distance", "kernel_drift"):
        assert float(measured[name]) == float(exact[name][0]), name


def test_bits_hang_on_the_student_alone():
    trials = [
        replace(
            TRIAL,
            student=MLP(width, depth, activation, Jacot2018(mirrored=mirrored)),
            training=SGD(0.2, max_steps=40 + 7 * seed),
            seed=seed,
            precision=precision,
        )
        for width, depth in ((8, 1), (30, 2))
        for activation, mirrored in (("relu", True), ("erf", False))
        for seed in (0, 1)
        for precision in ("float32", "float64")
    ]
    together = train(trials, device="cpu")
    for k in range(0, len(trials), 3):
        alone = train([trials[k]], device="cpu")
        for name in alone.data_vars:
            assert alone[name].values[0] == together[name].values[k], name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(training=SGD(0.1, momentum=0.9)), "full batches of SGD at a constant rate"),
        (dict(training=SGD(0.1, batch_size=5)), "full batches of SGD at a constant rate"),
        (dict(training=SGD(0.1, schedule=Cosine())), "full batches of SGD at a constant rate"),
        (dict(student=MLP(8, dropout=0.1)), "gradient descent on the training rows as they are"),
        (
            dict(augmentation=FlatNoise(first=4, strength=0.5)),
            "on the training rows as they are; got dropout=0.0",
        ),
        (dict(student=MLP(8)), "WideLimit needs a student whose kernel has a limit"),
        (dict(student=MLP(8, 1, "tanh", Jacot2018())), "activation='erf' or 'relu'"),
        (dict(teacher=Teacher(10, classes=3)), "compares functions with one output"),
    ],
)
def test_what_has_no_closed_form_is_refused(changes, sentence):
    with pytest.raises(ValueError) as refusal:
        replace(TRIAL, **changes)
    assert sentence in str(refusal.value)
