"""What is asked of the Hessian in a trial, against autograd and against itself by other roads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian as by_autograd

from tests.measures.learners import assert_same_bits_in_any_batch, learned, TASK
from tests.measures.test_hessian import logits_of, loss_of
from tsframe.measures.hessian import Curvature
from tsframe.measures.hessian_spectra import HessianDensity, HessianSpectrum
from tsframe.measures.information import GaussNewtonSpectrum
from tsframe.measures.landscape import flat
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher
from tsframe.training.sgd import SGD
from tsframe.trial import train

REGRESSION = replace(TASK, teacher=LinearTeacher(noise=0.5), label_noise=0.0, loss=None)
WHOLE = HessianSpectrum(ends=5)


def dense_hessian(some, k, activation="tanh", probe=None):
    sample = some.samples[k]
    x, y = torch.as_tensor(sample.x_train[:probe]), torch.as_tensor(sample.y_train[:probe])

    def loss(v):
        return loss_of(logits_of(v, some.weights, activation, x, k), y, some.objective)

    return by_autograd(loss, flat(some.weights)[k])


@pytest.mark.parametrize("trial", [TASK, REGRESSION], ids=["classes", "regression"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_spectra_are_those_of_the_dense_hessian(trial, depth):
    some = learned(replace(trial, student=MLP(4, depth, "tanh")), seeds=[0, 1])
    found = HessianSpectrum(ends=3, probe=20)(some)
    for k in range(2):
        matrix = dense_hessian(some, k, probe=20).numpy()
        exact = np.linalg.eigvalsh(matrix)[::-1]
        unit = 1e-12 * np.abs(exact).max()
        np.testing.assert_allclose(found["hessian_eigenvalues"][k], exact, rtol=0, atol=unit)
        np.testing.assert_allclose(found["hessian_largest"][k], exact[:3], rtol=0, atol=unit)
        np.testing.assert_allclose(found["hessian_smallest"][k], exact[:-4:-1], rtol=0, atol=unit)
        np.testing.assert_allclose(found["hessian_trace"][k], np.trace(matrix), rtol=1e-12)
        np.testing.assert_allclose(
            found["hessian_frobenius"][k], np.linalg.norm(matrix), rtol=1e-12
        )
        negative = -exact[exact < 0].sum() / np.abs(exact).sum()
        np.testing.assert_allclose(found["hessian_negative_mass"][k], negative, atol=1e-12)
        assert found["hessian_floor"][k] < 1e-12 * np.abs(exact).max()
        assert 0.0 < found["hessian_trace_tightness"][k] <= 1.0
    if depth == 0:  # a linear model: the Gauss-Newton matrix is all
        assert (found["remainder_norm"] == 0.0).all()


def test_eigenvalues_differ_from_gauss_newton_by_no_more_than_the_remainder():
    some = learned()
    found = WHOLE(some)
    inner = GaussNewtonSpectrum()(some)["gauss_newton_eigenvalues"]  # of its own Gram matrix
    inner = np.pad(np.nan_to_num(inner), ((0, 0), (0, 83 - inner.shape[1])))
    shift = np.abs(found["hessian_eigenvalues"] - inner).max(1)
    assert (shift <= found["remainder_norm"]).all()
    assert (shift > 0.1 * found["remainder_norm"]).all()  # and the bound is worth something
    assert (found["hessian_smallest"][:, 0] < -1e-3).all()


def test_a_wrong_product_is_noticed(monkeypatch):
    def too_large(self, vectors):
        return 3.0 * self._product(vectors, of_loss=True, of_network=False)

    monkeypatch.setattr(Curvature, "gauss_newton", too_large)
    with pytest.raises(np.linalg.LinAlgError, match="a product is wrong"):
        WHOLE(learned())


def test_a_trace_that_the_data_do_not_allow_is_noticed(monkeypatch):
    some = learned(replace(TASK, student=MLP(1, 0)))
    tight = HessianSpectrum()(some)["hessian_trace_tightness"]
    assert (tight > 0.05).all()
    product = Curvature.hessian
    larger = 1.0001 / float(tight.min())

    def too_large(self, vectors):
        return larger * product(self, vectors)

    # The check of Weyl comes first: let it see the same products.
    inner = Curvature.gauss_newton
    monkeypatch.setattr(Curvature, "hessian", too_large)
    monkeypatch.setattr(Curvature, "gauss_newton", lambda self, v: larger * inner(self, v))
    with pytest.raises(ArithmeticError, match="the trace of the Hessian, "):
        HessianSpectrum()(some)


@pytest.mark.parametrize("steps", [20, 400])
def test_ends_by_lanczos_are_those_of_the_matrix_within_their_residuals(steps):
    whole, ends = WHOLE(learned()), HessianSpectrum(ends=5, dense=0, steps=steps)(learned())
    assert "hessian_eigenvalues" not in ends
    for name in ("hessian_largest", "hessian_smallest"):
        gaps = np.abs(ends[name][:, :, None] - whole["hessian_eigenvalues"][:, None]).min(2)
        assert (gaps <= ends[f"{name}_residual"] + whole["hessian_floor"][:, None]).all()
        if steps == 400:  # all there are
            np.testing.assert_allclose(ends[name], whole[name], rtol=0, atol=1e-12)
    rtol = 1e-10 if steps == 400 else 0.02
    np.testing.assert_allclose(ends["remainder_norm"], whole["remainder_norm"], rtol=rtol)


def test_a_density_has_the_moments_of_the_spectrum():
    some, probes = learned(seeds=range(5)), 200
    density = HessianDensity(probes=probes, steps=8)(some)
    values = WHOLE(some)["hessian_eigenvalues"]
    nodes, weights = density["hessian_node"], density["hessian_weight"]
    np.testing.assert_allclose(weights.sum(2), 1.0, rtol=1e-12)
    for power in (1, 2, 3):
        seen = (weights * nodes**power).sum(2)  # of each probe
        error = seen.std(1, ddof=1) / np.sqrt(probes)
        assert (np.abs(seen.mean(1) - (values**power).mean(1)) < 5 * error).all()
    traces, errors = density["hessian_trace_estimate"], density["hessian_trace_error"]
    z = (traces - values.sum(1)) / errors
    assert (np.abs(z) < 5).all()
    spread = (weights * nodes).sum(2).std(1, ddof=1) * values.shape[1] / np.sqrt(probes)
    np.testing.assert_allclose(errors, spread, rtol=1e-12)
    whole = WHOLE(some)["hessian_negative_mass"]
    np.testing.assert_allclose(density["hessian_negative_mass_estimate"], whole, rtol=0.1)


@pytest.mark.parametrize(
    "measure",
    [WHOLE, HessianSpectrum(ends=2, dense=0, steps=10), HessianDensity(steps=10)],
    ids=repr,
)
def test_a_student_has_the_same_bits_alone_and_in_any_batch(measure):
    assert_same_bits_in_any_batch(measure)


def test_a_trial_may_ask_at_steps_and_mix_sizes():
    trial = replace(
        TASK,
        training=SGD(lr=0.1, max_steps=5),
        measures=[HessianSpectrum(ends=2, dense=85), HessianDensity(steps=4)],
        measure_steps=(0,),
    )
    measured = train([trial, replace(trial, student=MLP(9, depth=1))], device="cpu")
    whole = measured.hessian_eigenvalues
    assert np.isfinite(whole).sum("hessian_mode").values.tolist() == [83, 0]  # of 83 and 93
    curve = measured.hessian_largest_curve.isel(measure_step=0)
    assert curve.dims == ("student", "hessian_end")
    assert (curve != measured.hessian_largest).all()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (lambda: HessianSpectrum(ends=0), "ends must be a whole number >= 1; got ends=0"),
        (lambda: HessianSpectrum(ends=9, steps=8), "steps must be at least ends=9"),
        (lambda: HessianSpectrum(probe=0), "None takes all training samples"),
        (lambda: HessianDensity(probes=1), "probes must be a whole number >= 2; got probes=1"),
    ],
)
def test_what_makes_no_sense_is_refused(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        spec()
