"""The figure of `sweeps/finite_size.py`: the distance from theory on a ladder in n.

A panel a regime. What vanishes as 1/n falls along the dotted line; where a law of finite n is
known, the dots must lie on it at every n.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store, theory

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "finite_size.py"))


def predict(cells: xr.Dataset) -> xr.Dataset:
    """Lay theory over cells: `limit`, of large n, and `exact`, at finite n, NaN where unknown."""
    law = xr.Dataset(coords=cells.coords).drop_vars("seed", errors="ignore")
    shape = tuple(cells.sizes[axis] for axis in ("spectrum", "regime", "n_train"))
    for name in ("limit", "exact"):
        law[name] = (("spectrum", "regime", "n_train"), np.full(shape, np.nan))
    for spectrum in cells.spectrum.values:
        for regime in cells.regime.values:
            p_over_n, penalty_over_n = SWEEP["REGIMES"][str(regime)]
            for n in cells.n_train.values.tolist():
                here = dict(spectrum=spectrum, regime=regime, n_train=n)
                dim = round(p_over_n * n)
                eigenvalues = SWEEP["SPECTRA"][str(spectrum)](n)(dim)
                ridge = theory.ridge(eigenvalues, 0.0, n, penalty_over_n * n, noise=1.0)
                law.limit.loc[here] = float(ridge.test_error)
                if penalty_over_n == 0.0 and (dim < n or spectrum == "isotropic"):
                    exact = theory.isotropic_min_norm(dim, n, norm=0.0, noise=1.0)
                    law.exact.loc[here] = float(exact.test_error)
    return law


def distances(results: xr.Dataset) -> xr.Dataset:
    """Relative distance from the limit: `mean`, `deviation` (standard error), `exact`."""
    law = predict(results)
    ratio = results.test_error / law.limit - 1.0
    seeds = ratio.sizes["seed"]
    return xr.Dataset(
        {
            "mean": ratio.mean("seed"),
            "deviation": ratio.std("seed", ddof=1) / np.sqrt(seeds),
            "exact": law.exact / law.limit - 1.0,
        }
    )


def extrapolated(found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Distance that a parabola in 1/n leaves at infinite n, with its standard error.

    Weighted least squares of a + b/n + c/n^2; seeds at different n are independent.
    """
    design = 1.0 / found.n_train.values[:, None] ** np.arange(3.0)

    def fit(mean: np.ndarray, deviation: np.ndarray) -> tuple[float, float]:
        scaled = design / deviation[:, None]
        covariance = np.linalg.inv(scaled.T @ scaled)
        return (covariance @ scaled.T @ (mean / deviation))[0], np.sqrt(covariance[0, 0])

    left, error = xr.apply_ufunc(
        fit,
        found["mean"],
        found["deviation"],
        input_core_dims=[["n_train"], ["n_train"]],
        output_core_dims=[[], []],
        vectorize=True,
    )
    return left, error


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error"]].load()
    found = distances(results)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            1, found.sizes["regime"], figsize=(12.0, 4.6), sharey=True, squeeze=False
        )
        for ax, regime in zip(axes[0], found.regime.values, strict=True):
            ladder(found.sel(regime=regime), ax)
        axes[0, 0].set_ylabel("amplified noise over its limit, minus 1")
        figure.suptitle(title(found, results.sizes["seed"]))
        path = out / "finite_size.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def ladder(found: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the distances of one regime against n, with the exact law where it is known."""
    n = found.n_train.values
    bottom, top = 2e-3, 0.6
    for k, spectrum in enumerate(found.spectrum.values):
        here = found.sel(spectrum=spectrum)
        places = n * 1.08 ** (k - 1)  # side by side, not on one another
        style = dict(fmt="o", markersize=4, elinewidth=1.1, color=f"C{k}")
        above = here["mean"] > bottom
        ax.errorbar(
            places, here["mean"].where(above), here["deviation"], label=spectrum, zorder=2, **style
        )
        below = places[~above.values]  # a mean of no sign stands at the edge
        ax.plot(below, np.full(len(below), 1.15 * bottom), "v", color=f"C{k}", markersize=4)
    known = found.exact.dropna("spectrum", how="all")
    if known.sizes["spectrum"]:
        which = "all spectra" if known.sizes["spectrum"] > 1 else str(known.spectrum.values[0])
        line = known.isel(spectrum=0)
        ax.plot(n, line, "-", color="0.25", zorder=1, label=f"exact at finite n ({which})")
    guide = float(found["mean"].isel(n_train=0).median()) * n[0] / n
    ax.plot(n, guide, ":", color="0.45", linewidth=1.2, zorder=0, label="falls as 1/n")
    ax.set(xscale="log", yscale="log", ylim=(bottom, top), xlabel="n")
    ax.set_title(str(found.regime.values))
    ax.xaxis.set_major_locator(FixedLocator(n.tolist()))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{size}" for size in n]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(FixedLocator([0.003, 0.01, 0.03, 0.1, 0.3]))
    ax.yaxis.set_major_formatter(FixedFormatter(["0.3%", "1%", "3%", "10%", "30%"]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(fontsize=7.5, loc="upper right")


def title(found: xr.Dataset, seeds: int) -> str:
    """Say what was measured, and how much is left at infinite n."""
    left, error = extrapolated(found)
    pulls = np.abs(left / error)
    beside = np.abs((found["mean"] - found.exact) / found.deviation)
    return (
        f"Noise amplified by linear students, its distance from the limit of theory ({seeds} seeds)"
        f"\nAt infinite n at most {float(np.abs(left).max()):.1%} is left, "
        f"{float(pulls.max()):.1f} standard errors; beside the exact laws "
        f"{float(beside.max()):.1f} at most"
    )
