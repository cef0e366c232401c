"""The figure of `sweeps/benign_floor_networks.py`: trained networks beside linear theory.

Test error over slope and floor, for clean and for noisy labels, with the boundary of the networks
and the one that theory gives a linear student of least norm; and test error against the floor, a
line a slope: dots are networks, dashed lines are theory.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.colors import Normalize

from tsframe import open_store, theory
from tsframe.plots import phase_diagram
from tsframe.plots.lines import t_interval
from tsframe.plots.scales import prepare

STYLE = Path(__file__).with_name("tsframe.mplstyle")
DIM = 1000
LEVEL = 0.3


def predict(slope: xr.DataArray, floor: xr.DataArray, n: int, label_noise: float) -> xr.DataArray:
    """Test error of the linear student of least norm on labels +-1, over slope and floor.

    Half of the redrawn labels have the wrong sign. The teacher has the same power on every mode, in
    the mean over seeds.
    """
    modes = xr.DataArray(np.arange(DIM), dims="mode")
    with np.errstate(divide="ignore"):  # log 0: no floor
        log = np.logaddexp(-slope * modes, np.log(floor))
    return theory.label_regression(log, 1.0, n, flip_rate=label_noise / 2, log=True).test_error


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error", "interpolated", "state"]].load()
    n = int(results.n_train.max())
    slope, floor = results.slope.values, results.floor.values
    positive = np.geomspace(*floor[floor > 0][[0, -1]], 41)
    floors = along("floor", np.r_[np.linspace(0.0, positive[0], 7)[:-1], positive])
    slopes = along("slope", np.geomspace(*slope[[0, -1]], 41))
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(12.6, 5.0))
        for ax, noise in zip(axes, results.label_noise.values, strict=False):
            phase_diagram(
                results.sel(n_train=n, label_noise=noise),
                "slope",
                "floor",
                ax=ax,
                norm=Normalize(0.0, 0.5),
                boundary=LEVEL,
                theory=predict(slopes, floors, n, float(noise)),
                contour=None,
                colorbar=False,
                legend=noise == results.label_noise.values[0],
            )
            words = f"labels {noise:.0%} redrawn" if noise else "clean labels"
            ax.set_title(f"Networks, {words}, n = {n}", loc="left", pad=16)
        axes[1].set_ylabel("")
        bar = figure.colorbar(axes[0].collections[0], ax=axes[1], aspect=30, pad=0.02)
        bar.set_label("test error (fraction wrong; 0.5 is chance)")
        bar.outline.set_visible(False)
        noise = float(results.label_noise.max())
        lines(results.sel(n_train=n, label_noise=noise), n, noise, axes[2])
        figure.suptitle(title(results, n))
        path = out / "benign_floor_networks.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def along(name: str, values: np.ndarray) -> xr.DataArray:
    """Make an axis of theory."""
    return xr.DataArray(values, coords={name: values}, dims=name)


def lines(results: xr.Dataset, n: int, noise: float, ax: plt.Axes) -> None:
    """Draw test error against the floor, a line a slope: networks, and linear theory dashed."""
    places = prepare(ax, "x", results.floor)
    known = results.slope.values[[0, len(results.slope) // 2, -1]]
    for color, slope in zip(sns.color_palette("mako_r", 4)[1:], known, strict=True):
        students = results.test_error.sel(slope=slope).transpose("floor", "seed")
        mean, half = t_interval(students.values)
        law = predict(along("slope", np.array([slope])), results.floor, n, noise).squeeze()
        ax.plot(places, law, "--", color=color, linewidth=1.4)
        ax.errorbar(
            *(places, mean, half), fmt="o-", color=color, markersize=4.5, label=f"{slope:g}"
        )
    ax.plot([], [], "--", color="0.4", label="linear theory")
    ax.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":")
    ax.set(ylim=(0.0, 0.55), ylabel="test error (fraction wrong)")
    ax.legend(title="slope", ncols=2, loc="lower right")
    ax.set_title(f"Labels {noise:.0%} redrawn, n = {n}", loc="left", pad=16)


def title(results: xr.Dataset, n: int) -> str:
    """Say what is seen, in numbers from the store."""
    noise = float(results.label_noise.max())
    cells = results.sel(n_train=n, label_noise=noise).isel(slope=-1)
    mean = cells.test_error.mean("seed")
    bare = float(mean.sel(floor=0.0))
    law = predict(along("slope", np.array([float(cells.slope)])), cells.floor, n, noise).squeeze()
    fitted = float((results.interpolated == 1).mean())
    return (
        "Trained networks do not follow linear theory where it is catastrophic: without a floor "
        f"their error is {bare:.2f} at slope {float(cells.slope):g}, that of theory "
        f"{float(law.sel(floor=0.0)):.2f};\na low floor still helps ({float(mean.min()):.2f}), a "
        f"high one drowns the signal for both ({fitted:.0%} of the networks fit every label; "
        f"dim {DIM}, {results.sizes['seed']} seeds)"
    )
