"""Repair a store: put right what `verify` finds, losing nothing that a digest vouches for.

A repair removes what killed writers left, finishes a growth, writes metadata and coordinates anew
from the spec, sets damaged objects aside in ``runs/quarantine`` and their cells to do. It never
makes a cell done, and never touches a row whose digest is right.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tsframe.findings import Finding
from tsframe.forms import coordinates, rebuild_root, root_facts
from tsframe.growth import finish, recall
from tsframe.layout import rebuild
from tsframe.merging import Rows
from tsframe.places import move, Place, place
from tsframe.provenance import Runs
from tsframe.store import Store
from tsframe.verification import expected, verify
from tsframe.workers.claims import claim

__all__ = ["repair"]

ROUNDS = 5  # what is wrong below shows when what lies above is right
Remedy: TypeAlias = Callable[[Place, Finding], str]


def repair(path: Place, force: bool = False) -> list[str]:
    """Mend a store until `verify` finds nothing more that can be mended.

    A store that a run holds is refused, as by `claim`.

    Parameters
    ----------
    path : Place
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


def mend(path: Place, found: list[Finding]) -> list[str]:
    """Apply the remedy of each finding, from the ground up, and none of them twice."""
    places = {(f.remedy, f.where, f.chunk if f.remedy == "demote" else -1): f for f in found}
    return [
        remedy(path, finding)
        for name, remedy in REMEDIES.items()
        for (own, *_), finding in places.items()
        if own == name
    ]


def mend_root(path: Place, finding: Finding) -> str:
    """Write the attributes anew, from the newest spec that all arrays may be enlarged to."""
    runs = Runs(path / "runs")
    last = 1
    while runs.read(f"spec-{last + 1}"):
        last += 1
    rebuild_root(path, path.stem, runs.read(f"spec-{max(last - 1, 1)}"))
    finish(path)  # again, if need be
    return f"wrote the attributes of {path} anew, from runs/spec-{last}.json"


def mend_array(path: Place, finding: Finding) -> str:
    """Write the metadata of an array anew; of a coordinate also its values."""
    root, folder = root_facts(path), place(finding.where)
    values = coordinates(recall(path, root)).get(folder.name)
    if values is not None and folder.exists():
        set_aside(path, folder)
    rebuild(path, folder.name, expected(path, root)[folder.name], values)
    return f"wrote {folder / 'zarr.json'} anew" + ("" if values is None else " and its values")


def set_aside(path: Place, what: Place) -> Place:
    """Move a file or folder to the quarantine of a store."""
    folder = path / "runs" / "quarantine"
    folder.mkdir(exist_ok=True)
    name = "-".join(within(what, path))
    names = (name if not k else f"{name}-{k}" for k in range(1_000_000))
    aside = next(folder / one for one in names if not (folder / one).exists())
    move(what, aside)
    return aside


def within(what: Place, path: Place) -> list[str]:
    """Give the parts of the way from a store to what is in it."""
    return str(what).removeprefix(f"{path}/").split("/")


def end_growth(path: Place, finding: Finding) -> str:
    """Carry out a growth that was begun."""
    finish(path)
    return f"{path} has grown to what it was to grow to"


def remove(path: Place, finding: Finding) -> str:
    """Remove what a killed writer left."""
    place(finding.where).unlink(missing_ok=True)  # a living writer writes it once more
    return f"removed {finding.where}"


def quarantine(path: Place, finding: Finding) -> str:
    """Set a damaged object aside; without it its cells fail their digest."""
    aside = set_aside(path, place(finding.where))
    return f"moved {finding.where} to {'/'.join(within(aside, path))}"


def demote(path: Place, finding: Finding) -> str:
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
