"""Spectra that a trial asks for: thin over the pure functions, the same bits in any company."""

import pickle

import numpy as np
import pytest
import torch

from tests.test_trial import trial
from tsframe.inputs import Gaussian
from tsframe.measures.activations import (
    activation_gradient_spectra,
    activation_spectra,
    row_spectrum,
)
from tsframe.measures.asking import Measure
from tsframe.measures.curvature import (
    fisher_spectrum,
    gauss_newton_spectrum,
    gradient_noise_spectrum,
    jacobian_spectrum,
    minibatch_factor,
)
from tsframe.measures.information import (
    FisherSpectrum,
    GaussNewtonSpectrum,
    GradientNoise,
    JacobianSpectrum,
)
from tsframe.measures.learned import Learned
from tsframe.measures.sensitivities import forward, sensitivities
from tsframe.measures.spectral import (
    ActivationSpectra,
    GradientSpectra,
    InputSpectrum,
    SCALARS,
    SpectrumMeasure,
)
from tsframe.measures.start_rows import draw_labels, loss_gradients
from tsframe.spectra import Sloppy
from tsframe.streams import stream
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.mlp import MLP
from tsframe.tasks import draw_tasks
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.trial import train

PROBE = 25
ASKED: list[SpectrumMeasure] = [
    InputSpectrum(probe=PROBE),
    ActivationSpectra(probe=PROBE),
    GradientSpectra(probe=PROBE),
    JacobianSpectrum(probe=PROBE, modes=30),
    JacobianSpectrum(output=1, probe=PROBE, layer=0),
    FisherSpectrum(probe=PROBE, tail=(2, 20)),
    FisherSpectrum("sampled", 2, probe=PROBE),
    FisherSpectrum("data", probe=PROBE),
    FisherSpectrum(probe=PROBE, layer=1),
    GaussNewtonSpectrum(probe=PROBE),
    GradientNoise(batch_size=5, probe=PROBE),
]


def asking(measures=None, **changes):
    changes = (
        dict(
            inputs=Gaussian(dim=12, spectrum=Sloppy(0.4)),
            teacher=Teacher(width=8, classes=4),
            student=MLP(width=7, depth=2, activation="tanh"),
            n_train=40,
        )
        | changes
    )
    return trial(measures=ASKED if measures is None else measures, **changes)


def learned(task, seed=0):
    drawn = task.student.initial_weights(task.inputs.dim, task.teacher.outputs, seed)
    weights = [torch.as_tensor(w)[None] for w in drawn]
    activation = ACTIVATIONS[task.student.activation]
    return Learned(activation, weights, weights, draw_tasks([task]), [task])


def test_what_is_stored_is_what_the_pure_functions_give():
    task = asking()
    students = learned(task)
    samples, objective = students.samples[0], task.objective
    x, y = torch.as_tensor(samples.x_train[:PROBE]), torch.as_tensor(samples.y_train[:PROBE])
    passed = forward([w[0] for w in students.weights], students.activation, x)
    deltas = sensitivities(passed, loss_gradients(passed.outputs, y, objective))
    uniforms = stream(task.seed, "labels of the Fisher information").random((PROBE, 2))
    drawn = draw_labels(passed.outputs, torch.as_tensor(uniforms))
    truth = {
        "input": row_spectrum(x),
        "activation": activation_spectra(passed),
        "activation_gradient": activation_gradient_spectra(passed, deltas),
        "jacobian": jacobian_spectrum(passed),
        "jacobian_1_layer0": jacobian_spectrum(passed, 1, (0,)),
        "fisher": fisher_spectrum(passed),
        "sampled_fisher": fisher_spectrum(passed, drawn),
        "empirical_fisher": fisher_spectrum(passed, y[:, None]),
        "fisher_layer1": fisher_spectrum(passed, layers=[1]),
        "gauss_newton": gauss_newton_spectrum(passed, objective),
        "gradient_noise": gradient_noise_spectrum(passed, y, objective, 5),
    }
    assert [measure.prefix for measure in ASKED] == list(truth)
    for measure in ASKED:
        found = measure(students)
        declared = measure.declare(students.shape)
        assert list(found) == list(declared)
        for name, inner in declared.items():
            assert found[name].shape == (1, *map(len, inner.values())), name
        spectra = truth[measure.prefix]
        listed = spectra if isinstance(spectra, list) else [spectra]
        for k, spectrum in enumerate(listed):
            mine = {name: values[0].reshape(len(listed), -1)[k] for name, values in found.items()}
            values = mine[f"{measure.prefix}_eigenvalues"]
            held = min(len(values), len(spectrum.values))
            assert np.array_equal(values[:held], spectrum.values[:held])
            assert np.isnan(values[held:]).all()
            tail = spectrum.tail(measure.tail)
            for name, value in (
                ("floor", spectrum.floor),
                ("trace", spectrum.trace),
                ("norm", spectrum.norm),
                ("residual", spectrum.residual),
                ("slope", tail.slope if tail else np.nan),
                ("slope_low", tail.low if tail else np.nan),
                ("slope_high", tail.high if tail else np.nan),
                ("tail_first", tail.first if tail else np.nan),
                ("tail_last", tail.last if tail else np.nan),
                ("head_drop", spectrum.head_drop(tail)),
                ("participation_ratio", spectrum.participation_ratio),
                ("effective_rank", spectrum.effective_rank),
            ):
                assert name in SCALARS
                np.testing.assert_equal(float(mine[f"{measure.prefix}_{name}"][0]), value)
    noise = ASKED[-1](students)
    gradient = deltas[0].new_zeros(0)
    for delta, h in zip(deltas, passed.inputs, strict=True):
        gradient = torch.cat([gradient, (delta[:, 0].T @ h).flatten() / PROBE])
    assert noise["gradient_norm"][0] == pytest.approx(float(gradient.norm()), rel=1e-12)
    single = noise["gradient_noise_trace"][0] / minibatch_factor(PROBE, 5)
    assert noise["gradient_noise_scale"][0] == pytest.approx(single / float(gradient.norm()) ** 2)


