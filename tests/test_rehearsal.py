from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy import Fickle, Square
from tsframe.execution import run
from tsframe.sweep import Sweep


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.provenance.git", lambda folder: None)


def square(seed: int, log: Path, mood: str = "well") -> Square:
    return Square(seed, mood, work=1e9 * (10 - seed), folder=str(log))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def test_the_cheapest_cell_is_trained_twice_in_two_processes_before_all_others(
    tmp_path: Path, log: Path
) -> None:
    moods = ["well", "well", "diverges"]  # which is no fault
    sweep = Sweep(lambda seed: square(seed, log, moods[seed]), seed=range(3))
    dataset = run(sweep, tmp_path / "s", n_jobs=1, check_first=True, progress=False)
    assert np.array_equal(dataset["square"], [0.0, 1.0, np.nan], equal_nan=True)
    trained = sorted(file.name.split("-") for file in log.iterdir())
    assert [value for value, *_ in trained] == ["0", "1", "2", "2", "2"]
    assert len({pid for value, _, pid in trained if value == "2"}) == 3
    run(sweep, tmp_path / "s", n_jobs=1, check_first=True, progress=False)  # nothing is left
    assert len(list(log.iterdir())) == 5


WRONG: dict[str, tuple[Any, str]] = {
    "another shape": (
        lambda seed, log: square(seed, log, "shape"),
        "the cell (seed=2), which was trained before all others, fails: ValueError: measure "
        "'curve': declared dims ('student', 'step')",
    ),
    "fickle": (
        lambda seed, log: Fickle(seed, work=1e9 * (10 - seed), folder=str(log)),
        "two trainings of the cell (seed=2) differ: curve ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_sweep_whose_first_cell_is_wrong_is_refused_before_its_store_is_made(
    tmp_path: Path, log: Path, case: str
) -> None:
    make, sentence = WRONG[case]
    sweep = Sweep(lambda seed: make(seed, log), seed=range(3))
    with pytest.raises(ValueError, match="othing else was trained") as caught:
        run(sweep, tmp_path / "s", n_jobs=1, check_first=True, progress=False)
    assert sentence in str(caught.value)
    assert not (tmp_path / "s").exists()
    assert {file.name.split("-")[0] for file in log.iterdir()} == {"2"}
