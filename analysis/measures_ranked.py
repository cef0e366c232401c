"""The figure of `sweeps/measures_ranked.py`: which measures predict the test error, and where not.

Left: every measure by Kendall's tau over all students, by granulated tau (along one axis at a time,
averaged), and by the pairs in order in its worst environment, one axis and two of its values.
Middle: tau along every axis. Right: the best measure by tau, and a norm, against the test error.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tsframe import open_store
from tsframe.ranking import rank

STYLE = Path(__file__).with_name("tsframe.mplstyle")
FITTED = 0.011  # training loss at which all are to be compared; the others have not got there
NOISE = 0.02  # of a test error on 2000 rows, twice its largest standard deviation
FEWEST = 20  # pairs that an environment takes to count
FALLEN = "spectral complexity"  # grows with n, while the error falls
AXES = {
    "width": "width",
    "depth": "depth",
    "slope": "slope",
    "n_train": "n",
    "label_noise": "label noise",
    "batch_size": "batch size",
}


def measures(results: xr.Dataset) -> xr.Dataset:
    """Make of every measure one number a student that is to grow with the test error.

    Bounds divide norms by the margin and by n; the margin is its first decile.
    """
    n = results.n_train.astype(float)
    margin = results.margin.sel(quantile=0.1, method="nearest").clip(1e-3)
    normalized = results.normalized_margin.sel(quantile=0.1, method="nearest")
    weights = (
        results.width * 32 + results.width * (results.width + 1) * (results.depth - 1) + 2
    ).astype(float)
    return xr.Dataset(
        {
            "number of weights": weights,
            "weight norm": results.weight_norm,
            "distance from start": results.distance_from_init,
            "distance / sqrt(n)": results.distance_from_init / np.sqrt(n),
            "spectral product": results.spectral_product,
            "Frobenius product": results.frobenius_product,
            "path norm": results.path_norm,
            "path norm / margin sqrt(n)": results.path_norm / margin / np.sqrt(n),
            "spectral complexity": results.spectral_complexity,
            "spectral c. / margin sqrt(n)": results.spectral_complexity / margin / np.sqrt(n),
            "- normalized margin": -normalized,
            "SAM sharpness": results.sam_sharpness,
            "worst sharpness in ball": results.ascent_sharpness,
            "- radius of low loss": -results.sublevel_radius.mean("direction"),
            "- volume of low loss, per weight": -results.sublevel_log_volume / weights,
            "effective dimension": results.effective_dimension,
            "effective dimension / n": results.effective_dimension / n,
            "KL of PAC-Bayes": results.diagonal_kl,
            "PAC-Bayes bound": results.diagonal_bound,
            "training steps": results.steps,
        }
    )


def ranked(results: xr.Dataset) -> xr.Dataset:
    """Rank all measures among the students that reached the training loss."""
    data = measures(results).broadcast_like(results.test_error)
    names = [str(name) for name in data.data_vars]
    fitted = results.train_loss < FITTED
    data = data.assign(test_error=results.test_error).where(fitted)
    axes = [axis for axis in AXES if results.sizes[axis] > 1]
    return rank(data, names, axes=axes, least=NOISE, fewest=FEWEST)


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    found = ranked(results)
    order = np.argsort(found.granulated.fillna(-2.0).values, kind="stable")
    found = found.isel(measure=order)
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(12.0, 7.2))
        left, right = figure.subfigures(1, 2, width_ratios=[2.35, 1.0])
        scores, along = left.subplots(1, 2, sharey=True, width_ratios=[1.25, 1.0])
        dots(found, scores)
        table(found, along)
        above, below = right.subplots(2, 1, sharey=True)
        best = str(found.measure.values[np.argmax(found.tau.fillna(-2.0).values)])
        scatter(results, best, above, "largest tau")
        scatter(results, FALLEN, below, "for comparison")
        figure.suptitle(title(results, found))
        path = out / "measures_ranked.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def dots(found: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the three scores of every measure."""
    rows = np.arange(found.sizes["measure"])
    ax.axvline(0.0, color="0.6", linewidth=0.9, zorder=0)
    worst = 1.0 - 2.0 * found.worst  # on the scale of tau: 1 all in order, -1 all in reverse
    ax.hlines(rows, worst, found.granulated, color="0.85", linewidth=2.0, zorder=1)
    ax.plot(found.tau, rows, "o", color="0.6", markersize=4.5, label="tau, all students")
    ax.plot(found.granulated, rows, "D", color="C0", markersize=4.5, label="granulated tau")
    ax.plot(worst, rows, "X", color="C3", markersize=5.5, label="worst environment")
    ax.set_yticks(rows, found.measure.values)
    ax.set(xlim=(-1.05, 1.05), ylim=(-0.7, len(rows) - 0.3))
    ax.set_xlabel("pairs in order less pairs in reverse")
    ax.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=3, columnspacing=0.8)
    ax.grid(axis="y", color="0.95", zorder=-1)


def table(found: xr.Dataset, ax: plt.Axes) -> None:
    """Draw tau along every axis as colors and numbers."""
    values = found.tau_along.transpose("measure", "axis").values
    ax.imshow(values, cmap="RdBu", vmin=-1.0, vmax=1.0, aspect="auto", origin="lower")
    for (i, j), value in np.ndenumerate(values):
        color = "white" if abs(value) > 0.65 else "0.15"
        if np.isfinite(value):
            ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    names = [AXES[str(axis)] for axis in found.axis.values]
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("tau along one axis alone", fontsize=9)


def scatter(results: xr.Dataset, name: str, ax: plt.Axes, why: str) -> None:
    """Draw one measure against the test error, a color a sample size, hollow with label noise."""
    values = measures(results)[name].broadcast_like(results.test_error)
    fitted = results.train_loss < FITTED
    for k, n in enumerate(results.n_train.values):
        for noise in results.label_noise.values:
            some = dict(n_train=n, label_noise=noise)
            x, y = (a.where(fitted).sel(some).values.ravel() for a in (values, results.test_error))
            face = "none" if noise else f"C{k}"
            label = f"n = {n:g}, {'noisy' if noise else 'true'} labels"
            style = dict(markersize=3.4, markerfacecolor=face, markeredgewidth=0.7)
            ax.plot(x, y, "o", color=f"C{k}", alpha=0.75, label=label, **style)
    spread = values.where(fitted)
    if float(spread.min()) > 0.0 and float(spread.max() / spread.min()) > 20.0:
        ax.set_xscale("log")
    ax.set(xlabel=name, ylabel="test error (clean labels)")
    ax.set_title(f"{why}: {name}", fontsize=9)
    if why == "largest tau":
        ax.legend(fontsize=7, handletextpad=0.2)


def title(results: xr.Dataset, found: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    fitted = int((results.train_loss < FITTED).sum())

    def best(score: xr.DataArray) -> tuple[str, float]:
        place = int(np.argmax(score.fillna(-2.0).values))
        return str(found.measure.values[place]), float(score[place])

    overall, granulated = best(found.tau), best(found.granulated)
    failing = int((found.worst > 0.6).sum())
    return (
        f"Which measure predicts the test error? {fitted} students that fit their labels\n"
        f"over all: {overall[0]} (tau {overall[1]:.2f});  one axis at a time: {granulated[0]} "
        f"({granulated[1]:.2f});  in its worst environment\n{failing} of "
        f"{found.sizes['measure']} measures have more than 60% of the pairs in reverse"
    )
