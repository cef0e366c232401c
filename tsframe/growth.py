"""Growth of a store: more values on any axis, more measures; nothing that is there changes.

New values are appended to an axis, whatever their order, so no chunk moves; `open_store` sorts
the axes of numbers. The spec of the larger store is written down first, whole and once, as
``runs/spec-<version>.json``. Then the arrays are enlarged, and last the attributes of the store;
while these name an older version, the store is being grown. Every step can be done again without
harm, so a growth that stopped midway is finished by the next process that opens the store to
write, or by two at once; for readers the store is what it was.
"""

import logging
from collections.abc import Mapping
from typing import Any

from tsframe.forms import root_facts
from tsframe.layout import enlarge
from tsframe.places import Place
from tsframe.provenance import facts, Runs, stamp
from tsframe.spec import Fit, fit, spec_of
from tsframe.sweep import Sweep

__all__ = ["finish", "grow", "intent", "recall", "since_of"]

LOG = logging.getLogger("tsframe")


def recall(path: Place, root: Mapping[str, Any]) -> dict[str, Any]:
    """Give the spec that a store was made with or last grew to."""
    version = root["spec_version"]
    known = Runs(path / "runs").read(f"spec-{version}")
    own = {"version": version, "fingerprint": root["spec_sha256"]}
    return {**root["spec"], **own, "corners": known.get("corners", [])}


def intent(path: Place, root: Mapping[str, Any]) -> bool:
    """Tell whether a growth of a store has begun that its attributes do not show yet."""
    return (path / "runs" / f"spec-{root['spec_version'] + 1}.json").exists()


def since_of(path: Place, version: int) -> dict[str, int]:
    """Give for each measure that growth has added the number of the first run that knew it."""
    runs = Runs(path / "runs")
    grown = {v: runs.read(f"spec-{v}").get("new", ()) for v in range(2, version + 1)}
    return {
        name: int(runs.read(f"since-{v}").get("run", 1)) for v, new in grown.items() for name in new
    }


def grow(path: Place, sweep: Sweep) -> Fit:
    """Make room in a store for what a sweep has and the store has not; train nothing.

    Parameters
    ----------
    path : Place
        The store.
    sweep : Sweep
        The same function of the same axes; it may have fewer values than the store elsewhere.

    Returns
    -------
    Fit
        How the sweep lies in the store as it is now; one that does not is refused as by `fit`.
    """
    while True:
        finish(path)
        root = root_facts(path)
        found = fit(str(path), recall(path, root), sweep)
        if not found.grows:
            return found
        version = root["spec_version"] + 1
        spec = {**spec_of(found.whole, version), "new": list(found.measures)}
        if Runs(path / "runs").note(f"spec-{version}", {"created": stamp(), **spec}, durable=True):
            LOG.info("%s grows by %s; what it holds stays", path, found)


def finish(path: Place) -> None:
    """Carry out the growth that was begun, if there is one.

    Raises
    ------
    ValueError
        If what was written down of it is damaged.
    """
    runs = Runs(path / "runs")
    while intent(path, root := root_facts(path)):
        version = root["spec_version"] + 1
        spec = runs.read(f"spec-{version}")
        if not spec:
            raise ValueError(
                f"{runs.folder / f'spec-{version}.json'} is damaged, so the growth of {path} "
                "cannot go on; remove this file, and run the sweep again."
            )
        since = first_run(runs, version) if spec["new"] else 0
        enlarge(path, spec, dict.fromkeys(spec["new"], since))


def first_run(runs: Runs, version: int) -> int:
    """Claim the number from which on runs know the measures of a growth.

    A run that begins later than this finds the spec of the larger store.
    """
    name = f"since-{version}"
    if not runs.read(name):
        number = runs.begin({**facts(None), "grows": version})
        runs.note(f"{number}.end", {"end": stamp(), "reason": f"the store grew to spec {version}"})
        runs.note(name, {"run": number}, durable=True)
    return int(runs.read(name)["run"])
