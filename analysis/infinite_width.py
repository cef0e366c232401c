"""The figure of `sweeps/infinite_width.py`: networks on their way to their kernels.

Left: distances of the tangent kernel and of the outputs' covariance from their limits, against
width. Second: distance of trained students from their linearization and from their limit, at output
scale one. Third: how far the tangent kernel moves in training, against scale * sqrt(width), a color
a width. Right: test error of ReLU students against the scale, for flat and for steep inputs; ticks
at the right edge are their linearizations. Points are geometric means over seeds, in the first
three panels over both slopes too; powers are fitted from width 64 on.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "infinite_width.py"))
LINES = {"relu": "o-", "erf": "s--"}
WORDS = {
    "ntk_distance": "tangent kernel to NTK",
    "nngp_distance": "covariance to NNGP",
    "limit_distance": "to infinite width",
    "linearized_distance": "to the linearization",
}


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    one = int(np.argmin(np.abs(np.log(results.output_scale.values))))
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 4, figsize=(15.2, 4.6))
        kernels = results.isel(output_scale=one)
        over_width(kernels, ("nngp_distance", "ntk_distance"), ("C4", "C0"), axes[0])
        axes[0].set_ylabel("relative distance at initialization (Frobenius)")
        axes[0].set_title("kernels", loc="left")
        over_width(kernels, ("limit_distance", "linearized_distance"), ("C2", "C3"), axes[1])
        axes[1].set_ylabel("distance of outputs after training (rms)")
        axes[1].set_title(f"students, scale {float(kernels.output_scale):g}", loc="left")
        drift(results, axes[2])
        errors(results.sel(activation="relu"), axes[3])
        figure.suptitle(title(results, one))
        path = out / "infinite_width.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def middle(measure: xr.DataArray) -> xr.DataArray:
    """Geometric mean over seeds and slopes."""
    with np.errstate(divide="ignore"):
        return np.exp(np.log(measure).mean(["seed", "slope"]))


def power(measure: xr.DataArray) -> float:
    """Fit the power of the width with which a measure falls, from the second width on."""
    some = measure.isel(width=slice(1, None)) if measure.sizes["width"] > 2 else measure
    return float(np.polyfit(np.log(some.width), np.log(some), 1)[0])


def over_width(
    results: xr.Dataset, names: tuple[str, ...], colors: tuple[str, ...], ax: plt.Axes
) -> None:
    """Draw measures against width, their powers in the legend, beside the root of the width."""
    for name, color in zip(names, colors, strict=True):
        for activation, style in LINES.items():
            line = middle(results[name].sel(activation=activation))
            words = f"{WORDS[name]}, {activation}: {power(line):+.2f}"
            ax.plot(line.width, line, style, color=color, markersize=4, linewidth=1.4, label=words)
    width = results.width.values
    top = max(float(middle(results[name]).max()) for name in names)
    ax.plot(width, 1.3 * top * (width / width[0]) ** -0.5, ":", color="0.35", label="power -1/2")
    ax.set(xscale="log", yscale="log", xlabel="width")
    bottom, high = ax.get_ylim()
    ax.set_ylim(bottom * (bottom / high) ** 0.45, high)  # room for the legend
    ax.legend(loc="lower left", fontsize=7.8, title="power of the width")
    plain_ticks(ax, width)


def drift(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw how far the kernel moves against scale * sqrt(width)."""
    widths = results.width.values
    for color, width in zip(sns.color_palette("crest", len(widths)), widths, strict=True):
        for activation, style in LINES.items():
            line = middle(results.kernel_drift.sel(activation=activation, width=width))
            label = str(width) if activation == "relu" else None
            places = line.output_scale * np.sqrt(width)
            ax.plot(places, line, style, color=color, markersize=3.6, linewidth=1.1, label=label)
    low, high = 2.0, float(results.output_scale.max() * np.sqrt(widths[-1]))
    guide = np.array([low, high])
    ax.plot(guide, 15.0 * guide**-2.0, ":", color="0.35")
    ax.text(low, 15.0 * low**-2.0, " power -2", color="0.35", fontsize=8)
    kinks = middle(results.kernel_drift.sel(activation="relu")).isel(width=-1, output_scale=-1)
    ax.text(high, 20.0 * float(kinks), "kinks of ReLU", color="0.35", fontsize=8, ha="right")
    ax.set(xscale="log", yscale="log", xlabel="output scale x sqrt(width)")
    ax.set_ylabel("movement of the tangent kernel (relative)")
    ax.legend(title="width (full: ReLU,\ndashed: erf)", loc="lower left")
    ax.set_title("rich to lazy", loc="left")


def errors(results: xr.Dataset, ax: plt.Axes) -> None:
    """Draw the test error against the scale, a color a width, a style a slope."""
    widths, scales = results.width.values, results.output_scale.values
    for color, width in zip(sns.color_palette("crest", len(widths)), widths, strict=True):
        for slope, style in zip(results.slope.values, ("-", "--"), strict=False):
            some = results.sel(width=width, slope=slope)
            words = f"{width}" if style == "-" else None
            mean = some.test_error.mean("seed")
            ax.plot(scales, mean, f"o{style}", color=color, markersize=3.6, label=words)
            linear = float(some.linearized_error.isel(output_scale=-1).mean())
            ax.plot([scales[-1] * 1.25, scales[-1] * 1.7], [linear] * 2, color=color)
    ax.set(xscale="log", xlabel="output scale", ylim=(0.0, None))
    ax.set_ylabel("test error (mean square, clean labels)")
    slopes = [f"{slope:g}" for slope in results.slope.values]
    head = f"width (full: slope {slopes[0]},\ndashed: slope {slopes[-1]})"
    ax.legend(title=head, loc="upper left")
    top = float(results.test_error.mean("seed").max())
    ax.set_ylim(0.0, 1.25 * top)
    ax.set_title("ReLU students; ticks: linearized", loc="left")


def plain_ticks(ax: plt.Axes, places: np.ndarray) -> None:
    """Write the values at these places of the x axis."""
    ax.xaxis.set_major_locator(FixedLocator(places.tolist()))
    ax.xaxis.set_major_formatter(FixedFormatter([str(place) for place in places]))
    ax.xaxis.set_minor_locator(NullLocator())


def title(results: xr.Dataset, one: int) -> str:
    """Say what is seen, in numbers from the store."""
    some = results.isel(output_scale=one)

    def powers(name: str) -> str:
        found = [power(middle(some[name].sel(activation=kind))) for kind in LINES]
        return f"{found[0]:.2f} (ReLU) and {found[1]:.2f} (erf)"

    kernels, students = powers("ntk_distance"), powers("linearized_distance")
    return (
        "Networks tend to their kernels as width grows: kernels as width to the power "
        f"{kernels}, students to their linearization as {students}"
        "\nfrom zero outputs; how far the kernel moves is almost a function of scale x sqrt(width) "
        "while training is rich, and richness helps narrow students on flat inputs most"
    )
