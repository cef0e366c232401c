"""Refinement on synthetic stores of which the boundary is known."""

import numpy as np
import pytest
import xarray as xr

from tsframe.phases import boundary, propose
from tsframe.phases.refinement import between
from tsframe.phases.scales import Scale

SLOPES, WIDTHS = np.geomspace(0.01, 1.0, 5), np.array([4, 13, 40, 126, 400])
LEVEL = 0.3


def truth(slope, width):
    """An error with the level 0.3 on a bent line: a circle of radius 3 on the log axes."""
    far = np.hypot(np.log(slope / 0.01), np.log(width / 4.0))
    return 0.6 / (1.0 + np.exp(2.0 * (far - 3.0)))


def true_distance(found):
    """How far the points of a boundary are from the circle, as a fraction of the axes (4.605)."""
    far = np.hypot(np.log(found.slope / 0.01), np.log(found.width / 4.0))
    return np.abs(far - 3.0) / np.log(100.0)


def measured(slopes, widths, seeds, noise):
    """Train a grid: noise hangs on the values of a cell, never on its place."""
    coords = {"slope": slopes, "width": widths, "seed": seeds}
    clean = truth(*np.meshgrid(slopes, widths, indexing="ij"))[:, :, None]
    luck = [
        [
            [np.random.default_rng([round(s * 1e9), w, k]).standard_normal() for k in seeds]
            for w in widths
        ]
        for s in slopes
    ]
    return xr.DataArray(clean + noise * np.array(luck), coords=coords).to_dataset(name="test_error")


def refined(noise, band, seeds=3, rounds=12, **options):
    """Follow proposals until there are none; gives the store, its rounds, and the last width."""
    store = measured(SLOPES, WIDTHS, range(seeds), noise)
    for number in range(rounds):
        found = propose(store, ["slope", "width"], level=LEVEL, band=band, **options)
        if not found.students:
            return store, number, found.band
        axes = {dim: found[dim].values.tolist() for dim in ("slope", "width", "seed")}
        new = measured(axes["slope"], axes["width"], axes["seed"], noise).where(found.wanted)
        store = store.combine_first(new)
    raise AssertionError(f"{rounds} rounds did not settle the boundary")


def test_refinement_converges_to_the_boundary_for_a_part_of_the_cost_of_the_grid():
    store, rounds, width = refined(noise=0.0, band=1 / 32)
    trained = int(store.test_error.notnull().sum())
    dense = 33 * 33 * 3
    # Between the widths 4 and 5 lies none: they are 0.048 of the axis apart.
    assert rounds <= 4 and width <= 0.049
    assert trained < 0.25 * dense
    found = boundary(store, "slope", "width", level=LEVEL)
    assert float(true_distance(found).max()) < 0.002
    # The coarse grid alone is off by more than the width asked for.
    coarse = boundary(measured(SLOPES, WIDTHS, range(3), 0.0), "slope", "width", level=LEVEL)
    assert float(true_distance(coarse).max()) > 0.01


def test_seeds_are_added_where_the_boundary_is_and_until_the_band_is_narrow():
    store, _, width = refined(noise=0.05, band=0.06, most_seeds=60)
    assert width <= 0.07
    trained = store.test_error.notnull()
    count = trained.sum("seed").transpose("slope", "width").values
    near = np.abs(truth(*np.meshgrid(store.slope, store.width, indexing="ij")) - LEVEL) < 0.05
    assert count[near & (count > 0)].mean() > 2 * count[~near & (count > 0)].mean()
    assert count[0, 0] == count[-1, -1] == 3
    found = boundary(store, "slope", "width", level=LEVEL)
    assert float(true_distance(found).max()) < 0.06
    assert int(trained.sum()) < 0.4 * 17 * 17 * count.max()


def test_what_is_known_well_enough_asks_for_nothing():
    store = measured(np.geomspace(0.01, 1.0, 17), WIDTHS, range(3), 0.0)
    found = propose(store, ["slope", "width"], level=LEVEL, band=0.26)
    assert (found.students, found.left) == (0, 0) and 0.2 < found.band <= 0.26
    nowhere = propose(store, ["slope", "width"], level=0.9, band=0.01)
    assert (nowhere.students, nowhere.band) == (0, 0.0)
    xr.testing.assert_equal(nowhere.wanted.slope, store.slope)


