"""The figure of `sweeps/deep_linear.py`: what depth does to the matrix that descent finds.

Above: singular values of the product over the time of the flow, all entries seen, a panel a depth;
lines are the closed form, dots the student of the first seed. Below: against the number of entries
seen, in units of the degrees of freedom of the target: test error, effective rank, and nuclear norm
in units of the least; lines are medians over seeds, dots students.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store, theory

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "deep_linear.py"))
LAYERS, FREEDOM = SWEEP["LAYERS"], SWEEP["FREEDOM"]
CONVEX = "least nuclear norm"
MEASURES = {
    "test_error": "test error (mean square, all entries)",
    "effective_rank": "effective rank (exp of entropy)",
    "excess_norm": "nuclear norm / the least",
}


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    whole, some = split(results)
    models = results.model.values
    deep = [name for name in models if name in LAYERS]
    colors = dict(zip(deep, sns.color_palette("crest", len(deep)), strict=True)) | {CONVEX: "C3"}
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(13.0, 7.6))
        above, below = figure.subfigures(2, 1, height_ratios=[0.82, 1.0])
        for k, (ax, name) in enumerate(
            zip(above.subplots(1, len(deep), sharey=True), deep, strict=True)
        ):
            modes(whole.sel(model=name), LAYERS[name], colors[name], ax)
            ax.set_title(name, color=colors[name], fontweight="bold")
            if k == 0:
                ax.set_ylabel("singular values of the product")
                ax.plot([], [], color="0.4", label="closed form")
                ax.plot([], [], "o", color="0.4", markersize=3.5, label="gradient flow")
                ax.legend(loc="lower right")
        for ax, measure in zip(below.subplots(1, len(MEASURES)), MEASURES, strict=True):
            against_entries(some[measure], models, colors, ax)
            ax.set_ylabel(MEASURES[measure])
            if measure == "test_error":
                ax.set(yscale="log", ylim=(1e-5, 5.0))
                words = "flows end at 1e-5 on the entries seen"
                ax.text(0.02, 0.02, words, transform=ax.transAxes, color="0.4", fontsize=8)
            elif measure == "effective_rank":
                ax.axhline(SWEEP["RANK"], color="0.6", linewidth=0.9, zorder=0)
                shallow = float(some[measure].sel(model="1 layer").median())
                words = f"1 layer: {shallow:.0f}, all along"
                ax.text(
                    0.98, 0.96, words, transform=ax.transAxes, ha="right", color=colors["1 layer"]
                )
                ax.set(ylim=(1.0, 9.0))
            else:
                ax.set(ylim=(0.97, 1.5))
        handles, names = ax.get_legend_handles_labels()
        below.legend(handles, names, loc="outside upper center", ncols=len(names))
        figure.suptitle(title(some))
        path = out / "deep_linear.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def split(results: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Take apart where all entries are seen and where some are."""
    full = results.observed.values == SWEEP["DIM"] ** 2
    whole, some = results.isel(observed=np.flatnonzero(full)[0]), results.isel(observed=~full)
    some["excess_norm"] = some.nuclear_norm / some.nuclear_norm.sel(model=CONVEX)
    return whole, some


def law(student: xr.Dataset, layers: int, times: np.ndarray) -> xr.DataArray:
    """Give the closed form of the modes of one student, over time."""
    target = SWEEP["trial"]("1 layer", SWEEP["DIM"] ** 2, int(student.seed)).target
    strengths = np.linalg.svd(target.draw(int(student.seed)), compute_uv=False)[: target.rank]
    return theory.deep_linear(strengths, times, SWEEP["ALIGNED"], layers)


def modes(students: xr.Dataset, layers: int, color: object, ax: plt.Axes) -> None:
    """Draw the modes of one student over time, and their law."""
    student = students.isel(seed=0)
    end = float(student.time)
    times = np.linspace(0.0, end, 300)
    predicted = law(student, layers, times)
    for mode, line in enumerate(predicted.transpose("strength", "time")):
        ax.plot(times, line, color=color, linewidth=1.4, zorder=1)
        at, values = student.time_curve.values, student.singular_values_curve.values[:, mode]
        ax.plot(at, values, "o", color=color, markersize=3.2, zorder=2, clip_on=False)
    ax.set(xlim=(0.0, end), ylim=(0.0, None), xlabel="time (learning rate x steps)")


def against_entries(
    measure: xr.DataArray, models: np.ndarray, colors: dict[str, object], ax: plt.Axes
) -> None:
    """Draw one measure against the entries seen, a color a model."""
    places = measure.observed.values / FREEDOM
    for name in models:
        students = measure.sel(model=name).transpose("observed", "seed").values
        style = "s--" if name == CONVEX else "-"
        middle = np.median(students, axis=1)
        ax.plot(places, students, ".", color=colors[name], alpha=0.35, markersize=4)
        ax.plot(places, middle, style, color=colors[name], markersize=4, label=name)
    ax.set(xscale="log", xlabel="entries seen / degrees of freedom")
    ticks = [1.0, 1.25, 1.5, 2.0, 2.5, 3.5]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())


def title(some: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    middle = some.median("seed")
    gain = middle.test_error.sel(model=CONVEX) / middle.test_error.sel(model="3 layers")
    best = int(np.argmax(gain.values))
    at = middle.isel(observed=best)
    errors = [float(at.test_error.sel(model=name)) for name in ("3 layers", "2 layers", CONVEX)]
    return (
        "Depth makes gradient flow learn modes one after another, and find low rank where the "
        "least nuclear norm does not\n"
        f"{SWEEP['DIM']} x {SWEEP['DIM']} matrix of rank {SWEEP['RANK']}: with "
        f"{float(at.observed) / FREEDOM:.1f} entries a degree of freedom the error is "
        f"{errors[0]:.2g} at 3 layers, {errors[1]:.2g} at 2, {errors[2]:.2g} by the least norm"
    )
