"""What the commands do: find a study by its name, load its sweep, plan, run, draw, count.

A study NAME is a file ``sweeps/NAME.py`` that defines ``sweep``; its results go to
``stores/NAME.zarr`` beside ``sweeps``, and ``analysis/NAME.py`` may define ``draw(store_path,
out)``, which draws its figures into the folder `out` and returns their paths.
"""

import difflib
import logging
import os
import runpy
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tsframe.axes import describe
from tsframe.execution import CellFailed, in_shard, read_shard, run as run_sweep, STALL
from tsframe.ledger import State
from tsframe.places import place as located
from tsframe.plan import plan as plan_sweep
from tsframe.selection import choose, parse_choice
from tsframe.standing import Status, status as look
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.crew import muster

__all__ = ["plan", "run", "status"]

PAUSE = 2.0  # seconds between two looks at a store
UNATTENDED = 10.0  # seconds without a run at work after which there is nothing to watch

Target = Annotated[str, Parameter(help="Name of a study, or the path of its file.")]
Place = Annotated[
    Path | None, Parameter(help="The store, or s3://BUCKET/KEY; by default stores/NAME.zarr.")
]
Jobs = Annotated[int | None, Parameter(help="Workers; by default one a core, or one on a GPU.")]
Device = Annotated[str, Parameter(help="auto, cpu or cuda.")]
Mode = Annotated[str, Parameter(help="strict, or fast: on a GPU the same to rounding only.")]
Some = Annotated[
    list[str],
    Parameter(
        name="--only",
        negative="",
        help="Cells to train: width=10,30 or slope=0.1:0.5; several choices narrow down.",
    ),
]
Json = Annotated[bool, Parameter(negative="", help="Answer in JSON.")]


@dataclass(frozen=True)
class Study:
    """Where the parts of a study are.

    Parameters
    ----------
    name : str
        Its name.
    root : Path
        The folder that holds ``sweeps``, ``stores`` and ``analysis``.
    file : Path
        The file that defines its sweep.
    """

    name: str
    root: Path
    file: Path

    @property
    def store(self) -> Path:
        """Where its results go by default."""
        return self.root / "stores" / f"{self.name}.zarr"

    @property
    def analysis(self) -> Path:
        """The file that draws its figures, if there is one."""
        return self.root / "analysis" / f"{self.name}.py"


def plan(
    target: Target,
    /,
    *,
    store: Place = None,
    jobs: Jobs = None,
    device: Device = "auto",
    only: Some = [],  # noqa: B006  # cyclopts copies it
    json: Json = False,
) -> int:
    """Say what a sweep would take: cells, chunks, disk and time."""
    study = find(target)
    crew = muster(jobs, device)
    sweep = load(study)
    some = parse_choice(sweep.axes, only)
    made = plan_sweep(sweep, store or study.store, n_jobs=crew.workers, only=some)
    if json:
        print(made.to_json())
        return 0
    table = Table(title=str(study.file), show_header=False, title_justify="left")
    for row in made.rows():
        table.add_row(*row)
    Console().print(table)
    return 0


