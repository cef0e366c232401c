"""Kernels of wide networks, against finite networks drawn at random."""

from typing import Any

import numpy as np
import pytest
from scipy.special import erf

from tsframe.theory import (
    arc_cosine,
    committee_error,
    erf_ntk,
    erf_product,
    erf_slope_product,
    relu_ntk,
)

NETWORKS: dict[str, tuple[Any, Any, Any]] = {
    "relu": (relu_ntk, lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0).astype(float)),
    "erf": (erf_ntk, erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
}


def normals(c11, c12, c22, draws=400_000):
    z = np.random.default_rng(0).standard_normal((draws, 2))
    return (z @ np.linalg.cholesky([[c11, c12], [c12, c22]]).T).T


def agrees(want, samples) -> bool:
    return bool(abs(np.mean(samples) - want) < 5 * np.std(samples) / np.sqrt(len(samples)))


@pytest.mark.parametrize("r", [-0.9, 0.0, 0.3, 0.95])
def test_arc_cosine_kernels_are_means_of_products(r) -> None:
    u, v = normals(1.0, r, 1.0)
    assert agrees(arc_cosine(r, 0), 2.0 * (u > 0) * (v > 0))
    assert agrees(arc_cosine(r, 1), 2.0 * np.maximum(u, 0) * np.maximum(v, 0))
    assert not agrees(arc_cosine(r, 1), 2.0 * (u > 0) * (v > 0))  # control
    with pytest.raises(ValueError, match="order must be 0"):
        arc_cosine(r, 2)


@pytest.mark.parametrize("c", [(1.0, 0.3, 1.0), (0.2, -0.1, 2.0), (3.0, 1.5, 1.0)])
def test_erf_kernels_are_means_of_products(c) -> None:
    u, v = normals(*c)
    assert agrees(erf_product(*c), erf(u) * erf(v))
    slope = 4 / np.pi * np.exp(-(u**2) - v**2)
    assert agrees(erf_slope_product(*c), slope)
    assert agrees(erf_product(*np.array(c) / 2), erf(u / np.sqrt(2)) * erf(v / np.sqrt(2)))
    assert not agrees(erf_product(*np.array(c) / 2), erf(u) * erf(v))  # control


def test_published_erf_values_come_out() -> None:
    found = [erf_product(1, 0.3, 1), erf_slope_product(1, 0.3, 1), erf_product(0.5, 0.15, 0.5)]
    np.testing.assert_allclose(found, [0.128188, 0.433165, 0.095855], atol=5e-7)


@pytest.mark.parametrize("depth", [0, 1, 3, 8])
def test_on_the_sphere_relu_kernels_are_their_recursion(depth) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 10))
    x *= np.sqrt(10) / np.linalg.norm(x, axis=1, keepdims=True)
    kernels = relu_ntk(x, x, depth)
    s = x @ x.T / 10
    t = s
    for _ in range(depth):
        np.fill_diagonal(s, 1.0)  # rounding there costs the arc-cosine half of its digits
        s, t = arc_cosine(s, 1), t * arc_cosine(s, 0) + arc_cosine(s, 1)
    # With variance 2 in every layer, readout included, both carry one factor 2 more.
    np.testing.assert_allclose(kernels.nngp, 2 * s, rtol=1e-12)
    np.testing.assert_allclose(kernels.ntk, 2 * t, rtol=1e-12)


def test_an_input_beside_itself_has_the_kernels_of_its_length_to_all_digits() -> None:
    x = np.random.default_rng(0).standard_normal((40, 37))
    x[7], x[8] = 0.0, x[9]
    for depth in (1, 4):
        squares = 2 * np.square(x).sum(1) / 37
        kernels = relu_ntk(x, x[::-1], depth)
        np.testing.assert_allclose(np.diag(kernels.nngp[:, ::-1]), squares, rtol=1e-14)
        np.testing.assert_allclose(np.diag(kernels.ntk[:, ::-1]), (depth + 1) * squares, rtol=1e-14)
        assert np.array_equal(kernels.ntk[8], kernels.ntk[9])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("depth", "bias"), [(1, 0.0), (2, 0.3), (3, 0.0)])
