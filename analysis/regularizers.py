"""The figure of `sweeps/regularizers.py`: errors with each regularizer, true to random labels.

A row a spectrum, a column a share of random labels, a line a regularizer: dots are test errors,
diamonds training errors, means over seeds. Bars hold 95 percent of the change against no
regularizer, in pairs of students of one seed. A dashed line marks the test error without any, a
dotted one chance.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "regularizers.py"))
LABELS = {0.0: "true labels", 1.0: "random labels"}


def changes(results: xr.Dataset) -> xr.Dataset:
    """Change of the test error against no regularizer, in pairs by seed, with standard errors."""
    gain = results.test_error - results.test_error.sel(regularizer="none")
    error = gain.std("seed", ddof=1) / np.sqrt(gain.sizes["seed"])
    return xr.Dataset({"change": gain.mean("seed"), "error": error})


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error", "train_error"]].load()
    names = [name for name in SWEEP["REGULARIZERS"] if name in results.regularizer]
    results = results.sel(regularizer=names)
    slopes, noises = results.slope.values, results.label_noise.values
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            len(slopes),
            len(noises),
            figsize=(3.5 * len(noises), 1.1 + 2.7 * len(slopes)),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for row, slope in enumerate(slopes):
            for column, noise in enumerate(noises):
                panel(results.sel(slope=slope, label_noise=noise), axes[row, column])
                if row == 0:
                    words = LABELS.get(float(noise), f"{noise:.0%} of the labels random")
                    axes[row, column].set_title(words, fontweight="bold")
            axes[row, 0].set_ylabel(f"slope {slope:g}")
        for ax in axes[-1]:
            ax.set_xlabel("error (fraction wrong)")
        axes[0, 0].invert_yaxis()
        handles, words = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, words, loc="outside lower center", ncols=4)
        figure.suptitle(title(results))
        path = out / "regularizers.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def panel(cells: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the errors of one spectrum and one share of random labels."""
    places = np.arange(cells.sizes["regularizer"])
    mean, half = cells.test_error.mean("seed"), 1.96 * changes(cells).error
    none = float(mean.sel(regularizer="none"))
    chance = 1.0 - 1.0 / SWEEP["CLASSES"]
    ax.axvline(
        none, color="C0", linewidth=0.9, linestyle="--", label="test error without", zorder=0
    )
    ax.axvline(chance, color="0.55", linewidth=0.9, linestyle=":", label="chance", zorder=0)
    ax.errorbar(mean, places, xerr=half, fmt="o", color="C0", markersize=5, label="test error")
    train = cells.train_error.mean("seed")
    ax.plot(train, places, "D", color="C3", markersize=5, clip_on=False, label="training error")
    ax.set_yticks(places, cells.regularizer.values)
    ax.set_xlim(-0.02, 0.85)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="0.92", linewidth=0.8)


def title(results: xr.Dataset) -> str:
    """Say what came out, in numbers from the store."""
    fitted = (results.train_error == 0.0).drop_sel(regularizer="early stopping", errors="ignore")
    random = fitted.sel(label_noise=results.label_noise.max())
    change = changes(results).sel(label_noise=0.0).change
    best, worst = float(change.min()), float(change.max())
    return (
        "Regularizers change the test error, not the ability to fit: "
        f"{float(random.mean()):.0%} of the students fit random labels exactly (early stopping "
        f"apart),\nand with true labels they move the test error by {best:+.2f} to {worst:+.2f}  "
        f"({results.sizes['seed']} seeds)"
    )
