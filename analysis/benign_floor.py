"""The figure of `sweeps/benign_floor.py`: the price of noise, and what a floor does to it.

The price is the excess of the error with noise over the error without, in units of the variance of
the noise: E0 - 1 in theory. Above: the price over slope and floor, with the boundary where the
noise costs as much as it is, measured and by theory (below the lowest floor the measured boundary
is interpolated, that of theory is not); and the phase of every cell, named by the growth of the
price with n. Below: the price against n and against slope; lines are theory, dots the means of the
students with their 95 percent intervals.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store, phases, theory
from tsframe.plots import phase_diagram
from tsframe.plots.lines import t_interval

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "benign_floor.py"))
SLOPE = "slope c of the input spectrum\n(natural log per mode)"
TAIL = "trace of the floor: sum of its eigenvalues\n(leading exponential = 1)"
PRICE = "price of the noise\n(excess error / variance of the noise)"


def predict(slope: xr.DataArray, tail: xr.DataArray, n_train: xr.DataArray) -> xr.DataArray:
    """Price of the noise by theory, E0 - 1, over the dims of the arguments."""
    steps = []
    for n in np.atleast_1d(n_train.values):
        dim = SWEEP["dim"](int(n))
        modes = xr.DataArray(np.arange(dim), dims="mode")
        with np.errstate(divide="ignore"):  # log 0: no floor
            log = np.logaddexp(-slope * modes, np.log(tail / dim))
        law = theory.ridge(log, 1.0, float(n), log=True)
        steps.append(law.overfitting_coefficient - 1.0)
    return xr.concat(steps, n_train) if n_train.ndim else steps[0]


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error", "train_error", "state"]].load()
    clean, noisy = (results.sel(noise=results.noise.values[k]) for k in (0, -1))
    price = (noisy.test_error - clean.test_error) / float(noisy.noise) ** 2
    price.attrs["long_name"] = "price of the noise"
    named = phases.classify(noisy, n="n_train", bayes=clean.test_error, fitted=1e-6)
    n = int(results.n_train.values[-2:][0])
    here = xr.Dataset({"price": price.sel(n_train=n), "state": noisy.state.sel(n_train=n)})
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(10.4, 9.0), height_ratios=[1.15, 1.0])
        phase_diagram(
            here.drop_vars("noise"),
            "slope",
            "floor_trace",
            "price",
            ax=axes[0, 0],
            norm=LogNorm(0.1, 100.0),
            boundary=1.0,
            theory=fine(here),
        )
        axes[0, 0].set_title(f"Price of the noise at n = {n}", loc="left", pad=16)
        phase_diagram(
            noisy.isel(n_train=-1).drop_vars("noise"),
            "slope",
            "floor_trace",
            ax=axes[0, 1],
            phases=named,
        )
        axes[0, 1].set_title("Phase, by the growth of the price with n", loc="left", pad=16)
        for ax in axes[0]:
            ax.set(xlabel=SLOPE, ylabel=TAIL)
        middle = results.slope.values[len(results.slope) // 2]
        lines(price.sel(slope=middle), "n_train", axes[1, 0])
        axes[1, 0].set_title(f"Slope {middle:g}", loc="left")
        axes[1, 0].set(xlabel="training samples n", ylabel=PRICE)
        lines(price.sel(n_train=n), "slope", axes[1, 1])
        axes[1, 1].set_title(f"n = {n}", loc="left")
        axes[1, 1].set(xlabel=SLOPE, ylabel=PRICE)
        axes[1, 1].legend(title="trace of the floor", ncols=2)
        figure.suptitle(title(results, named))
        path = out / "benign_floor.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def along(name: str, values: np.ndarray) -> xr.DataArray:
    """Make an axis of theory."""
    return xr.DataArray(values, coords={name: values}, dims=name)


def fine(cells: xr.Dataset) -> xr.DataArray:
    """Predict at more slopes and floors than were run, for smooth lines."""
    slope, tail = cells.slope.values, cells.floor_trace.values
    positive = np.geomspace(*tail[tail > 0][[0, -1]], 25)
    tails = np.concatenate([np.linspace(0.0, positive[0], 7)[:-1], positive])
    return predict(
        along("slope", np.geomspace(*slope[[0, -1]], 25)),
        along("floor_trace", tails),
        cells.n_train,
    )


def lines(price: xr.DataArray, x: str, ax: plt.Axes) -> None:
    """Draw the price along one axis, a line a floor: theory, and students with intervals."""
    dense = np.unique(np.rint(np.geomspace(*price[x].values[[0, -1]], 12)))
    if x == "slope":
        dense = np.geomspace(*price[x].values[[0, -1]], 25)
    places = {"slope": price.slope, "n_train": price.n_train} | {x: along(x, dense)}
    law = predict(places["slope"], price.floor_trace, places["n_train"])
    colors = sns.color_palette("mako_r", price.sizes["floor_trace"] + 1)[1:]
    for color, tail in zip(colors, price.floor_trace.values, strict=True):
        mean, half = t_interval(price.sel(floor_trace=tail).transpose(x, "seed").values)
        ax.plot(dense, law.sel(floor_trace=tail), color=color, linewidth=1.4)
        label = f"{tail:g}" if tail else "none"
        ax.errorbar(price[x], mean, half, fmt="o", color=color, markersize=4.5, label=label)
    ax.axhline(1.0, color="0.6", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log", ylim=(0.06, 300.0))
    values = price[x].values
    ax.xaxis.set_major_locator(FixedLocator(values))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
    ax.xaxis.set_minor_locator(NullLocator())


def title(results: xr.Dataset, named: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    bare, floored = named.growth.isel(floor_trace=0), named.growth.isel(floor_trace=slice(1, None))
    return (
        "What noise costs linear students that fit it exactly: without a floor more and "
        "more, over a floor less and less once slope x n is large\n"
        f"(dim n\N{SUPERSCRIPT TWO}/8, {results.sizes['seed']} seeds; the price grows as n to the "
        f"power {float(bare.min()):.1f} to {float(bare.max()):.1f} without a floor, "
        f"{float(floored.min()):.1f} to {float(floored.max()):.1f} over one)"
    )
