"""The command that refines: from a study's first grid to a boundary known as well as asked."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tsframe.cli import main
from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.phases import boundary

STUDY = """
import math
import numpy as np
from tests.toy import Square
from tsframe.sweep import Sweep


def trial(slope, width, seed):
    luck = {noise} * np.random.default_rng([round(slope * 1e9), width, seed]).standard_normal()
    rise = 1.0 + 0.2 * math.log(slope * width / 4.0) + luck
    return Square(math.sqrt(max(rise, 0.0)), mood="raises" if {bad} else "well")


sweep = Sweep(trial, slope=np.geomspace(0.01, 1.0, 4), width=[4, 13, 40, 130, 400], seed=range(3))
"""
WORDS = ["--measure", "square", "--level", "1.0"]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    (tmp_path / "sweeps").mkdir()
    for name, noise, bad in (("sharp", 0.0, "False"), ("noisy", 0.1, "False")):
        (tmp_path / "sweeps" / f"{name}.py").write_text(STUDY.format(noise=noise, bad=bad))
    (tmp_path / "sweeps" / "failing.py").write_text(STUDY.format(noise=0.0, bad="slope == 0.1"))
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str]:
        one = ["--jobs", "1"] if words[0] in ("run", "refine") else []
        with pytest.raises(SystemExit) as left:
            main([*words, *one])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out + said.err

    return call


def test_a_study_is_refined_until_its_boundary_is_known_as_well_as_asked(command):
    assert command("run", "sharp")[0] == 0
    code, said = command("refine", "sharp", *WORDS, "--band", "0.05")
    assert code == 0 and "as asked" in said
    results = open_store("stores/sharp.zarr")
    found = boundary(results, "slope", "width", "square", level=1.0)
    np.testing.assert_allclose(found.slope * found.width, 4.0, rtol=1e-6)
    trained = int((results.state == 1).sum())
    assert results.sizes["slope"] >= 20 and trained < 0.3 * results.state.size
    assert int(re.findall(r"(\d+) students trained", said)[0]) == trained - 60
    again = command("refine", "sharp", *WORDS, "--band", "0.05")
    assert again[0] == 0 and ", 0 students trained" in again[1]


def test_what_was_refined_survives_the_run_of_its_sweep_and_that_trains_no_more(command):
    command("run", "sharp")
    command("refine", "sharp", *WORDS, "--band", "0.15")
    before = open_store("stores/sharp.zarr")
    assert command("run", "sharp")[0] == 0
    after = open_store("stores/sharp.zarr")
    np.testing.assert_array_equal(before.square.values, after.square.values)
    np.testing.assert_array_equal(before.ledger.values, after.ledger.values)
    assert before.sizes["slope"] > 4


def test_seeds_are_added_along_the_boundary_alone(command):
    command("run", "noisy")
    axes = ["--axis", "slope", "--axis", "width"]
    code, said = command("refine", "stores/noisy.zarr", *WORDS, "--band", "0.3", *axes)
    assert code == 0, said
    count = (open_store("stores/noisy.zarr").state == 1).sum("seed")
    assert int(count.max()) > 5 and int(count.isel(slope=0, width=0)) == 3


def test_a_dry_run_says_what_it_would_train_and_trains_nothing(command):
    command("run", "sharp")
    code, said = command("refine", "sharp", *WORDS, "--dry-run")
    assert code == 0 and re.search(r"round 1: .* \d+ students \(grid with slope", said)
    assert open_store("stores/sharp.zarr").state.size == 60


def test_a_budget_ends_the_rounds_unfinished(command):
    command("run", "sharp")
    code, said = command("refine", "sharp", *WORDS, "--band", "0.02", "--budget", "30")
    assert code == 3 and "the budget of 30 students is used up" in said
    assert int((open_store("stores/sharp.zarr").state == 1).sum()) == 90


def test_cells_that_failed_are_named_and_not_tried_for_ever(command):
    assert command("run", "failing")[0] == 0
    code, said = command("refine", "failing", *WORDS, "--band", "0.1")
    assert code == 1 and said.count("round ") < 10
    assert re.search(r"\n\d+ failed, first the cell \(slope=0.1, ", said), said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["refine", "sharp", *WORDS], "no store .* tsframe run sharp"),
        (["refine", "sharpe", *WORDS], "did you mean 'sharp'"),
        (["refine", "noisy", "--measure", "curve", "--level", "1"], "has the dim step"),
        (["refine", "noisy", *WORDS, "--axis", "seed"], "different"),
    ],
)
def test_what_cannot_be_refined_is_refused_in_a_sentence(command, words, sentence):
    command("run", "noisy")
    code, said = command(*words)
    assert code == 2 and re.search(sentence, said), said


def test_the_result_of_a_refined_cell_is_that_of_a_full_grid(command, tmp_path):
    command("run", "noisy")
    command("refine", "noisy", *WORDS, "--band", "0.3")
    refined = open_store("stores/noisy.zarr")
    from tsframe.commands import find, load

    sweep = load(find("noisy"))
    axes = {dim: refined[dim].values.tolist() for dim in sweep.axes}
    full = run(sweep.over(**axes), tmp_path / "full.zarr", n_jobs=1, progress=False)
    there = (refined.state == 1).values
    np.testing.assert_array_equal(full.square.values[there], refined.square.values[there])
