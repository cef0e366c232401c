"""What must hold of a store whatever has happened to it."""

from typing import Any

import numpy as np
import xarray as xr

from tests.toy import Square, STEPS
from tsframe.ledger import State
from tsframe.opening import open_store
from tsframe.places import Place
from tsframe.sweep import Sweep

GRID: dict[str, Any] = {"slope": [0.3, 0.1, 0.2], "seed": list(range(6))}
CHUNK = {"slope": 2, "seed": 2}
MOODS = {2: "diverges", 4: "raises"}


def trial(slope: float, seed: int) -> Square:
    return Square(slope * (seed + 1), MOODS.get(seed, "well"))


def toy() -> Sweep:
    """12 cells are done, 3 diverge and 3 fail."""
    return Sweep(trial, **GRID)


def untrue(path: Place, sweep: Sweep, may_fail: bool = False) -> list[str]:
    """List the cells that neither equal the pure function nor are marked to do or failed.

    A cell may have failed if its trial raises, or if any may.
    """
    dataset, found = open_store(path), []
    for cell in sweep.cells():
        made, row = sweep.trial(**cell), dataset.sel(cell)
        state = State(int(row["state"]))
        numbers = np.append(row["curve"].values, row["square"])
        if state in (State.TODO, State.FAILED):
            may = may_fail or state == State.TODO or made.mood == "raises"
            good = may and np.isnan(numbers).all()
        elif state == State.DIVERGED:
            good = made.mood == "diverges" and np.isnan(numbers).all()
        else:
            square = made.value**2
            due = [*(square / (1 + np.array(STEPS))), square]
            good = made.mood == "well" and numbers.tolist() == due
        if not good:
            found.append(f"{cell}: {state.name} {numbers}")
    return found


def settled(path: Place) -> xr.DataArray:
    """Tell which cells need no training any more."""
    return open_store(path)["state"].isin([State.DONE, State.DIVERGED])


def finished(path: Place, sweep: Sweep) -> bool:
    """Tell whether everything that can be is settled, and true."""
    moods = [sweep.trial(**cell).mood for cell in sweep.cells()]
    due = sum(mood != "raises" for mood in moods)
    return not untrue(path, sweep) and int(settled(path).sum()) == due
