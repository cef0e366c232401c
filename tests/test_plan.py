import json
import math
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy import Named, Square, STEPS
from tsframe.execution import run
from tsframe.plan import plan
from tsframe.sweep import Sweep


def costly(work: float, **axes: Any) -> Sweep:
    """A sweep whose data set depends on slope alone, and whose shape depends on width."""

    def trial(slope: float, width: int, noise: float, seed: int) -> Keyed:
        return Keyed(slope * width, work=work, mood=f"{slope} {noise}", together=str(width))

    return Sweep(trial, **axes)


class Keyed(Square):
    @property
    def sharing_key(self) -> str:
        return self.mood.split()[0]

    @property
    def shape_key(self) -> int:
        return int(self.together)


AXES = {
    "slope": [0.1, 0.2, 0.3],
    "width": [10, 30, 100],
    "noise": [0.0, 0.2],
    "seed": list(range(4)),
}


def test_a_chunk_holds_about_the_work_it_should() -> None:
    made = plan(costly(1e11, **AXES))
    work = [made.flops[made.grid.cells(n)].sum() for n in range(made.chunks)]
    assert 2e11 <= max(work) <= 1e12
    assert sum(work) == pytest.approx(72e11)


def test_a_chunk_grows_first_along_axes_that_keep_the_data_set() -> None:
    # slope changes the data set: a chunk takes in another slope only after all else
    axes = {name: AXES[name] for name in ("seed", "noise", "width")}
    axes["slope"] = np.linspace(0.1, 3, 30)
    works = (1e12, 4e11, 1.2e11, 4e10, 1e6)
    chunks = [plan(costly(work, **axes)).grid.chunk for work in works]
    assert chunks[0] == (1, 1, 1, 1)
    assert chunks[1] == (1, 2, 1, 1)  # noise: same data set and shape
    assert chunks[2] == (4, 2, 1, 1)  # seed: likewise
    assert chunks[3] == (4, 2, 3, 1)  # width: same data set, other shape
    assert chunks[4] == (4, 2, 3, 30)


def test_no_chunk_outlasts_all_others() -> None:
    def trial(width: int) -> Square:
        return Square(width, work=1e10 if width < 60 else 4e11)

    made = plan(Sweep(trial, width=range(64)))
    work = [made.flops[made.grid.cells(n)].sum() for n in range(made.chunks)]
    assert max(work) <= 6e11


def test_one_costly_cell_does_not_split_up_all_others() -> None:
    def trial(width: int) -> Square:
        return Square(width, work=1e9 if width < 63 else 2e12)

    assert plan(Sweep(trial, width=range(64))).grid.chunk[0] >= 4


def test_planning_is_deterministic() -> None:
    one, other = (plan(costly(1e11, **AXES), n_jobs=n) for n in (1, 64))
    assert one.grid == other.grid


def test_a_chunk_of_any_array_stays_below_64_megabytes() -> None:
    long = (("curve", (("step", tuple(float(i) for i in range(40_000))),)),)
    trial = Named(1.0, work=1.0, names=long)
    made = plan(Sweep(lambda seed: trial, seed=range(300)))
    assert math.prod(made.grid.chunk) * 40_000 * 8 <= 64e6
    with pytest.raises(ValueError, match=r"is 96 MB \(limit 64 MB\); make it shorter"):
        plan(Sweep(lambda seed: trial, seed=range(300)), chunk={"seed": 300})


def test_a_large_cheap_sweep_still_has_chunks_to_share_out() -> None:
    made = plan(Sweep(lambda a, b: Square(1.0, work=1.0), a=range(200), b=range(200)))
    assert 4 <= made.chunks <= 400


def test_the_user_may_fix_the_chunk_along_some_axes() -> None:
    made = plan(costly(1.0, **AXES), chunk={"slope": 2, "seed": 100})
    assert made.grid.chunk == (2, 3, 2, 4)


