"""Interpolation thresholds and double-descent peaks on synthetic stores of which both are known."""

import numpy as np
import pytest
import xarray as xr

from tsframe.phases import double_descent_peak, interpolation_threshold

WIDTHS = np.geomspace(4, 400, 13)
PLACES = np.log(WIDTHS)


def train_errors(rng, seeds=6, threshold=40.0, scatter=0.3):
    """Students that fit from a width on, which scatters by factors around the threshold."""
    own = np.log(threshold) + scatter * rng.standard_normal((seeds, 1))
    error = np.where(PLACES < own, 0.2, 0.0)
    return xr.DataArray(error, dims=("seed", "width"), coords={"width": WIDTHS})


def test_the_interval_of_a_threshold_covers_the_truth_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = interpolation_threshold(train_errors(rng), resamples=100)
        held += bool(found.width_low <= 40.0 <= found.width_high)
    assert held / 200 >= 0.93


def test_a_threshold_without_scatter_is_known_to_a_step_of_the_grid():
    found = interpolation_threshold(train_errors(np.random.default_rng(0), scatter=0.0))
    below, above = WIDTHS[WIDTHS < 40.0][-1], WIDTHS[WIDTHS > 40.0][0]
    np.testing.assert_allclose([found.width_low, found.width_high], [below, above], rtol=1e-9)
    np.testing.assert_allclose(found.width, np.sqrt(below * above), rtol=1e-9)


def test_along_n_it_is_the_largest_n_that_is_fitted():
    error = xr.DataArray(
        [[0.0, 0.0, 0.1, 0.2], [0.0, 0.0, 0.1, 0.1]],
        dims=("seed", "n_train"),
        coords={"n_train": [100, 200, 300, 400]},
    )
    found = interpolation_threshold(error, "n_train", rising=False)
    assert [float(found[k]) for k in ("n_train_low", "n_train", "n_train_high")] == [200, 250, 300]


def test_a_student_that_fits_once_but_not_beyond_has_not_reached_its_threshold():
    error = xr.DataArray(
        [[0.1, 0.0, 0.1, 0.0]] * 2, dims=("seed", "width"), coords={"width": [1, 2, 3, 4]}
    )
    found = interpolation_threshold(error)
    assert (float(found.width_low), float(found.width_high)) == (3.0, 4.0)


def test_a_threshold_beyond_the_axis_is_open():
    store = train_errors(np.random.default_rng(0), threshold=4000.0)
    found = interpolation_threshold(store)
    assert np.isnan(found.width) and found.width_high == np.inf and found.width_low > 300
    found = interpolation_threshold(0.0 * store)
    assert np.isnan(found.width) and found.width_low == 0.0 and found.width_high < 5


def test_a_seed_with_a_hole_at_its_threshold_has_none():
    store = train_errors(np.random.default_rng(0), scatter=0.0)
    first = int((store[0] == 0).values.argmax())
    store[0, first] = np.nan
    store[1, 0] = np.nan  # far below: it cannot move the threshold
    found = interpolation_threshold(store)
    assert found.attrs["missing"] == "1 places of width left out for want of a student"
    np.testing.assert_allclose(found.width_low, WIDTHS[first - 1], rtol=1e-9)


def test_the_fraction_of_students_that_interpolate_serves_where_there_is_no_train_error():
    store = train_errors(np.random.default_rng(0))
    told = xr.Dataset({"interpolated": store == 0})
    xr.testing.assert_allclose(
        interpolation_threshold(told).drop_attrs(), interpolation_threshold(store).drop_attrs()
    )


def bell(place, height=0.5):
    return 0.4 - 0.03 * (place - PLACES[0]) + height * np.exp(-((place - np.log(40.0)) ** 2) / 0.5)


def double_descents(rng, height=0.5, seeds=6, noise=0.03):
    """A falling error with a bell near width 40 on the log axis."""
    error = bell(PLACES, height) + noise * rng.standard_normal((seeds, 1))
    error = error + noise * rng.standard_normal((seeds, len(WIDTHS)))
    return xr.DataArray(error, dims=("seed", "width"), coords={"width": WIDTHS})


def test_a_planted_peak_is_found_with_its_place_and_height():
    rng = np.random.default_rng(0)
    fine = np.linspace(PLACES[0], PLACES[-1], 100_001)
    width, height = float(np.exp(fine[bell(fine).argmax()])), bell(PLACES).max()
    held = np.zeros(3)
    for _ in range(100):
        found = double_descent_peak(double_descents(rng), resamples=100)
        held += (
            bool(found.width_low <= width <= found.width_high),
            bool(found.height_low <= height <= found.height_high),
            bool(found.prominence_low > 0),
        )
    assert held[0] >= 90 and held[1] >= 90 and held[2] == 100


def test_noise_on_a_falling_curve_is_no_peak():
    rng = np.random.default_rng(0)
    stores = [double_descents(rng, height=0.0) for _ in range(100)]
    found = [float(double_descent_peak(store, resamples=50).prominence_low) for store in stores]
    assert np.mean(np.array(found) > 0) <= 0.05


def test_a_curve_without_a_rise_has_no_place_at_all():
    store = double_descents(np.random.default_rng(0), height=0.0, noise=0.0)
    assert np.isnan(double_descent_peak(store).width)


def test_peaks_come_cell_by_cell_and_leave_out_what_is_missing():
    one, other = (double_descents(np.random.default_rng(k)) for k in (0, 1))
    both = xr.concat([one, other], "depth")
    both[1, 0, 2] = np.nan
    found = double_descent_peak(both)
    np.testing.assert_allclose(found.height[0], double_descent_peak(one).height, rtol=1e-12)
    assert found.sizes == {"depth": 2} and np.isfinite(found.height[1])
    assert found.attrs["missing"] == "1 places of width left out for want of a student"
    with pytest.raises(ValueError, match="needs at least 3 values of seed; got 2"):
        double_descent_peak(one[:2])
