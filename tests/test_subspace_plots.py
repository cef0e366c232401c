"""Plots of overlaps and of densities of spectra."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from tsframe.plots import overlap_curves, spectral_density
from tsframe.plots.densities import decades, density_per_decade, eigenvalue_at


@pytest.fixture(autouse=True)
def _clean_figures() -> Iterator[None]:
    mpl.use("Agg")
    with plt.style.context(Path(__file__).parents[1] / "analysis" / "tsframe.mplstyle"):
        yield
    plt.close("all")


def overlapping(widths=(5, 10)):
    """Overlaps 0.5 + 0.01 seed at every dimension, baseline k / (100 width)."""
    seeds, dims = range(3), np.arange(1.0, 5.0)
    shape = (len(widths), 3, 4)
    values = np.broadcast_to(0.5 + 0.01 * np.arange(3)[None, :, None], shape)
    chance = np.broadcast_to(dims / (100 * np.array(widths)[:, None, None]), shape)
    names = ("width", "seed", "overlap_dim")
    return xr.Dataset(
        {"fisher_hessian_overlap": (names, values), "random_overlap": (names, chance)},
        coords={"width": list(widths), "seed": seeds, "overlap_dim": dims},
    )


def points(line):
    return np.size(line.get_xdata())


def lines(ax):
    drawn = [line for line in ax.lines if points(line)]
    return {line.get_linestyle(): np.asarray(line.get_ydata()) for line in drawn}


def test_an_overlap_stands_beside_what_random_subspaces_have():
    ax = overlap_curves(overlapping([5]).isel(width=0), "fisher_hessian_overlap")
    found = lines(ax)
    np.testing.assert_allclose(found["-"], 0.51)
    np.testing.assert_allclose(found["--"], np.arange(1, 5) / 500)
    assert ax.get_xlabel() == "dimension k of the subspaces"


def test_baselines_that_differ_are_drawn_each_in_its_color():
    ax = overlap_curves(overlapping(), "fisher_hessian_overlap", hue="width")
    dashed = [line for line in ax.lines if line.get_linestyle() == "--" and points(line)]
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert [line.get_color() for line in dashed] == [line.get_color() for line in solid]
    ends = [np.asarray(line.get_ydata())[3] for line in dashed]
    np.testing.assert_allclose(ends, [4 / 500, 4 / 1000])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["5", "10", "random"]


def test_a_baseline_that_all_share_is_drawn_once():
    data = overlapping()
    data["random_overlap"] = data.random_overlap.isel(width=0, drop=True)
    same = data.assign(random_overlap=data.random_overlap.expand_dims(width=data.width))
    ax = overlap_curves(same, "fisher_hessian_overlap", hue="width")
    dashed = [line for line in ax.lines if line.get_linestyle() == "--" and points(line)]
    assert len(dashed) == 1


def test_an_overlap_at_a_step_of_measuring_stands_beside_the_baseline_of_then():
    data = overlapping([5]).isel(width=0)
    later = data.rename({name: f"{name}_curve" for name in data.data_vars})
    later = later.expand_dims(measure_step=[0.0]).isel(measure_step=0)
    ax = overlap_curves(later, "fisher_hessian_overlap_curve")
    np.testing.assert_allclose(lines(ax)["--"], np.arange(1, 5) / 500)


def test_an_overlap_without_its_baseline_is_refused():
    with pytest.raises(ValueError, match="found no variable 'random_overlap'"):
        overlap_curves(
            overlapping().isel(width=0).drop_vars("random_overlap"), "fisher_hessian_overlap"
        )
    with pytest.raises(ValueError, match="of which no baseline is known"):
        overlap_curves(overlapping(), "random_overlap")
    with pytest.raises(ValueError, match="averages over seed only"):
        overlap_curves(overlapping(), "fisher_hessian_overlap")


def quadrature():
    """Two seeds, two probes: half of all eigenvalues near zero, some at 1, few at -0.01."""
    nodes = np.broadcast_to([-0.01, 1e-9, 1.0, np.nan], (2, 2, 4))
    weights = np.broadcast_to([0.1, 0.5, 0.4, np.nan], (2, 2, 4))
    dims = ("seed", "hessian_probe", "hessian_step")
    return xr.Dataset({"hessian_node": (dims, nodes), "hessian_weight": (dims, weights)})


def test_a_density_holds_all_eigenvalues_where_they_are():
    data, linear, width = quadrature(), 1e-4, 0.05
    ax = spectral_density(data, linear=linear, width=width)
    (curve,) = [line for line in ax.lines if points(line) > 2]
    x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    places = decades(x, linear)
    assert np.trapezoid(y, places) == pytest.approx(1.0, rel=1e-6)
    for low, high, share in ((-0.1, -1e-3, 0.1), (-5e-5, 5e-5, 0.5), (0.1, 10.0, 0.4)):
        inside = (x > low) & (x < high)
        assert np.trapezoid(y[inside], places[inside]) == pytest.approx(share, rel=1e-3)
    # Widths are in decades: a peak far from zero is as wide on the axis as one near it.
    peaks = [y[(x > low) & (x < high)].max() for low, high in ((-0.1, -1e-3), (0.1, 10.0))]
    assert peaks[1] / peaks[0] == pytest.approx(4.0, rel=1e-3)


def test_the_axis_is_the_one_that_densities_are_made_for():
    ax = spectral_density(quadrature(), linear=1e-4)
    values = np.array([-3.0, -1e-4, -2e-5, 0.0, 5e-5, 1e-4, 7.0])
    on_axis = ax.transData.transform(np.stack([values, np.ones(7)], 1))[:, 0]
    ours = decades(values, 1e-4)
    slope = (on_axis[-1] - on_axis[0]) / (ours[-1] - ours[0])
    np.testing.assert_allclose(on_axis - on_axis[3], slope * ours, atol=1e-6 * abs(slope))
    np.testing.assert_allclose(eigenvalue_at(ours, 1e-4), values, rtol=1e-13, atol=1e-20)


@pytest.mark.parametrize("linear", [1e-9, 1e-4, 0.02])
def test_ticks_around_zero_do_not_crowd(linear):
    figure, ax = plt.subplots(figsize=(4.0, 2.6))
    spectral_density(quadrature(), linear=linear, ax=ax)
    figure.canvas.draw()
    boxes = [tick.get_window_extent() for tick in ax.get_xticklabels() if tick.get_text()]
    assert len(boxes) >= 3
    assert all(first.x1 < second.x0 for first, second in pairwise(boxes))


def test_missing_seeds_and_short_probes_take_nothing_from_the_others():
    data = quadrature()
    lost = data.hessian_node.values.copy()
    lost[1] = np.nan
    grid = np.linspace(-8.0, 8.0, 4001)
    curves = [
        density_per_decade(nodes, data.hessian_weight.values, grid, 1e-4, 0.1)
        for nodes in (data.hessian_node.values, lost)
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-12, atol=1e-300)
    assert np.trapezoid(curves[0], grid) == pytest.approx(1.0, rel=1e-9)


def test_a_density_needs_weights_and_positive_widths():
    with pytest.raises(ValueError, match="found no weights 'hessian_weight'"):
        spectral_density(quadrature().drop_vars("hessian_weight"))
    with pytest.raises(ValueError, match="linear and width must be > 0; got linear=-1"):
        spectral_density(quadrature(), linear=-1.0)
    with pytest.raises(ValueError, match="found no variable 'hessian_node'"):
        spectral_density(quadrature().drop_vars("hessian_node"))
