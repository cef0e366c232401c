"""A store, opened as a labeled Dataset whose every number is vouched for."""

import json
import logging
import os
from collections.abc import Mapping

import numpy as np
import xarray as xr

from tsframe.layout import zarr_store
from tsframe.ledger import Array, ENTRIES, State
from tsframe.origins import mixture, written
from tsframe.places import Place, place
from tsframe.store import Store

__all__ = ["open_store", "packed", "view"]

LOG = logging.getLogger("tsframe")


def packed(path: Place) -> bool:
    """Tell whether something is a copy that `pack` wrote."""
    try:
        return "tsframe_packed" in json.loads((path / "zarr.json").read_text())["attributes"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False


def open_store(path: str | os.PathLike[str], strict: bool = False) -> xr.Dataset:
    """Open the results of a sweep as a labeled Dataset.

    Measures are NaN wherever no settled row of the ledger vouches for them. The variable
    ``state`` says why: 0 to do, 1 done, 2 failed, 3 diverged (NaN is the result), 4 excluded.
    Axes of numbers ascend. The attributes tell where the numbers come from; ``origins`` has a line
    for each device, mode, precision, set of versions, with its cells and runs. A copy that `pack`
    wrote is opened lazily, and is so already.

    Parameters
    ----------
    path : path
        The store, e.g. ``stores/NAME.zarr`` or ``s3://BUCKET/NAME.zarr``.
    strict : bool
        Whether to refuse a store with cells that are to do or have failed; else they are logged.

    Returns
    -------
    xarray.Dataset
        The measures, ``state``, ``error`` and ``ledger`` over the axes of the sweep.
        With `strict` a store with such cells is refused.
    """
    where = place(path)
    if packed(where):
        copy: xr.Dataset = xr.open_zarr(zarr_store(where), chunks=None)
        return copy
    store = Store.open(where, write=False)
    return view(store, *store.load(), strict)


def view(
    store: Store, ledger: Array, measures: Mapping[str, Array], strict: bool = False
) -> xr.Dataset:
    """Label what `Store.load` gave.

    Parameters
    ----------
    store : Store
        The store.
    ledger, measures : array, mapping of str to array
        What it holds.
    strict : bool
        As for `open_store`.

    Returns
    -------
    xarray.Dataset
        As `open_store` gives it.

    Raises
    ------
    ValueError
        If `strict` and some cells are to do or have failed.
    """
    state = ledger[..., 0].astype(np.int8)
    count = {kind: int((state == kind).sum()) for kind in State}
    if count[State.TODO] or count[State.FAILED]:
        text = (
            f"{store.path}: {count[State.DONE] + count[State.DIVERGED]} of {state.size} done, "
            f"{count[State.TODO]} to do, {count[State.FAILED]} failed; tsframe run trains those of "
            "its sweep."
        )
        if strict:
            raise ValueError(text)
        LOG.warning(text)
    history = store.runs.history()
    summary = store.runs.summary(history)
    groups = written(ledger, store.runs.origins(history))
    if mixed := mixture(group.origin for group in groups):
        LOG.warning("%s: %s", store.path, mixed)
    if len(summary["commits"]) > 1:
        LOG.warning("%s: its runs come from %d commits", store.path, len(summary["commits"]))
    failed = np.isin(state, (State.FAILED, State.DIVERGED))
    errors = np.where(failed, store.read_errors(store.grid.everything), "").astype(object)
    dims = tuple(store.axes)
    flags = {"flag_values": [int(kind) for kind in State]}
    meanings = {"flag_meanings": " ".join(kind.name.lower() for kind in State)}
    coordinates = {**store.axes, **store.inner, "entry": ENTRIES}
    dataset = xr.Dataset(
        {
            **{name: ((*dims, *store.measures[name]), array) for name, array in measures.items()},
            "state": (dims, state, {**flags, **meanings}),
            "error": (dims, errors),
            "ledger": ((*dims, "entry"), ledger),
        },
        coords={name: list(values) for name, values in coordinates.items()},
        attrs={
            "name": store.facts["name"],
            **summary,
            "origins": [str(group) for group in groups],
        },
    )
    orders = {
        dim: sorted(range(len(values)), key=values.__getitem__)
        for dim, values in store.axes.items()
        if type(values[0]) is not str
    }
    changed = {dim: order for dim, order in orders.items() if order != sorted(order)}
    return dataset.isel(changed) if changed else dataset  # sortby would copy every text deeply
