"""Stores that an earlier tsframe wrote: a later one opens, verifies and resumes them.

``golden/format-N.tar.xz`` holds a store of each kind as this file wrote it when format N came, and
is never written again. A version that cannot read one any more has to say so in a sentence, and
then this test says which one. ``python -m tests.test_golden FILE`` writes such a file anew.
"""

import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tsframe
from tests.toy import Square
from tsframe.execution import run
from tsframe.ledger import ENTRIES, State
from tsframe.opening import open_store
from tsframe.packing import pack
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.verification import verify

GOLDEN = Path(__file__).parent / "golden"
AXES: dict[str, Any] = {"kind": ["b", "a"], "flip": [True, False], "seed": range(3)}
FACTS = {"start": "2026-11-21T00:00:00Z", "host": "golden", "pid": 1, "versions": {}, "git": None}


@dataclass(frozen=True)
class Kept:
    """A trial whose repr stays as it is, for stores know their trials by it."""

    value: float
    width: int
    mood: str
    asked: bool = False

    sharing_key = shape_key = 0
    flops = 1e12

    @property
    def unmeasured(self) -> "Kept":
        return replace(self, asked=False)

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        modes = {"mode": tuple(float(i) for i in range(self.width))}
        return {"square": {}, "powers": modes, **({"cube": {}} if self.asked else {})}

    @staticmethod
    def train_together(
        trials: Sequence["Kept"], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        dataset = Square.train_together([Square(trial.value, trial.mood) for trial in trials])
        longest = max(trial.width for trial in trials)
        ends = [np.nan if trial.mood == "diverges" else trial.value for trial in trials]
        powers = np.array(ends)[:, None] ** np.arange(1, longest + 1)
        dataset = dataset.drop_vars("curve").assign(powers=(("student", "mode"), powers))
        return dataset.assign(cube=("student", np.array(ends) ** 3))


def toy(slopes: Sequence[float], asked: bool) -> Sweep:
    def trial(slope: float, kind: str, flip: bool, seed: int) -> Kept:
        mood = {1: "diverges", 2: "raises"}.get(seed, "well")
        return Kept(slope * (seed + 2) + flip, 2 + 3 * flip + (kind == "a"), mood, asked)

    return Sweep(trial, slope=slopes, **AXES)


def students() -> Sweep:
    def trial(width: int) -> tsframe.Trial:
        return tsframe.Trial(
            inputs=tsframe.Gaussian(dim=3, spectrum=tsframe.Sloppy(0.5)),
            teacher=tsframe.Teacher(width=2, classes=2),
            n_train=4,
            n_test=5,
            label_noise=0.25,
            student=tsframe.MLP(width, depth=2),
            training=tsframe.SGD(lr=0.1, momentum=0.9, batch_size=2, max_steps=3),
            seed=1,
        )

    return Sweep(trial, width=[1, 2])


def write(file: Path) -> None:
    """Write one store of squares that has grown twice, its packed copy, and one of students."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        for room in ("execution", "growth"):
            patch.setattr(f"tsframe.{room}.facts", lambda file: FACTS)
        patch.setattr("tsframe.sweep.Sweep.source", "")
        patch.setattr("traceback.format_list", lambda frames: ["somewhere\n"])
        squares = folder / "squares.zarr"
        chunk = {"slope": 2, "kind": 2, "flip": 1, "seed": 2}
        run(toy([0.3, 0.1], False), squares, n_jobs=1, chunk=chunk, progress=False)
        run(toy([0.3, 0.1, 0.2], False), squares, n_jobs=1, progress=False)
        only = {"seed": [0, 1], "slope": [0.1, 0.2]}
        run(toy([0.3, 0.1, 0.2], True), squares, n_jobs=1, only=only, progress=False)
        pack(squares, folder / "packed.zarr", partial=True)
        run(students(), folder / "students.zarr", n_jobs=1, progress=False)
        with tarfile.open(file, "w:xz", preset=9) as archive:
            for part in sorted(folder.iterdir()):
                archive.add(part, part.name, filter=nobodys)


def nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out of an archive whose it is."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.provenance.git", lambda folder: None)


@pytest.fixture(params=sorted(file.name for file in GOLDEN.glob("format-*")))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN / request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def right(dataset: xr.Dataset) -> None:
    """Every number of the squares is the one that their trials give."""
    assert dataset["slope"].values.tolist() == [0.1, 0.2, 0.3]
    sweep = toy([0.1, 0.2, 0.3], True)
    for cell in sweep.cells():
        trial, row = sweep.trial(**cell), dataset.sel(cell)
        state = {"well": State.DONE, "diverges": State.DIVERGED, "raises": State.FAILED}
        assert int(row["state"]) == state[trial.mood]
        done = trial.mood == "well"
        assert row["square"].item() == trial.value**2 if done else np.isnan(row["square"])
        powers = trial.value ** np.arange(1, 7)
        due = np.where(done & (np.arange(6) < trial.width), powers, np.nan)
        assert np.array_equal(row["powers"], due, equal_nan=True)
        assert row["mode_length"].item() == trial.width or not done
        known = done and cell["slope"] in (0.1, 0.2)
        assert row["cube"].item() == trial.value**3 if known else np.isnan(row["cube"])
        assert (f"no square of {trial.value}" in str(row["error"].item())) == (
            trial.mood == "raises"
        )


def test_a_store_of_an_earlier_version_is_opened_verified_and_resumed(folder: Path) -> None:
    path = folder / "squares.zarr"
    right(open_store(path))
    report = verify(path, 4, toy([0.3, 0.1, 0.2], True), repeats=100)
    assert (report.code, report.repeated) == (0, 24)
    before = open_store(path)
    after = run(toy([0.3, 0.1, 0.2, 0.7], True), path, n_jobs=1, progress=False)
    assert not (after["state"] == State.TODO).any()
    for name in ("square", "powers"):
        assert after[name].sel(slope=[0.1, 0.2, 0.3]).identical(before[name])
    runs = after["ledger"].sel(entry="run", seed=0)
    assert runs.sel(slope=[0.1, 0.2]).values.max() < 5 <= runs.sel(slope=[0.3, 0.7]).values.min()
    assert verify(path, 3).code == 0


def test_a_copy_that_an_earlier_version_packed_is_opened_and_verified(folder: Path) -> None:
    right(open_store(folder / "packed.zarr"))
    assert verify(folder / "packed.zarr").code == 0


def test_real_students_of_an_earlier_version_are_recognized(folder: Path) -> None:
    path = folder / "students.zarr"
    before = open_store(path)
    after = run(students(), path, n_jobs=1, progress=False)  # or a sentence: then a new format
    assert after.identical(before)
    assert (before["ledger"][:, ENTRIES.index("run")] == 1).all()
    assert before["test_error"].values.tolist() == [0.4, 0.8]
    assert Store.open(path, write=False).runs.numbers() == [1]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
