"""What the axes of a sweep and its measures are called in a figure, with their units."""

from collections.abc import Hashable

import xarray as xr
from matplotlib.axes import Axes

__all__ = ["head", "label", "plain", "selection", "short", "wrapped"]

WORDS = {
    # axes of sweeps
    "batch_size": "batch size (training samples per step)",
    "classes": "classes",
    "depth": "depth (hidden layers)",
    "dim": "input dimension",
    "exponent": "exponent alpha of the input spectrum",
    "floor": "floor of the input spectrum (leading exponential = 1)",
    "label_noise": "label noise (fraction of training labels redrawn)",
    "lr": "learning rate",
    "n_train": "training samples n",
    "overlap_dim": "dimension k of the subspaces",
    "seed": "seed",
    "slope": "slope c of the input spectrum (natural log per mode)",
    "step": "optimizer steps",
    "teacher_dim": "dimension k of the subspaces",
    "travel_dim": "dimension k of the stiff subspace",
    "weight_decay": "weight decay",
    "width": "student width (hidden units)",
    # measures
    "distance_from_init": "distance from the initial weights (Euclidean)",
    "fisher_hessian_overlap": "overlap of Fisher and Hessian (mean squared cosine)",
    "fisher_overlap_initial": "overlap with initialization (mean squared cosine)",
    "gradient_overlap": "overlap of gradients (with those of the teacher)",
    "hessian_node": "eigenvalue of the Hessian (units of the loss)",
    "interpolated": "fraction of students that interpolate",
    "majority_error": "error of naming the most frequent class (fraction)",
    "perplexity": "class perplexity (equally likely classes)",
    "steps": "optimizer steps done",
    "stiff_travel": "way in the initial stiff subspace (share of its square)",
    "test_error": "test error (noise-free teacher)",
    "test_loss": "test loss (noise-free teacher)",
    "train_error": "training error (labels as trained)",
    "train_loss": "training loss (labels as trained)",
    "weight_overlap": "overlap of the first layer (with gradients of the teacher)",
    "weight_norm": "norm of all weights (Euclidean)",
}


def label(name: Hashable, array: xr.DataArray | None = None) -> str:
    """Give the label of a dim or measure: in words, with units.

    Parameters
    ----------
    name : str
        Its name in the Dataset; a curve is called as its measure is.
    array : DataArray, optional
        Its data. Their attribute ``long_name`` goes before the words known here, and ``units``
        stands before what these have in brackets.

    Returns
    -------
    str
        The words; for a name unknown here and there, the name itself with spaces.

    Examples
    --------
    >>> label("width")
    'student width (hidden units)'
    >>> label("top_eigenvalue")
    'top eigenvalue'
    >>> label("test_error", xr.DataArray(0.1, attrs={"units": "mean square"}))
    'test error (mean square, noise-free teacher)'
    """
    attributes = {} if array is None else array.attrs
    known = WORDS.get(str(name).removesuffix("_curve"), str(name).replace("_", " "))
    words, _, said = str(attributes.get("long_name", known)).partition(" (")
    brackets = [str(attributes.get("units", "")), said.removesuffix(")")]
    said = ", ".join(text for text in brackets if text)
    return f"{words} ({said})" if said else words


def wrapped(name: Hashable, array: xr.DataArray | None = None) -> str:
    """Give the label of a dim or measure with its units on a second line where it is long."""
    words = label(name, array)
    return words.replace(" (", "\n(", 1) if len(words) > 34 else words


def short(name: Hashable) -> str:
    """Give the label of a dim or measure without its units, e.g. for the head of a legend.

    Examples
    --------
    >>> short("width")
    'student width'
    """
    return label(name).split(" (")[0]


def selection(array: xr.DataArray) -> str:
    """Tell where an array was selected: its scalar coordinates, in words.

    Examples
    --------
    >>> selection(xr.DataArray(0.5, coords={"depth": 2, "label_noise": 0.2}))
    'depth 2, label noise 0.2'
    """
    return ", ".join(
        f"{str(name).replace('_', ' ')} {plain(coordinate.item())}"
        for name, coordinate in array.coords.items()
        if coordinate.ndim == 0 and name != "seed"
    )


def head(ax: Axes, title: str, caption: str) -> None:
    """Write a title at the left of a figure, and a small caption below it."""
    ax.set_title(title or "\N{NO-BREAK SPACE}", loc="left", fontsize="medium", pad=16)
    text = ax.annotate(
        caption,
        (0.0, 1.0),
        (0.0, 4.0),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize="small",
        color="0.35",
    )
    text.set_in_layout(False)  # it may stand over a colorbar; the title keeps its room


def plain(value: object) -> str:
    """Write a coordinate value as a reader would.

    Examples
    --------
    >>> plain(100.0), plain(0.005), plain(20000.0), plain(1e-05), plain("He2015")
    ('100', '0.005', '20000', '1e-05', 'He2015')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if abs(value) < 1e5 and value == int(value) else f"{value:.3g}"
    return str(value)
