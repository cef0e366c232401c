"""Posteriors and their search: dense roads to the same Gaussians, the optimum of a quadratic."""

import numpy as np
import pytest
import torch

from tests.test_capacity import landscape, OBJECTIVES
from tsframe.measures.bound_methods import FisherPosterior, FisherPrior
from tsframe.measures.bound_search import Task
from tsframe.measures.certificates import gibbs_errors
from tsframe.measures.fisher_axes import fisher_axes
from tsframe.measures.posteriors import Frame, minimize, Posterior, relative_entropy, turned
from tsframe.theory import gaussian_kl

SIZE, COUNT = 6, 3


def gaussian(count=COUNT, students=2, seed=0):
    """Random posteriors along `count` random axes, with their dense covariances."""
    rng = np.random.default_rng(seed)
    axes = np.stack([np.linalg.qr(rng.normal(size=(SIZE, count)))[0] for _ in range(students)])
    mean, log_variance = rng.normal(size=(students, SIZE)), rng.normal(size=(students, count))
    log_rest = rng.normal(size=students)
    some = Posterior(
        Frame(SIZE, torch.as_tensor(axes)), *map(torch.as_tensor, (mean, log_variance, log_rest))
    )
    return some, [
        dense(u, np.exp(v), np.exp(r)) for u, v, r in zip(axes, log_variance, log_rest, strict=True)
    ]


def dense(axes, variance, rest):
    return axes @ np.diag(variance - rest) @ axes.T + rest * np.eye(SIZE)


@pytest.mark.parametrize("count", [1, 3, SIZE])
def test_draws_of_a_posterior_have_its_mean_and_covariance(count) -> None:
    some, covariances = gaussian(count)
    # Places are linear in the noise: unit noises give the columns of a root of the covariance.
    roots = some.places(torch.eye(SIZE, dtype=torch.float64).expand(2, -1, -1)) - some.mean[:, None]
    for root, covariance in zip(roots.numpy(), covariances, strict=True):
        np.testing.assert_allclose(root.T @ root, covariance, rtol=1e-12, atol=1e-13)
    at_zero = some.places(torch.zeros(2, 1, SIZE, dtype=torch.float64))[:, 0]
    torch.testing.assert_close(at_zero, some.mean, rtol=0, atol=0)


@pytest.mark.parametrize("count", [1, 3, SIZE])
def test_relative_entropy_is_that_of_the_dense_gaussians(count) -> None:
    some, covariances = gaussian(count)
    rng = np.random.default_rng(9)
    center = rng.normal(size=(2, SIZE))
    along, rest = rng.normal(size=(2, count)), rng.normal(size=2)
    prior = torch.as_tensor(along), torch.as_tensor(rest)
    found = relative_entropy(some, torch.as_tensor(center), prior)
    assert some.frame.axes is not None
    for k, covariance in enumerate(covariances):
        before = dense(some.frame.axes[k].numpy(), np.exp(along[k]), np.exp(rest[k]))
        want = gaussian_kl(some.mean[k].numpy(), covariance, center[k], before)
        assert float(found[k]) == pytest.approx(want, rel=1e-10)


def test_weights_themselves_are_a_frame() -> None:
    some, _ = gaussian(SIZE)
    plain = Posterior(Frame(SIZE), some.mean, some.log_variance, some.log_rest)
    axes = torch.eye(SIZE, dtype=torch.float64).expand(2, -1, -1)
    same = Posterior(Frame(SIZE, axes), some.mean, some.log_variance, some.log_rest)
    noise = torch.as_tensor(np.random.default_rng(0).normal(size=(2, 4, SIZE)))
    torch.testing.assert_close(plain.places(noise), same.places(noise), rtol=0, atol=0)


def quadratic(students=2, seed=3):
    """Quadratic losses in random bases, as the search wants them."""
    rng = np.random.default_rng(seed)
    axes = np.stack([np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0] for _ in range(students)])
    h = np.exp(rng.normal(size=(students, SIZE)))
    curvature = torch.as_tensor(np.einsum("spi,si,sqi->spq", axes, h, axes))
    minimum = torch.as_tensor(rng.normal(size=(students, 1, SIZE)))

    def gradients(places):
        slope = torch.bmm(places - minimum, curvature)
        return 0.5 * ((places - minimum) * slope).sum(2), slope

    return gradients, h, torch.as_tensor(axes), curvature.numpy(), minimum[:, 0].numpy()


