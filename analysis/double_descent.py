"""The figure of `sweeps/double_descent.py`: peaks over sample size and width, beside theory.

Upper row: the median test error with label noise over n and width; the lines are n = dim and n =
width. Lower rows: cuts at the largest width and at one sample size, dots medians over seeds with
the middle half of the students, lines theory.
"""

import math
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from scipy.special import erf

from tsframe import open_store, theory

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "double_descent.py"))
DIM = SWEEP["DIM"]
ACTIVATIONS = {"identity": lambda z: z, "erf": erf, "relu": lambda z: np.maximum(z, 0.0)}
FLAT = 8000  # modes that stand for all of degree three and above: many more than n and width


def kernel_modes(features: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the kernel of many features on isotropic inputs, and the target on its modes.

    In the limit of large dim the kernel is sum_k c_k^2 t^k in the cosine t of two inputs, with the
    Hermite coefficients c_k of the activation; degree k has about dim^k / k! modes of equal
    eigenvalue (El Karoui 2010; Simon et al. 2023). The linear target lives on degree one.
    """
    spec = SWEEP["FEATURES"][features]
    z = np.linspace(-12.0, 12.0, 200_001)
    weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    feature = ACTIVATIONS[spec.activation](math.sqrt(spec.weight_variance) * z)
    value = feature * weight
    power = [
        float(np.sum(value * h)) ** 2 for h in (np.ones_like(z), z, (z**2 - 1) / math.sqrt(2.0))
    ]
    beyond = max(float(np.sum(value * feature)) - sum(power), 0.0)
    quadratic = DIM * (DIM + 1) // 2 - 1
    groups = [(power[0], 1), (power[1], DIM), (power[2], quadratic), (beyond, FLAT)]
    kept = [(total, count) for total, count in groups if total > 1e-12]
    eigenvalues = np.concatenate([np.full(count, total / count) for total, count in kept])
    linear = [np.full(count, total == power[1]) for total, count in kept]
    coefficients = np.concatenate(linear) / np.sqrt(DIM * eigenvalues)
    return eigenvalues, coefficients


def predict(features: str, n, width, noise) -> xr.DataArray:
    """Mean test error by theory."""
    eigenvalues, coefficients = kernel_modes(features)
    return theory.random_features(eigenvalues, coefficients, n, width, 0.0, noise).test_error


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store)[["test_error"]].load().test_error
    names = results.features.values
    widest = int(results.width.max())
    middle = int(results.n_train.values[results.sizes["n_train"] // 2])
    noisy = results.sel(noise=results.noise.max()).median("seed")
    norm = LogNorm(0.1, 50.0)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(3, len(names), figsize=(4.2 * len(names), 10.4), squeeze=False)
        for column, name in enumerate(names):
            top, second, third = axes[:, column]
            mesh = peaks(noisy.sel(features=name), norm, top)
            top.set_title(f"{name}")
            here = results.sel(features=name)
            cut(here.sel(width=widest), str(name), "n_train", dict(width=widest), second)
            cut(here.sel(n_train=middle), str(name), "width", dict(n_train=middle), third)
            mark(second, DIM, "n = dim")
            mark(second, widest, f"n = width = {widest}")
            mark(third, middle, f"width = n = {middle}")
            if middle != DIM:
                mark(third, DIM, "width = dim")
        axes[0, 0].set_ylabel("width (random features)")
        for ax in axes[1:, 0]:
            ax.set_ylabel("test error (mean square, clean labels)")
        axes[1, 0].legend(title="label noise (std)", loc="lower left")
        bar = figure.colorbar(mesh, ax=axes[0], aspect=14, pad=0.01, extend="both")
        bar.set_label("test error, noisy labels")
        figure.suptitle(
            f"Double descent of random features in {DIM} dimensions: medians over "
            f"{results.sizes['seed']} seeds; bars hold half of the students; lines: theory of the "
            "mean.\nUpper row: dashed n = dim, solid n = width"
        )
        path = out / "double_descent.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def peaks(errors: xr.DataArray, norm: LogNorm, ax: plt.Axes) -> plt.cm.ScalarMappable:
    """Draw the error over n and width, with the lines where it may peak."""
    n, width = errors.n_train.values, errors.width.values
    values = errors.transpose("width", "n_train")
    mesh = ax.pcolormesh(n, width, values, norm=norm, cmap="magma_r", shading="nearest")
    low, high = float(min(n[0], width[0])), float(max(n[-1], width[-1]))
    ax.set(xscale="log", yscale="log", xlabel="n")
    limits = ax.get_xlim(), ax.get_ylim()
    ax.plot([low / 2, 2 * high], [low / 2, 2 * high], "-", color="0.15", linewidth=1.0)
    ax.plot([DIM, DIM], [low / 2, 2 * high], "--", color="0.15", linewidth=1.0)
    ax.set(xlim=limits[0], ylim=limits[1])
    for axis, values in ((ax.xaxis, n), (ax.yaxis, width)):
        sizes(axis, values)
    return mesh


def cut(results: xr.DataArray, name: str, x: str, at: dict[str, int], ax: plt.Axes) -> None:
    """Draw the error along one axis: medians and quartiles of the students, and theory."""
    places = results[x].values
    fine = np.unique(np.rint(np.geomspace(places.min(), places.max(), 90)))
    for color, noise in zip(("C0", "C1"), results.noise.values, strict=False):
        n, width = (at.get(axis, fine) for axis in ("n_train", "width"))
        line = predict(name, n, width, float(noise)).values
        ax.plot(fine, np.where(line > 1e-12, line, np.nan), color=color, linewidth=1.2, zorder=1)
        students = results.sel(noise=noise).transpose(x, "seed").values
        low, middle, high = np.quantile(students, [0.25, 0.5, 0.75], axis=1)
        spread = np.array([middle - low, high - middle])
        style = dict(fmt="o", color=color, markersize=4, elinewidth=1.1, zorder=2)
        ax.errorbar(places, middle, spread, label=f"{noise:g}", **style)
    ax.set(xscale="log", yscale="log", ylim=(5e-3, 300.0))
    (n_or_width,) = {"n_train", "width"} - set(at)
    ((other, size),) = at.items()
    words = {"n_train": "n", "width": "width"}
    ax.set_xlabel(f"{words[n_or_width]}, at {words[other]} = {size}")
    sizes(ax.xaxis, places)


def mark(ax: plt.Axes, place: float, words: str) -> None:
    """Mark a place where a peak is expected."""
    ax.axvline(place, color="0.75", linewidth=0.9, zorder=0)
    ax.text(
        place, 260.0, f"{words} ", ha="right", va="top", rotation=90, fontsize=7.5, color="0.35"
    )


def sizes(axis: Axis, values: np.ndarray) -> None:
    """Write every second size at its axis."""
    axis.set_major_locator(FixedLocator(values[::2].tolist()))
    axis.set_major_formatter(FixedFormatter([str(value) for value in values[::2]]))
    axis.set_minor_locator(NullLocator())
