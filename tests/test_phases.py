"""Phases and boundaries on synthetic stores of which the truth is known."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.path import Path
from scipy import stats

from tsframe.phases import boundary, classify, crossing, Phase
from tsframe.phases.seeds import interval, resampled, spread, student

SLOPES, WIDTHS = np.geomspace(0.01, 1.0, 7), np.geomspace(4, 400, 7)
LEVEL = 0.3
STORES = 200


def plane(rng, seeds, noise=0.02, shared=0.02):
    """A store whose error is linear on log axes; half of the noise is common to a seed's cells."""
    u, v = np.log(SLOPES)[:, None], np.log(WIDTHS)
    truth = LEVEL + 0.08 * (u - np.log(0.1)) + 0.06 * (v - np.log(40.0))
    common = shared * rng.standard_normal((seeds, 1, 1))
    error = truth + common + noise * rng.standard_normal((seeds, 7, 7))
    coords = {"slope": SLOPES, "width": WIDTHS}
    return xr.DataArray(error, dims=("seed", "slope", "width"), coords=coords)


def true_width(slope):
    return 40.0 * np.exp(-0.08 / 0.06 * np.log(slope / 0.1))


def inside(found, slope, width):
    """Whether points lie in the band, holes left out."""
    count = np.zeros(len(slope), int)
    for ring in np.unique(found.ring):
        corners = found.isel(corner=(found.ring == ring).values)
        path = Path(np.log(np.stack([corners.slope_band, corners.width_band], axis=1)))
        count += path.contains_points(np.log(np.stack([slope, width], axis=1)))
    return count % 2 == 1


def coverage(seeds, stores, fault=1.0):
    """How often the bands of simulated stores hold a point of the true boundary."""
    rng = np.random.default_rng(seeds)
    slope = np.geomspace(0.03, 0.4, 21)
    width, held = true_width(slope), []
    for _ in range(stores):
        store = plane(rng, seeds)
        store = store.mean("seed") + fault * (store - store.mean("seed"))
        found = boundary(store, "slope", "width", level=LEVEL, resamples=100)
        held.append(inside(found, slope, width).mean())
    return np.mean(held)


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_band_of_a_boundary_covers_the_truth_as_often_as_it_says(seeds):
    assert 0.90 <= coverage(seeds, STORES) <= 0.99


def test_a_band_from_seeds_that_scatter_half_as_much_is_found_out():
    assert coverage(10, 60, fault=0.5) < 0.80


def test_the_interval_of_a_crossing_covers_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), []
    for _ in range(STORES):
        found = crossing(plane(rng, 5), "width", level=LEVEL, resamples=100)
        truth = true_width(found.slope)
        there = (truth > 4) & (truth < 400)
        held.append(float(((found.width_low <= truth) & (truth <= found.width_high))[there].mean()))
    assert 0.90 <= np.mean(held) <= 0.99


def test_a_boundary_of_a_plane_is_the_line_where_it_has_the_level():
    store = plane(np.random.default_rng(0), 3, noise=0.0, shared=0.0)
    for x, y in (("slope", "width"), ("width", "slope")):
        found = boundary(store, x, y, level=LEVEL)
        np.testing.assert_allclose(found.width, true_width(found.slope), rtol=1e-9)
        assert set(found["curve"].values) == {0}
    there = crossing(store, "width", level=LEVEL).sel(slope=slice(0.05, 0.4))
    np.testing.assert_allclose(there.width, true_width(there.slope), rtol=1e-9)
    np.testing.assert_allclose(there.width_low, there.width_high, rtol=1e-6)


def test_a_boundary_may_close_upon_itself_and_its_band_has_a_hole():
    place = np.linspace(-2.0, 2.0, 21)
    bowl = np.hypot(place[:, None], place) + np.array([-0.05, 0.05, 0.0])[:, None, None]
    store = xr.DataArray(bowl, dims=("seed", "a", "b"), coords={"a": place, "b": place})
    found = boundary(store, "a", "b", level=1.0)
    np.testing.assert_allclose(np.hypot(found.a, found.b), 1.0, atol=0.01)
    assert (found.a[0], found.b[0]) == (found.a[-1], found.b[-1])
    assert found.ring.max() == 1


def test_where_nothing_passes_the_level_there_is_no_boundary():
    found = boundary(plane(np.random.default_rng(0), 3), "slope", "width", level=9.0)
    assert found.sizes["point"] == found.sizes["corner"] == 0
    lonely = crossing(plane(np.random.default_rng(0), 3), "width", level=9.0)
    assert np.isnan(lonely.width).all() and (lonely.crossings == 0).all()


