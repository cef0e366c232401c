"""The figure of `sweeps/slope_figure.py`: test error against slope, one panel a setting."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tsframe import open_store
from tsframe.plots import error_against

STYLE = Path(__file__).with_name("tsframe.mplstyle")


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(11.0, 7.2), sharex=True, sharey=True)
        for ax, setting in zip(axes.flat, results.setting.values, strict=True):
            panel(results.sel(setting=setting), ax)
        axes[0, 0].set_ylim(0.0, 1.0)
        for ax in axes[:, 1:].flat:
            ax.set_ylabel("")
        for ax in axes[0]:
            ax.set_xlabel("")
        figure.suptitle(
            "Test error against slope: every dot is a student, every panel removes one more "
            "confound (dim 200, n = 1000)"
        )
        path = out / "slope_figure.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def panel(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the students of one setting, with what naming the largest class would err."""
    error_against(results, hue="width", ax=ax)
    majority = results.majority_error.mean(["seed", "width"])
    ax.plot(results.slope, majority, "--", color="0.4", linewidth=1.0)
    ax.annotate(
        "always the largest class",
        (float(results.slope[0]), float(majority[0])),
        xytext=(0, 3),
        textcoords="offset points",
        color="0.4",
        fontsize="small",
    )
    fitted = float(np.mean(results.interpolated == 1))
    ax.text(
        0.98,
        0.03,
        f"{fitted:.0%} of the students interpolate",
        transform=ax.transAxes,
        ha="right",
        fontsize="small",
    )
