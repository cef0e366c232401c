"""The figure of `sweeps/randomization_tests.py`: networks fit anything, in more time.

Above: training loss over steps in the six settings, on the steepest Gaussian inputs and on the
digits; a line is the geometric mean over seeds, and ends in a dot where the last student fits every
label. Below: time to fit, in units of that of true labels, and test error, both against the share
of redrawn labels, a line a kind of inputs; means over seeds with 95 percent intervals.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from tsframe import open_store, RANDOMIZATION_TESTS
from tsframe.plots.lines import t_interval

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "randomization_tests.py"))
CHANCE = 0.9


def settings(results: xr.Dataset) -> dict[str, xr.Dataset]:
    """Give the students of each of the six settings."""
    names = {corruption: name for name, corruption in SWEEP["CORRUPTIONS"].items()}
    return {
        name: results.sel(
            corruption=names[setting["corruption"]],
            label_noise=results.label_noise.sel(label_noise=setting["label_noise"]),
        )
        for name, setting in RANDOMIZATION_TESTS.items()
    }


def slowdown(results: xr.Dataset) -> xr.DataArray:
    """Time to fit in units of that of true labels, seed by seed."""
    steps = results.steps.sel(corruption="none")
    return steps / steps.sel(label_noise=0.0)


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    wanted = ["train_loss_curve", "steps", "test_error", "train_error", "train_loss"]
    results = open_store(store)[wanted].load()
    kinds = results.inputs.values.tolist()
    slopes = [kind for kind in kinds if kind != "digits"]
    colors = dict(zip(slopes, sns.color_palette("crest", len(slopes)), strict=True))
    colors["digits"] = "0.25"
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(11.5, 8.4))
        shown = [slopes[-1], kinds[-1]] if "digits" in kinds else [slopes[0], slopes[-1]]
        for ax, kind in zip(axes[0], shown, strict=True):
            loss_curves(results.sel(inputs=kind), ax)
            ax.set_title(kind if kind == "digits" else f"Gaussian inputs, {kind}", loc="left")
        axes[0, 1].set_ylabel("")
        axes[0, 0].legend(*axes[0, 1].get_legend_handles_labels(), loc="lower left")
        against_noise(slowdown(results), colors, axes[1, 0])
        axes[1, 0].set(yscale="log", ylabel="time to fit / that of true labels (steps)")
        axes[1, 0].yaxis.set_major_locator(FixedLocator([1, 2, 3, 4, 6, 8]))
        axes[1, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes[1, 0].yaxis.set_minor_formatter(NullFormatter())
        axes[1, 0].set_title("a few wrong labels cost the most time", loc="left")
        against_noise(results.test_error.sel(corruption="none"), colors, axes[1, 1])
        axes[1, 1].axhline(CHANCE, color="0.6", linewidth=0.9, linestyle="--", zorder=0)
        axes[1, 1].text(0.0, CHANCE + 0.012, "chance", color="0.35", fontsize=8.5)
        axes[1, 1].set(ylim=(0.0, 1.0), ylabel="test error (fraction wrong, true labels)")
        axes[1, 1].set_title("fitted just as exactly, the error goes to chance", loc="left")
        axes[1, 1].legend(title="inputs", loc="lower right")
        for ax in axes[1]:
            ax.set_xlabel("share of training labels redrawn")
        figure.suptitle(title(results))
        path = out / "randomization_tests.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def loss_curves(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the training loss of the six settings on one kind of inputs."""
    styles = ("-", "-", "-", "--", "--", "--")
    palette = ("C0", "C1", "C3", "C2", "C4", "C5")
    found = settings(results)
    for (name, students), style, color in zip(found.items(), styles, palette, strict=True):
        end = float(students.steps.max())
        curve = np.exp(np.log(students.train_loss_curve).mean("seed"))
        curve = curve.where((curve.step > 0) & (curve.step < end), drop=True)
        last = float(np.exp(np.log(students.train_loss).mean()))
        steps, values = [*curve.step.values, end], [*curve.values, last]
        ax.plot(steps, values, style, color=color, linewidth=1.5, label=name)
        ax.plot(end, last, "o", color=color, markersize=5)
    ax.set(xscale="log", yscale="log", xlabel="optimizer steps", ylim=(0.012, 4.5))
    ax.set_ylabel("training loss (cross-entropy)")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def against_noise(values: xr.DataArray, colors: dict[str, object], ax: plt.Axes) -> None:
    """Draw a measure against the share of redrawn labels, a line a kind of inputs."""
    for kind in values.inputs.values.tolist():
        students = values.sel(inputs=kind).transpose("label_noise", "seed")
        mean, half = t_interval(students.values)
        style = dict(fmt="o-", markersize=4, linewidth=1.4, elinewidth=1.0)
        x = students.label_noise
        ax.errorbar(x, mean, half, color=colors[kind], label=kind, **style)


def title(results: xr.Dataset) -> str:
    """Say what is seen, in numbers from the store."""
    fitted = int((results.train_error == 0.0).sum())
    slow = slowdown(results).sel(label_noise=1.0).mean("seed")
    error = results.test_error.sel(label_noise=1.0, corruption="none").mean("seed")
    ratios = [f"{float(slow.sel(inputs=kind)):.1f} ({kind})" for kind in slow.inputs.values]
    return (
        f"Networks fit anything: {fitted:,} of {results.steps.size:,} students reach zero training "
        f"error. On random labels they err like chance, {float(error.min()):.2f} to "
        f"{float(error.max()):.2f},\nand take longer than on true ones, by a factor of "
        f"{', '.join(ratios)}"
    )
