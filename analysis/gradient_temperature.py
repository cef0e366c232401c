"""The figure of `sweeps/gradient_temperature.py`: test error against learning rate / batch size.

A row a spectrum, a column a share of random labels; colors are batch sizes. Filled dots are cells
all of whose students fit their training labels, open ones those where training has failed for some;
bars are 95 percent intervals over seeds.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")


def temperatures(results: xr.Dataset) -> xr.DataArray:
    """Learning rate over batch size of every cell."""
    return results.lr / results.batch_size


def trend(results: xr.Dataset) -> tuple[float, float]:
    """Change of the test error a decade of temperature, over cells that fit, and its error.

    A line through the errors of each seed, spectrum and noise; the mean of their slopes over all,
    with its standard error over seeds.
    """
    decades = np.log10(temperatures(results))
    fitted = ((results.train_error == 0.0) & (results.train_loss < 0.1)).all("seed")
    x = decades.where(fitted)
    over = ["lr", "batch_size"]
    y = results.test_error.where(fitted)
    slope = ((x - x.mean(over)) * y).sum(over) / ((x - x.mean(over)) ** 2).sum(over)
    seeds = slope.mean(["slope", "label_noise"])
    return float(seeds.mean()), float(seeds.std(ddof=1) / np.sqrt(seeds.sizes["seed"]))


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    names = ["test_error", "train_error", "train_loss"]
    results = open_store(store)[names].load()
    slopes, noises = results.slope.values, results.label_noise.values
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            len(slopes), len(noises), figsize=(9.2, 6.8), sharex=True, sharey=True, squeeze=False
        )
        for row, slope in enumerate(slopes):
            for column, noise in enumerate(noises):
                ax = axes[row, column]
                panel(results.sel(slope=slope, label_noise=noise), ax)
                words = f"{noise:.0%} of the labels random" if noise else "true labels"
                ax.set_title(f"slope {slope:g}, {words}", fontweight="bold")
            axes[row, 0].set_ylabel("test error")
        for ax in axes[-1]:
            ax.set_xlabel("learning rate / batch size")
        styles = dict(marker="o", linestyle="none", markersize=5)
        handles = [
            Line2D([], [], color=f"C{k}", label=f"batch size {size}", **styles)
            for k, size in enumerate(results.batch_size.values)
        ]
        handles.append(Line2D([], [], color="0.4", mfc="white", label="some do not fit", **styles))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.suptitle(title(results))
        path = out / "gradient_temperature.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def panel(cells: xr.Dataset, ax: plt.Axes) -> None:
    """Draw one spectrum and noise."""
    fitted = (cells.train_error == 0.0).all("seed")
    mean = cells.test_error.mean("seed")
    half = 1.96 * cells.test_error.std("seed", ddof=1) / np.sqrt(cells.sizes["seed"])
    for k, size in enumerate(cells.batch_size.values):
        here = dict(batch_size=size)
        x = (cells.lr / size).values
        bars = dict(color=f"C{k}", fmt="none", elinewidth=1.0)
        ax.errorbar(x, mean.sel(here), half.sel(here), **bars)
        for is_fitted, fill in ((True, f"C{k}"), (False, "white")):
            chosen = fitted.sel(here).values == is_fitted
            ax.plot(
                x[chosen], mean.sel(here).values[chosen], "o", color=f"C{k}", mfc=fill, markersize=5
            )
    level = float(mean.where(fitted).mean())
    ax.axhline(level, color="0.6", linewidth=0.9, linestyle="--", zorder=0)
    ax.set_xscale("log")


def title(results: xr.Dataset) -> str:
    """Say what came out, in numbers from the store."""
    change, error = trend(results)
    return (
        "Where all training labels are fitted, the test error hardly depends on the temperature:\n"
        f"it changes by {change:+.4f} +- {error:.4f} a decade of learning rate / batch size; "
        f"above, training fails ({results.sizes['seed']} seeds)"
    )