def test_an_interval_that_reaches_the_end_of_an_axis_is_open_there():
    store = plane(np.random.default_rng(0), 3, noise=0.0, shared=0.0)
    store = store + xr.DataArray([-0.01, 0.0, 0.01], dims="seed")
    found = crossing(store, "width", level=LEVEL)
    # The mean is known to 0.025, the width to a factor of 1.5; the truth is 310, 13 and 860.
    assert (found.width_high[1], found.width_low[5]) == (np.inf, 0.0)
    assert np.isnan(found.width_high[0])


def test_missing_students_widen_a_band_and_are_counted():
    store = plane(np.random.default_rng(0), 5)
    whole = boundary(store, "slope", "width", level=LEVEL)
    holed = store.copy()
    holed[1:, 3, 3] = np.nan  # one seed is left where the boundary passes
    holed[:, 0, 0] = np.nan
    found = boundary(holed, "slope", "width", level=LEVEL)
    assert found.attrs["missing"] == "9 of 245 students have no result"
    beside = np.array([SLOPES[3] * 1.4]), np.array([WIDTHS[3] * 1.7])
    assert inside(found, *beside) and not inside(whole, *beside)
    assert np.isfinite(crossing(holed, "width", level=LEVEL).width[2:5]).all()


def test_the_interval_of_a_plain_mean_is_that_of_student():
    values = np.random.default_rng(0).standard_normal((4, 3))
    mean, low, high = interval(values, 0.95, 40_000, 0)
    half = stats.t.ppf(0.975, 3) * values.std(axis=0, ddof=1) / 2
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    # The standard deviation of 40,000 resamples is known to 0.35 percent: five of these.
    np.testing.assert_allclose([mean - low, high - mean], [half, half], rtol=0.018)


def test_resampled_seeds_are_the_same_in_every_cell():
    values = np.random.default_rng(0).standard_normal((5, 1)) + np.array([0.0, 3.0])
    for block in resampled(values, 50, 0):
        np.testing.assert_allclose(block[:, 1] - block[:, 0], 3.0, rtol=1e-12)


def test_the_spread_over_resamples_is_their_standard_deviation_in_any_blocks():
    drawn = 1e6 + np.random.default_rng(0).standard_normal((100, 3))
    for blocks in ([drawn], [drawn[:30], drawn[30:]]):
        np.testing.assert_allclose(spread(iter(blocks), 3), drawn.std(axis=0), rtol=1e-6)
    assert student(np.array([1]), 0.95) == np.inf


RUNGS = np.array([100, 200, 400, 800, 1600])
GROWTH = {-0.6: Phase.BENIGN, 0.0: Phase.TEMPERED, 0.6: Phase.CATASTROPHIC}


def power_laws(exponents, seeds=10, cells=200, noise=0.02):
    """Excess errors 0.2 (n / 400)^g with noise of the cell and of the seed."""
    rng = np.random.default_rng(1)
    truth = 0.2 * (RUNGS[:, None, None] / 400) ** np.array(exponents)[:, None]
    common = 1 + 0.1 * rng.standard_normal((seeds, 1, 1, cells))
    error = truth * common + noise * rng.standard_normal((seeds, 5, len(exponents), cells))
    coords = {"n_train": RUNGS, "g": exponents}
    return xr.DataArray(error, dims=("seed", "n_train", "g", "cell"), coords=coords)


def share(found, g, phase):
    return float((found.phase.sel(g=g) == phase).mean())


def test_phases_come_back_from_synthetic_power_laws():
    found = classify(power_laws(list(GROWTH)), n="n_train", fitted=None, resamples=200)
    for g, phase in GROWTH.items():
        assert share(found, g, phase) > 0.95
        held = (found.growth_low.sel(g=g) <= g) & (g <= found.growth_high.sel(g=g))
        assert 0.90 <= float(held.mean()) <= 0.99


def test_a_truth_on_the_border_is_undecided_and_seldom_named():
    found = classify(power_laws([-0.1, 0.1]), n="n_train", fitted=None, flat=0.1, resamples=200)
    for g in (-0.1, 0.1):
        assert share(found, g, Phase.UNDECIDED) >= 0.90
        # Each side is named with chance 2.5 percent: of 200 cells at most 5 + 5 standard errors.
        for phase in GROWTH.values():
            assert share(found, g, phase) <= 0.025 + 5 * np.sqrt(0.025 * 0.975 / 200)


def test_few_and_noisy_seeds_leave_phases_undecided():
    found = classify(power_laws([0.0], seeds=2, noise=0.1), n="n_train", fitted=None)
    assert share(found, 0.0, Phase.UNDECIDED) > 0.8
    one = power_laws([0.0], cells=1)
    one[1:] = np.nan
    assert classify(one, n="n_train", fitted=None).phase.item() == Phase.UNDECIDED


