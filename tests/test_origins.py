"""By what numbers were made: damage is told from what another engine wrote."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from tests.test_architecture import SCIENCE
from tests.toy import Square
from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.origins import mixture, Origin, written
from tsframe.provenance import code, Runs, TRAINING
from tsframe.standing import status
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.verification import verify

PACKAGE = Path(__file__).parents[1] / "tsframe"
HERE = Origin("cpu (AVX2)", "strict", "float32", "onednn", "2.13.0", "2.4", "1.17", "0.1.0", "1f3a")


@dataclass(frozen=True)
class Told(Square):
    """A square whose engine says how it multiplied: the exact ones by another route."""

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        dataset = Square.train_together(trials, device, threads)
        exact = {trial.value < 1 for trial in trials}
        routes = {True: ("float64", "lapack"), False: ("float32", "onednn")}
        precision, products = (
            ", ".join(sorted(names)) for names in zip(*(routes[e] for e in exact), strict=True)
        )
        dataset.attrs |= {"mode": "strict", "precision": precision, "products": products}
        return dataset


def squares(seeds: int = 4, first: int = 0) -> Sweep:
    moods = {5: "diverges", 6: "raises"}
    return Sweep(lambda seed: Told(seed + first, moods.get(seed, "well")), seed=range(seeds))


def store(path: Path, chunk: int = 4, first: int = 0) -> Path:
    run(squares(first=first), path, n_jobs=1, chunk={"seed": chunk}, progress=False)
    return path


def plant(path: Path, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Let a run say something else of itself."""
    file = path / "runs" / f"{name}.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def versions(**other: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda facts: {**facts, "versions": {**facts["versions"], **other}}


def words(**other: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda facts: {**facts, **other}


OTHERS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "code": ("1", words(code="0123456789"), "(code 01234567, now "),
    "torch": ("1", versions(torch="2.11.0"), "(torch 2.11.0, now "),
    "numpy": ("1", versions(numpy="2.0.0"), "(numpy 2.0.0, now "),
    "scipy": ("1", versions(scipy="1.14"), "(scipy 1.14, now "),
    "processor": ("1", words(cpu="Z80"), "(processor Z80, now "),
    "device": ("1.engine", words(device="cuda:0 (H200)"), "(device cuda (H200), now abacus)"),
    "several devices": ("1.engine", words(device="slate; abacus"), "(device slate; abacus, now "),
    "products": ("1.engine", words(products="slow, lapack"), "(products lapack, slow, now onednn)"),
    "mode": ("1.engine", words(mode="fast"), "(mode fast, now strict)"),
    "an earlier tsframe": (
        "1",
        lambda facts: {key: value for key, value in facts.items() if key != "code"},
        "(code not told, now ",
    ),
}


