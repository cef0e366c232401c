"""By what the numbers of a run were made, as far as it may change bits.

An *origin* is the code that trains, the versions of what it stands on, the processor, the device,
and how the engine multiplied. Numbers of one origin are the same to the bit; those of two may
differ by rounding, and then training goes its own way.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tsframe.ledger import Array, ENTRIES, trained

__all__ = ["Origin", "Written", "mixture", "origin", "written"]

MANY = "; "  # stands between the words of one run that do not go together
BESIDE = {"lapack"}  # multiplies for exact students, whatever does for the others


@dataclass(frozen=True)
class Origin:
    """What a run says of where its numbers come from; empty where it does not say.

    Parameters
    ----------
    device, mode, precision, products : str
        What the engine says of itself; several precisions and products go together.
    torch, numpy, scipy, tsframe : str
        Versions.
    code : str
        First letters of a digest of the source that trains.
    processor : str
        Of the machine that the run began on.
    """

    device: str = ""
    mode: str = ""
    precision: str = ""
    products: str = ""
    torch: str = ""
    numpy: str = ""
    scipy: str = ""
    tsframe: str = ""
    code: str = ""
    processor: str = ""

    def __str__(self) -> str:
        how = [self.device, self.mode, self.precision]
        how += [f"products {self.products}"] if self.products else []
        how += [f"on {self.processor}"] if self.processor else []
        versions = [
            f"{name} {getattr(self, name)}"
            for name in ("torch", "numpy", "scipy", "tsframe", "code")
            if getattr(self, name)
        ]
        parts = (", ".join(word for word in how if word), ", ".join(versions))
        return "; ".join(part for part in parts if part) or "of unknown origin"

    def apart(self, other: "Origin") -> list[str]:
        """Name in what two origins differ, so that bits may; `precision` is for the trial to say.

        Examples
        --------
        >>> Origin(torch="2.12.0", code="1f3a").apart(Origin(torch="2.13.0", code="1f3a"))
        ['torch']
        """
        engine = "code" if self.code or other.code else "tsframe"  # as old runs know no code
        names = [
            name
            for name in (engine, "torch", "numpy", "scipy", "processor", "device")
            if getattr(self, name) != getattr(other, name) or MANY in getattr(self, name)
        ]
        # Runs from before there were modes kept to what "strict" promises now.
        modes = {self.mode or "strict", other.mode or "strict"}
        names += ["mode"] if modes != {"strict"} else []
        return names + (["products"] if self._multiply_apart(other) else [])

    def _multiply_apart(self, other: "Origin") -> bool:
        """Whether products of one precision differ; a run of mixed trials takes several."""
        mine, yours = words(self.products) - BESIDE, words(other.products) - BESIDE
        if not words(self.precision) & words(other.precision):
            return False
        return not (mine <= yours or yours <= mine)


def words(text: str) -> set[str]:
    """Split what is joined by commas."""
    return {word for word in text.split(", ") if word}


def origin(begun: Mapping[str, Any], engine: Mapping[str, Any]) -> Origin:
    """Read where numbers come from.

    Parameters
    ----------
    begun : mapping
        What a run began with, or `facts` of this process.
    engine : mapping
        What its engine said of itself.
    """
    versions = {**(begun.get("versions") or {})}
    versions["torch"] = versions.get("torch") or engine.get("torch")
    said = {**versions, "mode": engine.get("mode")}
    for key in ("precision", "products"):
        said[key] = ", ".join(sorted(words(str(engine.get(key) or ""))))
    said["code"], said["processor"] = str(begun.get("code") or "")[:8], begun.get("cpu")
    # Of several GPUs of one kind it does not matter which.
    said["device"] = re.sub(r"^(\w+):\d+ ", r"\1 ", str(engine.get("device") or ""))
    return Origin(**{field.name: str(said.get(field.name) or "") for field in fields(Origin)})


@dataclass(frozen=True)
class Written:
    """Cells whose numbers come from one origin.

    Parameters
    ----------
    cells : int
        How many.
    runs : tuple of int
        Which runs wrote them.
    origin : Origin
        By what.
    """

    cells: int
    runs: tuple[int, ...]
    origin: Origin

    def __str__(self) -> str:
        return f"{self.cells:,} by {spans(self.runs)}: {self.origin}"


def spans(runs: Sequence[int]) -> str:
    """Name runs.

    Examples
    --------
    >>> spans([1, 2, 3, 7])
    'runs 1-3, 7'
    """
    parts: list[list[int]] = []
    for run in runs:
        if parts and parts[-1][-1] == run - 1:
            parts[-1][1:] = [run]
        else:
            parts.append([run])
    named = ", ".join("-".join(map(str, part)) for part in parts)
    return f"run {named}" if len(runs) == 1 else f"runs {named}"


def written(ledger: Array, origins: Mapping[int, Origin]) -> tuple[Written, ...]:
    """Tell how many cells come from each origin, those of most cells first.

    Parameters
    ----------
    ledger : array, shape (..., entries)
        Of a store; cells that are done or have diverged count.
    origins : mapping of int to Origin
        Of each run; one that is missing is unknown.
    """
    rows = ledger.reshape(-1, len(ENTRIES))
    ended = trained(rows)
    runs, counts = np.unique(rows[ended, ENTRIES.index("run")].astype(int), return_counts=True)
    groups: dict[Origin, list[tuple[int, int]]] = {}
    for run, count in zip(runs.tolist(), counts.tolist(), strict=True):
        groups.setdefault(origins.get(run, Origin()), []).append((run, count))
    found = [
        Written(sum(count for _, count in some), tuple(run for run, _ in some), one)
        for one, some in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (-group.cells, group.runs)))


def mixture(origins: Iterable[Origin]) -> str:
    """Warn in a sentence where cells may differ in bits for where they come from, else say nothing.

    A mode that promises no bits is not a mixture by itself.
    """
    known = list(dict.fromkeys(origins))
    names: dict[str, None] = {}
    for k, one in enumerate(known):
        for other in known[: k + 1]:  # itself, too: a run may have had devices of several kinds
            alike = (one.mode or "strict") == (other.mode or "strict")
            names |= dict.fromkeys(n for n in one.apart(other) if n != "mode" or not alike)
    if not names:
        return ""
    return (
        f"not all cells come from one origin: they differ in {', '.join(names)}, and so may bits; "
        "compare them with care, or run the study into a new store."
    )
