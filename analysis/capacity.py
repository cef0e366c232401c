"""The figure of `sweeps/capacity.py`: certificates beside the true error, and effective dimension.

Above: a panel a sample size and width; the true test error of the student and five PAC-Bayes bounds
of the error of draws around it, over slope. What lies in the grey area is no better than a coin.
Below: effective dimension over slope; by how much every bound exceeds the true error of its own
draws; and how often each bound held.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tsframe import open_store, theory

STYLE = Path(__file__).with_name("tsframe.mplstyle")
METHODS = {
    "analytic": "analytic posterior",
    "diagonal": "1: diagonal",
    "fisher": "2: Fisher basis at start",
    "moving_fisher": "3: Fisher basis, recomputed",
    "fisher_prior": "4: prior from held-out rows",
}
PROMISED = 0.965  # 1 - delta - delta_draws
CHANCE = 0.5


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    widths, sizes = results.width.values, results.n_train.values
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(11.0, 9.2))
        above, below = figure.subfigures(2, 1, height_ratios=[len(widths), 1.05])
        axes = above.subplots(len(widths), len(sizes), sharex=True, sharey=True, squeeze=False)
        for row, width in enumerate(widths):
            for column, n in enumerate(sizes):
                bounds(results.sel(width=width, n_train=n), axes[row, column])
                if row == 0:
                    axes[row, column].set_title(f"n = {n}", fontweight="bold")
                if row == len(widths) - 1:
                    axes[row, column].set_xlabel("slope of the input spectrum")
            axes[row, 0].set_ylabel(f"width {width}\nerror (fraction wrong)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        above.legend(handles, labels, loc="outside lower center", ncols=6)
        above.suptitle(title(results))
        left, middle, right = below.subplots(1, 3)
        dimensions(results, left)
        slack(results, middle)
        coverages(results, right)
        path = out / "capacity.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def bounds(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the true error and the bounds over slope, means of the seeds with their range."""
    places = np.arange(results.sizes["slope"])
    ax.axhspan(CHANCE, 1.0, color="0.92", zorder=0)
    ax.text(places[-1] + 0.25, 0.985, "no better than a coin", color="0.45", ha="right", va="top")
    for k, (name, words) in enumerate(METHODS.items()):
        values = results[f"{name}_bound"]
        mean = values.mean("seed")
        ax.plot(places, mean, "o-", color=f"C{k}", markersize=3.5, label=words, zorder=3)
        ax.fill_between(
            places, values.min("seed"), values.max("seed"), color=f"C{k}", alpha=0.12, linewidth=0
        )
    true = results.test_error.mean("seed")
    ax.plot(places, true, "s-", color="black", markersize=3.5, label="true test error", zorder=4)
    ax.set_xticks(places, [f"{slope:g}" for slope in results.slope.values])
    ax.set(ylim=(0.0, 1.0))


def dimensions(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the effective dimension over slope, a line a sample size and width."""
    places = np.arange(results.sizes["slope"])
    widths = results.width.values
    for style, width in zip(("-", "--"), (widths[0], widths[-1]), strict=True):
        for k, n in enumerate(results.n_train.values):
            some = results.effective_dimension.sel(width=width, n_train=n).mean("seed")
            label = f"n = {n}" if style == "-" else None
            ax.plot(places, some, style, color=f"C{k}", marker="o", markersize=3.5, label=label)
    ax.set_xticks(places, [f"{slope:g}" for slope in results.slope.values])
    ax.set(yscale="log", xlabel="slope of the input spectrum")
    ax.set_ylabel("directions that the data decide")
    ax.set_title(f"effective dimension (dashed: width {widths[-1]})", loc="left")
    ax.legend(loc="lower right")


def slack(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw every bound against the true error of its own draws."""
    for k, name in enumerate(METHODS):
        risk, bound = (results[f"{name}_{part}"].values.ravel() for part in ("risk", "bound"))
        ax.plot(risk, bound, "o", color=f"C{k}", markersize=2.6, alpha=0.6, markeredgewidth=0)
    ax.axhspan(CHANCE, 1.0, color="0.92", zorder=0)
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.9)
    ax.text(0.44, 0.4, "broken below", rotation=36, ha="center", va="center", fontsize=7.5)
    ax.set(xlim=(0.0, 0.6), ylim=(0.0, 1.0))
    ax.set(xlabel="true error of the draws", ylabel="bound")
    ax.set_title("bound against truth, every student", loc="left")


def held(results: xr.Dataset, name: str) -> xr.Dataset:
    """Count how often the bound of a method held, over all students of the store."""
    dims = list(results[f"{name}_bound"].dims)
    bound, risk = (results[f"{name}_{part}"].stack(student=dims) for part in ("bound", "risk"))
    return theory.coverage(bound.reset_index("student"), risk.reset_index("student"), "student")


def coverages(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw how often every bound held, with its exact interval."""
    for k, name in enumerate(METHODS):
        found = held(results, name)
        share, low, high = (float(found[part]) for part in ("share", "low", "high"))
        ax.plot([low, high], [k, k], color=f"C{k}", linewidth=3, solid_capstyle="butt", alpha=0.5)
        ax.plot(share, k, "o", color=f"C{k}", markersize=5)
        count = int(found.data_sets)
        ax.text(0.893, k, f"{round(share * count)} of {count}", color=f"C{k}", va="center")
    ax.axvline(PROMISED, color="black", linewidth=0.9)
    ax.text(PROMISED, len(METHODS) - 0.45, "promised ", ha="right", fontsize=8)
    names = [words.split(":")[0].split()[0] for words in METHODS.values()]
    ax.set_yticks(range(len(METHODS)), [n if n == "analytic" else f"method {n}" for n in names])
    ax.set(xlim=(0.89, 1.003), ylim=(len(METHODS) - 0.3, -0.6))
    ax.set_xlabel("share of students whose bound held")
    ax.set_title("measured coverage", loc="left")


def title(results: xr.Dataset) -> str:
    """Say where certificates are not vacuous, in numbers from the store."""
    best = xr.concat([results[f"{name}_bound"] for name in METHODS], "method").min("method")
    mean = best.mean(["seed", "width"])
    steep = f"{results.slope.values[-1]:g}"
    said = [
        f"n = {n}: {float(some[0]):.2f} to {float(some[-1]):.2f}"
        for n, some in ((n, mean.sel(n_train=n)) for n in results.n_train.values)
    ]
    shares = [
        f"{float((some < CHANCE).sum() / some.notnull().sum()):.0%}"
        for some in (best.isel(slope=0), best.isel(slope=-1))
    ]
    return (
        "PAC-Bayes bounds tighten as the spectrum of the inputs grows steeper, and with n\n"
        f"best of five, from isotropic inputs to slope {steep}:  {';  '.join(said)}\n"
        f"below chance for {shares[0]} of the students of isotropic inputs, {shares[1]} at slope "
        f"{steep}"
    )
