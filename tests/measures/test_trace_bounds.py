"""The trace theorems hold for every student, and a broken one is found by layer and index."""

import numpy as np
import pytest
import torch

from tests.measures.networks import draw, network, outputs_of, passed_of, PHI
from tests.measures.test_spectral import asking, learned
from tsframe.measures import trace_bounds
from tsframe.measures.activations import row_spectrum
from tsframe.measures.gram import gram_trace
from tsframe.measures.sensitivities import sensitivities
from tsframe.measures.start_rows import every_output, fisher_factor, loss_gradients
from tsframe.measures.theorems import TraceTheorems
from tsframe.measures.trace_bounds import (
    check_blocks,
    check_trace,
    gauss_newton_trace_bound,
    hessian_trace_bound,
    hold_block,
)
from tsframe.students.activations import ACTIVATIONS
from tsframe.teachers import LinearTeacher
from tsframe.training.losses import Objective
from tsframe.trial import train

N = 8
X = draw((N, 5), 7)


@pytest.mark.parametrize("activation", PHI)
def test_activations_are_no_steeper_and_no_more_curved_than_they_say(activation):
    phi = ACTIVATIONS[activation]
    z = torch.linspace(-6.0, 6.0, 200_001, dtype=torch.float64)
    z = z[z != 0.0] if activation == "relu" else z
    value = torch.empty_like(z)
    phi.value(z, value)
    curvature = phi.curvature(value, z)
    slope = z.clone()
    phi.pullback_(torch.ones_like(z), value, slope)
    assert float(slope.abs().max()) == pytest.approx(phi.steepest, rel=1e-8)
    assert float(curvature.abs().max()) == pytest.approx(phi.most_curved, rel=1e-8, abs=1e-12)
    at_zero = torch.zeros(1, dtype=torch.float64)
    phi.value(at_zero.clone(), at_zero)
    assert float(at_zero) == phi.at_zero


@pytest.mark.parametrize("activation", PHI)
@pytest.mark.parametrize("depth", range(4))
def test_the_traces_of_fisher_information_and_hessian_are_bounded_by_that_of_the_data(
    depth, activation
):
    phi = ACTIVATIONS[activation]
    shares = []
    for seed in range(3):
        for scale in (0.1, 1.0, 3.0):
            weights = [scale * w for w in network(depth, seed=seed)]
            passed = passed_of(weights, activation, X)
            y = torch.arange(N) % 3
            for objective in (Objective("cross_entropy", 3), Objective("mse", 3)):
                entropy = objective.loss == "cross_entropy"
                root2 = 2.0**0.5 * every_output(passed.outputs)
                start = fisher_factor(passed.outputs) if entropy else root2
                trace = gram_trace(passed, sensitivities(passed, start)) / N
                bound = gauss_newton_trace_bound(passed, start, phi)
                shares.append(check_trace(trace, bound, "the Gauss-Newton matrix"))
                if seed or scale == 0.1:
                    continue
                gradients = loss_gradients(passed.outputs, y, objective)
                wider = hessian_trace_bound(passed, start, gradients, phi)
                hessian = hessian_trace(weights, activation, y, objective)
                check_trace(hessian, wider, "the Hessian")
                assert wider >= bound
                if activation in ("relu", "identity") or depth == 0:
                    # Autograd rounds p - 1, so a sure student is known to eps of its Jacobian.
                    every = sensitivities(passed, every_output(passed.outputs))
                    rounding = 1e-14 * gram_trace(passed, every)
                    assert hessian == pytest.approx(trace, rel=1e-9, abs=rounding)
                    assert wider == bound
    assert 0.0 < max(shares) <= 1.0


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "erf"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_bound_of_the_hessian_counts_what_wrong_outputs_add(depth, activation):
    phi, objective = ACTIVATIONS[activation], Objective("mse", None)
    weights = [0.5 * w for w in network(depth, outputs=1)]
    passed = passed_of(weights, activation, X)
    y = torch.full((N,), 1e4, dtype=torch.float64)
    start = 2.0**0.5 * every_output(passed.outputs)
    hessian = hessian_trace(weights, activation, y, objective)
    bound = hessian_trace_bound(passed, start, loss_gradients(passed.outputs, y, objective), phi)
    assert check_trace(hessian, bound, "the Hessian") > 1e-4
    with pytest.raises(ArithmeticError, match="the trace of the Hessian"):
        check_trace(hessian, gauss_newton_trace_bound(passed, start, phi), "the Hessian")


