"""The figure of `sweeps/taxonomy.py`: the overfitting coefficient E0 on a ladder in n.

Left: spectra whose overfitting is benign or tempered; dots are the means of the students with their
standard errors, lines are theory, marks at the right the limits of infinite n. Middle: pure
exponentials, whose E0 follows slope * n. Right: measurement over theory at the largest n.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter

from tsframe import open_store, theory

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "taxonomy.py"))
PALETTES = {"log-corrected": "YlGn", "power law": "PuBu", "exponential": "OrRd"}
CLASSES = {"log-corrected": "benign", "power law": "tempered", "exponential": "catastrophic"}


def family(spectrum: str) -> str:
    """Name the family of a spectrum, e.g. "power law" of "power law 2"."""
    return spectrum.rpartition(" ")[0]


def limit(spectrum: str) -> float:
    """E0 at infinite n."""
    parameter = float(spectrum.rpartition(" ")[2])
    return {"log-corrected": 1.0, "power law": parameter, "exponential": np.inf}[family(spectrum)]


def predict(spectrum: str, n: int) -> float:
    """E0 by theory, for the modes and the penalty of the students."""
    one = SWEEP["trial"](spectrum, int(n), seed=0)
    law = theory.ridge(one.inputs.eigenvalues, 0.0, int(n), one.training.penalty, noise=1.0)
    return float(law.overfitting_coefficient)


def measure(results: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """E0 of the students, mean over seeds and standard error; the noise has unit variance."""
    errors = 1.0 + results.test_error
    return errors.mean("seed"), errors.std("seed", ddof=1) / np.sqrt(errors.sizes["seed"])


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error"]].load()
    mean, deviation = measure(results)
    names = [str(name) for name in results.spectrum.values]
    colors = {}
    for kind, palette in PALETTES.items():
        mine = [name for name in names if family(name) == kind]
        shades = sns.color_palette(palette, len(mine) + 2)[2:]
        colors |= dict(zip(mine, shades, strict=True))
    with plt.style.context(STYLE):
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(13.0, 5.0), width_ratios=[1.15, 1.0, 0.9]
        )
        for name in names:
            ax = middle if family(name) == "exponential" else left
            ladder(mean.sel(spectrum=name), deviation.sel(spectrum=name), colors[name], ax)
        limits(left, colors, float(results.n_train.max()))
        asymptotes(middle, colors, results.n_train.values)
        ratios(mean, deviation, colors, right)
        for ax in (left, middle):
            n = results.n_train.values
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(n.tolist()))
            ax.xaxis.set_major_formatter(FixedFormatter([str(size) for size in n]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel("n")
            ax.legend(title="eigenvalues", loc="upper left")
        left.set_ylabel("overfitting coefficient E0 = 1 + test error / noise variance")
        left.set_title("benign and tempered")
        middle.set_title("catastrophic")
        figure.suptitle(
            f"Noise that is fitted exactly: E0 tends to 1, to the exponent, or grows as slope x n "
            f"(linear students of least norm, {results.sizes['seed']} seeds; lines: theory)"
        )
        path = out / "taxonomy.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def ladder(mean: xr.DataArray, deviation: xr.DataArray, color: object, ax: plt.Axes) -> None:
    """Draw E0 of one spectrum against n, measured and by theory."""
    n = mean.n_train.values
    fine = np.unique(np.rint(np.geomspace(n.min(), n.max(), 25))).astype(int)
    name = str(mean.spectrum.values)
    ax.plot(fine, [predict(name, size) for size in fine], color=color, linewidth=1.3, zorder=1)
    ax.errorbar(n, mean, deviation, fmt="o", color=color, markersize=4.5, label=name, zorder=2)


def limits(ax: plt.Axes, colors: dict[str, object], end: float) -> None:
    """Mark the limits of infinite n at the right edge."""
    for name, color in colors.items():
        if np.isfinite(limit(name)):
            ax.plot([1.12 * end, 1.6 * end], [limit(name)] * 2, color=color, linewidth=2.5)
    ax.text(1.35 * end, 3.06, "limit", ha="center", fontsize="small", color="0.3")
    ax.set_ylim(0.9, 4.4)


def asymptotes(ax: plt.Axes, colors: dict[str, object], n: np.ndarray) -> None:
    """Draw slope * n."""
    for name, color in colors.items():
        if family(name) == "exponential":
            slope = float(name.rpartition(" ")[2])
            ax.plot(n, slope * n, ":", color=color, linewidth=1.2, zorder=0)
    ax.plot([], [], ":", color="0.4", label="slope x n")
    ax.set(yscale="log", ylim=(0.8, 1200.0))
    ax.yaxis.set_major_locator(FixedLocator([1, 3, 10, 30, 100]))
    ax.yaxis.set_major_formatter(FixedFormatter(["1", "3", "10", "30", "100"]))
    ax.yaxis.set_minor_locator(NullLocator())


def ratios(
    mean: xr.DataArray, deviation: xr.DataArray, colors: dict[str, object], ax: plt.Axes
) -> None:
    """Draw measurement over theory at the largest n, with a band of 2 percent."""
    n = int(mean.n_train.max())
    names = list(colors)
    ax.axvspan(-0.02, 0.02, color="0.93", zorder=0)
    ax.axvline(0.0, color="0.6", linewidth=0.8, zorder=0)
    for place, name in enumerate(names):
        law = predict(name, n)
        here = dict(spectrum=name, n_train=n)
        ratio, width = float(mean.sel(here)) / law - 1.0, float(deviation.sel(here)) / law
        ax.errorbar(ratio, place, xerr=width, fmt="o", color=colors[name], markersize=4.5)
        ax.text(0.47, place, f"{float(mean.sel(here)):.4g}", ha="right", va="center", fontsize=8)
        if ratio > 2.0 * width and family(name) == "exponential":
            edge = f"1/slope = {1.0 / float(name.rpartition(' ')[2]):g} modes: too few for theory"
            ax.text(0.47, place - 0.45, edge, ha="right", fontsize=7.5, color="0.3")
    ax.text(0.47, -0.9, "E0", ha="right", va="center", fontsize=8, color="0.3")
    words = [f"{name} ({CLASSES[family(name)]})" for name in names]
    ax.set_yticks(range(len(names)), words)
    ax.set(ylim=(len(names) - 0.4, -1.4), xlim=(-0.12, 0.48))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("measured over theory, minus 1; band: 2%")
    ax.set_title(f"n = {n}")
