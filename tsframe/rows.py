"""From trials to rows of the store: one joint call, and if that fails, one call a trial.

Nothing that a trial does is raised here. A trial that raises, or that gives something else than
it declared, becomes a failed row with the reason; one that diverged is a result, and its NaN is
data.
"""

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from tsframe.contract import vector_lengths
from tsframe.ledger import Array, State
from tsframe.store import Rows, Store

if sys.platform != "win32":
    import resource

__all__ = ["failed_rows", "joined", "train_rows"]

TEXT = 4096  # bytes of an error that are kept


def train_rows(
    store: Store,
    places: npt.NDArray[np.intp],
    trials: Sequence[Any],
    device: str,
    threads: int | None,
    run: int,
    mode: str = "strict",
) -> tuple[Rows, dict[str, Any]]:
    """Train some trials together; where that fails each alone, so that only the culprit fails.

    Parameters
    ----------
    store : Store
        Says which measures are expected.
    places : array of int, shape (n,)
        Positions of the cells in their chunk.
    trials : sequence of n trials
        What is to be trained.
    device : str
        Where to train.
    threads : int, optional
        How many threads to use.
    run : int
        Number of the run that asks; its sweep knows the measures that the store had by then.
    mode : str
        What the engine promises; only what is not strict is told to it.

    Returns
    -------
    tuple
        The rows, and what the engine says of itself.
    """
    start = time.perf_counter()
    try:
        how = {} if mode == "strict" else {"mode": mode}
        dataset = type(trials[0]).train_together(trials, device=device, threads=threads, **how)
        measures, owned = taken(store, dataset, trials, run)
        diverged = flags(dataset, len(trials))
    except (Exception, SystemExit) as error:  # any fault of a trial is a row
        if len(trials) > 1:
            alone = [
                train_rows(store, places[i : i + 1], trials[i : i + 1], device, threads, run, mode)
                for i in range(len(trials))
            ]
            return joined([rows for rows, _ in alone]), next((e for _, e in alone if e), {})
        rows = failed_rows(store, places, trials, [explain(error)], run)
        return replace(rows, seconds=np.array([time.perf_counter() - start])), {}
    engine = {str(key): value for key, value in dataset.attrs.items()}
    due = [names - {*getattr(t, "may_lack", ())} for names, t in zip(owned, trials, strict=True)]
    texts = lacking(measures, diverged, due)
    bad = np.array([bool(text) for text in texts])
    for values in measures.values():
        values[bad] = np.nan
    states = np.where(diverged, State.DIVERGED, np.where(bad, State.FAILED, State.DONE))
    flops = np.array([trial.flops for trial in trials], np.float64)
    seconds = (time.perf_counter() - start) * flops / flops.sum()
    peak = float(engine.get("peak_bytes", peak_bytes()))
    return Rows(places, measures, states, texts, seconds, peak), engine


def failed_rows(
    store: Store,
    places: npt.NDArray[np.intp],
    trials: Sequence[Any],
    texts: Sequence[str],
    run: int,
) -> Rows:
    """Give the rows of trials that failed, with the reason of each."""
    count = len(trials)
    owned = [{*own, *vector_lengths(own)} for own in (trial.declared for trial in trials)]
    return Rows(
        places=places,
        measures={
            name: np.full((count, *(len(store.inner[dim]) for dim in inner)), np.nan)
            for name, inner in known(store, owned, run).items()
        },
        states=np.full(count, State.FAILED),
        errors=[clipped(text, TEXT) for text in texts],
        seconds=np.zeros(count),
        peak_bytes=peak_bytes(),
    )


def known(store: Store, owned: Sequence[set[str]], run: int) -> dict[str, tuple[str, ...]]:
    """Give the measures of the store, but for those that it gained after the trials were made.

    A measure that the run knew and no trial owns belongs to other trials of the sweep.
    """
    declared = set().union(*owned)
    since = store.since
    return {
        name: inner
        for name, inner in store.measures.items()
        if name in declared or since[name] <= run
    }


