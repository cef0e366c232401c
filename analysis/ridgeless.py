"""The figure of `sweeps/ridgeless.py`: theory beside measurement, and what is left between them.

Above: test error against n/p, a column a spectrum; lines are theory, dots the means of the students
with their standard errors. Below: the residual of every cell, in standard errors, beside what the
same test makes of formulas that are wrong on purpose.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store, theory

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "ridgeless.py"))
FINE = np.unique(np.rint(np.geomspace(40, 1280, 160))).astype(int)  # dimensions of the lines


def predict(cells: xr.Dataset, n: int = SWEEP["N_TRAIN"]) -> xr.Dataset:
    """Lay theory over cells that have the axes of the study as coordinates.

    The target has equal power on every mode: coefficients norm / sqrt(dim). Spectra of fewer modes
    than the widest are filled up with absent ones.
    """
    spectra, ratios = cells.spectrum.values, cells.n_over_p.values
    dims = np.rint(n / ratios).astype(int)
    logs = np.full((len(spectra), len(dims), dims.max()), -np.inf)
    for i, name in enumerate(spectra):
        for j, dim in enumerate(dims):
            logs[i, j, :dim] = np.log(SWEEP["SPECTRA"][str(name)](n)(int(dim)))
    modes = xr.DataArray(logs, dims=("spectrum", "n_over_p", "mode"))
    modes = modes.assign_coords(spectrum=spectra, n_over_p=ratios)
    power = xr.DataArray(1 / np.sqrt(dims), coords={"n_over_p": ratios}, dims="n_over_p")
    penalty = n * cells.penalty_over_n
    return theory.ridge(modes, power, n, penalty, cells.noise, log=True)


def residuals(results: xr.Dataset, predicted: xr.DataArray) -> xr.DataArray:
    """Mean over seeds less prediction, in standard errors; NaN where both are zero."""
    errors = results.test_error
    mean = errors.mean("seed")
    deviation = errors.std("seed", ddof=1) / np.sqrt(errors.sizes["seed"])
    return ((mean - predicted) / deviation).where(np.maximum(mean, predicted) > 1e-20)


def agreement(z: xr.DataArray) -> tuple[float, float]:
    """Share of the cells within 3 standard errors, and the largest residual."""
    known = np.abs(z.values[np.isfinite(z.values)])
    return float((known < 3.0).mean()), float(known.max())


def wrong(cells: xr.Dataset, n: int = SWEEP["N_TRAIN"]) -> dict[str, xr.DataArray]:
    """Test errors by formulas that are wrong on purpose: the test must tell them from theory."""
    law = predict(cells, n)
    unscaled = cells.assign_coords(penalty_over_n=cells.penalty_over_n / n)
    averaged = predict(unscaled, n).test_error.assign_coords(penalty_over_n=cells.penalty_over_n)
    return {
        "bias without E0": law.bias / law.overfitting_coefficient + law.variance,
        "noise taken for a variance": law.bias + law.variance / np.maximum(cells.noise, 1e-9),
        "penalty beside the mean": averaged,
    }


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error"]].load()
    z = residuals(results, predict(results).test_error)
    columns = results.spectrum.values
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            3,
            len(columns),
            figsize=(2.75 * len(columns), 8.6),
            squeeze=False,
            height_ratios=[1.0, 1.0, 0.85],
        )
        for column, spectrum in enumerate(columns):
            for row, penalty in enumerate(results.penalty_over_n.values):
                here = results.sel(spectrum=[spectrum], penalty_over_n=[penalty])
                curves(here, axes[row, column])
            axes[0, column].set_title(spectrum, fontweight="bold")
            map_ = residual_map(z.sel(spectrum=spectrum), axes[2, column], names=column == 0)
            for ax in axes[:2, column]:
                ax.sharex(axes[0, 0])
                ax.sharey(axes[0, 0])
                ax.tick_params(labelleft=column == 0)
        for ax, penalty in zip(axes[:, 0], results.penalty_over_n.values, strict=False):
            words = f"penalty {penalty:g} n" if penalty else "no penalty"
            ax.set_ylabel(f"{words}\ntest error (mean square, clean labels)")
        axes[0, -1].legend(title="label noise (std)", loc="upper right")
        axes[2, 0].set_ylabel("residuals; grey: both are zero")
        bar = figure.colorbar(map_, ax=axes[2], aspect=14, pad=0.01, ticks=[-6, -3, 0, 3, 6])
        bar.set_label("measured - theory,\nin standard errors")
        figure.suptitle(title(results, z))
        figure.supxlabel(verdicts(results, z), fontsize=9)
        path = out / "ridgeless.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def curves(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the errors of one spectrum and penalty: theory as lines, measurement as dots."""
    fine = results.drop_vars("test_error").assign_coords(n_over_p=SWEEP["N_TRAIN"] / FINE)
    law = predict(fine).test_error.squeeze()
    errors = results.test_error.squeeze(["spectrum", "penalty_over_n"])
    for color, noise in zip(("C0", "C1"), results.noise.values, strict=False):
        line = law.sel(noise=noise)
        ax.plot(line.n_over_p, line.where(line > 0), color=color, linewidth=1.2, zorder=1)
        students = errors.sel(noise=noise).transpose("n_over_p", "seed")
        mean = students.mean("seed").where(lambda m: m > 1e-20)
        deviation = students.std("seed", ddof=1) / np.sqrt(students.sizes["seed"])
        style = dict(fmt="o", color=color, markersize=4, elinewidth=1.2, zorder=2)
        ax.errorbar(errors.n_over_p, mean, deviation, label=f"{noise:g}", **style)
    ax.axvline(1.0, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xscale="log", yscale="log", ylim=(2e-3, 20.0))
    ax.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4]))
    ax.xaxis.set_major_formatter(FixedFormatter(["1/4", "1/2", "1", "2", "4"]))
    ax.xaxis.set_minor_locator(NullLocator())


