import html.parser
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from tests.faults.processes import command, committed, until, write_study
from tests.toy import Square
from tsframe.execution import run
from tsframe.opening import open_store
from tsframe.standing import status
from tsframe.store import Store
from tsframe.sweep import Sweep
from tsframe.workers.marks import Marks


def squares() -> Sweep:
    moods = {3: "raises", 4: "diverges"}
    return Sweep(
        lambda slope, seed: Square(slope * seed, moods.get(seed, "well")),
        slope=[0.1, 0.2],
        seed=range(5),
    )


def test_a_store_tells_what_is_settled_and_what_failed_last(tmp_path: Path) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, only={"seed": [0, 3]}, progress=False)
    early = status(tmp_path / "s")
    assert early.counts == {"todo": 6, "done": 2, "failed": 2, "diverged": 0, "excluded": 0}
    assert (early.cells, early.code, early.running, early.left) == (10, 3, False, None)
    run(squares(), tmp_path / "s", n_jobs=1, progress=False)
    late = status(tmp_path / "s")
    assert late.counts == {"todo": 0, "done": 6, "failed": 2, "diverged": 2, "excluded": 0}
    assert late.code == 1
    assert late.error is not None
    assert late.error["cell"] == "(slope=0.2, seed=3)"
    assert str(late).startswith(f"{tmp_path / 's'}: 10: 6 done, 2 failed, 2 diverged")
    assert "2 failed, the last the cell (slope=0.2, seed=3): ValueError: no square of" in str(late)
    told = json.loads(late.to_json())
    assert (told["cells"], told["done"], told["failed"], told["running"]) == (10, 6, 2, False)
    assert (told["runs"], told["hands"]) == ([], [])


def test_a_run_at_work_is_seen_from_outside(tmp_path: Path) -> None:
    path = write_study(tmp_path, seconds=0.3, size=80)
    with command(tmp_path, "run", "study", "--jobs", "2", "--no-figures") as process:
        until(lambda: committed(path) >= 3 or process.poll() is not None)
        until(lambda: bool(status(path).hands))
        seen = status(path)
        (mine,) = seen.runs
        assert (mine.run, mine.pid, mine.workers, mine.backend) == (1, process.pid, 2, "loky")
        assert (mine.host, mine.cells, mine.lives) == (os.uname().nodename, 80, True)
        assert seen.running
        assert 0 < len(seen.hands) <= 2
        assert all(hand.pid != process.pid and hand.seconds < 5 for hand in seen.hands)
        assert "chunk (seed=" in str(seen)
        # what the run says of itself comes every few seconds
        until(lambda: status(path).left is not None or process.poll() is not None)
        later = status(path)
        assert process.poll() is None
        assert later.left is not None
        assert 0 < later.left < 3600  # a rate told in the first seconds is a rough one
        assert 0 < later.runs[0].rate < 100
        process.kill()
        process.wait()
        until(lambda: not status(path).running, 60)  # its process is known to be gone
        assert "not heard of for" in str(status(path))
        assert status(path).code == 3


def test_a_run_that_is_silent_is_not_taken_for_one_at_work(tmp_path: Path) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, only={"seed": 0}, progress=False)
    store = Store.open(tmp_path / "s")
    number = store.runs.begin({"host": "n12", "pid": 4, "backend": "loky", "n_jobs": 3})
    assert status(tmp_path / "s").runs[0].lives
    pulse = tmp_path / "s" / "runs" / f"{number}.pulse.json"
    facts = {"host": "n12", "pid": 4, "workers": 3, "cells": 8, "counts": Counter(done=2)}
    pulse.write_text(json.dumps({**facts, "seconds": 4.0, "work": 8.0, "work_done": 2.0}))
    live = status(tmp_path / "s")
    assert (live.runs[0].rate, live.left, live.running) == (0.5, 12.0, True)
    hour = time.time() - 3600
    os.utime(pulse, (hour, hour))
    mark = Marks(tmp_path / "s" / "runs" / "attempts").begin(0, number, 0, (0, 0))
    os.utime(tmp_path / "s" / "runs" / "attempts" / f"0.{number}.0", (hour, hour))
    dead = status(tmp_path / "s")
    assert not dead.running
    assert dead.left is None
    assert "on n12, pid 4: not heard of for 60 min, after 2 cells" in str(dead)
    assert f"pid {mark.pid}, for" in str(dead)
    assert "silent for 60 min" in str(dead)
    json.loads(dead.to_json())


def test_damaged_words_of_a_run_are_passed_over(tmp_path: Path) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, only={"seed": 0}, progress=False)
    number = Store.open(tmp_path / "s").runs.begin({})
    (tmp_path / "s" / "runs" / f"{number}.pulse.json").write_text("{")
    (tmp_path / "s" / "runs" / "attempts" / f"0.{number}.0").write_text("")
    (tmp_path / "s" / "runs" / "lock" / "all").write_text("")
    seen = status(tmp_path / "s")
    assert [known.run for known in seen.runs] == [number]
    assert "a chunk on ?" in str(seen)
    json.loads(seen.to_json())


class Checker(html.parser.HTMLParser):
    """Finds what is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("input", "br", "link", "meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_html(text: str) -> str:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker.text


def test_a_notebook_shows_a_sweep_as_xarray_shows_its_store(tmp_path: Path) -> None:
    def trial(slope: float, seed: int) -> Square:
        return Square(slope * seed)

    trial.__name__ = "<script>alert(1)</script>"
    sweep = Sweep(trial, slope=[0.1, 0.2], seed=range(5))
    shown = sweep._repr_html_()
    assert "<script>alert" not in shown
    text = read_html(shown)
    assert "<script>alert(1)</script>: 10 cells" in text
    run(sweep, tmp_path / "s", n_jobs=1, progress=False)
    dims = "slope: 2seed: 5"
    assert dims in text
    assert dims in read_html(open_store(tmp_path / "s")._repr_html_())


def test_a_notebook_shows_a_store(tmp_path: Path) -> None:
    path = tmp_path / "<b>s"
    sweep = Sweep(lambda seed: Square(seed, "raises" if seed == 1 else "well"), seed=range(4))
    run(sweep, path, n_jobs=1, only={"seed": [0, 1]}, progress=False)
    shown = status(path)._repr_html_()
    assert "<b>s" not in shown
    text = read_html(shown)
    assert "50% settled" in text
    assert "4: 2 to do, 1 done, 1 failed" in text.replace("todo", "to do")
    assert "square" in text  # the arrays, as xarray shows them
    assert isinstance(xr.open_zarr(path, consolidated=False), xr.Dataset)


def test_status_reads_and_writes_nothing(tmp_path: Path) -> None:
    run(squares(), tmp_path / "s", n_jobs=1, progress=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*")}
    status(tmp_path / "s")._repr_html_()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*")} == before


def test_a_place_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no store at"):
        status(tmp_path / "s")
