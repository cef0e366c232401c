"""The figure of `sweeps/double_descent_networks.py`: the peak of trained networks.

Left: median test error with label noise over n and width, with the lines n = parameters and n =
dim. Right: test and train error against parameters / n, a color a sample size, clean labels beside
noisy ones; lines are medians over seeds, bands hold half of the students.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import SubFigure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "double_descent_networks.py"))
DIM = SWEEP["DIM"]
SHOWN = 4  # sample sizes with a color: every second one, the largest last


def parameters(width: np.ndarray) -> np.ndarray:
    """Count weights and biases of a network of one hidden layer and one output."""
    return width * (DIM + 2) + 1


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error", "train_error"]].load()
    noises = results.noise.values
    sizes = results.n_train.values[::-1][::2][:SHOWN][::-1]
    colors = sns.color_palette("crest", len(sizes))
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(13.0, 6.2))
        left, right = figure.subfigures(1, 2, width_ratios=[1.0, 1.5])
        map_of_peaks(results.test_error.sel(noise=noises[-1]).median("seed"), left)
        axes = right.subplots(2, len(noises), sharex=True, squeeze=False, sharey="row")
        for column, noise in enumerate(noises):
            for row, name in enumerate(("test_error", "train_error")):
                ax = axes[row, column]
                for color, n in zip(colors, sizes, strict=True):
                    students = results[name].sel(noise=noise, n_train=n)
                    ratio_line(students, int(n), color, ax)
                ax.axvline(1.0, color="0.75", linewidth=0.9, zorder=0)
                ax.set(xscale="log", yscale="log")
            axes[0, column].set_title(f"label noise (std) {noise:g}")
            axes[1, column].set_xlabel("parameters / n")
        axes[0, 0].set_ylabel("test error (clean labels)")
        axes[1, 0].set_ylabel("train error (labels trained on)")
        axes[0, 0].set_ylim(3e-4, 6.0)
        axes[1, 0].set_ylim(3e-6, 2.0)
        axes[1, -1].legend(title="n", loc="lower left")
        figure.suptitle(
            f"Networks with one hidden layer of tanh units, dim {DIM} "
            f"({results.sizes['seed']} seeds): the test error peaks where parameters are about as "
            "many as samples"
        )
        path = out / "double_descent_networks.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def map_of_peaks(errors: xr.DataArray, figure: SubFigure) -> None:
    """Draw the error over n and width."""
    ax = figure.subplots()
    n, width = errors.n_train.values, errors.width.values
    values = errors.transpose("width", "n_train").values
    mesh = ax.pcolormesh(n, width, values, cmap="magma_r", shading="nearest", vmin=0.0, vmax=1.2)
    ax.set(xscale="log", yscale="log", xlabel="n", ylabel="width (hidden units)")
    limits = ax.get_xlim(), ax.get_ylim()
    fine = np.geomspace(0.5, 100.0, 100)
    ax.plot(parameters(fine), fine, "-", color="0.15", linewidth=1.2, label="n = parameters")
    ax.plot([DIM] * 2, limits[1], "--", color="0.15", linewidth=1.2, label="n = dim")
    ax.set(xlim=limits[0], ylim=limits[1])
    ax.legend(loc="upper right", facecolor="white", framealpha=0.85, frameon=True, edgecolor="none")
    for axis, places in ((ax.xaxis, n), (ax.yaxis, width)):
        axis.set_major_locator(FixedLocator(places.tolist()))
        axis.set_major_formatter(FixedFormatter([str(place) for place in places]))
        axis.set_minor_locator(NullLocator())
    bar = figure.colorbar(mesh, ax=ax, orientation="horizontal", aspect=30, extend="max")
    bar.set_label(f"test error (clean labels), label noise {float(errors.noise):g}")


def ratio_line(students: xr.DataArray, n: int, color: object, ax: plt.Axes) -> None:
    """Draw one measure at one sample size against parameters / n."""
    places = parameters(students.width.values) / n
    values = students.transpose("width", "seed").values
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=1)
    ax.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
    ax.plot(places, middle, "o-", color=color, markersize=3.5, linewidth=1.2, label=str(n))
