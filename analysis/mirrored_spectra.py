"""The figure of `sweeps/mirrored_spectra.py`: how much of the slope of the data shows in students.

Above: spectra of the data and of the Fisher information, before and after training, for small
inputs and for inputs of variance one. Below: slope against slope, a dot a student, both per mode of
the data, with the elasticity that says how much of a relative change of the data's slope arrives
(1: mirrored, 0: nothing); and how many modes stand in the head of the Fisher information.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store
from tsframe.plots import spectrum

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "mirrored_spectra.py"))
WHEN = {"_curve": "initialization", "": "end of training"}
SIZES = {False: "small inputs", True: "variance one"}
MATRICES = {  # variable: what it is, and whether each mode of the data has K - 1 of its own
    "activation": ("activations of the first layer", False),
    "jacobian_0": ("Jacobian of one logit", False),
    "fisher": ("Fisher information", True),
    "fisher_layer0": ("Fisher block of the first layer", True),
}


def slopes(results: xr.Dataset, name: str, when: str) -> xr.DataArray:
    """Give the slope of a matrix per mode of the data, of students with hidden layers."""
    copies = results.classes - 1 if MATRICES[name][1] else 1
    found = results[f"{name}_slope{when}"]
    if when:
        found = found.isel(measure_step=0, missing_dims="ignore")
    found = found.isel(hidden_layer=0, missing_dims="ignore")
    return (found * copies).sel(depth=results.depth > 0)


def remainder(results: xr.Dataset, when: str) -> xr.DataArray:
    """Norm of the Hessian's remainder over the first fitted eigenvalue of the Fisher information.

    Above one, no eigenvalue that is fitted need be mirrored in the Hessian (Weyl 1912).
    """
    norm, values = results[f"remainder_norm{when}"], results[f"fisher_eigenvalues{when}"]
    first = values.sel(fisher_mode=SWEEP["MODES"][0] * (results.classes - 1))
    ratio = norm / first
    ratio = ratio.isel(measure_step=0, missing_dims="ignore") if when else ratio
    return ratio.sel(depth=results.depth > 0)


def elasticity(x: xr.DataArray, y: xr.DataArray) -> float:
    """Least-squares slope of log y on log x: how much of a relative change arrives."""
    x, y = xr.broadcast(x, y)
    kept = np.isfinite(x.values) & np.isfinite(y.values)
    if kept.sum() < 2 or np.ptp(x.values[kept]) == 0.0:
        return float("nan")
    return float(np.polyfit(np.log(x.values[kept]), np.log(y.values[kept]), 1)[0])


def heads(results: xr.Dataset, when: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Find the widest gap among the first 2 K modes of the Fisher information.

    Gives the modes before it, and its width in natural logs.
    """
    values = results[f"fisher_eigenvalues{when}"].sel(depth=results.depth > 0)
    if when:
        values = values.isel(measure_step=0, missing_dims="ignore")

    def widest(row: np.ndarray, classes: int) -> tuple[float, float]:
        some = row[: 2 * classes]
        if not np.all(some > 0.0):
            return np.nan, np.nan
        gaps = -np.diff(np.log(some))
        return float(gaps.argmax() + 1), float(gaps.max())

    return xr.apply_ufunc(
        widest,
        values,
        results.classes,
        input_core_dims=[["fisher_mode"], []],
        output_core_dims=[[], []],
        vectorize=True,
    )


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(3, 3, figsize=(13.5, 12.6))
        spectra(results, axes[0])
        for ax, name in zip(axes[1:].flat, MATRICES, strict=False):
            against_data(results, name, ax)
        hold_hessian(results, axes[2, 1])
        axes[1, 0].legend(loc="upper left", fontsize=8)
        count_heads(results, axes[2, 2])
        figure.suptitle(title(results))
        figure.supxlabel(note(results), fontsize=9)
        path = out / "mirrored_spectra.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def spectra(results: xr.Dataset, axes: np.ndarray) -> None:
    """Draw the data, and the Fisher information before and after training, on small inputs."""
    classes, depth = results.classes.values.max(), results.depth.values[results.depth > 0].min()
    here = results.sel(trace=results.trace.min(), classes=classes, depth=depth).isel(seed=[0])
    keep = {"hue": "slope", "relative": True}
    spectrum(here, "input_eigenvalues", ax=axes[0], **keep)
    spectrum(here.isel(measure_step=0), "fisher_eigenvalues_curve", ax=axes[1], **keep)
    spectrum(here, "fisher_eigenvalues", ax=axes[2], **keep)
    titles = ("the data", "Fisher information, initialization", "Fisher information, end")
    for ax, words in zip(axes, titles, strict=True):
        ax.set_title(words, loc="left", fontweight="bold", pad=16)
        ax.texts[0].set_text(f"small inputs, depth {depth}, {classes} classes, one seed")
        ax.set_ylim(1e-14, 3.0)
    for ax in axes[1:]:
        ax.get_legend().remove()
        ax.axvline(classes - 1.5, color="0.5", linewidth=0.8, linestyle=":")
        ax.annotate(
            f"{classes - 1} modes",
            (classes - 1.5, 2e-14),
            xytext=(4, 2),
            textcoords="offset points",
            color="0.4",
            fontsize=8,
        )
        copies, (first, last) = classes - 1, SWEEP["MODES"]
        ax.axvspan(first * copies, last * copies, color="C0", alpha=0.07, linewidth=0)


