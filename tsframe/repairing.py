"""Repair a store: put right what `verify` finds, losing nothing that a digest vouches for.

A repair removes what killed writers left, finishes a growth, writes metadata and coordinates anew
from the spec, sets damaged objects aside in ``runs/quarantine`` and their cells to do. It never
makes a cell done, and never touches a row whose digest is right.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tsframe.findings import Finding
from tsframe.forms import coordinates, rebuild_root, root_facts
from tsframe.growth import finish, recall
from tsframe.layout import rebuild
from tsframe.merging import Rows
from tsframe.provenance import Runs
from tsframe.store import Store
from tsframe.verification import expected, verify
from tsframe.workers.claims import claim

__all__ = ["repair"]

ROUNDS = 5  # what is wrong below shows when what lies above is right
Remedy: TypeAlias = Callable[[Path, Finding], str]


def repair(path: Path, force: bool = False) -> list[str]:
    """Mend a store until `verify` finds nothing more that can be mended.

    A store that a run holds is refused, as by `claim`.

    Parameters
    ----------
    path : Path
        The store.
    force : bool
        Whether to go on although a run holds the store and may be at work.

    Returns
    -------
    list of str
        What was done, in sentences.

    Raises
    ------
    RuntimeError
        If repairs do not come to an end.
    """
    done: list[str] = []
    with claim(path / "runs" / "lock", "all", force):
        for _ in range(ROUNDS):
            found = [f for f in verify(path, 3).findings if f.grade == "repairable"]
            if not found:
                return done
            done += mend(path, found)
    raise RuntimeError(f"{path}: after {ROUNDS} rounds there is still to repair: {found[0].text}")


def mend(path: Path, found: list[Finding]) -> list[str]:
    """Apply the remedy of each finding, from the ground up, and none of them twice."""
    places = {(f.remedy, f.where, f.chunk if f.remedy == "demote" else -1): f for f in found}
    return [
        remedy(path, finding)
        for name, remedy in REMEDIES.items()
        for (own, *_), finding in places.items()
        if own == name
    ]


def mend_root(path: Path, finding: Finding) -> str:
    """Write the attributes anew, from the newest spec that all arrays may be enlarged to."""
    runs = Runs(path / "runs")
    last = 1
    while runs.read(f"spec-{last + 1}"):
        last += 1
    rebuild_root(path, path.stem, runs.read(f"spec-{max(last - 1, 1)}"))
    finish(path)  # again, if need be
    return f"wrote the attributes of {path} anew, from runs/spec-{last}.json"


def mend_array(path: Path, finding: Finding) -> str:
    """Write the metadata of an array anew; of a coordinate also its values."""
    root, folder = root_facts(path), Path(finding.where)
    values = coordinates(recall(path, root)).get(folder.name)
    if values is not None and folder.exists():
        set_aside(path, folder)
    rebuild(path, folder.name, expected(path, root)[folder.name], values)
    return f"wrote {folder / 'zarr.json'} anew" + ("" if values is None else " and its values")


def set_aside(path: Path, what: Path) -> Path:
    """Move a file or folder to the quarantine of a store."""
    place = path / "runs" / "quarantine"
    place.mkdir(exist_ok=True)
    name = "-".join(what.relative_to(path).parts)
    names = (name if not k else f"{name}-{k}" for k in range(1_000_000))
    aside = next(place / one for one in names if not (place / one).exists())
    os.rename(what, aside)
    return aside


def end_growth(path: Path, finding: Finding) -> str:
    """Carry out a growth that was begun."""
    finish(path)
    return f"{path} has grown to what it was to grow to"


def remove(path: Path, finding: Finding) -> str:
    """Remove what a killed writer left."""
    Path(finding.where).unlink(missing_ok=True)  # a living writer writes it once more
    return f"removed {finding.where}"


def quarantine(path: Path, finding: Finding) -> str:
    """Set a damaged object aside; without it its cells fail their digest."""
    aside = set_aside(path, Path(finding.where))
    return f"moved {finding.where} to {aside.relative_to(path)}"


def demote(path: Path, finding: Finding) -> str:
    """Set the cells of a chunk to do that fail their digest; the others stay to the bit."""
    store = Store.open(path)
    nothing = Rows(np.zeros(0, np.intp), {}, np.zeros(0, np.intp), [], np.zeros(0), 0.0)
    store.commit(finding.chunk, nothing, run=0)
    return f"set to do in chunk {finding.chunk} what failed its digest"


REMEDIES: dict[str, Remedy] = {
    "root": mend_root,
    "finish": end_growth,
    "array": mend_array,
    "remove": remove,
    "quarantine": quarantine,
    "demote": demote,
}
