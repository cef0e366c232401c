"""PAC-Bayes in numbers: published values, identities, certified roots, coverage by simulation."""

import functools
import itertools
import math

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq
from scipy.stats import binom, ortho_group

from tsframe.theory import (
    analytic_posterior,
    binary_kl,
    catoni_bound,
    clopper_pearson,
    coverage,
    effective_dimension,
    effective_dimensionality,
    gaussian_kl,
    kl_lower,
    kl_upper,
    maurer_bound,
    mcallester_bound,
    pac_bayes_certificate,
    quadratic_bound,
    seeger_bound,
    thiemann_bound,
    union_penalty,
)

UPPER = {
    (0.0, 0.1): 0.09516258196404043,
    (0.0, 0.01): 0.009950166250831947,
    (0.02, 0.05): 0.09857216773672912,
    (0.1, 0.1): 0.28237913945564547,
    (0.25, 0.02): 0.34245459391814864,
    (0.5, 0.05): 0.6542421650879231,
    (0.028, 0.1161): 0.18281789198217033,
    (0.05, 0.001): 0.060350569631944975,
    (0.3, 2.0): 0.9757486895694113,
}
LOWER = {(0.1, 0.05): 0.03127839627227937, (0.5, 0.05): 0.34575783491207696}
POINT = dict(train_error=0.02, kl=50.0, n=5000, delta=0.05)
B = 50.0 + math.log(2 * math.sqrt(5000) / 0.05)


@pytest.mark.parametrize(("q", "c"), UPPER)
def test_the_inverse_has_its_table_values_and_stays_below_pinsker(q, c) -> None:
    found = float(kl_upper(q, c))
    assert found == pytest.approx(UPPER[q, c], rel=1e-12)
    assert found < q + math.sqrt(c / 2)
    assert float(kl_lower(1 - q, c)) == pytest.approx(1 - found, rel=1e-12)


@pytest.mark.parametrize(("q", "c"), LOWER)
def test_the_lower_inverse_has_its_table_values(q, c) -> None:
    assert float(kl_lower(q, c)) == pytest.approx(LOWER[q, c], rel=1e-12)


def test_nothing_missed_is_exact_and_a_bracketing_solver_agrees_elsewhere() -> None:
    c = np.geomspace(1e-12, 50, 40)
    np.testing.assert_array_equal(kl_upper(0.0, c), -np.expm1(-c))
    np.testing.assert_array_equal(kl_lower(1.0, c), np.exp(-c))
    for q, nats in itertools.product((1e-6, 1e-3, 0.4, 0.9), (1e-6, 1e-2, 0.7)):
        excess = functools.partial(lambda p, q, c: float(binary_kl(q, p)) - c, q=q, c=nats)
        root = brentq(excess, q, 1 - 1e-16, xtol=1e-16)
        assert float(kl_upper(q, nats)) == pytest.approx(root, rel=1e-9)


def test_the_root_is_certified_on_its_side_and_tight() -> None:
    mpmath = pytest.importorskip("mpmath")

    def kl(q, p):
        q, p = mpmath.mpf(q), mpmath.mpf(p)
        return q * mpmath.log(q / p) + (1 - q) * mpmath.log((1 - q) / (1 - p))

    rng = np.random.default_rng(0)
    with mpmath.workdps(60):
        for q, c in zip(rng.beta(0.3, 0.6, 150), 10 ** rng.uniform(-11, 1, 150), strict=True):
            up, low = float(kl_upper(q, c)), float(kl_lower(q, c))
            assert up == 1.0 or kl(q, up) >= c
            assert low == 0.0 or kl(q, low) >= c
            near = 1e-12 + 1e-14 / c  # of the way, where kl is the difference of larger numbers
            assert up == 1.0 or kl(q, up - near * (up - q) - 1e-14 * up) < c
            assert kl(q, low + near * (q - low) + 1e-14 * q) < c


def test_inverses_end_where_probability_ends() -> None:
    assert float(kl_upper(0.3, math.inf)) == 1.0 == float(kl_upper(1.0, 0.5))
    assert float(kl_lower(0.3, math.inf)) == 0.0 == float(kl_lower(0.0, 0.5))
    assert float(kl_upper(0.3, 0.0)) == 0.3 == float(kl_lower(0.3, 0.0))
    assert float(binary_kl(0.5, 1.0)) == math.inf
    with pytest.raises(ValueError, match="q must be >= 0 and <= 1"):
        kl_upper(1.2, 0.1)


def test_a_bound_keeps_the_names_of_its_axes() -> None:
    q = xr.DataArray([0.0, 0.1], {"slope": [0.1, 0.2]}, "slope")
    n = xr.DataArray([100.0, 200.0, 300.0], {"n_train": [100, 200, 300]}, "n_train")
    bound = maurer_bound(q, 5.0, n)
    assert bound.dims == ("slope", "n_train")
    assert float(bound[1, 2]) == float(maurer_bound(0.1, 5.0, 300))