def against_data(results: xr.Dataset, name: str, ax: plt.Axes) -> None:
    """Draw the slopes of one matrix against those of the data, every student a dot."""
    data = results.input_slope.sel(depth=results.depth > 0)
    for color, large in (("C0", False), ("C1", True)):
        trace = results.trace.max() if large else results.trace.min()
        for when, words in WHEN.items():
            x, y = xr.broadcast(data, slopes(results, name, when))
            x, y = x.sel(trace=trace), y.sel(trace=trace)
            power = elasticity(x, y)
            style = dict(markeredgecolor=color, markersize=5, linestyle="", alpha=0.8)
            ax.plot(
                x.values.ravel(),
                y.values.ravel(),
                marker="o" if when else "s",
                markerfacecolor=color if when else "none",
                label=f"{SIZES[large]}, {words}",
                **style,
            )
            said = f"{power:.2f}" if np.isfinite(power) else "-"
            row = 2 * large + (not when)
            ax.text(0.97, 0.205 - 0.06 * row, said, transform=ax.transAxes, ha="right", color=color)
            ax.text(
                0.86,
                0.205 - 0.06 * row,
                words,
                transform=ax.transAxes,
                ha="right",
                color=color,
                fontsize=8,
            )
    ax.text(0.97, 0.265, "elasticity", transform=ax.transAxes, ha="right", color="0.3", fontsize=8)
    ax.plot([0.03, 0.6], [0.03, 0.6], color="0.3", linewidth=0.9, zorder=0)
    ax.set(xscale="log", yscale="log", xlim=(0.03, 0.6), ylim=(0.03, 0.6))
    ticks(ax.xaxis)
    ticks(ax.yaxis)
    ax.set_title(MATRICES[name][0], loc="left", fontweight="bold")
    ax.set_xlabel("slope of the data (natural log per mode)")
    ax.set_ylabel("slope per mode of the data")


