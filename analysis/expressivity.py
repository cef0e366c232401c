"""The figure of `sweeps/expressivity.py`: what fits n random labels, by construction and training.

Left: the smallest width that training fits n random labels with, against n, a color a slope, beside
the n units of the construction. Right: the weights of that network over those of the construction,
against the slope. Dots are means over seeds between the widths of the grid, bars hold their
interval and the step of the grid; arrows say that the widest students of the grid do not fit.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import memorize, open_store
from tsframe.phases import interpolation_threshold
from tsframe.samples import draw_samples

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "expressivity.py"))
DIM = SWEEP["DIM"]


def constructed(n: int, slope: float, width: int) -> float:
    """Build the network for the labels of one trial, and give its largest error, which is tiny."""
    one = SWEEP["trial"](n_train=n, slope=slope, width=width, seed=0)
    samples = draw_samples(one.inputs, one.teacher, n, one.n_test, one.label_noise, one.seed)
    network = memorize(samples.x_train, samples.y_train)
    assert network.parameters == 2 * n + DIM
    return float(np.abs(network(samples.x_train) - samples.y_train).max())


def trained_weights(width: xr.DataArray) -> xr.DataArray:
    """Count weights and biases of a network of two classes."""
    return width * (DIM + 1) + (width + 1) * 2


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["train_error"]].load()
    found = interpolation_threshold(results, "width")
    slopes, sizes = results.slope.values, results.n_train.values
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11.5, 5.0))
        palette = sns.color_palette("flare", len(slopes))
        for color, slope in zip(palette, slopes, strict=True):
            lines(found.sel(slope=slope), "n_train", 1.0, color, f"{slope:g}", axes[0])
        axes[0].plot(sizes, sizes, "k--", linewidth=1.4, label="constructed: n units")
        axes[0].set(xlabel="training samples n", ylabel="hidden units that fit random labels")
        axes[0].legend(title="slope")
        weights = xr.Dataset({name: trained_weights(found[name]) for name in found})
        palette = sns.color_palette("crest", len(sizes))
        for color, n in zip(palette, sizes, strict=True):
            chosen = weights.sel(n_train=n)
            lines(chosen, "slope", 2.0 * n + DIM, color, f"{n}", axes[1])
        words = f"constructed: 2 n + {DIM}"
        axes[1].axhline(1.0, color="black", linestyle="--", linewidth=1.4, label=words)
        axes[1].set(xlabel="slope c of the input spectrum (natural log per mode)")
        axes[1].set_ylabel("weights trained / weights constructed")
        axes[1].legend(title="n", loc="upper left")
        axes[0].set(xscale="log", yscale="log")
        axes[1].set(yscale="log")
        ticks(axes[0].xaxis, sizes.tolist())
        ticks(axes[0].yaxis, [2, 4, 8, 16, 32, 64, 128, 256])
        ticks(axes[1].yaxis, [0.25, 0.5, 1, 2, 4, 8])
        figure.suptitle(title(results, found))
        path = out / "expressivity.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def lines(found: xr.Dataset, x: str, unit: float, color: object, name: str, ax: plt.Axes) -> None:
    """Draw thresholds over one axis, in some unit; arrows where they lie beyond the grid."""
    places, low, middle, high = (
        found[name].values for name in (x, "width_low", "width", "width_high")
    )
    known = np.isfinite(middle)
    bars = np.abs(np.array([middle - low, high - middle])[:, known]) / unit
    style = dict(fmt="o-", markersize=5, linewidth=1.4, elinewidth=1.1)
    ax.errorbar(places[known], middle[known] / unit, bars, color=color, label=name, **style)
    for marker, ends, beyond in (("^", low, np.isinf(high)), ("v", high, low <= 0.0)):
        ends = ends[~known & beyond]
        ax.plot(places[~known & beyond], ends / unit, marker, color=color, markersize=8)


def ticks(axis: Axis, values: list[float]) -> None:
    """Write plain numbers at an axis."""
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
    axis.set_minor_locator(NullLocator())


def title(results: xr.Dataset, found: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    n, wide = int(results.n_train.max()), int(results.width.max())
    ends = [float(found.slope.min()), float(found.slope.max())]
    widths = [found.width.sel(n_train=n, slope=slope) for slope in ends]
    shares = [float(trained_weights(width)) / (2 * n + DIM) for width in widths]
    error = max(constructed(n, slope, wide) for slope in ends)
    return (
        f"The constructed network fits n = {n} random labels with {n} hidden units at any slope "
        f"(largest error {error:.0e}).\nTraining does with {float(widths[0]):.0f} units and "
        f"{shares[0]:.2f} times its weights on flat inputs, at slope {ends[1]:g} with "
        f"{float(widths[1]):.0f} units and {shares[1]:.1f} times its weights"
    )