@pytest.mark.parametrize(
    ("chunk", "sentence"),
    [
        ({"slpoe": 2}, "chunk names 'slpoe', which is no axis; the axes are slope, width"),
        ({"slope": 0}, "chunk of 'slope' is 0; it must be an integer >= 1"),
        ({"slope": 1.5}, "chunk of 'slope' is 1.5; it must be an integer >= 1"),
    ],
)
def test_a_chunk_that_cannot_be_is_refused(chunk: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan(costly(1.0, **AXES), chunk=chunk)


def test_what_is_no_sweep_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a sweep is made by Sweep\(function, axis=values"):
        plan(AXES)  # type: ignore[arg-type]


def test_a_store_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["tsframe.plan"]  # tsframe.plan is the function
    monkeypatch.setattr(module, "OBJECTS_REFUSED", 100)
    monkeypatch.setattr(module, "OBJECTS_NOTED", 10)
    sweep = Sweep(lambda seed: Square(seed), seed=range(40))
    with pytest.raises(ValueError, match=r"40 cells in chunks of 1 make 1.2e\+02 files, limit"):
        plan(sweep, chunk={"seed": 1})


def test_what_is_done_need_not_be_planned(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Square(seed, mood="raises" if seed == 3 else "well"), seed=range(8))
    run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk={"seed": 2})
    made = plan(sweep, tmp_path / "s.zarr")
    assert (made.cells, made.chunks, made.done, made.failed, made.pending) == (8, 4, 7, 1, 1)


def test_the_chunks_of_a_store_are_kept(tmp_path: Path) -> None:
    sweep = Sweep(lambda seed: Square(seed), seed=range(8))
    run(sweep, tmp_path / "s.zarr", n_jobs=1, chunk={"seed": 3})
    assert plan(sweep, tmp_path / "s.zarr").grid.chunk == (3,)
    assert plan(sweep, tmp_path / "s.zarr", chunk={"seed": 3}).grid.chunk == (3,)
    with pytest.raises(ValueError, match=r"has chunks of {'seed': 3}, which stay for its life"):
        plan(sweep, tmp_path / "s.zarr", chunk={"seed": 4})


def test_a_prediction_rests_on_the_times_of_done_cells(tmp_path: Path) -> None:
    def trial(seed: int) -> Square:
        return Square(seed, seconds=0.01, mood="raises" if seed >= 4 else "well", work=5.0)

    sweep = Sweep(trial, seed=range(8))
    before = plan(sweep)
    assert "rough estimate" in before.estimate[2]
    run(sweep, tmp_path / "s.zarr", n_jobs=1)
    after = plan(sweep, tmp_path / "s.zarr", n_jobs=1)
    low, high, basis = after.estimate
    assert basis == "estimate from 4 cells done"
    assert low < 4 * float(np.median(after.ledger[:4, 4])) < high


@dataclass(frozen=True)
class Telling(Square):
    """A square that knows what it shares, how fast it is and what it takes."""

    @property
    def shared_flops(self) -> dict[Hashable, float]:
        return {("data set", self.mood): 7.0, ("stack",): 5.0}

    @staticmethod
    def speed(device: str = "auto", threads: int = 1) -> float:
        return 2.0 * threads

    @staticmethod
    def memory(trials: Sequence[Any], threads: int = 1) -> float:
        return 1e9 * len(trials) * threads


def test_shared_work_counts_once_a_chunk_and_a_chunk_has_one_worker(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    def trial(seed: int, mood: str) -> Telling:
        return Telling(seed, mood=mood, work=1.0)

    sweep = Sweep(trial, mood=["well", "diverges"], seed=range(6))
    for workers, chunk, seconds in (
        (4, {"mood": 1, "seed": 3}, (3 + 7 + 5) / 2),  # four chunks, one each
        (2, {"mood": 1, "seed": 3}, 2 * (3 + 7 + 5) / 4),  # two each, by two threads
        (4, {"mood": 2, "seed": 6}, (12 + 14 + 5) / 2),  # one chunk, which cannot be split
    ):
        made = plan(sweep, n_jobs=workers, chunk=chunk)
        low, high, basis = made.estimate
        assert math.sqrt(low * high) == pytest.approx(seconds)
        assert high / low == pytest.approx(1.3**2)
        assert "by the speed of this machine" in basis
        assert made.memory == 1e9 * math.prod(chunk.values()) * (4 // workers)
    assert "6.00 GB a worker" in str(plan(sweep, n_jobs=4, chunk={"mood": 1, "seed": 6}))
    part = plan(sweep, n_jobs=4, chunk={"mood": 1, "seed": 3}, only={"mood": "well", "seed": [0]})
    assert math.sqrt(math.prod(part.estimate[:2])) == pytest.approx((1 + 7 + 5) / 2)


def test_a_plan_says_the_same_in_words_and_json() -> None:
    made = plan(costly(1e11, **AXES), n_jobs=2)
    facts = json.loads(made.to_json())
    assert facts["cells"] == 72
    assert facts["pending"] == 72
    assert facts["done"] == 0
    assert facts["chunk"] == dict(zip(AXES, made.grid.chunk, strict=True))
    assert facts["objects"] == 3 * facts["chunks"]
    assert 0 < facts["seconds"][0] < facts["seconds"][1]
    text = str(made)
    assert "72 = slope 3 x width 3 x noise 2 x seed 4" in text
    assert "square, curve" in text
    assert "estimate" in text
    raw = 72 * (1 + len(STEPS) + 6) * 8
    assert facts["bytes"] >= raw
