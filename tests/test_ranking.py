"""Rankings of measures: scipy's tau, cases counted by hand, and a measure that fools the mean."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kendalltau

from tsframe.ranking import kendall, rank


def grid(**sizes):
    """A Dataset with these axes, and no variables."""
    return xr.Dataset(coords={name: np.arange(float(k)) for name, k in sizes.items()})


def drawn(shape, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, shape).astype(float) if ties else rng.normal(size=shape)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("holes", [False, True])
def test_tau_is_that_of_scipy_cell_by_cell(ties, holes) -> None:
    dims = ("slope", "width", "seed")
    x, y = (xr.DataArray(drawn((3, 5, 4), k, ties), dims=dims) for k in (0, 1))
    if holes:
        x = x.where(drawn((3, 5, 4), 2) > -0.5)
        y = y.where(drawn((3, 5, 4), 3) > -1.0)

    def want(a, b):
        return kendalltau(a.ravel(), b.ravel(), nan_policy="omit").statistic

    whole = kendall(x, y, ["slope", "width", "seed"])
    assert float(whole) == pytest.approx(want(x.values, y.values), rel=1e-12)
    some = kendall(x, y, ["seed", "width"])
    assert some.dims == ("slope",)
    for k in range(3):
        assert float(some[k]) == pytest.approx(want(x.values[k], y.values[k]), rel=1e-12)


def test_tau_is_undefined_where_nothing_differs_and_dims_must_be_there() -> None:
    x = xr.DataArray([1.0, 1.0, 1.0], dims="width")
    assert np.isnan(kendall(x, xr.DataArray([1.0, 2.0, 3.0], dims="width"), ["width"]))
    with pytest.raises(ValueError, match=r"over must name dims of the arrays; got \['depth'\]"):
        kendall(x, x, ["depth"])


def test_a_case_counted_by_hand() -> None:
    # Errors fall with n; measure "n" is in order along n alone, "both" everywhere.
    results = grid(width=2, n=3)
    error = np.array([[0.30, 0.20, 0.10], [0.25, 0.15, 0.05]])
    results["test_error"] = ("width", "n"), error
    results["both"] = ("width", "n"), error**2
    results["along_n"] = ("width", "n"), np.array([[3.0, 2.0, 1.0], [9.0, 8.0, 7.0]])
    found = rank(results, ["both", "along_n"])
    np.testing.assert_array_equal(found["axis"], ["width", "n"])
    assert found.sel(measure="both").tau == 1.0 == found.sel(measure="both").granulated
    assert found.sel(measure="both").worst == 0.0
    other = found.sel(measure="along_n")
    np.testing.assert_array_equal(other.tau_along, [-1.0, 1.0])
    assert other.granulated == 0.0
    assert other.worst == 1.0
    np.testing.assert_array_equal(other.sign_error, [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(other.environment_axis, ["width", "n", "n", "n"])
    np.testing.assert_array_equal(other.pairs, [3, 2, 2, 2])
    np.testing.assert_array_equal(other.low, ["0.0", "0.0", "0.0", "1.0"])
    np.testing.assert_array_equal(other.high, ["1.0", "1.0", "2.0", "2.0"])
    pairs = list(itertools.combinations(range(6), 2))
    a, b = results.along_n.values.ravel(), error.ravel()
    signs = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs]
    assert float(other.tau) == pytest.approx(np.mean(signs))


def test_granulated_tau_is_the_mean_of_scipys_along_every_axis() -> None:
    results = grid(slope=3, width=4, seed=2)
    dims = ("slope", "width", "seed")
    results["test_error"] = dims, drawn((3, 4, 2), 4)
    results["norm"] = dims, drawn((3, 4, 2), 5)
    found = rank(results, ["norm"]).squeeze()
    x, y = results["norm"].values, results.test_error.values
    along_slope = [kendalltau(x[:, j, k], y[:, j, k]).statistic for j in range(4) for k in range(2)]
    along_width = [kendalltau(x[i, :, k], y[i, :, k]).statistic for i in range(3) for k in range(2)]
    want = [np.mean(along_slope), np.mean(along_width)]
    np.testing.assert_allclose(found.tau_along, want, rtol=1e-12)
    assert float(found.granulated) == pytest.approx(np.mean(want))
    assert "seed" not in found["axis"]


def test_a_measure_that_only_knows_the_sample_size_has_a_large_tau_and_a_bad_worst_case() -> None:
    rng = np.random.default_rng(0)
    results = grid(n=5, width=2, seed=40)
    size, width = results.n, results.width
    noise = xr.DataArray(0.01 * rng.normal(size=(5, 2, 40)), dims=("n", "width", "seed"))
    results["test_error"] = 1 / (1 + size) + 0.05 * width + noise
    results["knows_n"] = (1 / (1 + size) - 0.01 * width).broadcast_like(results.test_error)
    results["tied"] = xr.zeros_like(results.test_error)
    found = rank(results, ["knows_n", "tied"])
    assert found.tau.sel(measure="knows_n") > 0.7
    assert found.worst.sel(measure="knows_n") > 0.9
    worst = found.sel(measure="knows_n").sign_error.argmax("environment")
    assert found.environment_axis[int(worst)] == "width"
    assert np.isnan(found.tau.sel(measure="tied"))
    assert (found.tau_along.sel(measure="tied") == 0.0).all()
    assert (found.sign_error.sel(measure="tied") == 0.5).all()
    # What too few pairs say does not count, and a difference below the noise decides nothing.
    assert np.isnan(rank(results, ["knows_n"], fewest=10_000).worst).all()
    assert rank(results, ["knows_n"], fewest=100).worst == found.worst.sel(measure="knows_n")
    none = rank(results, ["knows_n"], least=10.0)
    assert np.isnan(none.worst).all()
    assert (none.pairs == 0).all()


def test_students_that_are_not_there_are_left_out() -> None:
    results = grid(width=6, seed=3)
    results["test_error"] = ("width", "seed"), drawn((6, 3), 6)
    results["norm"] = results.test_error.where(drawn((6, 3), 7) > -0.5)
    found = rank(results, ["norm"]).squeeze()
    assert found.tau == 1.0 == found.granulated
    assert found.worst == 0.0


def test_what_cannot_be_ranked_is_refused_with_a_sentence() -> None:
    results = grid(width=3, quantile=2)
    results["test_error"] = "width", [0.1, 0.2, 0.3]
    results["margin"] = ("width", "quantile"), np.ones((3, 2))
    with pytest.raises(ValueError, match=r"got sharpness\. Known are test_error, margin"):
        rank(results, ["sharpness"])
    with pytest.raises(TypeError, match=r"got a text. Write \['margin'\]"):
        rank(results, "margin")
    with pytest.raises(ValueError, match="'margin' must be one number a student; got the dims qu"):
        rank(results, ["margin"])
    with pytest.raises(ValueError, match="with two values or more; got \\['depth'\\]"):
        rank(results.isel(quantile=0), ["margin"], axes=["depth"])
