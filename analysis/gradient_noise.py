"""The figure of `sweeps/gradient_noise.py`: how far SGD is from a Brownian particle.

Above: eigenvalues of the diffusion matrix, a panel a depth, a line a batch size, beside isotropic
noise of the same trace. Below, for one depth: how far the weights get in a number of steps, and the
Fourier spectrum and the autocorrelation of their increments every 20 steps, each beside the closed
form of what it would be: an Ornstein-Uhlenbeck process in the valley that the Hessian describes for
isotropic noise, and weights that are new after every pass through the data for minibatches.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr

from tsframe import open_store

STYLE = Path(__file__).with_name("tsframe.mplstyle")
SWEEP = runpy.run_path(str(Path(__file__).parents[1] / "sweeps" / "gradient_noise.py"))
DEPTH = 2  # of the students whose trajectories are shown
CONTROL = "C1"
LAGS = 12  # of the autocorrelation


def runs(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the places of the steps followed one by one, and of those with the widest spacing."""
    spacing = np.diff(steps)
    wide = np.flatnonzero(spacing == spacing.max())
    single = np.flatnonzero(spacing == 1)
    return np.r_[single, single[-1] + 1], np.r_[wide, wide[-1] + 1]


def trajectories(results: xr.Dataset, noise: str, batch_size: int) -> np.ndarray:
    """Give projections of the weights, shape (seeds * projections, steps)."""
    curve = results.weight_projection_curve.sel(
        noise=noise, depth=DEPTH, batch_size=batch_size, record="trajectory"
    )
    stacked = curve.transpose("seed", "projection", "measure_step").values
    return stacked.reshape(-1, stacked.shape[-1])


def displacement(x: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Mean squared displacement after some lags, over all times and trajectories."""
    return np.array([np.mean((x[:, lag:] - x[:, :-lag]) ** 2) for lag in lags])


def power(increments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fourier spectrum of increments over their variance: 1 at every frequency if white."""
    centered = increments - increments.mean(1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centered, axis=1)) ** 2 / centered.shape[1]
    frequencies = np.fft.rfftfreq(centered.shape[1])
    return frequencies[1:], spectrum.mean(0)[1:] / centered.var()


def autocorrelation(increments: np.ndarray, lags: int) -> np.ndarray:
    """Autocorrelation of each trajectory at lags 1, 2, ..., shape (trajectories, lags)."""
    centered = increments - increments.mean(1, keepdims=True)
    variance = (centered**2).sum(1)
    return np.stack(
        [(centered[:, k:] * centered[:, :-k]).sum(1) / variance for k in range(1, lags + 1)], 1
    )


def renewed(frequencies: np.ndarray) -> np.ndarray:
    """Fourier spectrum, over their variance, of increments of weights that are new each time."""
    return 2.0 * np.sin(np.pi * frequencies) ** 2


class Valley:
    """Gradient descent with isotropic noise in a quadratic valley: Ornstein-Uhlenbeck, in steps.

    Parameters
    ----------
    curvatures : ndarray, shape (modes,)
        Of the loss with its weight decay; what is not positive is left out.
    lr : float
        Step size: a mode of curvature h keeps 1 - lr h of its place in a step.
    """

    def __init__(self, curvatures: np.ndarray, lr: float) -> None:
        self.kept = 1.0 - lr * curvatures[curvatures > 0.0]
        self.variance = 1.0 / (1.0 - self.kept**2)  # for noise of variance one a step

    def displacement(self, lags: np.ndarray) -> np.ndarray:
        """Mean squared displacement after some steps, over that after one."""
        found = [(self.variance * (1.0 - self.kept ** int(lag))).sum() for lag in (1, *lags)]
        return np.array(found[1:]) / found[0]

    def power(self, frequencies: np.ndarray, every: int) -> np.ndarray:
        """Fourier spectrum of increments over their variance, seen every so many steps."""
        kept, turn = self.kept**every, np.exp(-2j * np.pi * frequencies)[:, None]
        density = self.variance * (1 - kept**2) * np.abs((1 - turn) / (1 - kept * turn)) ** 2
        return density.sum(1) / (2 * self.variance * (1 - kept)).sum()

    def autocorrelation(self, lags: int, every: int) -> np.ndarray:
        """Autocorrelation of increments at lags 1, 2, ..., seen every so many steps."""
        kept = self.kept**every
        found = [
            -(self.variance * kept ** (k - 1) * (1 - kept) ** 2).sum() for k in range(1, lags + 1)
        ]
        return np.array(found) / (2 * self.variance * (1 - kept)).sum()