def hessian_trace(weights, activation, y, objective):
    """Differentiate twice by each weight of its own."""
    shapes = [w.shape for w in weights]
    flat = torch.cat([w.flatten() for w in weights]).requires_grad_()
    parts = flat.split([s.numel() for s in shapes])
    split = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    outputs = outputs_of(split, activation, X)
    loss = objective.sample_losses(outputs.T[None], y[None]).mean()
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)
    return sum(
        float(torch.autograd.grad(gradient[k], flat, retain_graph=True)[0][k])
        for k in range(len(flat))
    )


def test_a_linear_student_of_one_sample_takes_its_whole_bound():
    passed = passed_of(network(0, outputs=1), "relu", X[:1])
    start = every_output(passed.outputs)
    trace = gram_trace(passed, sensitivities(passed, start))
    bound = gauss_newton_trace_bound(passed, start, ACTIVATIONS["relu"])
    assert check_trace(trace, bound, "J") == pytest.approx(1.0, rel=1e-12)
    (block,) = check_blocks(passed, start)
    assert block.tightness == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("activation", PHI)
@pytest.mark.parametrize("depth", range(4))
def test_every_eigenvalue_of_a_block_is_bounded_by_the_same_one_of_its_activations(
    depth, activation
):
    for seed in range(3):
        passed = passed_of(network(depth, seed=seed), activation, X)
        for start in (fisher_factor(passed.outputs), every_output(passed.outputs)):
            blocks = check_blocks(passed, start)
            assert len(blocks) == depth + 1
            assert all(0.0 < block.tightness <= 1.0 + 1e-9 for block in blocks)


def test_what_breaks_a_theorem_is_an_error_that_names_layer_and_index():
    activations, block = np.array([4.0, 1.0, 0.25]), np.array([8.0, 8.0, 2.0, 1.5, 0.5, 0.4])
    assert hold_block(0, block, activations, constant=2.0, fan_out=2) == 1.0
    broken = block.copy()
    broken[3] = 2.001
    broken[2] = 2.001
    sentence = r"eigenvalue 2 of the block of layer 5.*eigenvalue 1 of its activations"
    with pytest.raises(ArithmeticError, match=sentence):
        hold_block(5, broken, activations, constant=2.0, fan_out=2)
    with pytest.raises(ArithmeticError, match=r"eigenvalue 6 of the block of layer 1"):
        hold_block(1, np.r_[block, 1e-3], activations, constant=2.0, fan_out=2)
    with pytest.raises(ArithmeticError, match="the trace of F, 2, is larger than"):
        check_trace(2.0, 1.9, "F")
    with pytest.raises(ArithmeticError, match="the trace of F, nan, is larger than"):
        check_trace(float("nan"), 1.9, "F")


def test_a_trial_may_ask_for_the_theorems_and_a_student_that_breaks_them_fails(monkeypatch):
    measured = train([asking([TraceTheorems(probe=20)], seed=s) for s in range(2)], device="cpu")
    assert measured.block_tightness.shape == (2, 3)
    assert (measured.block_tightness <= 1.0 + 1e-9).all() and (measured.trace_tightness < 1).all()
    alone = TraceTheorems(probe=20)(learned(asking()))
    assert alone["block_constant"].shape == (1, 3)
    with pytest.raises(ValueError, match="needs classes"):
        _ = asking([TraceTheorems()], teacher=LinearTeacher(norm=1.0), loss="mse").declared
    # Activations of another student: a real violation, not a planted number.
    monkeypatch.setattr(trace_bounds, "row_spectrum", lambda rows: row_spectrum(1e-3 * rows))
    with pytest.raises(ArithmeticError, match="of the block of layer 0"):
        TraceTheorems(probe=20)(learned(asking()))