def test_finite_networks_have_the_wide_kernels_in_the_mean(name, depth, bias) -> None:
    law, activation, slope = NETWORKS[name]
    rng, dim, width, draws, variance = np.random.default_rng(0), 5, 400, 60, 1.7
    x = rng.standard_normal((3, dim))
    nngp, ntk = [], []
    for _ in range(draws):
        h, below = x, dim
        forward = []
        for _ in range(depth):
            w, b = rng.standard_normal((width, below)), rng.standard_normal(width)
            z = np.sqrt(variance / below) * h @ w.T + np.sqrt(bias) * b
            forward.append((h, w, z))
            h, below = activation(z), width
        out = rng.standard_normal(width)
        # Exact at finite width: over layers, sum (h . h' variance / fan_in + bias) delta . delta'.
        nngp.append(variance / width * h @ h.T + bias)
        total = variance / width * h @ h.T + bias
        delta = np.sqrt(variance / width) * out
        for h, w, z in reversed(forward):
            delta = delta * slope(z)
            total = total + (variance / w.shape[1] * h @ h.T + bias) * (delta @ delta.T)
            delta = delta @ w * np.sqrt(variance / w.shape[1])
        ntk.append(total)
    kernels = law(x, x, depth, variance, bias)
    for want, found in zip(kernels, (nngp, ntk), strict=True):
        error = np.std(found, axis=0, ddof=1) / np.sqrt(draws)
        allowed = 5 * error + 3 * depth / width * np.abs(np.diag(want)).max()  # finite width
        assert np.all(np.abs(np.mean(found, axis=0) - want) < allowed)
    wrong = kernels.nngp  # control: only the readout is trained
    assert np.any(np.abs(np.mean(ntk, axis=0) - wrong) > allowed)


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_are_symmetric_positive_and_fit_any_pair(name) -> None:
    law, rng = NETWORKS[name][0], np.random.default_rng(0)
    x, z = rng.standard_normal((8, 4)), rng.standard_normal((5, 4))
    whole = law(np.concatenate([x, z]), np.concatenate([x, z]), 3, 1.5, 0.1)
    for part, kernel in zip(law(x, z, 3, 1.5, 0.1), whole, strict=True):
        np.testing.assert_allclose(part, kernel[:8, 8:], rtol=1e-12)
        np.testing.assert_allclose(kernel, kernel.T, rtol=1e-12)
        assert np.linalg.eigvalsh(kernel).min() > 0
    zero = law(np.zeros((1, 4)), x, 2)
    np.testing.assert_allclose(zero.ntk, 0.0, atol=1e-12)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x1 and x2 must have shape \(n, dim\)"):
        relu_ntk([[1.0]], [[1.0, 2.0]], 1)
    with pytest.raises(ValueError, match="depth must be a whole number >= 0; got depth=-1"):
        erf_ntk([[1.0]], [[1.0]], -1)
    with pytest.raises(ValueError, match="weight_variance must be > 0"):
        relu_ntk([[1.0]], [[1.0]], 1, weight_variance=0.0)


def test_committees_err_as_their_overlaps_say() -> None:
    assert committee_error([[1.3]], [[0.4]], [[0.8]]) == pytest.approx(0.2118, abs=5e-5)
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((3, 6)) / 2, rng.standard_normal((2, 6)) / 2
    x = rng.standard_normal((200_000, 6))
    gap = erf(x @ w.T / np.sqrt(2)).sum(1) - erf(x @ b.T / np.sqrt(2)).sum(1)
    assert agrees(committee_error(w @ w.T, w @ b.T, b @ b.T), gap**2 / 2)
    assert not agrees(committee_error(w @ w.T, w @ b.T, b @ b.T), gap**2)  # the factor 1/2
    assert committee_error(w @ w.T, w @ w.T, w @ w.T) == pytest.approx(0.0, abs=1e-14)
    with pytest.raises(ValueError, match="q, r and t must have shapes"):
        committee_error(w @ w.T, b @ w.T, b @ b.T)