def valley(results: xr.Dataset, batch_size: int) -> Valley:
    """Describe the valley of the isotropic students of one depth, all seeds together."""
    chosen = results.sel(noise="isotropic", depth=DEPTH, batch_size=batch_size, record="spectrum")
    values = chosen.hessian_eigenvalues.values.ravel()
    return Valley(values[np.isfinite(values)] + SWEEP["WEIGHT_DECAY"], SWEEP["LR"])


def draw(store: Path, out: Path) -> list[Path]:
    """Draw the figure into the folder `out`."""
    results = open_store(store).load()
    depths, sizes = results.depth.values, results.batch_size.values
    palette = dict(zip(sizes, sns.color_palette("crest", len(sizes)), strict=True))
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(11.0, 7.4))
        above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.12])
        panels = above.subplots(1, len(depths), sharey=True, squeeze=False)[0]
        for ax, depth in zip(panels, depths, strict=True):
            diffusion(results.sel(depth=depth), ax, palette)
            ax.set_title(f"depth {depth}: {directions_of(results.sel(depth=depth))}")
        panels[0].set_ylabel("eigenvalue of the diffusion matrix\n(covariance of batch gradients)")
        panels[0].legend(title="batch size", ncols=2)
        axes = below.subplots(1, 3)
        reach = motion(results, axes, palette)
        figure.suptitle(title(results, reach))
        below.supxlabel(verdict(results), fontsize=8.5)
        path = out / "gradient_noise.png"
        figure.savefig(path)
        plt.close(figure)
    return [path]


def diffusion(results: xr.Dataset, ax: plt.Axes, palette: dict) -> None:
    """Draw the spectra of one depth: minibatches of each size, and isotropic noise beside."""
    chosen = results.sel(noise="minibatch", record="spectrum")
    for size, color in palette.items():
        values = chosen.gradient_noise_eigenvalues.sel(batch_size=size).transpose("seed", ...)
        floor = float(chosen.gradient_noise_floor.sel(batch_size=size).max())
        values = values.where(values > floor)
        modes = np.flatnonzero(np.isfinite(values).all("seed"))
        mean = np.exp(np.log(values[:, modes]).mean("seed"))
        ax.plot(modes + 1, mean, color=color, label=f"{size}")
        flat = float(chosen.gradient_noise_trace.sel(batch_size=size).mean()) / len(modes)
        label = "isotropic" if size == [*palette][-1] else None
        ax.hlines(flat, 1, len(modes), color=CONTROL, linewidth=1.0, label=label)
    ax.set(yscale="log", xlabel="direction, strongest noise first")


def directions_of(results: xr.Dataset) -> str:
    """Say in how many directions half of the noise of one depth is."""
    chosen = results.gradient_noise_eigenvalues.sel(noise="minibatch", record="spectrum")
    values = chosen.transpose(..., "gradient_noise_mode").values
    values = np.clip(np.nan_to_num(values.reshape(-1, values.shape[-1])), 0.0, None)
    share = values.cumsum(1) / values.sum(1, keepdims=True)
    half = int(np.median((share < 0.5).sum(1) + 1))
    return f"half of the noise in {half} of {int((values > 0).sum(1).max())} directions"


