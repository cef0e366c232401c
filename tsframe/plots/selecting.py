"""From a Dataset of a sweep to the arrays of one figure, refusing what a figure would mix."""

from typing import TypeAlias

import numpy as np
import xarray as xr

from tsframe.phases.seeds import having
from tsframe.plots.words import plain

__all__ = ["Labeled", "select", "tally"]

Labeled: TypeAlias = xr.Dataset | xr.DataArray

# Codes of the variable "state": what became of a cell.
TODO, DONE, FAILED, DIVERGED, EXCLUDED = range(5)


def select(data: Labeled, value: str, dims: tuple[str, ...], figure: str) -> xr.Dataset:
    """Reduce a Dataset to the dims of one figure and the seeds.

    Parameters
    ----------
    data : Dataset or DataArray
        Results over the axes of a sweep; a DataArray is taken as the variable `value`.
    value : str
        Variable to draw.
    dims : tuple of str
        Dims of the figure.
    figure : str
        Name of the function that draws, for messages.

    Returns
    -------
    Dataset
        The variable as float64 over (`dims`, seed), with the other variables over dims among these;
        coordinates of numbers ascend, dims of length one became scalar coordinates. An error whose
        units the data tell has them as its attribute ``units``.

    Raises
    ------
    ValueError
        If there is no such variable or dim, or a further dim has several values.
    """
    dataset = having(data, value, dims, figure)
    kept = (*dims, "seed")
    extra = [str(dim) for dim in dataset[value].dims if dim not in kept]
    several = [dim for dim in extra if dataset.sizes[dim] > 1]
    if several:
        values = {dim: [plain(v) for v in dataset[dim].values[:6].tolist()] for dim in several}
        listed = " and ".join(
            f"{dim} ({', '.join(v)}{', ...' if dataset.sizes[dim] > 6 else ''})"
            for dim, v in values.items()
        )
        first = repr(dataset[several[0]].values[0].item())
        raise ValueError(
            f"{figure} draws {' and '.join(dims)} and averages over seed only; {value} also has "
            f"{listed}. Select one value of each first, e.g. dataset.sel({several[0]}={first})."
        )
    dataset = dataset.squeeze(extra)
    names = [name for name, array in dataset.data_vars.items() if set(array.dims) <= set(kept)]
    if "seed" not in dataset[value].dims:
        dataset = dataset.expand_dims("seed")
    dataset = dataset[names].transpose(*dims, "seed", missing_dims="ignore")
    dataset[value] = dataset[value].astype(np.float64).assign_attrs(_units(dataset, value))
    return dataset.sortby([dim for dim in dims if dataset[dim].dtype.kind in "iuf"])


def _units(dataset: xr.Dataset, value: str) -> dict[str, str]:
    """Tell whether an error is a fraction of labels or a mean square, where the data say so.

    Students of classes measure the error of naming the most frequent class; those of regression
    have an error that is their loss.
    """
    measure = value.removesuffix("_curve")
    if measure not in ("train_error", "test_error") or "units" in dataset[value].attrs:
        return {}
    loss = value.replace("error", "loss")
    if "majority_error" in dataset and dataset["majority_error"].notnull().any():
        return {"units": "fraction wrong"}
    same = loss in dataset and np.allclose(dataset[value], dataset[loss], equal_nan=True)
    return {"units": "mean square"} if same or (dataset[value] > 1.0).any() else {}


def tally(dataset: xr.Dataset, of: str = "mean of") -> str:
    """Count the seeds of a selected Dataset, and the students without a result, for a caption.

    Examples
    --------
    >>> tally(xr.Dataset({"state": ("seed", [1, 1, 3])}))
    'mean of 3 seeds, 1 student diverged'
    """
    seeds = dataset.sizes.get("seed", 1)
    parts = [f"{of} {seeds} seeds" if seeds > 1 else "1 seed"]
    if "state" in dataset:
        for code, what in ((DIVERGED, "diverged"), (FAILED, "failed"), (TODO, "not run")):
            students = int((dataset["state"] == code).sum())
            if students:
                parts.append(f"{students} student{'s' if students > 1 else ''} {what}")
    return ", ".join(parts)
