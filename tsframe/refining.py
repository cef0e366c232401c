"""``tsframe refine``: train more only where the boundary of a measure is uncertain.

The rounds of `tsframe.phases.propose` are run into the store of a study, each in one batch. New
values are appended to the axes of the store, which stays one grid; cells of it that nobody asked
for stay to do. The sweep file keeps its axes: it says what the study is, the store what is known of
it. ``tsframe run NAME`` works on the file's part of the store alone, so it neither refuses what
refine added nor trains the rest of the larger grid; another ``tsframe refine`` goes on from there.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import xarray as xr
from cyclopts import Parameter

from tsframe.commands import Device, find, first_error, Jobs, load, Mode, Place, say, Study
from tsframe.execution import run as run_sweep
from tsframe.opening import open_store
from tsframe.phases import propose
from tsframe.places import Place as Somewhere, place as located
from tsframe.store import Store
from tsframe.sweep import Sweep

__all__ = ["refine"]

ROUNDS = 20


def refine(
    target: Annotated[str, Parameter(help="Name of a study, the path of its file or store.")],
    /,
    *,
    level: Annotated[float, Parameter(help="Value of the measure at the boundary.")],
    measure: Annotated[str, Parameter(help="Measure whose boundary it is.")] = "test_error",
    axis: Annotated[
        list[str],
        Parameter(negative="", help="Axis to refine; one or two. All of numbers if there are two."),
    ] = [],  # noqa: B006  # cyclopts copies it
    band: Annotated[
        float, Parameter(help="Width asked for, as a fraction of each axis on its own scale.")
    ] = 0.1,
    most_seeds: Annotated[int, Parameter(help="No cell gets more seeds than this.")] = 30,
    budget: Annotated[
        int | None, Parameter(help="Students to train at most, over all rounds.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Say what the next round would train, and end.")
    ] = False,
    store: Place = None,
    jobs: Jobs = None,
    device: Device = "auto",
    mode: Mode = "strict",
) -> int:
    """Add axis values and seeds where a boundary is uncertain, until its band is narrow."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study, path = place(target, store)
    sweep = load(study)
    names = axis or numeric(sweep)
    trained = 0
    for number in range(1, ROUNDS + 1):
        found = look(path, names, measure, level, band, most_seeds, left(budget, trained))
        students, width = int(found.students), float(found.band)
        print(f"round {number}: {measure} = {level:g} known to {width:.3g} of an axis", end="; ")
        if not students or left(budget, trained) == 0:
            break
        print(f"{students} students {words(found, sweep)}")
        if dry_run:
            return 0
        grown = sweep.over(**{dim: found[dim].values.tolist() for dim in sweep.axes})
        run_sweep(grown, path, n_jobs=jobs, device=device, mode=mode, only=found.wanted)
        trained += students
    reached = width <= band
    print("as asked" if reached else why(band, students, budget, trained, most_seeds))
    print(f"results: {path}, {trained} students trained")
    error = first_error(Store.open(path, write=False))
    if error:
        print(say(error))
        return 1
    return 0 if reached else 3


def place(target: str, store: Path | None) -> tuple[Study, Somewhere]:
    """Find a study, by its name, its file or its store, and the store.

    Raises
    ------
    FileNotFoundError
        If there is no store yet.
    """
    itself = target.endswith(".zarr")
    study = find(Path(target).stem if itself else target)
    path = located(store or (target if itself else study.store))
    if not path.exists():
        raise FileNotFoundError(
            f"there is no store {path} to refine; train its first grid by tsframe run {study.name}."
        )
    return study, path


def numeric(sweep: Sweep) -> list[str]:
    """Give the two axes of numbers that have several values, or ask which.

    Raises
    ------
    ValueError
        If there are none, or more.
    """
    names = [
        name
        for name, values in sweep.axes.items()
        if name != "seed" and len(values) > 1 and type(values[0]) in (int, float)
    ]
    if not 1 <= len(names) <= 2:
        raise ValueError(
            f"refine takes one or two axes, and the sweep has {', '.join(names) or 'none'} of "
            "numbers; name them with --axis."
        )
    return names


def look(
    path: Somewhere,
    axes: list[str],
    measure: str,
    level: float,
    band: float,
    most_seeds: int,
    budget: int | None,
) -> xr.Dataset:
    """Open a store, and propose the next round.

    Raises
    ------
    ValueError
        If the measure is a curve.
    """
    results = open_store(path)
    inner = set(results[measure].dims) - set(results["state"].dims) if measure in results else None
    if inner:
        raise ValueError(
            f"{measure} has the dim {', '.join(map(str, inner))}, which is no axis of the sweep; "
            "refine a measure that is one number a student."
        )
    budget = None if budget is None else max(budget, 1)
    return propose(results, axes, measure, level, band=band, most_seeds=most_seeds, budget=budget)


def left(budget: int | None, trained: int) -> int | None:
    """Give what is left of the budget."""
    return None if budget is None else budget - trained


def words(found: xr.Dataset, sweep: Sweep) -> str:
    """Say what a round adds: new values of the axes, and where."""
    new: dict[str, list[Any]] = {
        dim: sorted(set(found[dim].values.tolist()) - set(values))
        for dim, values in sweep.axes.items()
        if found.sizes[dim] > len(values)
    }
    sizes = ", ".join(f"{name} {found.sizes[name]} values" for name in new)
    return f"(grid with {sizes})" if sizes else "on the grid as it is"


def why(band: float, students: int, budget: int | None, trained: int, most_seeds: int) -> str:
    """Say why the band is wider than asked."""
    if budget is not None and trained >= budget:
        return f"wider than {band:g}: the budget of {budget} students is used up"
    if students:
        return f"wider than {band:g} after {ROUNDS} rounds; the same command goes on"
    return (
        f"wider than {band:g}: no cell may have more than {most_seeds} seeds, no integer is left "
        "between two, or cells there have failed"
    )