def test_spectra_have_the_same_bits_alone_in_a_batch_and_along_training():
    widths = (7, 5)
    trials = [
        asking(student=MLP(width, 2, activation="tanh"), seed=seed, measure_steps=(0, 3))
        for width in widths
        for seed in range(3)
    ]
    together = train(trials, device="cpu")
    for k in (1, 3):
        alone = train([trials[k]], device="cpu").isel(student=0)
        for name in (name for name in alone.data_vars if "_eigenvalues" in str(name)):
            mine = together[name].isel(student=k).values[..., : alone.sizes[alone[name].dims[-1]]]
            assert np.array_equal(mine, alone[name].values, equal_nan=True), name
    curve = together.fisher_eigenvalues_curve.isel(student=0)
    fresh = learned(trials[0], trials[0].seed)
    measure = ASKED[5]
    initial = measure(fresh)["fisher_eigenvalues"][0]  # training itself is in float32
    np.testing.assert_allclose(
        curve.sel(measure_step=0).values[: len(initial)], initial, rtol=0, atol=1e-5 * initial[0]
    )
    assert np.isfinite(together.fisher_slope).all() and (together.fisher_residual < 1e-12).all()


def test_longer_probes_begin_with_the_labels_drawn_for_shorter_ones():
    task = asking(measures=[])
    few, many = FisherSpectrum("sampled", probe=10), FisherSpectrum("sampled", probe=40)
    students = learned(task)
    rows = {}
    for measure in (few, many):
        numbers = stream(task.seed, "labels of the Fisher information")
        rows[measure] = numbers.random((measure.samples(students.shape), 1))
    assert np.array_equal(rows[few], rows[many][:10])
    assert few(students)["sampled_fisher_trace"] != many(students)["sampled_fisher_trace"]


@pytest.mark.parametrize("measure", ASKED, ids=repr)
def test_a_measure_is_a_value_that_knows_its_price(measure):
    assert pickle.loads(pickle.dumps(measure)) == measure
    assert eval(repr(measure)) == measure
    small, large = (asking(n_train=n, student=MLP(9, 2)).student_shape for n in (30, 300))
    whole = type(measure)(**{**measure.__dict__, "probe": None})
    assert 0 < whole.flops(small) < whole.flops(large)
    assert 0 < whole.bytes(small) < whole.bytes(large)
    assert set(measure.may_lack) <= set(measure.declare(small))


def test_what_cannot_be_measured_is_refused_while_planning():
    regression = dict(teacher=LinearTeacher(norm=1.0), loss="mse")
    cases: list[tuple[Measure, dict[str, object], str]] = [
        (FisherSpectrum(), regression, "needs classes, and this student has none"),
        (FisherSpectrum(probe=41), {}, "probe must be at most n_train=40; got probe=41"),
        (FisherSpectrum(layer=3), {}, r"layer must lie in 0\.\.2"),
        (JacobianSpectrum(output=4), {}, r"output must lie in 0\.\.3"),
        (GradientNoise(batch_size=41), {}, r"batch_size must lie in \[1, n=40\]"),
        (ActivationSpectra(), dict(student=MLP(3, 0)), "a student of depth 0 has none"),
        (GradientSpectra(), dict(student=MLP(3, 0)), "a student of depth 0 has none"),
    ]
    for measure, changes, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            _ = asking(measures=[measure], **changes).declared
    for build, sentence in (
        (lambda: FisherSpectrum("true"), "labels must be one of exact, sampled, data"),
        (lambda: FisherSpectrum("sampled", 0), "draws must be a whole number >= 1"),
        (lambda: FisherSpectrum(probe=0), "probe must be a whole number >= 1"),
        (lambda: InputSpectrum(tail=(3, 7)), "at least 5 apart"),
        (lambda: JacobianSpectrum(layer=-1), "layer must be a whole number >= 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            build()


def test_a_full_batch_has_no_noise_and_a_regression_has_a_jacobian():
    students = learned(asking())
    silent = GradientNoise(batch_size=40)(students)
    assert silent["gradient_noise_trace"][0] == 0.0
    assert np.isnan(silent["gradient_noise_scale"][0]) and silent["gradient_norm"][0] > 0.0
    numbers = learned(asking([], teacher=LinearTeacher(norm=1.0), loss="mse"))
    jacobian, newton = JacobianSpectrum()(numbers), GaussNewtonSpectrum()(numbers)
    np.testing.assert_allclose(
        newton["gauss_newton_eigenvalues"], 2 * jacobian["jacobian_eigenvalues"], rtol=1e-12
    )