def test_an_excess_that_has_come_to_chance_is_catastrophic_also_when_it_grows_no_more():
    store = power_laws([0.0], cells=20)
    near = classify(store, n="n_train", fitted=None, chance=0.2, near=0.2)
    assert share(near, 0.0, 4) > 0.9
    assert share(classify(store, n="n_train", fitted=None, chance=0.5), 0.0, 3) > 0.9


def fixed(excess, train=0.0, seeds=4, scatter=0.01):
    """Cells at one n, whose seeds scatter evenly around an excess over a Bayes error of 0.1."""
    away = scatter * np.linspace(-1, 1, seeds)[:, None]
    error = 0.1 + np.atleast_1d(excess) + away
    numbers = {
        "test_error": error,
        "train_error": 0.0 * error + train,
        "majority_error": np.full(error.shape, 0.6),
    }
    return xr.Dataset({name: (("seed", "cell"), array) for name, array in numbers.items()})


def test_phases_at_fixed_n_lie_between_bayes_and_chance():
    # Of the way from 0.1 to 0.6; near = 0.1 puts the borders at 0.05 and 0.45 above Bayes.
    found = classify(fixed([0.0, 0.02, 0.052, 0.25, 0.44, 0.48]), bayes=0.1)
    assert found.phase.values.tolist() == [2, 2, 5, 3, 5, 4]
    meanings = found.phase.attrs["flag_meanings"].split()
    assert [meanings[k] for k in (2, 3, 4, 5)] == [
        "benign", "tempered", "catastrophic", "undecided",
    ]  # fmt: skip
    np.testing.assert_allclose(found.excess, [0.0, 0.02, 0.052, 0.25, 0.44, 0.48], atol=1e-12)


def test_students_that_do_not_fit_are_underfit_and_those_that_may_are_undecided():
    assert classify(fixed([0.0, 0.25], train=[0.3, 0.0])).phase.values.tolist() == [1, 3]
    some = fixed([0.25])
    some["train_error"][0] = 0.02  # one seed of four failed
    assert classify(some).phase.item() == Phase.UNDECIDED
    assert classify(some, fitted=0.03).phase.item() == Phase.TEMPERED
    told = some.drop_vars("train_error").assign(interpolated=some.test_error < 0)
    assert classify(told).phase.item() == Phase.UNDERFIT
    with pytest.raises(ValueError, match="neither train_error nor interpolated"):
        classify(told.drop_vars("interpolated"))


def test_cells_without_a_result_are_missing():
    store = fixed([0.25, 0.25])
    store["test_error"][:, 1] = np.nan
    found = classify(store)
    assert found.phase.values.tolist() == [3, Phase.MISSING]
    assert found.seeds.values.tolist() == [4, 0]
    assert found.attrs["missing"] == "1 of 2 cells lack the result of a seed"


def test_rungs_that_are_not_fitted_do_not_enter_the_growth():
    store = power_laws([-0.6], cells=5).to_dataset(name="test_error")
    store["test_error"][:, 0] = 0.0  # students that stopped early
    train = xr.zeros_like(store.test_error)
    train[:, 0] = 0.2
    store["train_error"] = train
    assert share(classify(store, n="n_train"), -0.6, Phase.BENIGN) == 1.0
    train[:, -1] = 0.2
    assert share(classify(store, n="n_train"), -0.6, Phase.UNDERFIT) == 1.0
    assert np.isnan(classify(store, n="n_train").growth).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda d: classify(d.test_error.values), "takes an xarray Dataset or DataArray"),
        (lambda d: classify(d, "loss"), "found no variable 'loss'"),
        (lambda d: classify(d, n="n_train"), "found no dim 'n_train'"),
        (lambda d: classify(d.isel(seed=[0])), "at least 2 seeds"),
        (lambda d: classify(d, near=0.6), r"near must lie in \(0, 1/2\)"),
        (lambda d: classify(d, flat=0.0), "flat must be > 0"),
        (lambda d: classify(d, confidence=1.0), "confidence must lie in"),
        (lambda d: classify(d.drop_vars("majority_error")), "needs the error of chance"),
        (lambda d: classify(d.rename(cell="n"), n="n"), "at least three positive values"),
        (lambda d: boundary(d.expand_dims(z=[1, 2]), "z", "z2"), "found no dim 'z2'"),
        (
            lambda d: boundary(d.assign_coords(cell=[1, 2]).expand_dims(z=[1]), "z", "cell"),
            "at least two values of z",
        ),
        (
            lambda d: boundary(
                d.assign_coords(cell=[1, 2]).expand_dims(z=[1, 2], k=["a", "b"]), "z", "cell"
            ),
            r"dataset.sel\(k='a'\)",
        ),
        (
            lambda d: boundary(d.expand_dims(k=["a", "b"]).assign_coords(cell=[1, 2]), "k", "cell"),
            "holds object and not numbers",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call(fixed([0.1, 0.2]))
