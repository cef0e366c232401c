"""Train some cells of each run of a store again, and say why they come out otherwise.

The same origin gives the same bits (see `tsframe.origins`), so a number that does not come again
by it is damaged. Where the origin is another one, or promised no bits, numbers may differ, and it
is told by how much.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tsframe.axes import describe
from tsframe.findings import Finding
from tsframe.ledger import Array, ENTRIES, trained
from tsframe.origins import Origin, origin
from tsframe.provenance import facts
from tsframe.rows import train_rows
from tsframe.store import Store
from tsframe.sweep import Sweep

__all__ = ["REPEATS", "repeat"]

REPEATS = 3  # cells of each run that are trained again


@dataclass(frozen=True)
class Again:
    """A cell that was trained again.

    Parameters
    ----------
    cell : str
        In words.
    origin : Origin
        By what, now.
    error : str
        Why it could not be trained; empty if it was.
    differs : str
        The measure that differs most, then and now; empty if all came again to the bit.
    gap : float
        Largest relative difference of a number; infinite where one is NaN and one is not.
    """

    cell: str
    origin: Origin
    error: str
    differs: str
    gap: float


def repeat(store: Store, sweep: Sweep, repeats: int, device: str) -> tuple[int, list[Finding]]:
    """Train some done cells of each run again.

    Parameters
    ----------
    store, sweep : Store, Sweep
        The store and its sweep.
    repeats : int
        Cells of each run.
    device : str
        Where to train.

    Returns
    -------
    int, list of Finding
        How many cells were trained, and what came out otherwise.
    """
    whole = store.fit(sweep).whole
    ledger, measures = store.load()
    flat = ledger.reshape(-1, len(ENTRIES))
    ended = trained(flat)
    runs = flat[:, ENTRIES.index("run")].astype(int)
    numbers, origins, here = np.random.default_rng(), store.runs.origins(), facts(sweep.file)
    count, findings = 0, []
    for run in np.unique(runs[ended]).tolist():
        there, begun = np.flatnonzero(ended & (runs == run)), store.runs.read(str(run))
        mode, tried = begun.get("mode", "strict"), []
        for cell in numbers.choice(there, min(repeats, len(there)), replace=False).tolist():
            trial, place = whole.trial(**store.cell(cell)), np.unravel_index(cell, store.grid.shape)
            rows, engine = train_rows(store, np.zeros(1, np.intp), [trial], device, None, run, mode)
            then = {
                name: measures[name][place]
                for name, since in store.since.items()
                if since <= run and name in rows.measures
            }
            now = {name: rows.measures[name][0] for name in then}
            error = rows.errors[0].partition("\n")[0]
            name = describe(store.cell(cell))
            tried.append(Again(name, origin(here, engine), error, *compared(then, now)))
        count += len(tried)
        study = [(facts.get("git") or {}).get("commit", "not told")[:8] for facts in (begun, here)]
        findings += told(run, origins.get(run, Origin()), tried, study)
    return count, findings


def told(run: int, then: Origin, tried: list[Again], study: list[str]) -> list[Finding]:
    """Say what came of the cells of one run, those that are alike in one finding."""
    grades: dict[tuple[str, ...], list[Again]] = {}
    for again in tried:
        if again.error:
            grades.setdefault(("error",), []).append(again)
        elif again.differs:
            grades.setdefault(("other", *then.apart(again.origin)), []).append(again)
    findings = []
    for (kind, *names), some in grades.items():
        worst = max(some, key=lambda again: again.gap)
        cells = f"{len(some)} of {len(tried)} cells of run {run} that were trained again"
        if kind == "error":
            text = f"{cells} could not be, e.g. {worst.cell}: {worst.error}"
            findings.append(Finding(4, "note", f"{text}; verify where they can be trained"))
            continue
        gap = f", relatively {worst.gap:.2g}" if np.isfinite(worst.gap) else ""
        differ = f"most the cell {worst.cell}, where {worst.differs}{gap}"
        if names:
            what = "; ".join(f"{n} {change(then, worst.origin, n)}" for n in names)
            text = (
                f"{cells} differ, as they may, for another engine wrote them ({what}): {differ}. "
                "To compare bits, verify with what wrote them"
            )
            findings.append(Finding(4, "note", text))
            continue
        commits = f"; its commit was {study[0]}, is {study[1]}" if len({*study}) > 1 else ""
        text = (
            f"{cells} differ, though by the same code, versions, kind of device and mode: {differ}."
            " Either a trial does not decide all that it does (tsframe run --check-first tells), or"
            f" the study's own code changed beneath it{commits}, or a machine erred; run the study"
            " into a new --store and compare"
        )
        findings.append(Finding(4, "damaged", text))
    return findings


def change(then: Origin, now: Origin, name: str) -> str:
    """Say how an entry of an origin changed."""
    unsaid = "strict" if name == "mode" else "not told"
    old, new = (getattr(one, name) or unsaid for one in (then, now))
    return f"{old}, now {new}" if old != new else f"{old}, which promises no bits"


def compared(then: Mapping[str, Array], now: Mapping[str, Array]) -> tuple[str, float]:
    """Give the number that differs most, in words, and by how much of the larger one."""
    most, text = 0.0, ""
    for name in then:
        old, new = (np.atleast_1d(values[name]).ravel() for values in (then, now))
        other = np.flatnonzero(~((old == new) | (np.isnan(old) & np.isnan(new))))
        for at in other.tolist():
            with np.errstate(all="ignore"):
                gap = float(abs(old[at] - new[at]) / max(abs(old[at]), abs(new[at])))
            gap = gap if np.isfinite(gap) else np.inf
            if gap > most:
                most, text = gap, f"{name} was {float(old[at])!r}, is {float(new[at])!r}"
    return text, most
