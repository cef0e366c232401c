"""What the commands that look after a store do: verify it, repair it, pack it for others.

Each takes the name of a study or the path of a store.
"""

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tsframe.buckets import Remote
from tsframe.commands import Device, find, Json, load, Place, Study, Target
from tsframe.findings import LEVELS
from tsframe.packing import pack as pack_store
from tsframe.places import Place as Somewhere, place as located, sizes
from tsframe.provenance import Runs
from tsframe.repairing import repair as repair_store
from tsframe.sweep import Sweep
from tsframe.verification import verify as verify_store

__all__ = ["pack", "repair", "verify"]

SHOWN = 20  # findings of each grade


def verify(
    target: Target,
    /,
    *,
    store: Place = None,
    level: Annotated[
        int, Parameter(help="; ".join(f"{n} {name}" for n, name in enumerate(LEVELS)) + ".")
    ] = 3,
    repeats: Annotated[int, Parameter(help="Cells of each run that level 4 trains again.")] = 3,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Look for damage in a store: 0 clean, 1 repairable, 2 damaged.

    What another engine wrote may differ when it is trained again; it is noted and is no damage.
    """
    path = place(target, store)
    sweep = sweep_of(target, path) if level == len(LEVELS) - 1 else None
    report = verify_store(path, level, sweep, repeats=repeats, device=device)
    if json:
        print(jsonlib.dumps(report.to_dict()))
        return report.code
    for grade in ("damaged", "repairable", "note"):
        found = [finding.text for finding in report.findings if finding.grade == grade]
        for text in found[:SHOWN]:
            print(f"{grade}: {text}")
        if len(found) > SHOWN:
            print(f"{grade}: and {len(found) - SHOWN} more; --json lists them all")
    print(str(report).splitlines()[-1])
    if report.code == 1:
        print(f"tsframe repair {target} sets aside what is damaged, and its cells to do")
    return report.code


def repair(
    target: Target,
    /,
    *,
    store: Place = None,
    force: Annotated[
        bool, Parameter(negative="", help="Go on although a run did not end.")
    ] = False,
    json: Json = False,
) -> int:
    """Mend what verify finds; what a digest vouches for is never touched."""
    path = place(target, store)
    done = repair_store(path, force)
    if json:
        print(jsonlib.dumps({"store": str(path), "done": done}))
        return 0
    for sentence in done:
        print(sentence)
    print(f"{path}: {len(done)} repairs" if done else f"{path}: there is nothing to repair")
    if done:
        print("tsframe run trains what is to do now")
    return 0


def pack(
    target: Target,
    out: Annotated[Path, Parameter(help="Where the copy goes, e.g. phases.packed.zarr.")],
    /,
    *,
    store: Place = None,
    partial: Annotated[
        bool, Parameter(negative="", help="Pack although cells are to do or have failed.")
    ] = False,
) -> int:
    """Write a copy of a store to publish: few checksummed objects that plain xarray opens."""
    copy = located(out)
    pack_store(place(target, store), copy, partial)
    files = sizes(copy)
    opener = "tsframe.open_store" if isinstance(copy, Remote) else "xarray.open_zarr"
    size = sum(files) / 1e6
    print(f"packed: {copy}, {len(files)} files, {size:,.2f} MB; {opener} opens it")
    return 0


def place(target: str, store: Path | None) -> Somewhere:
    """Find the store that is meant: given, itself the target, or the one of a study."""
    there = located(target)
    return located(store or (there if there.is_dir() else find(target).store))


def sweep_of(target: str, path: Somewhere) -> Sweep:
    """Load the sweep of a store: of the study that is named, else of its newest run's file.

    Raises
    ------
    FileNotFoundError
        If the target is a store and no file of its runs is there.
    """
    if not located(target).is_dir():
        return load(find(target))
    runs = Runs(path / "runs")
    for run in reversed(runs.numbers()):
        file = Path(runs.read(str(run)).get("file") or "")
        if file.is_file() and str(file) != sys.executable:
            return load(Study(file.stem, file.parent.parent, file))
    raise FileNotFoundError(
        f"no run of {path} names a file of its sweep that is here; give the study's name, and "
        f"--store {path}."
    )
