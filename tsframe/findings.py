"""What verifying a store found: findings, how grave they are, and the verdict over all.

A *finding* says what is wrong, at which level it was found, how grave it is, and which remedy
mends it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["LEVELS", "Finding", "Report"]

LEVELS = ("structure", "listing", "decode", "meaning", "repeat")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Parameters
    ----------
    level : int
        Where in `LEVELS` it was found.
    grade : str
        ``note`` (nothing is wrong), ``repairable`` or ``damaged`` (what no repair can bring back).
    text : str
        What is wrong, in a sentence.
    remedy : str
        What repairs it; one of the names in `repairing`.
    where : str
        The file or folder.
    chunk : int
        The chunk, or -1.
    """

    level: int
    grade: str
    text: str
    remedy: str = ""
    where: str = ""
    chunk: int = -1


@dataclass(frozen=True)
class Report:
    """What `verify` found; ``print`` it.

    Parameters
    ----------
    store : str
        The store.
    level : int
        How far it looked.
    cells : dict of str to int
        How many cells are in each state.
    findings : list of Finding
        What is not as it should be.
    repeated : int
        How many cells were trained again.
    """

    store: str
    level: int
    cells: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    repeated: int = 0

    @property
    def code(self) -> int:
        """0 if the store is clean, 1 if `repair` can mend it, 2 if it cannot."""
        grades = {finding.grade for finding in self.findings}
        return 2 if "damaged" in grades else 1 if "repairable" in grades else 0

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, for JSON."""
        return {**asdict(self), "code": self.code, "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """The result in a word."""
        return ("clean", "repairable", "damaged")[self.code]

    def __str__(self) -> str:
        lines = [f"{finding.grade}: {finding.text}" for finding in self.findings]
        cells = ", ".join(f"{count} {state}" for state, count in self.cells.items() if count)
        again = f", {self.repeated} trained again" if self.repeated else ""
        looked = f"{self.store}: {self.verdict} up to level {self.level} ({LEVELS[self.level]})"
        return "\n".join([*lines, f"{looked}; {cells or 'no cells read'}{again}"])