def hold_hessian(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw how large the remainder of the Hessian is beside the Fisher eigenvalues of the data."""
    data = results.input_slope.sel(depth=results.depth > 0)
    for color, large in (("C0", False), ("C1", True)):
        trace = results.trace.max() if large else results.trace.min()
        for when in WHEN:
            x, y = xr.broadcast(data, remainder(results, when))
            face = color if when else "none"
            style = dict(markeredgecolor=color, markerfacecolor=face, markersize=5, alpha=0.8)
            x, y = (some.sel(trace=trace).values.ravel() for some in (x, y))
            ax.plot(x, y, "o" if when else "s", **style)
    ax.axhline(1.0, color="0.3", linewidth=0.9, zorder=0)
    ax.axhspan(1.0, max(ax.get_ylim()[1], 10.0), color="0.93", zorder=0, linewidth=0)
    ax.set(xscale="log", yscale="log", xlim=(0.03, 0.6))
    ticks(ax.xaxis)
    ax.set_title("the Hessian need not follow (grey)", loc="left", fontweight="bold")
    ax.set_xlabel("slope of the data (natural log per mode)")
    ax.set_ylabel(
        "norm of Hessian less Fisher information,\nover the first Fisher eigenvalue fitted"
    )


def ticks(axis: Axis) -> None:
    """Name round slopes only."""
    axis.set_major_locator(FixedLocator([0.03, 0.05, 0.1, 0.2, 0.4]))
    axis.set_major_formatter(FixedFormatter(["0.03", "0.05", "0.1", "0.2", "0.4"]))
    axis.set_minor_locator(NullLocator())


def count_heads(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw how many modes stand before the widest gap of the Fisher information."""
    for color, classes in zip(("C2", "C3"), results.classes.values, strict=False):
        for when in WHEN:
            count, width = (some.sel(classes=classes) for some in heads(results, when))
            ax.plot(
                count.values.ravel(),
                width.values.ravel(),
                "o" if when else "s",
                markeredgecolor=color,
                markerfacecolor=color if when else "none",
                alpha=0.7,
                label=f"{classes} classes, {WHEN[when]}",
            )
        ax.axvline(classes - 1, color=color, linewidth=0.8, linestyle=":")
    ax.set_title("head of the Fisher information", loc="left", fontweight="bold")
    ax.set_xlabel("modes before the widest gap (dotted: classes - 1)")
    ax.set_ylabel("width of the gap (natural log)")
    ax.set_xlim(0, 12.5)
    ax.legend(fontsize=7, loc="center", bbox_to_anchor=(0.48, 0.62))


def title(results: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    data = results.input_slope.sel(depth=results.depth > 0)
    power = {
        (when, large): elasticity(
            data.sel(trace=trace), slopes(results, "fisher", when).sel(trace=trace)
        )
        for when in WHEN
        for large, trace in ((False, results.trace.min()), (True, results.trace.max()))
    }
    return (
        "Is the spectrum of the data mirrored in what a network learns?\n"
        f"Elasticity of the Fisher information's slope to the data's: {power['_curve', False]:.2f} "
        f"at initialization on small inputs, {power['_curve', True]:.2f} at variance one; "
        f"{power['', False]:.2f} and {power['', True]:.2f} after training"
    )


def note(results: xr.Dataset) -> str:
    """Say where the published claim holds and where not."""
    lines = []
    if 0 in results.depth:
        linear = results.sel(depth=0, trace=results.trace.min())
        start = linear.fisher_slope_curve.isel(measure_step=0) * (results.classes - 1)
        ratio = start / linear.input_slope
        lines.append(
            f"Depth 0, small inputs, initialization: slope of the Fisher information over the "
            f"data's {float(ratio.min()):.3f} to {float(ratio.max()):.3f}; at W = 0 exactly 1."
        )
    flat = results.slope.min()
    steep = results.slope.max()
    own, (before, after) = (
        float(results.input_slope.sel(slope=flat).mean()),
        (float(slopes(results, "fisher", when).sel(slope=flat).mean()) for when in WHEN),
    )
    last = float(slopes(results, "fisher", "").sel(slope=steep).mean())
    lines.append(
        f"Isotropic data (sample slope {own:.3f}): Fisher {before:.3f} at initialization, "
        f"{after:.3f} after training, which makes a tail of its own; at slope {float(steep):g} it "
        f"ends at {last:.3f}."
    )
    share, norms = [], []
    for when in WHEN:
        count = heads(results, when)[0]
        right = (count == results.classes - 1).astype(float).where(np.isfinite(count))
        share.append(float(right.mean()))
        norms.append(float(remainder(results, when).median()))
    lines.append(
        f"The head holds classes - 1 modes in {share[0]:.0%} of the networks at initialization, "
        f"{share[1]:.0%} after training: not as many as classes, for a softmax ignores a shift. "
        f"Median remainder of the Hessian {norms[0]:.2g} and {norms[1]:.2g}."
    )
    return "\n".join(lines)
