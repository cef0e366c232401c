"""The figure of `sweeps/digits.py`: natural data are sloppy, and that is a part of their ease.

Left: eigenvalues of the digits and of as many rows drawn from their twin, with the straight piece
that was fitted and its slope. Middle and right: test error of the widest students against the
number of samples, for clean and for noisy labels, a line a task.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tsframe import fit_slope, Measured, open_store
from tsframe.plots import error_against

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "digits.py"))


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)
    wide = results.sel(width=results.width.max())
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(13.0, 4.9))
        slope = spectra(axes[0])
        for ax, noise in zip(axes[1:], results.label_noise.values, strict=False):
            error_against(wide.sel(label_noise=noise), x="n_train", hue="task", ax=ax)
            ax.set_ylim(0.0, 0.95)
            ax.set_ylabel("test error (fraction wrong; 0.9 is chance)")
            words = f"labels {noise:.0%} redrawn" if noise else "clean labels"
            ax.set_title(f"{words}, width {int(wide.width)}", loc="left", pad=16)
            ax.get_legend().remove()
        axes[2].set_ylabel("")
        handles, names = axes[1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower right", ncols=4)
        figure.suptitle(title(wide, slope))
        path = out / "digits.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def spectra(ax: plt.Axes) -> str:
    """Draw the spectra and the fitted slope; gives the slope in words."""
    x = SWEEP["X"]
    twin = SWEEP["TWIN"].draw(len(x), seed=0, role="train inputs")
    found = fit_slope(x)
    for rows, marker, color, name in (
        (x, "o", "C0", f"digits, {len(x):,} rows"),
        (twin, ".", "C1", "Gaussian twin, as many rows"),
    ):
        log10 = np.log10(Measured.from_data(rows).eigenvalues)
        shown = log10 > -12
        modes = np.arange(len(log10))[shown]
        ax.plot(modes, 10 ** log10[shown], marker, color=color, markersize=4, label=name)
    modes = np.arange(found.first, found.last)
    half = (found.high - found.low) / 2
    words = f"{found.slope:.4f} +- {half:.4f}"
    ax.plot(modes, found(modes), color="black", linewidth=1.4, label=f"slope {words}")
    ax.set(
        yscale="log",
        xlabel="mode i",
        ylabel="eigenvalue of the second moment",
        ylim=(3e-6, 2e2),
    )
    ax.set_title(
        f"straight over {found.last - found.first} modes, to {found.residual:.2f} e-folds rms",
        loc="left",
        pad=16,
    )
    ax.legend(loc="lower left")
    return words


def title(results: xr.Dataset, slope: str) -> str:
    """Say what is seen, in numbers from the store."""
    clean = results.isel(label_noise=0, n_train=-1).test_error.mean("seed")
    errors = ", ".join(f"{float(clean.sel(task=task)):.2f}" for task in clean.task.values)
    return (
        "Digits are sloppy: their eigenvalues fall by a constant factor a mode (slope "
        f"{slope}, 95% over rows)\nand the less a task shares with them the harder it is: error "
        f"{errors} at n = {int(clean.n_train)}, from digits to isotropic inputs"
    )