def residual_map(z: xr.DataArray, ax: plt.Axes, names: bool) -> plt.cm.ScalarMappable:
    """Draw the residuals of one spectrum, in standard errors; grey where both errors are zero."""
    cells = z.stack(row=("penalty_over_n", "noise")).transpose("row", "n_over_p")
    norm = BoundaryNorm(np.arange(-6.5, 7.0, 1.0), 256, extend="both")
    map_ = ax.imshow(cells, cmap="RdBu_r", norm=norm, aspect="auto")
    ax.set_facecolor("0.9")
    for (i, j), value in np.ndenumerate(cells.values):
        text = f"{value:.1f}" if np.isfinite(value) else "0"
        ax.text(j, i, text, ha="center", va="center", fontsize=7, color="0.15")
    ratios = [f"{value:.2g}" for value in z.n_over_p.values]
    ax.set_xticks(range(len(ratios)), ratios, rotation=60)
    rows = [f"{'penalty' if p else 'no penalty'}, noise {s:g}" for p, s in cells.row.values]
    ax.set_yticks(range(len(rows)), rows if names else [""] * len(rows))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("n / p")
    return map_


def title(results: xr.Dataset, z: xr.DataArray) -> str:
    """Say what is seen, in numbers from the store."""
    share, worst = agreement(z)
    return (
        f"Linear students against theory at five spectra (n = {SWEEP['N_TRAIN']}, "
        f"{results.sizes['seed']} seeds; lines: deterministic equivalent, dots: measured)\n"
        f"{share:.0%} of {int(np.isfinite(z).sum())} cells lie within 3 standard errors, the "
        f"farthest at {worst:.1f}"
    )


def verdicts(results: xr.Dataset, z: xr.DataArray) -> str:
    """Say what the same test makes of formulas that are wrong."""
    said = []
    for name, prediction in wrong(results).items():
        share, worst = agreement(residuals(results, prediction))
        said.append(f"{name}: {share:.0%} within 3, worst {worst:.0f}")
    return (
        "Without penalty and with n > p no spectrum matters, and one seed gives the same error at "
        "all five.\nThe same test rejects formulas that are wrong on purpose.  " + ";  ".join(said)
    )