def test_all_forms_have_their_published_values_in_their_order() -> None:
    kl, quadratic = maurer_bound(**POINT), quadratic_bound(**POINT)
    mcallester = mcallester_bound(**POINT)
    assert float(kl) == pytest.approx(0.04911802609371678, rel=1e-12)
    assert float(quadratic) == pytest.approx(0.05604141144612809, rel=1e-12)
    assert float(mcallester) == pytest.approx(0.09612323958543939, rel=1e-12)
    assert kl < quadratic < mcallester
    assert float(catoni_bound(**POINT, constant=0.893674)) == pytest.approx(
        0.047509672897874, rel=1e-11
    )


def test_the_best_of_thiemanns_trades_is_the_quadratic_bound() -> None:
    best = 2 / (1 + math.sqrt(1 + 2 * 5000 * 0.02 / B))
    assert best == pytest.approx(0.643121051309963, rel=1e-12)
    assert float(thiemann_bound(**POINT)) == pytest.approx(
        float(quadratic_bound(**POINT)), rel=1e-14
    )
    assert float(thiemann_bound(**POINT, trade=best)) == pytest.approx(
        float(thiemann_bound(**POINT)), rel=1e-14
    )
    others = thiemann_bound(**POINT, trade=np.linspace(0.05, 1.95, 39))
    assert (others >= float(thiemann_bound(**POINT))).all()


def test_catonis_constant_is_best_where_it_was_published_to_be() -> None:
    c = np.linspace(0.5, 1.5, 2001)
    bound = catoni_bound(**POINT, constant=c)
    assert float(c[np.argmin(bound.values)]) == pytest.approx(0.893674, abs=1e-3)


def test_the_bound_of_the_stored_run_is_recomputed() -> None:
    # Of the isotropic posterior published with the sloppy-data study.
    penalty = float(union_penalty(37, 55_000, 0.025))
    assert penalty == pytest.approx(22.3235, abs=5e-5)
    root = math.sqrt((26160.28 + penalty) / (2 * 54_999))
    assert root == pytest.approx(0.4878811, abs=5e-7)
    assert float(kl_upper(0.0878836, 2 * 0.4878811**2)) == pytest.approx(0.5461233, abs=5e-8)
    found = seeger_bound(0.0878836, 26160.28, penalty, 55_000)
    assert float(found) == pytest.approx(0.5461233, abs=1e-6)


def test_the_table_of_dziugaite_and_roy_is_recomputed() -> None:
    n, penalty = 55_000, 2 * math.log(700) + math.log(math.pi**2 * 55_000 / (6 * 0.025))
    runs = {5144: (0.028, 0.161), 5791: (0.027, 0.171), 6534: (0.028, 0.186), 8558: (0.029, 0.222)}
    for kl, (error, bound) in runs.items():
        assert float(seeger_bound(error, kl, penalty, n)) == pytest.approx(bound, abs=6e-4)
    assert float(union_penalty(700, n)) == pytest.approx(penalty, rel=1e-14)


def test_a_prior_number_that_is_not_whole_is_refused() -> None:
    with pytest.raises(ValueError, match=r"index must be whole; got 2\.5"):
        union_penalty(2.5, 100)
    # All shares of delta together are delta: the union is a union.
    j = np.arange(1, 200_000)
    shares = np.exp(math.log(100) - union_penalty(j, 100, 0.025))
    assert float(shares.sum()) == pytest.approx(0.025, rel=1e-4)


def test_clopper_pearson_is_exact() -> None:
    assert float(clopper_pearson(0, 100)) == pytest.approx(0.029513049607039925, rel=1e-12)
    assert float(clopper_pearson(0, 100)) == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-12)
    assert float(clopper_pearson(3, 100)) == pytest.approx(0.07571079374983004, rel=1e-12)
    assert float(clopper_pearson(7, 7)) == 1.0
    upper = clopper_pearson(np.arange(60), 100, 0.05).values
    np.testing.assert_allclose(binom.cdf(np.arange(60), 100, upper), 0.05, rtol=1e-9)
    assert (upper < kl_upper(np.arange(60) / 100, math.log(1 / 0.05) / 100)).all()
    with pytest.raises(ValueError, match="errors must be at most n"):
        clopper_pearson(11, 10)


def test_draws_without_an_error_still_pay() -> None:
    sure = seeger_bound(0.0, 10.0, 5.0, 500)
    drawn = pac_bayes_certificate(0.0, [10, 1000, 10**9], 10.0, 5.0, 500, 0.01)
    assert (drawn > sure).all()
    assert float(drawn[2]) == pytest.approx(float(sure), abs=1e-3)
    rate = -math.expm1(-math.log(200) / 10)
    assert float(drawn[0]) == float(seeger_bound(rate, 10.0, 5.0, 500))