def run(
    target: Target,
    /,
    *,
    store: Place = None,
    jobs: Jobs = None,
    device: Device = "auto",
    mode: Mode = "strict",
    only: Some = [],  # noqa: B006  # cyclopts copies it
    retry_failed: Annotated[
        bool, Parameter(negative="", help="Train cells again that failed twice.")
    ] = False,
    fail_fast: Annotated[
        bool, Parameter(negative="", help="End at the first cell that fails.")
    ] = False,
    check_first: Annotated[
        bool, Parameter(negative="", help="First train one cell twice, to see that it can be.")
    ] = False,
    shard: Annotated[
        str | None, Parameter(help="i/N: train part i of N, for N processes on one store.")
    ] = None,
    limit: Annotated[
        float | None, Parameter(help="Seconds a chunk may take; a cell that takes longer fails.")
    ] = None,
    stall: Annotated[
        float, Parameter(help="Seconds without a sign of life after which the run ends.")
    ] = STALL,
    grace: Annotated[
        float | None, Parameter(help="Seconds for chunks in hand after a signal; 20, USR1 100.")
    ] = None,
    force: Annotated[
        bool, Parameter(negative="", help="Run even though another run holds the store.")
    ] = False,
    figures: Annotated[bool, Parameter(help="Draw the figures of analysis/NAME.py.")] = True,
) -> int:
    """Train what is missing of a sweep, then draw its figures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study = find(target)
    path = located(store or study.store)
    sweep = load(study)
    some = parse_choice(sweep.axes, only)
    try:
        run_sweep(
            sweep,
            path,
            n_jobs=jobs,
            device=device,
            mode=mode,
            only=some,
            retry_failed=retry_failed,
            fail_fast=fail_fast,
            check_first=check_first,
            shard=shard,
            limit=limit,
            stall=stall,
            grace=grace,
            force=force,
        )
    except CellFailed as failed:
        print(f"tsframe: {failed}", file=sys.stderr)
        return 1
    print(f"results: {path}")
    if figures and study.analysis.exists():
        for figure in draw(study, path):
            print(f"figure:  {figure}")
    opened = Store.open(path, write=False)
    part = in_shard(opened.grid, read_shard(shard))
    chosen = (opened.fit(sweep).spread(choose(sweep.axes, some)) & part).reshape(-1)
    error = first_error(opened, chosen)
    if error:
        print(say(error), file=sys.stderr)
        return 1
    return 3 if (opened.read_all("ledger")[..., 0].reshape(-1) == State.TODO)[chosen].any() else 0


def status(
    target: Target,
    /,
    *,
    store: Place = None,
    watch: Annotated[
        bool, Parameter(negative="", help="Go on until all is settled, or nobody is at work.")
    ] = False,
    json: Json = False,
) -> int:
    """Say how far a store is: done, failed, to do; who is at work; the last error."""
    itself = (located(target) / "zarr.json").exists()  # the target may be a store
    path = located(store or (target if itself else find(target).store))
    seen = look(path)
    if not watch:
        print(seen.to_json() if json else seen)
    elif json or not Console().is_terminal:
        for now in watched(path, seen):
            seen = now
            print(now.to_json() if json else str(now).partition("\n")[0], flush=True)
    else:
        with Live(Text(str(seen))) as live:
            for now in watched(path, seen):
                seen = now
                live.update(Text(str(now)))
    return seen.code


def watched(path: os.PathLike[str], seen: Status) -> Iterator[Status]:
    """Look at a store again and again, as long as there is something to see.

    Yields
    ------
    Status
        Each time that something was settled.
    """
    said, alive = None, time.monotonic()
    while True:
        if (seen.counts, seen.running) != said:
            said = (seen.counts, seen.running)
            yield seen
        now = time.monotonic()
        alive = now if seen.running else alive
        if (not seen.counts["todo"] and not seen.running) or now - alive > UNATTENDED:
            return
        time.sleep(PAUSE)
        seen = look(path)


def find(target: str) -> Study:
    """Find a study by the path of its file, or by its name in the nearest folder ``sweeps``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if target.endswith(".py") or os.sep in target:
        file = Path(target)
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}; give a study's name or its file.")
        folder = file.resolve().parent
        return Study(file.stem, folder.parent if folder.name == "sweeps" else folder, file)
    here = Path.cwd()
    folders = [
        folder / "sweeps" for folder in (here, *here.parents) if (folder / "sweeps").is_dir()
    ]
    for sweeps in folders:
        if (sweeps / f"{target}.py").is_file():
            return Study(target, sweeps.parent, sweeps / f"{target}.py")
    if not folders:
        raise FileNotFoundError(
            f"there is no folder 'sweeps' here or above, so no study '{target}'; give the path of "
            "its file."
        )
    names = sorted(file.stem for file in folders[0].glob("*.py"))
    close = difflib.get_close_matches(target, names, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(names) or 'none'}."
    raise FileNotFoundError(f"there is no {folders[0] / target}.py; {hint}")


def load(study: Study) -> Sweep:
    """Run a study's file and take its sweep.

    The file is not kept as a module, so classes that it defines travel to the workers by value.

    Raises
    ------
    ValueError
        If the file fails, or defines no sweep.
    """
    sweep = execute(study.file).get("sweep")
    if not isinstance(sweep, Sweep):
        raise ValueError(
            f"{study.file} must define `sweep = Sweep(...)`; got "
            f"{'nothing of that name' if sweep is None else repr(sweep)}."
        )
    return sweep


def draw(study: Study, store: os.PathLike[str]) -> list[Path]:
    """Draw a study's figures.

    Raises
    ------
    ValueError
        If its analysis fails, or defines no function ``draw``.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")  # no window is opened
    function = execute(study.analysis).get("draw")
    if not callable(function):
        raise ValueError(
            f"{study.analysis} must define `draw(store_path, out)` that returns the paths of its "
            "figures; or run with --no-figures."
        )
    try:
        return [Path(figure) for figure in function(store, study.analysis.parent)]
    except Exception as error:  # whatever it is, the results are safe
        raise ValueError(
            f"{place(error, study.analysis)}; the results are in {store}, and --no-figures leaves "
            "the figures out."
        ) from error


def execute(file: Path) -> dict[str, Any]:
    """Run a Python file of the user, which may import what stands beside it.

    Raises
    ------
    ValueError
        If it fails.
    """
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return runpy.run_path(str(file), run_name=file.stem)
    except Exception as error:  # whatever the user's file raises, say where
        raise ValueError(place(error, file)) from error


def place(error: BaseException, file: Path) -> str:
    """Say what was raised, and at which line of the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f"{file}, line {line}: {type(error).__name__}: {error}"


def first_error(store: Store, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, Any] | None:
    """Give the first failed cell of a store, or of some of its cells, and why it failed."""
    state = store.read_all("ledger")[..., 0].reshape(-1)
    failed = np.flatnonzero((state == State.FAILED) & (True if chosen is None else chosen))
    if not len(failed):
        return None
    number = int(failed[0])
    return {"cell": describe(store.cell(number)), "text": store.error(number), "count": len(failed)}


def say(error: dict[str, Any]) -> str:
    """Say in one line which cell failed first, and why."""
    reason = error["text"].partition("\n")[0]
    return f"{error['count']} failed, first the cell {error['cell']}: {reason:.300}"