def taken(
    store: Store, dataset: xr.Dataset, trials: Sequence[Any], run: int
) -> tuple[dict[str, Array], list[set[str]]]:
    """Take the declared measures out of what a call returned, vectors padded to the longest.

    Returns
    -------
    tuple
        The measures, NaN where a trial does not declare one, and the names that each trial does.

    Raises
    ------
    TypeError
        If a measure is not made of real numbers.
    ValueError
        If a measure is missing, or its dims or coordinates are not the declared ones.
    """
    measures = {}
    declared = [trial.declared for trial in trials]
    counts = [vector_lengths(own) for own in declared]
    owned = [{*own, *lengths} for own, lengths in zip(declared, counts, strict=True)]
    for name, inner in known(store, owned, run).items():
        owners = np.array([name in own for own in declared])
        if not owners.any():  # the length of a vector, or a measure of other trials
            shape = (len(trials), *(len(store.inner[dim]) for dim in inner))
            measures[name] = np.full(shape, np.nan)
            if not inner:
                measures[name][:] = [float(own.get(name, np.nan)) for own in counts]
            continue
        if name not in dataset:
            got = ", ".join(str(key) for key in dataset.data_vars)
            raise ValueError(f"measure '{name}' is declared but not returned; got {got}.")
        array = dataset[name]
        dims = ("student", *inner)
        longest = [max(own.get(f"{dim}_length", 0) for own in counts) for dim in inner]
        if array.dims != dims or array.shape != (len(trials), *longest):
            raise ValueError(
                f"measure '{name}': declared dims {dims} of lengths {(len(trials), *longest)}, got "
                f"{array.dims} of lengths {array.shape}."
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"measure '{name}': declared real numbers, got {array.dtype}.")
        for dim, length in zip(inner, longest, strict=True):
            there = tuple(dataset[dim].values.tolist()) if dim in dataset.coords else None
            if there not in (None, store.inner[dim][:length]):
                raise ValueError(f"measure '{name}': '{dim}' has other coordinates than declared.")
        whole = np.full((len(trials), *(len(store.inner[dim]) for dim in inner)), np.nan)
        whole[(slice(None), *map(slice, longest))] = array.values
        for axis, dim in enumerate(inner, 1):
            ends = np.array([own.get(f"{dim}_length", 0) for own in counts])
            if ends.min() < whole.shape[axis]:  # whatever stands behind the end of a vector
                place = np.arange(whole.shape[axis]).reshape(-1, *(1,) * (whole.ndim - axis - 1))
                whole[
                    np.broadcast_to(place >= ends.reshape(-1, *(1,) * len(inner)), whole.shape)
                ] = np.nan
        whole[~owners] = np.nan
        measures[name] = whole
    return measures, owned


def flags(dataset: xr.Dataset, count: int) -> npt.NDArray[np.bool_]:
    """Take the flags of divergence out of what a call returned.

    Raises
    ------
    ValueError
        If they are missing or of another shape.
    """
    if "diverged" not in dataset or dataset["diverged"].shape != (count,):
        raise ValueError(f"'diverged' must hold one flag for each of {count} students.")
    return np.asarray(dataset["diverged"].values, bool)


def lacking(
    measures: dict[str, Array], diverged: npt.NDArray[np.bool_], due_names: Sequence[set[str]]
) -> list[str]:
    """Name a measure that is due, and that a student who did not diverge has no number for.

    A vector may end in NaN, where there was nothing to measure; a scalar may not be NaN.
    """
    texts = [""] * len(diverged)
    for name, values in measures.items():
        due = np.array([name in names for names in due_names]) & ~diverged
        empty = np.isnan(values).reshape(len(diverged), -1).all(axis=1) & due
        for row in np.flatnonzero(empty):
            texts[row] = f"ValueError: measure '{name}' is NaN, though the student did not diverge."
    return texts


def explain(error: BaseException) -> str:
    """Say what was raised and where, in at most `TEXT` bytes of valid utf-8."""
    try:
        message = str(error)
    except Exception:  # an exception that cannot even be printed
        message = "(its message cannot be printed)"
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[-5:])
    text = clipped(f"{type(error).__name__}: {message}", TEXT // 2) + "\n" + "".join(frames)
    return clipped(text, TEXT)


def clipped(text: str, size: int) -> str:
    """Cut a text to so many bytes of valid utf-8."""
    return text.encode("utf-8", "backslashreplace")[:size].decode("utf-8", "ignore")


def joined(parts: Sequence[Rows]) -> Rows:
    """Put the rows of several calls into one."""
    return Rows(
        places=np.concatenate([part.places for part in parts]),
        measures={
            name: np.concatenate([part.measures[name] for part in parts])
            for name in parts[0].measures
        },
        states=np.concatenate([part.states for part in parts]),
        errors=[text for part in parts for text in part.errors],
        seconds=np.concatenate([part.seconds for part in parts]),
        peak_bytes=max(part.peak_bytes for part in parts),
    )


def peak_bytes() -> float:
    """Memory high-water mark of this process in bytes; 0 where it is not known."""
    try:  # what getrusage says begins, on Linux, with what the parent had when it forked
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024.0 * float(status.split("VmHWM:", 1)[1].split()[0])
    except (OSError, ValueError, IndexError):
        pass
    if sys.platform == "win32":
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
