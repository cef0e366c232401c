"""Eigenvalues on a log axis, with the floor below which they are noise and the slope of tails."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tsframe.plots.canvas import canvas
from tsframe.plots.lines import by_hue
from tsframe.plots.selecting import Labeled, select, tally
from tsframe.plots.words import head, selection, short

__all__ = ["spectrum"]

Floats = NDArray[np.float64]
EIGENVALUES = "_eigenvalues"
MATRICES = {
    "activation": "activation correlation",
    "activation_gradient": "activation gradients",
    "empirical_fisher": "empirical Fisher information",
    "fisher": "Fisher information",
    "gauss_newton": "Gauss-Newton matrix",
    "gradient_noise": "gradient noise",
    "hessian": "Hessian",
    "input": "input correlation",
    "jacobian": "Jacobian of the outputs",
    "sampled_fisher": "Fisher information, sampled labels",
}


def spectrum(
    data: Labeled,
    value: str = "fisher_eigenvalues",
    hue: str | None = None,
    relative: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw spectra on a log axis, a line a student, with their floor and the slope of their tails.

    Eigenvalues at or below the numerical floor of their student are not drawn: they are noise. The
    region that is noise for every student is shaded. The fitted slope of a tail, the mean over
    seeds, is a dashed line over the modes it was fitted on. Floor, slope and modes are read from
    the variables beside `value`, where they are there: for ``fisher_eigenvalues`` from
    ``fisher_floor``, ``fisher_slope``, ``fisher_tail_first`` and ``fisher_tail_last``.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep, with at most the modes, `hue` and seed of several values.
        Without a floor, eigenvalues that are not positive are left out.
    value : str
        ``..._eigenvalues`` or its curve at one step, along a dim ``..._mode``; any other variable,
        and any other dim of several values, is refused.
    hue : str, optional
        Dim with one color a value.
    relative : bool
        Whether eigenvalues are divided by the largest of their student.
    ax : Axes, optional
        Where to draw; by default the current Axes, in a new figure with a tight layout.

    Returns
    -------
    Axes
        The Axes drawn on.

    Examples
    --------
    >>> values = xr.DataArray(
    ...     np.exp(-0.1 * np.arange(50.0)), coords={"input_mode": np.arange(50)}, dims="input_mode"
    ... )
    >>> spectrum(values, "input_eigenvalues").get_yscale()
    'log'
    """
    ax = canvas(ax)
    whole = data.to_dataset(name=value) if isinstance(data, xr.DataArray) else data
    mode = _mode(whole, value)
    dims = (mode,) if hue is None else (mode, hue)
    dataset = select(whole, value, dims, "spectrum")
    eigenvalues = dataset[value]
    top = eigenvalues.max(mode)
    unit = top if relative else xr.ones_like(top)
    floor = _beside(dataset, value, "floor")
    floor = xr.zeros_like(top) if floor is None else floor
    shown = (eigenvalues / unit).where(eigenvalues > np.maximum(floor, 0.0))
    fits = [_beside(dataset, value, name) for name in ("slope", "tail_first", "tail_last")]
    for color, name, array in by_hue(shown, hue):
        students = array.transpose(mode, "seed").values
        faint = 0.35 if students.shape[1] > 1 else 1.0
        lines = ax.plot(array[mode].values, students, color=color, alpha=faint, linewidth=1.0)
        lines[0].set_label(name or "_")
        key = {} if hue is None else {hue: array[hue].item()}
        if all(fit is not None for fit in fits):
            line = _tail(students, *(fit.sel(key).values for fit in fits if fit is not None))
            ax.plot(*line, color="0.1", linestyle="--", linewidth=1.0)
    ax.set_yscale("log")
    ax.set_xlabel("mode, by size")
    ax.set_ylabel(_matrix(value) + (", relative\nto the largest" if relative else ""))
    noise = float((floor / unit).min())
    if noise > 0.0:
        low = min(ax.get_ylim()[0], noise / 10.0)
        ax.axhspan(low, noise, color="0.88", zorder=0, linewidth=0)
        ax.set_ylim(low)
    head(ax, selection(eigenvalues), tally(dataset, "each of"))
    if hue is not None:
        legend = ax.legend(title=short(hue), frameon=False)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)
    return ax


def _mode(dataset: xr.Dataset, value: str) -> str:
    """Find the dim along which the eigenvalues of a variable lie.

    Raises
    ------
    ValueError
        If there is none.
    """
    dims = [str(dim) for dim in dataset[value].dims] if value in dataset else []
    modes = [dim for dim in dims if dim.endswith("_mode")]
    if value in dataset and (EIGENVALUES not in value or len(modes) != 1):
        raise ValueError(
            f"spectrum draws variables ..._eigenvalues along one dim ..._mode; got {value!r} with "
            f"dims {', '.join(dims) or 'none'}."
        )
    return modes[0] if modes else "mode"


def _matrix(value: str) -> str:
    """Say in words whose eigenvalues a variable holds."""
    prefix, _, layer = value.split(EIGENVALUES)[0].partition("_layer")
    words = MATRICES.get(prefix, short(prefix))
    return f"eigenvalues, {words}" + (f", block of layer {layer}" if layer else "")


def _beside(dataset: xr.Dataset, value: str, name: str) -> xr.DataArray | None:
    """Give a number of every student that stands beside its eigenvalues, if it is there."""
    found = value.replace(EIGENVALUES, f"_{name}")
    return dataset[found] if found in dataset else None


def _tail(students: Floats, slope: Floats, first: Floats, last: Floats) -> tuple[Floats, Floats]:
    """Give the line of the mean slope over the modes that all seeds were fitted on."""
    if not np.isfinite(slope).any():
        return np.zeros(0), np.zeros(0)
    modes = np.arange(np.nanmax(first), np.nanmin(last))
    if len(modes) == 0:
        return np.zeros(0), np.zeros(0)
    held = np.log(students[modes.astype(int)][:, np.isfinite(slope)])
    return modes, np.exp(held.mean() - np.nanmean(slope) * (modes - modes.mean()))
