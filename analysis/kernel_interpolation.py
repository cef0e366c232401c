"""The figure of `sweeps/kernel_interpolation.py`: what the norm of an interpolant tells.

Left: test error against norm / sqrt(n), a dot a setting (mean over seeds), a color a share of
redrawn labels. Middle: norm / sqrt(n) against n for one kernel, true labels beside random ones.
Right: moved along one axis alone, do norm and error rise together? One (always), or minus one
(never), with a dot a seed; settings whose labels are all random, of error at chance, are left out
where the labels do not move.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "kernel_interpolation.py"))
SHOWN = "Laplace"  # the kernel of the middle panel
MOVES = {  # axis -> what is moved along it
    "label_noise": "more labels redrawn",
    "kernel": "another kernel",
    "n_train": "more samples",
    "inputs": "other inputs",
}


def together(norm: xr.DataArray, error: xr.DataArray, axis: str) -> xr.DataArray:
    """Kendall's tau of two measures along one axis alone, averaged over all other settings.

    The granulated coefficient of Jiang et al. 2020 (arXiv:1912.02178), equation 4, a seed each.
    """
    pairs = np.triu_indices(norm.sizes[axis], 1)
    first, second = (xr.DataArray(places, dims="pair") for places in pairs)
    moved = [np.sign(a.isel({axis: second}) - a.isel({axis: first})) for a in (norm, error)]
    return (moved[0] * moved[1]).mean([dim for dim in moved[0].dims if dim != "seed"])


def taus(results: xr.Dataset) -> dict[str, xr.DataArray]:
    """Give the coefficient along every axis, a seed each."""
    found = {}
    for axis in MOVES:
        some = results if axis == "label_noise" else results.sel(label_noise=slice(0.0, 0.99))
        norm = some.weight_norm / np.sqrt(some.n_train)
        found[axis] = together(norm, some.test_error, axis)
    return found


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error", "weight_norm", "interpolated"]].load()
    results["complexity"] = results.weight_norm / np.sqrt(results.n_train)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(13.6, 4.7), width_ratios=[1.35, 1.0, 1.0])
        clouds(results, axes[0])
        growth(results.sel(kernel=SHOWN), axes[1])
        bars(taus(results), axes[2])
        figure.suptitle(title(results))
        path = out / "kernel_interpolation.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def clouds(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the error of every setting against its norm."""
    mean = results.mean("seed")
    colors = sns.color_palette("flare", mean.sizes["label_noise"])
    for color, noise in zip(colors, mean.label_noise.values, strict=True):
        for digits in (False, True):
            here = (mean.inputs.values == "digits") == digits
            some = mean.sel(label_noise=noise).isel(inputs=here)
            words = f"{noise:.0%}" if noise < 1 else "all: random labels"
            ax.plot(
                some.complexity.values.ravel(),
                some.test_error.values.ravel(),
                "D" if digits else "o",
                color=color,
                markersize=3.4 if digits else 3.8,
                markeredgecolor="white",
                markeredgewidth=0.3,
                label=None if digits else words,
            )
    ax.plot([], [], "D", color="0.5", markersize=3.4, label="(diamonds: digits)")
    ax.axvline(1.0, color="0.6", linewidth=0.9, zorder=0)
    ax.text(1.04, 0.985, "above one, bounds say nothing", color="0.35", fontsize=8, va="top")
    ax.set(xscale="log", xlim=(0.45, 250.0), ylim=(0.0, 1.0), xlabel="norm / sqrt(n)")
    ax.set_ylabel("test error (fraction wrong, clean labels)")
    plain_ticks(ax, [0.5, 1, 2, 5, 10, 20, 50])
    ax.legend(title="labels redrawn", loc="center right", bbox_to_anchor=(1.02, 0.45))
    ax.set_title("the same norm, any error", loc="left")


def growth(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the norm against n, true labels beside random ones, the errors written beside."""
    inputs = results.inputs.values[-2:]
    for color, name in zip(("C0", "C1"), inputs, strict=False):
        for noise, style, words in ((0.0, "o-", "true labels"), (1.0, "s--", "random labels")):
            some = results.sel(inputs=name, label_noise=noise)
            middle = some.complexity.mean("seed")
            ax.plot(
                middle.n_train, middle, style, color=color, markersize=4, label=f"{name}, {words}"
            )
            said = f"error {float(some.test_error.isel(n_train=-1).mean()):.2f}"
            place = (float(middle.n_train[-1]), float(middle[-1]))
            ax.annotate(said, place, (5, -3), textcoords="offset points", color=color)
    ax.set(xscale="log", xlabel="training samples n", ylabel="norm / sqrt(n)")
    ax.set_xlim(right=float(results.n_train[-1]) * 2.2)
    ax.set_ylim(bottom=0.0)
    plain_ticks(ax, results.n_train.values.tolist())
    ax.legend(loc="lower left")
    ax.set_title(f"{SHOWN} kernel", loc="left")


def bars(found: dict[str, xr.DataArray], ax: plt.Axes) -> None:
    """Draw the coefficients along the axes, a dot a seed."""
    for place, (axis, tau) in enumerate(found.items()):
        middle = float(tau.mean())
        ax.barh(place, middle, color="C0" if middle > 0 else "C3", height=0.55, alpha=0.85)
        ax.plot(tau, np.full(tau.size, place), "|", color="0.1", markersize=11)
        side = ("left", 0.04) if middle < 0 else ("right", -0.04)
        words = f"{MOVES[axis]}\n{middle:+.2f}"
        ax.text(side[1], place, words, va="center", ha=side[0], fontsize=9.5)
    ax.axvline(0.0, color="0.3", linewidth=0.8)
    ax.set(xlim=(-1.05, 1.05), yticks=[], xlabel="tau of norm / sqrt(n) and test error")
    ax.invert_yaxis()
    ax.spines["left"].set_visible(False)
    ax.set_title("moved along one axis alone", loc="left")


def plain_ticks(ax: plt.Axes, places: list[float]) -> None:
    """Write the values at these places of the x axis."""
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{place:g}" for place in places]))
    ax.xaxis.set_minor_locator(NullLocator())


def title(results: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    found = {axis: float(tau.mean()) for axis, tau in taus(results).items()}
    fitted = float((results.interpolated == 1).mean())
    return (
        f"The norm of an interpolant ranks label noise (tau {found['label_noise']:+.2f}) and "
        f"misleads along n ({found['n_train']:+.2f}) and over inputs ({found['inputs']:+.2f})\n"
        f"{results.test_error.size:,} students of least norm, {fitted:.0%} of which fit all labels "
        "exactly; kernels are one on the diagonal"
    )
