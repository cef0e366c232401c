"""The figure of `sweeps/binary_perceptron.py`: dense clusters, who finds them, what they are worth.

Left: share of the solutions that are isolated, and share in the largest cluster, against patterns a
weight. Middle: how many solutions lie within so many flips of the one that was chosen, in nats a
weight, at a middle number of patterns. Right: test error of the one that was chosen less that of
the typical solution of the same patterns, and of isolated ones beside. Means over seeds with 95
percent intervals; only students that fit all patterns.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tsframe import open_store
from tsframe.plots.lines import t_interval

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "binary_perceptron.py"))
COLORS = {"uniform": "0.45", "annealing": "C0", "15 replicas": "C3", "densest": "C2"}
WORDS = {
    "uniform": "any solution",
    "annealing": "annealing",
    "15 replicas": "annealing of 15 replicas",
    "densest": "the densest (oracle)",
}
FARTHEST = 8  # flips


def gains(results: xr.Dataset) -> xr.DataArray:
    """Test error of the solutions found, less that of all solutions of the same patterns."""
    found = results.test_error.where(results.interpolated == 1.0)
    return found - results.typical_error


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(13.6, 4.7))
        geometry(results.isel(search=0), axes[0])
        entropies(results.isel(n_train=results.sizes["n_train"] // 2), axes[1])
        errors(results, axes[2])
        figure.suptitle(title(results))
        path = out / "binary_perceptron.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def line(values: xr.DataArray, ax: plt.Axes, **style: object) -> None:
    """Draw a measure against patterns a weight."""
    mean, half = t_interval(values.transpose("n_train", "seed").values)
    load = values.n_train / SWEEP["DIM"]
    ax.errorbar(load, mean, half, markersize=4.5, linewidth=1.5, elinewidth=1.0, **style)


def geometry(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw how the solutions lie."""
    line(results.isolated, ax, fmt="o-", color="C1", label="isolated: no other one flip away")
    line(results.largest_cluster, ax, fmt="s--", color="C4", label="in the largest cluster")
    ax.set(xlabel="patterns per weight", ylabel="share of all solutions", ylim=(0.0, 1.18))
    ax.set_title("clusters dissolve into isolated solutions", loc="left")
    ax.legend(loc="upper right")


def entropies(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the local entropy of what each search finds, over distance."""
    found = results.local_entropy.where(results.interpolated == 1.0)
    flips = np.arange(1, FARTHEST + 1)
    for search in results.search.values.tolist():
        students = found.sel(search=search, distance=flips).transpose("distance", "seed")
        mean, half = t_interval(students.values)
        ax.plot(flips, mean, "o-", color=COLORS[search], markersize=4, label=WORDS[search])
        ax.fill_between(flips, mean - half, mean + half, color=COLORS[search], alpha=0.2, lw=0)
    ax.set(xlabel="distance (flipped weights)", ylabel="local entropy (nats per weight)")
    ax.set_ylim(bottom=0.0)
    ax.set_title(f"what surrounds them, {int(results.n_train)} patterns", loc="left")
    ax.legend(loc="lower right")


def errors(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw test errors, less that of the typical solution."""
    better = gains(results)
    lonely = results.isolated_error - results.typical_error
    ax.axhline(0.0, color=COLORS["uniform"], linewidth=1.5, label="all solutions (exact mean)")
    line(lonely.isel(search=0), ax, fmt="o:", color="C1", label="isolated ones (exact mean)")
    for search in ("annealing", "15 replicas", "densest"):
        line(better.sel(search=search), ax, fmt="o-", color=COLORS[search], label=WORDS[search])
    ax.set(xlabel="patterns per weight", ylabel="test error - that of all solutions")
    ax.set_title("what they are worth", loc="left")
    ax.set_ylim(top=0.13)
    ax.legend(loc="upper left", fontsize=8, ncols=2)


def title(results: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    last = results.isel(n_train=-1, search=0)
    over_seeds = gains(results).mean("n_train")
    mean, half = t_interval(over_seeds.transpose("search", "seed").values)
    place = results.search.values.tolist().index("15 replicas")
    found = results.interpolated.isel(n_train=-1).mean("seed")
    return (
        f"At {int(last.n_train)} patterns for {SWEEP['DIM']} weights "
        f"{float(last.isolated.mean()):.0%} of the solutions are isolated. Replicas that attract "
        f"each other find dense ones, and a solution more often\n(at {int(last.n_train)} patterns "
        f"{float(found.sel(search='15 replicas')):.0%} against "
        f"{float(found.sel(search='annealing')):.0%} of all tries), with a test error lower by "
        f"{-mean[place]:.3f} +- {half[place]:.3f} than typical, mean over all numbers of patterns"
    )