@pytest.fixture
def drifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on numbers come out otherwise by 1e-7 of themselves."""
    before = Square.train_together

    def after(trials: Sequence[Any], *how: Any) -> xr.Dataset:
        dataset = before(trials, *how)
        dataset["square"] = dataset["square"] * (1 + 1e-7)
        return dataset

    monkeypatch.setattr(Square, "train_together", after)


@pytest.mark.parametrize("case", OTHERS)
def test_what_another_engine_wrote_may_differ_and_is_told_by_how_much(
    tmp_path: Path, request: pytest.FixtureRequest, case: str
) -> None:
    path = store(tmp_path / "s.zarr")
    name, change, sentence = OTHERS[case]
    plant(path, name, change)
    assert verify(path, 4, squares(), repeats=9).findings == [], "what comes again needs no word"
    request.getfixturevalue("drifted")
    report = verify(path, 4, squares(), repeats=9)
    assert (report.code, report.verdict, report.repeated) == (0, "clean", 4)
    (finding,) = report.findings
    assert finding.grade == "note"
    assert "3 of 4 cells of run 1 that were trained again differ, as they may, for" in finding.text
    assert sentence in finding.text
    assert "relatively 1e-07" in finding.text and "square was " in finding.text
    assert finding.text.endswith("To compare bits, verify with what wrote them")


@pytest.mark.parametrize("chunk", [1, 4])  # students of one kind in each, or of both
def test_what_the_same_engine_gives_otherwise_is_damaged(
    tmp_path: Path, request: pytest.FixtureRequest, chunk: int
) -> None:
    path = store(tmp_path / "s.zarr", chunk=chunk)
    plant(path, "1", words(git={"commit": "a" * 40, "dirty": False}))
    request.getfixturevalue("drifted")
    report = verify(path, 4, squares(), repeats=9)
    assert (report.code, report.verdict) == (2, "damaged")
    (finding,) = report.findings
    assert (
        "3 of 4 cells of run 1 that were trained again differ, though by the same" in finding.text
    )
    assert "its commit was aaaaaaaa, is " in finding.text
    assert "run the study into a new --store and compare" in finding.text


def test_a_cell_that_cannot_be_trained_here_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path / "s.zarr")

    def refuse(*_: Any, **how: Any) -> xr.Dataset:
        raise ValueError("there is no such device here")

    monkeypatch.setattr(Told, "train_together", refuse)
    report = verify(path, 4, squares(), repeats=2)
    assert report.code == 0
    assert "2 of 2 cells of run 1 that were trained again could not be" in report.findings[0].text
    assert "there is no such device here" in report.findings[0].text


def test_a_run_tells_all_that_its_engine_said(tmp_path: Path) -> None:
    path = store(tmp_path / "s.zarr", chunk=1)
    told = Store.open(path, write=False).runs.engines()[1]
    assert (told["precision"], told["products"]) == ("float64, float32", "lapack, onednn")
    assert len(list((path / "runs").glob("1.engine*"))) == 2, "not one a chunk"
    runs = Runs(tmp_path)
    said: set[tuple[str, str]] = set()
    for k, device in enumerate(("slate", "abacus", "slate")):
        runs.tell(7, {"device": device, "threads": 2 + k}, said)
    assert runs.engines() == {7: {"device": "slate; abacus", "threads": 2}}


def test_origins_are_apart_where_bits_may_be() -> None:
    assert HERE.apart(HERE) == []
    for name in ("device", "torch", "numpy", "scipy", "code", "processor", "mode", "products"):
        other = replace(HERE, **{name: "other"})
        assert HERE.apart(other) == other.apart(HERE) == [name]
    assert HERE.apart(replace(HERE, precision="float64", products="blas")) == [], "other trials"
    both = replace(HERE, precision="float32, float64", products="lapack, onednn")
    assert HERE.apart(both) == both.apart(HERE) == [], "exact students beside them"
    exact = replace(HERE, precision="float64", products="lapack")
    assert exact.apart(replace(exact, products="blas")) == [], "one run had exact students only"
    assert HERE.apart(replace(HERE, tsframe="0.2.0")) == [], "the code is the same"
    old = replace(HERE, code="", mode="")
    assert old.apart(replace(old, tsframe="0.0.9")) == ["tsframe"]
    assert old.apart(HERE) == ["code"]
    fast = replace(HERE, mode="fast")
    assert fast.apart(fast) == ["mode"], "which promises no bits"
    assert mixture([fast, fast]) == mixture([HERE]) == mixture([]) == ""
    assert "differ in torch, and" in mixture([fast, replace(fast, torch="2.11.0")])
    assert "differ in mode, and" in mixture([fast, HERE])
    assert "differ in device, and" in mixture([replace(HERE, device="slate; abacus")])


def test_status_tells_by_what_how_many_cells_were_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = store(tmp_path / "s.zarr", first=1)
    run(squares(7, first=1), path, n_jobs=1, progress=False)
    seen = status(path)
    (group,) = seen.origins
    assert (group.cells, group.runs, seen.mixture) == (6, (1, 2), "")
    assert "6 by runs 1-2: abacus, strict, float32, products onednn, on " in str(seen)
    caplog.clear()
    assert open_store(path).attrs["origins"] == [str(group)]
    assert "origin" not in caplog.text

    plant(path, "2", versions(torch="2.11.0"))
    seen = status(path)
    assert [(group.cells, group.runs) for group in seen.origins] == [(4, (1,)), (2, (2,))]
    assert "not all cells come from one origin: they differ in torch, and" in seen.mixture
    assert seen.mixture in str(seen) and "torch 2.11.0" in str(seen)
    told = json.loads(seen.to_json())
    assert [group["origin"]["torch"] for group in told["origins"]][1] == "2.11.0"
    assert told["mixture"] == seen.mixture
    with caplog.at_level(logging.WARNING):
        opened = open_store(path)
    assert seen.mixture in caplog.text
    assert opened.attrs["origins"] == [str(group) for group in seen.origins]
    assert seen.code == 1, "for the cell that failed; a mixture is no damage"


def test_cells_of_a_run_without_a_word_are_of_unknown_origin(tmp_path: Path) -> None:
    path = store(tmp_path / "s.zarr")
    for file in (path / "runs").glob("1.*json"):
        file.unlink()
    (path / "runs" / "1.json").write_text("{")
    ledger = Store.open(path, write=False).read_all("ledger")
    (group,) = written(ledger, Store.open(path, write=False).runs.origins())
    assert str(group) == "4 by run 1: of unknown origin"


def test_the_digest_of_the_code_is_that_of_what_decides_numbers(tmp_path: Path) -> None:
    assert sorted(TRAINING) == sorted(SCIENCE), "a new room of science belongs in both lists"
    shutil.copytree(PACKAGE, tmp_path / "a", ignore=shutil.ignore_patterns("__pycache__"))
    assert code(tmp_path / "a") == code()
    for k, (file, changes) in enumerate(
        [("training/sgd.py", True), ("trial.py", True), ("commands.py", False)]
    ):
        here = tmp_path / f"b{k}"
        shutil.copytree(tmp_path / "a", here)
        (here / file).write_text((here / file).read_text() + "\n")
        assert (code(here) != code()) == changes