def quadratic(rng, dim, b, eps):
    """A quadratic loss, its optimal posterior, and the value there, by dense matrices."""
    u = ortho_group.rvs(dim, random_state=rng)
    h = np.exp(rng.normal(size=dim))
    curvature = u @ np.diag(h) @ u.T
    minimum, w0 = rng.normal(size=dim), rng.normal(size=dim)
    precision = eps * np.eye(dim) + b * curvature
    mean = np.linalg.solve(precision, eps * w0 + b * curvature @ minimum)
    return h, curvature, minimum, w0, mean, np.linalg.inv(precision)


def test_the_posterior_of_a_quadratic_loss_has_its_closed_form_and_effective_dimension() -> None:
    rng, dim, b, eps = np.random.default_rng(0), 6, 7.0, 0.5
    h, curvature, minimum, w0, mean, covariance = quadratic(rng, dim, b, eps)

    def value(mean, covariance):
        step = mean - minimum
        loss = 0.5 * (step @ curvature @ step + np.trace(curvature @ covariance))
        return loss + gaussian_kl(mean, covariance, w0, np.eye(dim) / eps) / b

    best, step = value(mean, covariance), w0 - minimum
    smooth = np.linalg.solve(np.eye(dim) + b / eps * curvature, step)
    volume = np.linalg.slogdet(np.eye(dim) + b / eps * curvature)[1]
    closed = (0.5 * volume + 0.5 * b * step @ curvature @ smooth) / b
    assert best == pytest.approx(closed, rel=1e-12)
    for _ in range(20):
        assert value(mean + 0.1 * rng.normal(size=dim), covariance) > best
        scale = np.diag(np.exp(0.2 * rng.normal(size=dim)))
        assert value(mean, scale @ covariance @ scale) > best
    assert float(effective_dimension(h, b, eps)) == pytest.approx(
        np.trace(b * curvature @ covariance), rel=1e-12
    )


def test_the_analytic_posterior_is_the_dense_one_and_where_its_objective_is_least() -> None:
    rng, n, eps = np.random.default_rng(1), 40, 3.0
    h = np.array([2.0, 0.3, 0.01, 0.0])
    found = analytic_posterior(h, distance=1.5, n=n, precision=eps)
    q = found.posterior_precision.values
    step = np.array([1.5, 0, 0, 0])
    dense = gaussian_kl(step, np.diag(1 / q), np.zeros(4), np.eye(4) / eps)
    assert float(found.kl) == pytest.approx(dense, rel=1e-12)

    def objective(q):
        kl = 0.5 * (np.log(q / eps) + eps / q - 1).sum()
        return (h / (2 * q)).sum() + kl / (2 * (n - 1))

    assert float(found.rise) == pytest.approx((h / (2 * q)).sum(), rel=1e-12)
    for _ in range(50):
        assert objective(q * np.exp(0.1 * rng.normal(size=4))) > objective(q)
    assert float(effective_dimensionality(h, n, eps)) == np.sum(2 * (n - 1) * h >= eps) == 2


def test_effective_dimension_is_the_degrees_of_freedom_of_ridge_regression() -> None:
    rng, n, penalty = np.random.default_rng(2), 30, 0.7
    x = rng.normal(size=(n, 8)) * np.exp(-0.3 * np.arange(8))
    hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(8), x.T)
    found = effective_dimension(np.linalg.eigvalsh(x.T @ x / n), n, penalty)
    assert float(found) == pytest.approx(np.trace(hat), rel=1e-10)


def test_certificates_cover_and_a_weakened_one_does_not() -> None:
    # A fixed classifier: posterior = prior, KL = 0, so that the bounds are as tight as they get.
    rng, n, delta, sets = np.random.default_rng(0), 200, 0.1, 4000
    risk = 0.15
    errors = xr.DataArray(rng.binomial(n, risk, sets), dims="seed")
    true = xr.full_like(errors, risk, dtype=float)
    exact = coverage(clopper_pearson(errors, n, delta), true)
    assert float(exact.high) > 1 - delta > float(exact.low) - 0.03
    assert float(exact.share) > 1 - delta - 5 * math.sqrt(delta / sets)
    for bound in (
        maurer_bound(errors / n, 0.0, n, delta),
        seeger_bound(errors / n, 0.0, math.log(n / delta), n),
        quadratic_bound(errors / n, 0.0, n, delta),
        catoni_bound(errors / n, 0.0, n, delta, constant=1.0),
    ):
        assert float(coverage(bound, true).low) > 1 - delta
    mistaken = kl_upper(errors / n, np.log(1 / delta) / (4 * n))  # control: n counted four times
    assert float(coverage(mistaken, true).high) < 1 - delta


def test_coverage_counts_only_what_is_known() -> None:
    bound = xr.DataArray([[0.3, np.nan], [0.1, np.nan]], dims=("seed", "width"))
    found = coverage(bound, xr.full_like(bound, 0.2))
    np.testing.assert_array_equal(found.share, [0.5, np.nan])
    np.testing.assert_array_equal(found.data_sets, [2, 0])
    assert found.low[0] < 0.5 < found.high[0]
