"""Curves over the dimension of a subspace, with what random directions would have drawn in."""

import numpy as np
from matplotlib.axes import Axes

from tsframe.plots.canvas import canvas
from tsframe.plots.lines import by_hue, t_interval
from tsframe.plots.selecting import Labeled, select, tally
from tsframe.plots.words import head, selection, short, wrapped

__all__ = ["overlap_curves"]

BASELINES = {  # of each measure: what random subspaces have, and the dim of their dimensions
    "fisher_overlap_initial": ("random_overlap", "overlap_dim"),
    "fisher_hessian_overlap": ("random_overlap", "overlap_dim"),
    "stiff_travel": ("random_travel", "travel_dim"),
    "gradient_overlap": ("random_teacher_overlap", "teacher_dim"),
    "weight_overlap": ("random_teacher_overlap", "teacher_dim"),
}


def overlap_curves(
    data: Labeled,
    value: str = "fisher_overlap_initial",
    hue: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an overlap of subspaces over their dimension, above that of random ones.

    The line is the mean over seeds, the band its 95 percent confidence interval by Student's t at
    each dimension alone; dashes are the mean of random subspaces of the same dimension. What lies
    on them says nothing.

    Parameters
    ----------
    data : Dataset
        Results with the overlap and its baseline over the dim of the subspaces.
    value : str
        One of ``fisher_overlap_initial``, ``fisher_hessian_overlap``, ``stiff_travel``,
        ``gradient_overlap``, ``weight_overlap``, or its curve over the steps of measuring.
    hue : str, optional
        Dim with one line a value, and one baseline where they differ.
    ax : Axes, optional
        Where to draw; by default the current Axes, in a new figure with a tight layout.

    Returns
    -------
    Axes
        The Axes drawn on.

    Raises
    ------
    ValueError
        If the measure or its baseline is missing, or the data have further dims.

    Examples
    --------
    >>> import xarray as xr
    >>> import matplotlib.pyplot as plt
    >>> _ = plt.figure()
    >>> coords = {"overlap_dim": [1.0, 2.0]}
    >>> found = xr.Dataset(
    ...     {
    ...         "fisher_hessian_overlap": ("overlap_dim", [0.9, 0.8]),
    ...         "random_overlap": ("overlap_dim", [0.01, 0.02]),
    ...     },
    ...     coords,
    ... )
    >>> overlap_curves(found, "fisher_hessian_overlap").get_xlabel()
    'dimension k of the subspaces'
    """
    ax = canvas(ax)
    if value.removesuffix("_curve") not in BASELINES:
        raise ValueError(
            f"overlap_curves draws {', '.join(BASELINES)}; got {value!r}, of which no baseline is "
            "known. Use error_against for it."
        )
    baseline, dim = BASELINES[value.removesuffix("_curve")]
    if value.endswith("_curve"):
        baseline += "_curve"
    dims = (dim,) if hue is None else (hue, dim)
    dataset = select(data, value, dims, "overlap_curves")
    chance = select(data, baseline, dims, "overlap_curves")[baseline].mean("seed")
    same = hue is None or bool((chance == chance.isel({hue: 0})).all())
    places = dataset[dim].values
    for color, name, array in by_hue(dataset[value], hue):
        mean, half = t_interval(array.transpose(dim, "seed").values)
        ax.fill_between(places, mean - half, mean + half, color=color, alpha=0.18, linewidth=0)
        ax.plot(places, mean, color=color, label=name)
        if hue is not None and not same:
            ax.plot(places, chance.sel({hue: array[hue]}), "--", color=color, linewidth=1.0)
    if same:
        line = chance if hue is None else chance.isel({hue: 0})
        ax.plot(places, line, "--", color="0.4", linewidth=1.0)
    ax.plot([], [], "--", color="0.4", linewidth=1.0, label="random")
    ax.set_ylim(0.0, 1.0)
    ax.set_xlim(0.0, float(np.max(places)) * 1.02)
    ax.set_xlabel(wrapped(dim, dataset[dim]))
    ax.set_ylabel(wrapped(value, dataset[value]))
    head(ax, selection(dataset[value]), tally(dataset))
    ax.legend(title=None if hue is None else short(hue), frameon=False)
    return ax
