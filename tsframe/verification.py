"""Verify a store: its structure, its objects, its digests, and that its numbers come again.

Nothing is changed; `repair` mends what can be. A store may be verified while a run writes to it;
what is written meanwhile may then be reported.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from tsframe.axes import describe
from tsframe.findings import Finding, LEVELS, Report
from tsframe.forms import coordinates, Form, forms, metadata, root_facts
from tsframe.growth import intent, recall, since_of
from tsframe.layout import faults, read_coordinate
from tsframe.ledger import Array, ENTRIES, feed, State, vouched
from tsframe.opening import open_store, packed
from tsframe.places import inside, Place
from tsframe.provenance import Runs
from tsframe.repeating import repeat, REPEATS
from tsframe.store import Store
from tsframe.sweep import Sweep

__all__ = ["expected", "verify"]

ROWS_BYTES = 64e6  # of a packed variable in memory at a time
Present = Mapping[str, set[int]]


def verify(
    path: Place,
    level: int = 3,
    sweep: Sweep | None = None,
    *,
    repeats: int = REPEATS,
    device: str = "auto",
) -> Report:
    """Look for anything in a store that is not as it should be; change nothing.

    Level 0 looks at the structure: attributes, metadata, coordinates, litter. Level 1 lists the
    objects of all arrays. Level 2 decodes every object, level 3 checks every digest and what the
    ledger says. Level 4 trains some cells of each run again and compares every bit; what differs
    where another engine wrote it - other code or versions, another kind of device - or in the mode
    "fast" is noted only, and by how much. Of a copy that was packed the sums of all arrays are
    checked at any level.

    Parameters
    ----------
    path : Place
        The store.
    level : int
        How far to look; each level holds those before it.
    sweep : Sweep, optional
        The sweep of the store; level 4 needs it to build the trials.
    repeats : int
        How many cells of each run level 4 trains.
    device : str
        Where level 4 trains.

    Returns
    -------
    Report
        What was found.

    Raises
    ------
    ValueError
        If there is no such level, or level 4 has no sweep.
    """
    if level not in range(len(LEVELS)):
        raise ValueError(
            f"level must be 0 to {len(LEVELS) - 1} ({', '.join(LEVELS)}); got {level}."
        )
    if level == 4 and sweep is None:
        raise ValueError("level 4 trains cells again and needs the sweep; give the study's name.")
    if packed(path):
        return Report(str(path), level, {}, list(sums(path)))
    findings = list(structure(path))
    if any(finding.grade != "note" for finding in findings):
        return Report(str(path), level, {}, findings)  # the rest rests on the structure
    store = Store.open(path, write=False)
    state = store.read_all("ledger")[..., 0]
    cells = {kind.name.lower(): int((state == kind).sum()) for kind in State}
    repeated = 0
    if level >= 1:
        present: dict[str, set[int]] = {}
        findings += listing(store, present)
        findings += contents(store, present, level) if level >= 2 else []
    if level == 4 and sweep is not None:
        repeated, found = repeat(store, sweep, repeats, device)
        findings += found
    return Report(str(path), level, cells, findings, repeated)


def sums(path: Place) -> Iterator[Finding]:
    """Every array of a copy that was packed has the sha256 that it had.

    Yields
    ------
    Finding
        What is not as it should be.
    """
    copy = open_store(path)
    for name, variable in copy.variables.items():
        try:
            sum_now = sum_of(variable)
        except Exception as error:  # codecs raise what they like
            sum_now = str(error)
        if sum_now != variable.attrs.get("sha256"):
            text = f"{path / str(name)} does not have its sha256 any more; take another copy"
            yield Finding(2, "damaged", text, where=str(path / str(name)))


def sum_of(variable: xr.Variable) -> str:
    """Give the sha256 of a variable, of which some rows are in memory at a time."""
    digest = hashlib.sha256()
    rows = max(1, int(ROWS_BYTES * max(1, len(variable)) // max(1, variable.nbytes)))
    for start in range(0, len(variable), rows):
        feed(digest, np.asarray(variable[start : start + rows].values))
    return digest.hexdigest()


def expected(path: Place, root: Mapping[str, Any]) -> dict[str, Form]:
    """Give the form that every array of a store should have.

    Raises
    ------
    ValueError
        If no array tells the shape of the chunks any more.
    """
    axes, spec = len(root["spec"]["axes"]), recall(path, root)
    votes: Counter[tuple[int, ...]] = Counter()
    for name in (*spec["measures"], "ledger", "error"):
        try:
            grid = metadata(path, name)["chunk_grid"]
            votes[tuple(grid["configuration"]["chunk_shape"][:axes])] += 1
        except (KeyError, TypeError):
            continue
    if not votes:
        raise ValueError(f"{path}: no array tells the shape of the chunks; restore one of them.")
    return forms(spec, since_of(path, spec["version"]), votes.most_common(1)[0][0])


def structure(path: Place) -> Iterator[Finding]:
    """Level 0: attributes, metadata and coordinates are whole and agree; there is no litter.

    Yields
    ------
    Finding
        What is not as it should be.
    """
    runs = Runs(path / "runs")
    try:
        root = root_facts(path)
        known = runs.read(f"spec-{root['spec_version']}")
        same = all(root["spec"][key] == known.get(key, root["spec"][key]) for key in root["spec"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ValueError) and not runs.read("spec-1"):
            raise
        yield Finding(0, "repairable", f"{path / 'zarr.json'} is damaged", "root", str(path))
        return
    if not same:
        text = f"{path / 'zarr.json'} and runs/spec-{root['spec_version']}.json disagree"
        yield Finding(0, "repairable", text, "root", str(path))
        return
    if not known:
        yield Finding(0, "note", f"runs/spec-{root['spec_version']}.json is missing or damaged")
    if intent(path, root):
        text = f"growth to spec {root['spec_version'] + 1} has begun and not ended"
        yield Finding(0, "repairable", text, "finish")
    if "consolidated_metadata" in (path / "zarr.json").read_text():
        text = "the metadata is consolidated, which goes stale in a store that grows"
        yield Finding(0, "repairable", text, "root", str(path))
    wanted, values = expected(path, root), coordinates(root["spec"])
    for name, form in wanted.items():
        wrong = faults(path, name, form)
        if wrong:
            text = f"{path / name / 'zarr.json'}: {'; '.join(wrong)}"
            yield Finding(0, "repairable", text, "array", str(path / name))
        elif name in values:
            try:
                there = read_coordinate(path, name)
            except Exception as error:  # codecs raise what they like
                there = [str(error)]
            if there[: len(values[name])] != list(values[name]):
                text = f"the coordinate '{name}' does not hold the values of the spec"
                yield Finding(0, "repairable", text, "array", str(path / name))
    for entry in inside(path):
        if entry.suffix == ".partial":
            yield litter(entry)
        elif entry.name not in {*wanted, "runs", "zarr.json"}:
            yield Finding(0, "note", f"{entry} is no part of a store; plain xarray may warn")
    for name in set(wanted) & set(values):
        yield from (litter(file) for file in inside(path / name, "*.partial"))
    yield from (litter(file) for file in inside(path / "runs", ".*.*") if file.is_file())
    for run in runs.unclean():
        yield Finding(0, "note", f"run {run} did not end: it was killed, or is at work")


def litter(file: Place) -> Finding:
    """Report what a writer that was killed left behind."""
    return Finding(0, "repairable", f"{file} was left by a writer", "remove", str(file))


def listing(store: Store, present: dict[str, set[int]]) -> Iterator[Finding]:
    """Level 1: every object belongs to the grid; what the ledger knows has its measures.

    Yields
    ------
    Finding
        What is not as it should be.
    """
    counts = store.grid.counts
    for name, array in store.arrays.items():
        inner = len(array.shape) - len(counts)
        keys = re.compile(r"c" + r"\.(\d+)" * len(counts) + r"\.0" * inner)
        numbers = present.setdefault(name, set())
        for file in inside(store.path / name):
            found = keys.fullmatch(file.name)
            index = tuple(int(part) for part in found.groups()) if found else ()
            if found and all(i < n for i, n in zip(index, counts, strict=True)):
                numbers.add(int(np.ravel_multi_index(index, counts)))
            elif file.suffix == ".partial":
                yield litter(file)
            elif file.name != "zarr.json":
                text = f"{file} lies outside of the grid"
                yield Finding(1, "repairable", text, "quarantine", str(file))
    since = store.since
    for name in store.measures:
        if since[name] > 1:
            continue  # what older runs wrote has no such measure
        for number in sorted(present["ledger"] - present[name]):
            text = f"{name}, {named(store, number)}: the object is missing"
            yield Finding(1, "repairable", text, "demote", chunk=number)


def named(store: Store, number: int) -> str:
    """Name a chunk by the values that it goes from and to."""
    ends = [
        f"{name} {values[part.start]!r}"
        + (f"..{values[part.stop - 1]!r}" if part.stop - part.start > 1 else "")
        for (name, values), part in zip(store.axes.items(), store.grid.block(number), strict=True)
    ]
    return f"chunk {number} ({', '.join(ends)})"


def contents(store: Store, present: Present, level: int) -> Iterator[Finding]:
    """Levels 2 and 3: every object decodes; every digest fits, and every row makes sense.

    Yields
    ------
    Finding
        What is not as it should be.
    """
    since = store.since
    optional = {run: store.runs.read(str(run)).get("optional", []) for run in store.runs.numbers()}
    for number in sorted(set().union(*present.values())):
        block, cells = store.grid.block(number), store.grid.cells(number)
        values: dict[str, Any] = {}
        for name, array in store.arrays.items():
            try:
                values[name] = np.asarray(array[block])
            except Exception as error:  # codecs raise what they like
                file = store.file(name, number)
                text = (
                    f"{name}, {named(store, number)}: {error}; file {file}; tsframe repair sets "
                    f"up to {len(cells)} cells to do"
                )
                yield Finding(2, "repairable", text, "quarantine", str(file), number)
        if level >= 3 and len(values) == len(store.arrays):
            yield from meaning(store, number, values, since, optional)


def meaning(
    store: Store,
    number: int,
    values: dict[str, Any],
    since: Mapping[str, int],
    optional: Mapping[int, Sequence[str]],
) -> Iterator[Finding]:
    """Level 3 of one chunk: digests fit, and every row with a right one makes sense.

    Yields
    ------
    Finding
        What is not as it should be.
    """
    cells, axes = store.grid.cells(number), len(store.axes)
    flat = {name: v.reshape(len(cells), *v.shape[axes:]) for name, v in values.items()}
    texts, ledger = flat.pop("error"), flat.pop("ledger")
    rows = {name: ledger[:, ENTRIES.index(name)] for name in ENTRIES}
    right = vouched(store.axes, cells, ledger, flat, since)
    wrong = (rows["state"] != State.TODO) & ~right

    def first(mask: Array) -> str:
        return describe(store.cell(int(cells[np.flatnonzero(mask)[0]])))

    if wrong.any():
        text = (
            f"{wrong.sum()} cells of {named(store, number)} are not to do but their measures "
            f"differ from the ledger (first: {first(wrong)}); tsframe run trains them again"
        )
        yield Finding(3, "repairable", text, "demote", chunk=number)
    done, runs = right & (rows["state"] == State.DONE), list(optional)
    empty = np.zeros(len(cells), bool)
    for name, measure in flat.items():
        may_lack = [run for run, names in optional.items() if name in names]
        covered = (rows["run"] >= since[name]) & ~np.isin(rows["run"], may_lack)
        empty |= covered & np.isnan(measure.reshape(len(cells), -1)).all(axis=1)
    failed = right & (rows["state"] == State.FAILED)
    strange = {
        "have a state that does not exist": right & ~np.isin(rows["state"], list(State)),
        "are done without a number": done & empty,
        "failed without a reason": failed & (texts == ""),
        "were settled without an attempt": (done | failed) & (rows["attempts"] < 1),
        "come from a run that is not known": (done | failed) & ~np.isin(rows["run"], runs),
    }
    for what, mask in strange.items():
        if mask.any():
            grade = "note" if what == "failed without a reason" else "damaged"
            text = f"{mask.sum()} cells of {named(store, number)} {what} (first: {first(mask)})"
            yield Finding(3, grade, text, chunk=number)