def test_a_budget_takes_what_is_known_least_and_says_what_it_left():
    store = measured(SLOPES, WIDTHS, range(3), 0.02)
    whole = propose(store, ["slope", "width"], level=LEVEL, band=0.1)
    part = propose(store, ["slope", "width"], level=LEVEL, band=0.1, budget=10)
    assert (part.students, part.left) == (10, whole.students - 10)
    assert bool(part.wanted.reindex_like(whole.wanted, fill_value=False).values[
        ~whole.wanted.values
    ].any()) is False  # fmt: skip


def test_a_batch_names_only_cells_that_have_no_result_and_may_have_one():
    store = measured(SLOPES, WIDTHS, range(3), 0.05)
    first = propose(store, ["slope", "width"], level=LEVEL, band=0.1)
    old = first.wanted.reindex(seed=range(3), slope=SLOPES, width=WIDTHS)
    assert not bool(old.any())
    store["state"] = xr.ones_like(store.test_error, dtype=int)
    again = store.reindex(slope=first.slope, width=first.width, seed=first.seed)
    again["state"] = again.state.fillna(2)  # all that was wanted failed
    second = propose(again, ["slope", "width"], level=LEVEL, band=0.1)
    assert not bool(
        (second.wanted.reindex_like(first.wanted, fill_value=False) & first.wanted).any()
    )


def test_every_combination_of_the_other_dims_has_a_boundary_of_its_own():
    one = measured(SLOPES, WIDTHS, range(3), 0.0)
    both = xr.concat([one, one + 1.0], xr.IndexVariable("depth", [1, 2]))
    found = propose(both, ["slope", "width"], level=LEVEL, band=0.1)
    alone = propose(one, ["slope", "width"], level=LEVEL, band=0.1)
    assert found.students == alone.students > 0
    assert not bool(found.wanted.sel(depth=2).any())
    mine = found.wanted.sel(depth=1, drop=True).transpose(*alone.wanted.dims)
    xr.testing.assert_equal(mine, alone.wanted)


def test_whole_numbers_are_split_into_whole_numbers_until_none_is_between():
    line = measured([0.1], [4, 6, 400], range(2), 0.0).squeeze("slope")
    for _ in range(10):
        found = propose(line, ["width"], level=LEVEL, band=0.001)
        if not found.students:
            break
        new = measured([0.1], found.width.values.tolist(), range(2), 0.0).squeeze("slope")
        line = line.combine_first(new.where(found.wanted))
    assert line.width.dtype == int
    crossed = line.test_error.mean("seed").dropna("width")
    last = crossed.where(crossed >= LEVEL, drop=True).width.values.max()
    assert last + 1 in crossed.width.values


def test_new_values_are_short_and_near_the_middle():
    grid = np.array([0.01, 0.1, 1.0])
    assert between(grid, Scale(log=True), (0, 1), 0.5, False) == 0.03
    assert between(grid, Scale(log=False), (0, 1), 0.5, False) == 0.06
    assert between(grid, Scale(log=True), (1, 2), 1.0, False) == 1.0
    assert between(np.array([1, 2]), Scale(log=True), (0, 1), 0.5, True) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"axes": ["slope", "slope"]}, "one or two different dims"),
        ({"axes": ["slope", "depth"]}, "found no dim 'depth'"),
        ({"band": 1.0}, r"band must lie in \(0, 1\)"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"most_seeds": 1}, "most_seeds must be at least 2"),
        ({"value": "loss"}, "found no variable 'loss'"),
    ],
    ids=lambda value: str(value),
)
def test_what_makes_no_proposal_is_refused(change, sentence):
    store = measured(SLOPES, WIDTHS, range(3), 0.0)
    with pytest.raises(ValueError, match=sentence):
        propose(**{"data": store, "axes": ["slope", "width"]} | change)
