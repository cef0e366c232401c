"""Means between the cells of a grid, and cells without a result."""

import numpy as np
import xarray as xr

from tsframe.phases import boundary
from tsframe.phases.fields import bridges, field, finer, hats
from tsframe.phases.scales import natural

PLACES = np.array([0.0, 1.0, 4.0, 5.0])


def bridged(values, places):
    """A grid with its holes filled, through the library's bridges."""
    flat = values.reshape(-1).copy()
    for cells, one, other, weight in bridges(np.isfinite(values), places):
        flat[cells] = (1 - weight) * flat[one] + weight * flat[other]
    return flat.reshape(values.shape)


def test_a_hole_in_a_plane_is_bridged_exactly_on_either_axis_and_in_several_passes():
    plane = 2.0 * PLACES[:, None] - PLACES
    holed = plane.copy()
    holed[1:3, 1:3] = np.nan
    holed[0, 1] = holed[0, 2] = np.nan
    np.testing.assert_allclose(bridged(holed, (PLACES, PLACES)), plane, atol=1e-12)


def test_a_hole_is_bridged_along_the_axis_where_its_neighbors_are_nearer():
    near = np.array([[0.0, 9.0, 0.0], [5.0, np.nan, 5.0], [0.0, 9.0, 0.0]])
    tall, wide = np.array([0.0, 0.1, 5.0]), np.array([0.0, 1.0, 2.0])
    assert bridged(near, (np.array([0.0, 1.0, 2.0, 9.0])[:3], np.array([0.0, 1.0, 1.5])))[1, 1]
    # The neighbors above and below span their axis as those at the sides do: rows are first.
    assert bridged(near, (wide, wide))[1, 1] == 9.0
    more = np.vstack([near, np.zeros((3, 3))])
    assert bridged(more, (np.array([0.0, 1.0, 2.0, 30.0, 40.0, 50.0]), wide))[1, 1] == 9.0
    assert bridged(more.T, (wide, np.array([0.0, 1.0, 2.0, 30.0, 40.0, 50.0])))[1, 1] == 9.0
    assert np.isfinite(bridged(near, (tall, wide))).all()


def test_the_mean_of_a_plane_with_holes_is_that_plane_with_the_interval_of_its_seeds():
    plane = 2.0 * PLACES[:, None] - PLACES + np.array([-1.0, 0.0, 1.0])[:, None, None]
    holed = plane.copy()
    holed[:, 1, :2] = holed[:, 2, 3] = np.nan
    hat = np.eye(4)
    full, bridge = (field(v, (PLACES, PLACES), (hat, hat), 0.95, 200, 0) for v in (plane, holed))
    np.testing.assert_allclose(bridge[0], full[0], atol=1e-12)
    np.testing.assert_allclose(bridge[1], full[1], rtol=1e-9)


def test_a_corner_without_neighbors_at_both_sides_stays_empty():
    values = np.ones((3, 3))
    values[:2, :2] = np.nan
    values[2, 0] = values[0, 2] = np.nan
    filled = bridged(values, (np.arange(3.0), np.arange(3.0)))
    assert np.isnan(filled[0, 0]) and np.isnan(filled[:2, :2]).all()


def test_an_interpolated_mean_has_the_interval_of_the_interpolated_seeds():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((6, 4, 3))
    fine_y, fine_x = finer(PLACES), finer(np.arange(3.0))
    hat_y, hat_x = hats(PLACES, fine_y), hats(np.arange(3.0), fine_x)
    mean, half = field(values, (PLACES, np.arange(3.0)), (hat_y, hat_x), 0.95, 20_000, 0)
    seeds = np.einsum("fy,syx,gx->sfg", hat_y, values, hat_x)
    np.testing.assert_allclose(mean, seeds.mean(axis=0), atol=1e-12)
    student = 2.570582 * seeds.std(axis=0, ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(half, student, rtol=5 / np.sqrt(2 * 20_000))


def test_the_boundary_of_a_grid_refined_at_its_boundary_alone_is_that_of_the_full_grid():
    slope, width = np.geomspace(0.01, 1.0, 17), np.geomspace(4, 400, 17)
    product = np.log(slope[:, None] * width / 4.0)
    error = 0.3 + 0.05 * product + np.array([-0.02, 0.0, 0.02])[:, None, None]
    coords = {"seed": range(3), "slope": slope, "width": width}
    full = xr.DataArray(error, coords=coords)
    coarse = (np.arange(17)[:, None] % 4 == 0) & (np.arange(17) % 4 == 0)
    near = np.abs(product) < 1.0
    found = boundary(full.where(coarse | near), "slope", "width", level=0.3)
    assert float(found.slope.min()) < 0.0101 and float(found.slope.max()) > 0.99
    np.testing.assert_allclose(found.slope * found.width, 4.0, rtol=1e-9)


def test_natural_scales_return_what_went_in():
    axes = ([5.0, 10.0, 30.0, 100.0], [0.0, 0.1, 0.3, 1.0, 3.0], [1.0, 2.0, 3.0], [-1.0, 0.0, 4.0])
    for values in axes:
        scale = natural(xr.DataArray(values, dims="x", name="x"))
        places = np.linspace(values[0], values[-1], 50)
        np.testing.assert_allclose(scale.inverse(scale(places)), places, atol=1e-12)
        assert (np.diff(scale(places)) > 0).all()
    assert [natural(xr.DataArray(v, dims="x")).log for v in axes] == [True, True, False, False]
