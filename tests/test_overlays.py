"""Boundaries, theory and phases laid over a phase diagram."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.patches import PathPatch, Rectangle

from tsframe.phases import boundary, classify, Phase
from tsframe.plots import phase_diagram
from tsframe.plots.overlays import ON_PHASES, PHASES

SLOPES, WIDTHS = np.geomspace(0.01, 1.0, 5), np.geomspace(4, 400, 5)


@pytest.fixture(autouse=True)
def _clean_figures():
    mpl.use("Agg")
    with plt.style.context(Path(__file__).parents[1] / "analysis" / "tsframe.mplstyle"):
        yield
    plt.close("all")


def store():
    """Errors 0.3 on the line where slope and width multiply to 4; three seeds scatter evenly."""
    error = 0.3 + 0.05 * np.log(SLOPES[:, None, None] * WIDTHS[:, None] / 4.0)
    error = error + np.array([-0.02, 0.0, 0.02])
    return xr.Dataset(
        {"test_error": (("slope", "width", "seed"), error), "train_error": 0.0 * xr.DataArray(
            error, dims=("slope", "width", "seed")
        )},
        coords={"slope": SLOPES, "width": WIDTHS, "seed": range(3)},
    )  # fmt: skip


def lines(ax, style):
    return [np.asarray(one.get_xydata()) for one in ax.lines if one.get_linestyle() == style]


def words(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_a_boundary_is_drawn_where_the_measure_has_its_level():
    ax = phase_diagram(store(), "slope", "width", boundary=0.3)
    (line,) = (points for points in lines(ax, "-") if len(points) > 2)
    np.testing.assert_allclose(line[:, 0] * line[:, 1], 4.0, rtol=1e-9)
    assert "test error 0.3, 95% band" in words(ax)
    (outline, *_) = (patch for patch in ax.patches if isinstance(patch, PathPatch))
    corners = np.log(np.asarray(outline.get_path().vertices)[:-1].prod(axis=1) / 4.0)
    # Student's 4.3 times 0.02 / sqrt(3), over a rise of 0.05: to the noise of 400 resamples.
    np.testing.assert_allclose(np.abs(corners).max(), 4.303 * 0.4 / np.sqrt(3), rtol=0.15)


def test_a_boundary_found_before_is_drawn_as_the_one_found_by_its_level():
    found = boundary(store(), "slope", "width", level=0.3)
    one, other = (
        phase_diagram(store(), "slope", "width", ax=plt.figure().subplots(), boundary=asked)
        for asked in (0.3, [found])
    )
    np.testing.assert_array_equal(lines(one, "-")[0], lines(other, "-")[0])


def test_theory_is_drawn_at_the_same_levels_on_its_own_grid():
    slope, width = np.geomspace(0.01, 1.0, 41), np.geomspace(4, 400, 33)
    law = xr.DataArray(
        0.3 + 0.05 * np.log(slope[:, None] * width / 8.0),
        coords={"slope": slope, "width": width},
    )
    ax = phase_diagram(store(), "slope", "width", boundary=[0.3, 0.4], theory=law.expand_dims("n"))
    one, other = lines(ax, "--")
    np.testing.assert_allclose(one[:, 0] * one[:, 1], 8.0, rtol=1e-6)
    np.testing.assert_allclose(other[:, 0] * other[:, 1], 8.0 * np.exp(2.0), rtol=1e-6)
    assert one[:, 0].min() < 0.021 and one[:, 0].max() == 1.0  # from end to end of the picture
    assert words(ax).count("theory, same level") == 1


def test_phases_color_the_cells_and_stand_in_the_legend():
    data = store()
    data["train_error"][0] = 0.2  # the first slope does not fit
    data["test_error"][1, 0] = np.nan
    found = classify(data, chance=0.5, bayes=0.1, near=0.2)
    ax = phase_diagram(data, "slope", "width", phases=found, boundary=0.3)
    (mesh,) = (artist for artist in ax.collections if isinstance(artist, QuadMesh))
    codes = found.phase.transpose("width", "slope").values
    np.testing.assert_array_equal(
        np.ma.filled(np.ma.asarray(mesh.get_array()), 0).reshape(codes.shape), codes
    )
    mask = np.ma.getmaskarray(np.ma.asarray(mesh.get_array())).reshape(codes.shape)
    np.testing.assert_array_equal(mask, codes == Phase.MISSING)
    assert set(np.unique(codes)) >= {Phase.MISSING, Phase.UNDERFIT, Phase.TEMPERED}
    names = {phase.name.lower() for phase in Phase if phase in codes and phase > 0}
    assert names | {"no result"} <= set(words(ax))
    assert "interpolating (ticked side)" not in words(ax)
    assert len(ax.figure.axes) == 1  # no colorbar
    hatched = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len(hatched) == np.isin(codes, [Phase.UNDERFIT, Phase.UNDECIDED, Phase.MISSING]).sum()
    assert ax.lines[0].get_color() == ON_PHASES[0]


def luminance(color):
    linear = np.array(to_rgb(color)) ** 2.2
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_phases_are_told_apart_without_colors():
    order = (Phase.BENIGN, Phase.TEMPERED, Phase.CATASTROPHIC)
    shades = [luminance(PHASES[phase][0]) for phase in order]
    assert shades[0] > shades[1] + 0.15 and shades[1] > shades[2] + 0.15
    gray = [phase for phase, (color, _) in PHASES.items() if rgb_to_hsv(to_rgb(color))[1] == 0]
    assert gray == [Phase.UNDERFIT, Phase.UNDECIDED]
    hatches = [PHASES[phase][1] for phase in gray]
    assert all(hatches) and len(set(hatches)) == 2


def test_cells_not_run_between_ones_that_were_show_what_these_interpolate_to():
    data = store()
    data["state"] = xr.ones_like(data.test_error, dtype=int)
    whole = data.test_error.mean("seed").transpose("width", "slope").values
    data["test_error"][1, 1] = data["test_error"][2, 3] = data["test_error"][0, 0] = np.nan
    data["state"][1, 1] = data["state"][0, 0] = 0  # not run, the last without neighbors before it
    data["state"][2, 3] = 2  # failed
    ax = phase_diagram(data, "slope", "width", bridged=True)
    (mesh,) = (artist for artist in ax.collections if isinstance(artist, QuadMesh))
    cells: Any = np.ma.masked_invalid(np.ma.asarray(mesh.get_array()))
    shown = np.where(cells.mask, np.nan, cells.data).reshape(5, 5)
    np.testing.assert_allclose(shown[1, 1], whole[1, 1], rtol=1e-12)
    assert np.isnan(shown[3, 2]) and np.isnan(shown[0, 0])
    assert {"not run yet", "failed", "trained; the rest is interpolated"} <= set(words(ax))
    (dots,) = (one for one in lines(ax, "None"))
    assert len(dots) == 22


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"theory": store().test_error.mean("seed")}, "pass boundary="),
        ({"boundary": store()}, "must be a level or what tsframe.phases.boundary gives"),
        ({"phases": store().train_error}, "phases must lie over slope and width"),
        (
            {"phases": classify(store(), chance=0.5).isel(slope=slice(2))},
            "every value of slope and width",
        ),
        (
            {"boundary": 0.3, "theory": store().test_error},
            "level_curve spans slope and width; .* also has seed",
        ),
    ],
    ids=["theory alone", "no boundary", "seeds", "cells", "theory with seeds"],
)
def test_what_does_not_fit_the_picture_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        phase_diagram(store(), "slope", "width", **options)
