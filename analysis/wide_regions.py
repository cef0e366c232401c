"""The figure of `sweeps/wide_regions.py`: how wide the regions are, and how good.

Every column is a spectrum and a share of random labels. Above: the width of the region around the
students of each optimizer over that of SGD; middle: their test error less that of SGD; both in
pairs of students of one seed, with 95 percent intervals. Below: all students, width and test error
less the means of their seed, with the rank correlation in the cell.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")


def widths(results: xr.Dataset) -> xr.DataArray:
    """Median distance to the edge of the region, in units of the norm of the weights."""
    return results.sublevel_radius.median("direction") / results.weight_norm


def of_the_seed(values: xr.DataArray) -> xr.DataArray:
    """Take the mean of each seed over the optimizers away."""
    return values - values.mean("optimizer")


def correlation(width: xr.DataArray, error: xr.DataArray) -> tuple[float, float, float]:
    """Rank correlation of width and test error in a cell, less their seeds, and its interval.

    The interval holds 95 percent of what resampled seeds give.
    """
    x, y = (of_the_seed(v).transpose("seed", "optimizer").values for v in (width, error))
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(x), len(x)) for _ in range(400)]
    again = [spearmanr(x[some].ravel(), y[some].ravel()).statistic for some in drawn]
    low, high = np.quantile(again, [0.025, 0.975])
    return float(spearmanr(x.ravel(), y.ravel()).statistic), float(low), float(high)


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    names = ["test_error", "weight_norm", "sublevel_radius", "train_error"]
    results = open_store(store)[names].load()
    results = results.assign(width=widths(results))
    cells = [(s, p) for s in results.slope.values for p in results.label_noise.values]
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            3,
            len(cells),
            figsize=(2.9 * len(cells), 8.2),
            height_ratios=[1.0, 1.0, 1.15],
            sharex="row",
            sharey="row",
            squeeze=False,
        )
        found = []
        for column, (slope, noise) in enumerate(cells):
            cell = results.sel(slope=slope, label_noise=noise)
            sgd = cell.sel(optimizer="SGD")
            dots(cell.width / sgd.width, 1.0, axes[0, column])
            dots(cell.test_error - sgd.test_error, 0.0, axes[1, column])
            found.append(cloud(cell, axes[2, column]))
            words = f"{noise:.0%} random labels" if noise else "true labels"
            axes[0, column].set_title(f"slope {slope:g}, {words}", fontweight="bold")
            for ax in axes[:, column]:
                ax.xaxis.set_major_locator(MaxNLocator(4))
            axes[0, column].set_xlabel("width of the region / that of SGD")
            axes[1, column].set_xlabel("test error - that of SGD")
            axes[2, column].set_xlabel("width, less mean of the seed")
        axes[2, 0].set_ylabel("test error, less mean of the seed")
        figure.suptitle(title(results, found))
        path = out / "wide_regions.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def dots(values: xr.DataArray, level: float, ax: plt.Axes) -> None:
    """Draw means over seeds, an optimizer a line, and the level of SGD."""
    mean = values.mean("seed")
    half = 1.96 * values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
    names = values.optimizer.values
    for k, name in enumerate(names):
        here = dict(optimizer=name)
        ax.errorbar(mean.sel(here), k, xerr=half.sel(here), fmt="o", color=f"C{k}", markersize=5)
    ax.axvline(level, color="0.6", linewidth=0.9, linestyle="--", zorder=0)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="0.92", linewidth=0.8)


def cloud(cell: xr.Dataset, ax: plt.Axes) -> tuple[float, float, float]:
    """Draw every student: the width of its region, and its test error."""
    width, error = of_the_seed(cell.width), of_the_seed(cell.test_error)
    for k, name in enumerate(cell.optimizer.values):
        here = dict(optimizer=name)
        ax.plot(width.sel(here), error.sel(here), "o", color=f"C{k}", markersize=3, alpha=0.7)
    rank, low, high = correlation(cell.width, cell.test_error)
    ax.set_title(f"rank correlation {rank:+.2f} [{low:+.2f}, {high:+.2f}]", fontsize=9)
    return rank, low, high


def title(results: xr.Dataset, found: list[tuple[float, float, float]]) -> str:
    """Say what came out, in numbers from the store."""
    over = ["seed", "slope", "label_noise"]
    ratio = (
        (results.width / results.width.sel(optimizer="SGD")).mean(over).drop_sel(optimizer="SGD")
    )
    pairs = zip(ratio.optimizer.values, ratio.values, strict=True)
    said = "; ".join(f"{name} {value:.2f}" for name, value in pairs)
    helps = sum(high < 0.0 for _, _, high in found)
    harms = sum(low > 0.0 for _, low, _ in found)
    ranks = [rank for rank, _, _ in found]
    return (
        f"Width of the region at one training loss, over that of SGD: {said}\n"
        f"Of the students of a seed, those in wider regions err less in {helps} of {len(found)} "
        f"cells and more in {harms}; but the rank correlation is weak, {min(ranks):+.2f} to "
        f"{max(ranks):+.2f} ({results.sizes['seed']} seeds)"
    )