def motion(results: xr.Dataset, axes: np.ndarray, palette: dict) -> dict[str, np.ndarray]:
    """Draw displacement, Fourier spectrum and autocorrelation; give the reach of each noise."""
    far, fourier, memory = axes
    steps = results.measure_step.values
    single, wide = runs(steps)
    every = int(steps[wide[1]] - steps[wide[0]])
    near = np.unique(np.geomspace(1, max(len(single) // 2, 1), 24).astype(int))
    wider = np.unique(np.geomspace(1, max(len(wide) // 2, 1), 24).astype(int))
    reach, first = {}, next(iter(palette))
    for noise in ("isotropic", "minibatch"):
        for size, color in palette.items():
            isotropic = noise == "isotropic"
            x = trajectories(results, noise, size)
            style = dict(color=CONTROL if isotropic else color, linewidth=1.2)
            unit = displacement(x[:, single], np.array([1]))[0]
            close = displacement(x[:, single], near) / unit
            away = displacement(x[:, wide], wider) / unit
            lags = np.r_[near[near < every], every * wider]
            curve = np.r_[close[near < every], away]
            label = "isotropic" if isotropic else f"minibatches of {size}"
            label = None if isotropic and size != first else label
            far.plot(lags, curve, label=label, **style)
            increments = np.diff(x[:, wide], axis=1)
            f, density = power(increments)
            bins = np.unique(np.geomspace(1, len(f), 40).astype(int)) - 1
            smooth = np.add.reduceat(density, bins) / np.diff(np.r_[bins, len(f)])
            middle = np.add.reduceat(f, bins) / np.diff(np.r_[bins, len(f)])
            fourier.plot(middle, smooth, **style)
            found = autocorrelation(increments, min(LAGS, increments.shape[1] - 1)).mean(0)
            memory.plot(np.arange(1, len(found) + 1), found, marker="o", markersize=3.5, **style)
            reach[f"{noise} {size}"] = np.array([unit, away[-1] * unit, lags[-1]])
    law = valley(results, first)
    lags = np.unique(np.geomspace(1, every * wider[-1], 60).astype(int))
    dashed = dict(color="0.15", linestyle="--", linewidth=1.0, zorder=3)
    far.plot(lags, law.displacement(lags), label="valley, closed form", **dashed)
    far.plot(lags, lags, color="0.6", linewidth=0.8, label="Brownian, as steps")
    places = np.linspace(middle[0], 0.5, 200)
    fourier.plot(places, law.power(places, every), **dashed)
    dotted = dict(color="0.15", linestyle=":", linewidth=1.4, zorder=3)
    fourier.plot(places, renewed(places), **dotted)
    fourier.axhline(1.0, color="0.6", linewidth=0.8)
    seen = np.arange(1, len(found) + 1)
    memory.plot(seen, law.autocorrelation(len(found), every), **dashed)
    memory.plot(seen, np.where(seen == 1, -0.5, 0.0), label="new at each pass", **dotted)
    band = 2.576 / np.sqrt(increments.shape[1])
    memory.axhspan(-band, band, color="0.9", linewidth=0, zorder=0)
    far.set(xscale="log", yscale="log", xlabel="steps", title="how far the weights get")
    far.set_ylabel("mean squared way / that of one step")
    far.legend(fontsize=7.5)
    fourier.set(xscale="log", yscale="log", title=f"increments over {every} steps: spectrum")
    fourier.set(xlabel=f"frequency (cycles in {every} steps)", ylabel="power / variance")
    fourier.set_ylim(bottom=2e-3)
    memory.set(title=f"increments over {every} steps: memory", ylabel="autocorrelation")
    memory.set(xlabel=f"lag (times {every} steps); grey: 99% of white noise", ylim=(-0.56, 0.1))
    memory.legend()
    return reach


def title(results: xr.Dataset, reach: dict[str, np.ndarray]) -> str:
    """Say what is seen, in numbers from the store."""
    size = results.batch_size.values[0]
    ours, control = reach[f"minibatch {size}"], reach[f"isotropic {size}"]
    ratio = (control[1] / control[0]) / (ours[1] / ours[0])
    return (
        "The noise of SGD lies in few directions, and what a minibatch does the others of its pass "
        f"undo:\nin {control[2]:,.0f} steps weights get {np.sqrt(ratio):.1f} times less far than "
        f"by isotropic noise of the same size (depth {DEPTH}, batches of {size})"
    )


def verdict(results: xr.Dataset) -> str:
    """Say what holds of the published claims, in numbers from the store."""
    steps = results.measure_step.values
    _, wide = runs(steps)
    every = int(steps[wide[1]] - steps[wide[0]])
    excess, outside = {}, {}
    for noise in ("minibatch", "isotropic"):
        slow, far = [], []
        for size in results.batch_size.values:
            increments = np.diff(trajectories(results, noise, size)[:, wide], axis=1)
            f, density = power(increments)
            law = valley(results, size).power(f[:1], every)
            law = law if noise == "isotropic" else renewed(f[:1])
            slow.append(
                f"{float(np.format_float_positional(density[0] / law[0], 2, fractional=False)):g}"
            )
            lags = max(increments.shape[1] // 4, 1)
            found = autocorrelation(increments, lags)[:, lags // 10 :]
            far.append((np.abs(found) > 2.576 / np.sqrt(increments.shape[1])).mean())
        excess[noise], outside[noise] = ", ".join(slow), f"{np.mean(far):.1%}"
    sizes = ", ".join(str(size) for size in results.batch_size.values)
    return (
        "Chaudhari & Soatto 2018 found low-frequency modes in the increments. They stand out here, "
        f"too, as the noise of a pass cancels:\nat the lowest frequency batches of {sizes} have "
        f"{excess['minibatch']} times the power of weights that are new at each pass, isotropic "
        f"noise\n{excess['isotropic']} times that of its valley. Autocorrelations at long lags "
        f"outside the 99% band of white noise: {outside['minibatch']}, with isotropic noise "
        f"{outside['isotropic']}."
    )