@pytest.mark.parametrize("opposite_signs", [True, False], ids=["signs", "Gaussian"])
def test_the_search_finds_the_optimum_of_a_quadratic_loss(opposite_signs) -> None:
    gradients, h, axes, curvature, minimum = quadratic()
    b, eps = 7.0, 0.5
    center = np.random.default_rng(4).normal(size=minimum.shape)
    start = Posterior(
        Frame(SIZE, axes),
        torch.as_tensor(center),
        torch.zeros(2, SIZE, dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    rng = np.random.default_rng(5)

    def noise(step):
        if opposite_signs:  # along the axes: every draw has the exact curvature, pairs no slope
            signs = torch.as_tensor(rng.choice([-1.0, 1.0], (2, 1, SIZE)))
            one = torch.bmm(signs, axes.mT)
        else:
            one = torch.as_tensor(rng.normal(size=(2, 16, SIZE)))
        return torch.cat([one, -one], dim=1)

    found, _ = minimize(
        gradients,
        start,
        torch.as_tensor(center),
        lambda scales: (torch.full_like(start.log_variance, -np.log(eps)), scales[:, 0]),
        torch.zeros(2, 1, dtype=torch.float64),
        lambda risk, entropy, scales: risk + entropy / b,
        noise,
        steps=1500,
    )
    limit = 1e-4 if opposite_signs else 0.06
    np.testing.assert_allclose(found.log_variance.exp(), 1 / (eps + b * h), rtol=limit)
    for k in range(2):
        want = np.linalg.solve(
            eps * np.eye(SIZE) + b * curvature[k], eps * center[k] + b * curvature[k] @ minimum[k]
        )
        np.testing.assert_allclose(found.mean[k], want, atol=limit)


def fisher(some, place, student):
    """The mean over rows of sum_y p_y g_y g_y^T, by autograd, label by label."""
    total = torch.zeros(some.size, some.size, dtype=torch.float64)
    for i in range(some.n):

        def log_p(w, i=i):
            layers = some.layers(w)
            h = some.x[student, i, :-1]
            for layer in layers[:-1]:
                h = torch.tanh(layer[:, :-1] @ h + layer[:, -1])
            return torch.log_softmax(layers[-1][:, :-1] @ h + layers[-1][:, -1], 0)

        rows = torch.autograd.functional.jacobian(log_p, place)
        total += rows.T @ (log_p(place).exp()[:, None] * rows)
    return total / some.n


@pytest.mark.parametrize("n", [7, 60])  # fewer and more rows than weights
def test_fisher_axes_are_the_eigenvectors_of_the_dense_matrix(n) -> None:
    some, places = landscape(OBJECTIVES[0], depth=1, n=n)
    place = places[0, 0]
    want = fisher(some, place, 0)
    values, axes = fisher_axes(
        [layer for layer in some.layers(place)], some.activation, some.x[0, :, :-1], 10
    )
    assert len(values) == 10
    top = torch.linalg.eigvalsh(want).flip(0)
    torch.testing.assert_close(values, top[:10], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(axes.T @ axes, torch.eye(10, dtype=torch.float64))
    torch.testing.assert_close(want @ axes, axes * values, rtol=0, atol=1e-9 * float(top[0]))


def task(n=30, seed=0, held=10):
    some, places = landscape(OBJECTIVES[0], depth=1, n=n + held, seed=seed, students=1)
    rows = type(some)(some.shapes, some.activation, some.objective, some.x[:, :n], some.y[:, :n])
    weights, initial = (some.layers(places[:, k]) for k in (0, 1))
    return Task(rows, some.x[:, n:], weights, initial, [0], 0.025, 10.0, 10.0)


def test_a_prior_from_held_out_rows_ignores_the_rows_of_the_bound() -> None:
    one = task()
    rng = np.random.default_rng(1)
    other = torch.as_tensor(rng.normal(size=one.rows.x.shape))
    changed = type(one)(
        type(one.rows)(
            one.rows.shapes, one.rows.activation, one.rows.objective, other, 2 - one.rows.y
        ),
        *(one.held_out, one.weights, one.initial, one.seeds, one.delta, 10.0, 10.0),
    )
    method = FisherPrior(steps=3, axes=8)
    frames = [method.find(t).posterior.frame.axes for t in (one, changed)]
    assert frames[0] is not None and frames[1] is not None
    torch.testing.assert_close(frames[0], frames[1], rtol=0, atol=0)
    # Control: a basis that is not part of the prior may look at them, and does.
    frames = [FisherPosterior(steps=3, axes=8).find(t).posterior.frame.axes for t in (one, changed)]
    assert frames[0] is not None and frames[1] is not None
    assert not torch.allclose(frames[0], frames[1])


def test_a_recomputed_basis_keeps_the_variances_along_it() -> None:
    some, covariances = gaussian(COUNT)
    axes, _ = gaussian(COUNT, seed=7)
    assert axes.frame.axes is not None
    other = turned(some, axes.frame.axes)
    for k, covariance in enumerate(covariances):
        u = axes.frame.axes[k].numpy()
        along = np.diag(u.T @ covariance @ u)
        np.testing.assert_allclose(other.log_variance[k].exp(), along, rtol=1e-12)
        total = along.sum() + (SIZE - COUNT) * float(other.log_rest[k].exp())
        assert total == pytest.approx(np.trace(covariance), rel=1e-12)


def test_draws_of_a_sharp_posterior_err_as_its_mean_does_on_every_row_alike() -> None:
    some, places = landscape(OBJECTIVES[0], n=45)
    sharp = Posterior(
        Frame(some.size),
        places[:, 0],
        torch.full((2, some.size), -80.0, dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    train, test = gibbs_errors(sharp, some, some, draws=90, seeds=[0, 1])
    np.testing.assert_allclose(train, some.errors(places[:, :1])[:, 0], rtol=1e-12)
    np.testing.assert_allclose(test, train, rtol=1e-12)
    with pytest.raises(ValueError, match="draws must be a multiple of 45 rows; got draws=100"):
        gibbs_errors(sharp, some, some, draws=100, seeds=[0, 1])


def test_draws_of_a_wide_posterior_err_as_many_draws_on_all_rows_do() -> None:
    some, places = landscape(OBJECTIVES[0], n=40, students=1)
    wide = Posterior(
        Frame(some.size),
        places[:, 0],
        torch.zeros(1, some.size, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    )
    found, _ = gibbs_errors(wide, some, some, draws=4000, seeds=[3])
    noise = torch.as_tensor(np.random.default_rng(0).normal(size=(1, 2000, some.size)))
    errors = some.errors(wide.places(noise))[0].numpy()
    spread = errors.std() / np.sqrt(2000) + 0.5 / np.sqrt(4000 * 20)
    assert abs(float(found[0]) - errors.mean()) < 5 * spread
