"""Lanczos, its quadrature and Hutchinson's trace, against matrices known exactly."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.linalg import eigh_tridiagonal

from tsframe.measures.lanczos import lanczos, quadrature, ritz, trace
from tsframe.theory import MarchenkoPastur

GHOSTS = np.r_[np.linspace(0.0, 1.0, 300), 100.0, 60.0]


def draw(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng((seed, *shape)).standard_normal(shape))


def symmetric(students, side, seed=0):
    a = draw(students, side, side, seed=seed)
    return (a + a.mT) / 2


def products(matrices):
    return lambda vectors: vectors @ matrices


def diagonal(values):
    entries = torch.as_tensor(values, dtype=torch.float64)
    return lambda vectors: vectors * entries


def without_orthogonalization(values, start, steps):
    """The textbook recursion: three terms, nothing kept."""
    alphas, betas, before = [], [0.0], np.zeros_like(start)
    q = start / np.linalg.norm(start)
    for _ in range(steps):
        w = values * q - betas[-1] * before
        alphas.append(float(q @ w))
        w -= alphas[-1] * q
        betas.append(float(np.linalg.norm(w)))
        before, q = q, w / betas[-1]
    return eigh_tridiagonal(alphas, betas[1:-1], eigvals_only=True)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_moments_are_exact_to_twice_the_steps_less_one(steps):
    matrices, start = symmetric(3, 20) / 5, draw(3, 2, 20)
    nodes, weights = quadrature(lanczos(products(matrices), start, steps))
    power, unit = start, (start * start).sum(2)
    for k in range(2 * steps + 1):
        exact = ((start * power).sum(2) / unit).numpy()
        got = (weights * nodes**k).sum(2)
        if k < 2 * steps:
            np.testing.assert_allclose(got, exact, rtol=0, atol=1e-13)
        else:
            assert (np.abs(got - exact) > 1e-8).all()  # and no further
        power = power @ matrices
    np.testing.assert_allclose(weights.sum(2), 1.0, rtol=1e-14)


def test_no_eigenvalue_is_found_twice():
    start = draw(2, 2, 302)
    reduced = lanczos(diagonal(GHOSTS), start, 80)
    nodes, _ = quadrature(reduced)
    assert ((nodes > 50).sum(2) == 2).all()
    ghosts = without_orthogonalization(GHOSTS, start[0, 0].numpy(), 80)
    assert (ghosts > 50).sum() > 10  # control
    basis = reduced.basis[0, 0]
    torch.testing.assert_close(basis @ basis.T, torch.eye(80).double(), rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_steps_end_with_the_distinct_eigenvalues_each_student_at_its_own(scale):
    values = scale * torch.tensor(
        [[1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 5.0, 0.0], [7.0] * 8, [-1.0] * 4 + [3.0] * 4],
        dtype=torch.float64,
    )
    reduced = lanczos(lambda v: v * values[:, None], draw(3, 1, 8), 8)
    nodes, weights = quadrature(reduced)
    assert reduced.size[:, 0].tolist() == [4, 1, 2]
    for student, distinct in enumerate(([0.0, 1.0, 2.0, 5.0], [7.0], [-1.0, 3.0])):
        found = nodes[student, 0] / scale
        np.testing.assert_allclose(found[: len(distinct)], distinct, rtol=0, atol=1e-14)
        assert np.isnan(found[len(distinct) :]).all()
        assert np.isnan(weights[student, 0, len(distinct) :]).all()
    counts = weights[0, 0, :4] * float((draw(3, 1, 8)[0] ** 2).sum())
    start = draw(3, 1, 8)[0, 0].numpy() ** 2  # weights are the squared parts of the start vector
    np.testing.assert_allclose(
        counts, [start[7], start[:2].sum(), start[2:4].sum(), start[4:7].sum()], rtol=1e-12
    )


def test_a_matrix_of_zeros_has_one_node():
    nodes, weights = quadrature(lanczos(lambda v: 0.0 * v, draw(1, 1, 6), 4))
    assert nodes[0, 0, 0] == 0.0
    assert weights[0, 0, 0] == 1.0


def test_ends_stand_within_their_residuals():
    matrices = symmetric(3, 60)
    exact = torch.linalg.eigvalsh(matrices).numpy()
    ends = ritz(lanczos(products(matrices), draw(3, 1, 60), 25), 4)
    for found, bounds in (
        (ends.largest, ends.largest_residual),
        (ends.smallest, ends.smallest_residual),
    ):
        nearest = np.abs(found[:, :, None] - exact[:, None]).min(2)
        assert (nearest <= bounds).all()
    assert (ends.largest_residual[:, 3] > 1e-6).all()  # the control has something to find
    u, theta = ends.vectors, torch.as_tensor(ends.largest)[:, :, None]
    missed = (u @ matrices - theta * u).norm(dim=2).numpy()
    np.testing.assert_allclose(missed, ends.largest_residual, rtol=0, atol=1e-12)
    np.testing.assert_allclose(u.norm(dim=2), 1.0, rtol=1e-13)


def test_all_steps_give_all_eigenvalues():
    matrices = symmetric(2, 12)
    exact = torch.linalg.eigvalsh(matrices).numpy()
    ends = ritz(lanczos(products(matrices), draw(2, 1, 12), 100), 15)
    np.testing.assert_allclose(ends.smallest[:, :12], exact, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ends.largest[:, :12], exact[:, ::-1], rtol=0, atol=1e-13)
    assert np.isnan(ends.largest[:, 12:]).all()


def test_quadrature_finds_the_density_of_marchenko_and_pastur():
    x = draw(1, 800, 400)
    reduced = lanczos(products(x.mT @ x / 800), draw(1, 32, 400), 120)
    nodes, weights = (found.ravel() for found in quadrature(reduced))
    order = np.argsort(nodes)
    mass = (np.cumsum(weights[order]) - weights[order] / 2) / 32
    for ratio, passes in ((0.5, True), (0.45, False)):
        exact = MarchenkoPastur(ratio).cdf(nodes[order])
        assert (np.abs(mass - exact).max() < 0.02) == passes


def test_the_trace_of_all_signs_is_exact_and_its_variance_hutchinsons():
    matrices = symmetric(1, 6)
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=6)), dtype=torch.float64)[None]
    mean, error = trace(products(matrices), signs)
    a = matrices[0].numpy()
    np.testing.assert_allclose(mean, np.trace(a), rtol=1e-13)
    variance = 2 * ((a**2).sum() - (np.diag(a) ** 2).sum())
    np.testing.assert_allclose(error**2 * 64 * 63 / 64, variance, rtol=1e-12)


def test_a_trace_stands_within_its_standard_error():
    matrices = symmetric(40, 30)
    signs = draw(40, 50, 30).sign()
    mean, error = trace(products(matrices), signs)
    exact = torch.diagonal(matrices, dim1=1, dim2=2).sum(1).numpy()
    z = (mean - exact) / error
    assert abs((z**2).mean() - 1.0) < 5 * np.sqrt(2 / 40)
    assert np.isnan(trace(products(matrices), signs[:, :1])[1]).all()


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="lanczos needs finite products"):
        lanczos(lambda v: v / 0.0, draw(1, 1, 4), 3)


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_student_has_the_same_bits_alone_and_in_any_batch(vectors):
    values = torch.rand(5, 1, 50, generator=torch.Generator().manual_seed(0)).double()
    values[3] = values[3].round()  # this one ends after two steps
    start = draw(5, vectors, 50)

    def ends(chosen):
        reduced = lanczos(lambda v: v * values[chosen], start[chosen], 20)
        found = ritz(reduced, 5)
        return [*quadrature(reduced), found.largest, found.smallest_residual, found.vectors]

    together = ends([0, 1, 2, 3, 4])
    for chosen in ([2], [3], [3, 2], [1, 2, 3]):
        for got, want in zip(ends(chosen), together, strict=True):
            np.testing.assert_array_equal(got, want[chosen])
