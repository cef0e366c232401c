"""The figure of spectra: only what is above the floor, with the slope that was fitted."""

import math
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle

from tsframe.plots import spectrum

MODES, SLOPES, SEEDS = 40, np.array([0.1, 0.5, 1.0]), 2
FLOOR = 1e-13


@pytest.fixture(autouse=True)
def _clean_figures() -> Iterator[None]:
    mpl.use("Agg")
    with plt.style.context(Path(__file__).parents[1] / "analysis" / "tsframe.mplstyle"):
        yield
    plt.close("all")


def results() -> xr.Dataset:
    """Make exponentials of three slopes, e times as high for the second seed, over a floor."""
    modes = np.arange(float(MODES))
    clean = np.exp(-SLOPES[:, None, None] * modes + np.arange(SEEDS)[:, None])
    noise = -1e-15 * np.ones(MODES)
    cell = (3, SEEDS)
    return xr.Dataset(
        {
            "fisher_eigenvalues": (
                ("slope", "seed", "fisher_mode"),
                np.where(clean > FLOOR, clean, noise),
            ),
            "fisher_floor": (("slope", "seed"), np.full(cell, FLOOR)),
            "fisher_slope": (("slope", "seed"), np.broadcast_to(SLOPES[:, None], cell)),
            "fisher_tail_first": (("slope", "seed"), np.full(cell, 5.0)),
            "fisher_tail_last": (("slope", "seed"), np.full(cell, 25.0)),
            "state": (("slope", "seed"), np.ones(cell, np.int8)),
        },
        coords={"slope": SLOPES, "seed": range(SEEDS), "fisher_mode": modes},
    )


def test_every_student_is_a_line_above_its_floor():
    data = results()
    ax = spectrum(data, hue="slope")
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len(solid) == 3 * SEEDS
    drawn = np.array([np.asarray(line.get_ydata()) for line in solid])
    assert np.nanmin(drawn) > FLOOR
    kept = np.isfinite(drawn).sum(axis=1).tolist()
    truth = (data.fisher_eigenvalues > FLOOR).sum("fisher_mode").values.ravel().tolist()
    assert kept == truth and min(truth) < MODES == max(truth)
    (shade,) = (patch for patch in ax.patches if isinstance(patch, Rectangle))
    assert shade.get_y() + shade.get_height() == pytest.approx(FLOOR)
    assert ax.get_ylim()[0] <= FLOOR / 10 * 1.0001 and ax.get_yscale() == "log"
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.5", "1"]
    assert ax.get_ylabel() == "eigenvalues, Fisher information"


def test_the_fitted_slope_is_drawn_over_the_modes_it_was_fitted_on():
    ax = spectrum(results(), hue="slope")
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 3
    for slope, line in zip(SLOPES, dashed, strict=True):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert x[0] == 5 and x[-1] == 24
        np.testing.assert_allclose(y, np.exp(0.5 - slope * x), rtol=1e-10)  # between the seeds


def test_relative_spectra_begin_at_one_with_their_floors():
    data = results().sel(slope=[0.5])
    ax = spectrum(data, relative=True)
    solid = [np.asarray(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "-"]
    assert [line[0] for line in solid] == [1.0, 1.0]
    (shade,) = ax.patches
    assert isinstance(shade, Rectangle)
    assert shade.get_y() + shade.get_height() == pytest.approx(FLOOR / math.e)
    assert ax.get_ylabel().endswith("relative\nto the largest")


def test_a_spectrum_without_a_tail_or_a_floor_is_drawn_alone():
    data = results()
    data["fisher_slope"] = data.fisher_slope * np.nan
    dashed = [line for line in spectrum(data, hue="slope").lines if line.get_linestyle() != "-"]
    assert all(np.asarray(line.get_xdata()).size == 0 for line in dashed)
    plain = results().fisher_eigenvalues.isel(seed=0, slope=2)
    _, ax = plt.subplots()
    ax = spectrum(plain, ax=ax)
    (line,) = ax.lines
    assert np.nanmin(np.asarray(line.get_ydata())) > 0.0 and not ax.patches


def test_a_curve_is_drawn_at_one_step_and_what_is_no_spectrum_is_refused():
    curves = results().expand_dims(measure_step=[0, 10])
    names = {name: f"{name}_curve" for name in curves.data_vars if str(name) != "state"}
    curves = curves.rename(names)
    at = curves.isel(measure_step=0)
    assert len(spectrum(at, "fisher_eigenvalues_curve", hue="slope").lines) == 3 * SEEDS + 3
    block = {name: str(name).replace("fisher_", "fisher_layer1_") for name in at.data_vars}
    ax = spectrum(at.rename(block), "fisher_layer1_eigenvalues_curve", hue="slope")
    assert ax.get_ylabel() == "eigenvalues, Fisher information, block of layer 1"
    with pytest.raises(ValueError, match="measure_step"):
        spectrum(curves, "fisher_eigenvalues_curve", hue="slope")
    with pytest.raises(ValueError, match=r"spectrum draws variables \.\.\._eigenvalues"):
        spectrum(results(), "fisher_floor")
    with pytest.raises(ValueError, match="spectrum found no variable 'no_eigenvalues'"):
        spectrum(results(), "no_eigenvalues")
