import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tsframe.cli import main
from tsframe.opening import open_store

ROOT = Path(__file__).parents[1]

STUDY = """
from dataclasses import dataclass

from tests.toy import Square
from tsframe.sweep import Sweep


@dataclass(frozen=True)
class Own(Square):
    pass  # a class of the study itself, which no worker could import


def trial(slope, seed):
    return Own(slope * seed, mood="raises" if seed == {bad} else "well", seconds={seconds})


sweep = Sweep(trial, slope=[0.1, 0.2], seed=range(4))
"""

ANALYSIS = """
from tsframe.opening import open_store

def draw(store_path, out):
    dataset = open_store(store_path)
    figure = out / "square.txt"
    figure.write_text(str(float(dataset["square"].sel(slope=0.2, seed=3))))
    return [figure]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("sweeps", "analysis", "sub/folder"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sweeps" / "good.py").write_text(STUDY.format(bad=9, seconds=0))
    (tmp_path / "sweeps" / "half.py").write_text(STUDY.format(bad=1, seconds=0))
    (tmp_path / "sweeps" / "slow.py").write_text(STUDY.format(bad=9, seconds=0.5))
    (tmp_path / "sweeps" / "broken.py").write_text("import os\n\n1 / 0\n")
    (tmp_path / "sweeps" / "twisted.py").write_text("x = (\n")
    (tmp_path / "sweeps" / "bare.py").write_text("sweep = 3\n")
    (tmp_path / "analysis" / "good.py").write_text(ANALYSIS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def do(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(left.value.code or 0), out, err

    return do


def test_plan_run_and_status_of_a_study_by_name(project: Path, call: Call) -> None:
    code, out, _ = call("plan", "good", "--json")
    assert code == 0
    assert json.loads(out)["pending"] == 8
    assert call("status", "good")[0] == 2  # there is no store yet

    code, out, _ = call("run", "good", "--jobs", "1")
    assert code == 0
    store = project / "stores" / "good.zarr"
    assert f"results: {store}" in out
    assert f"figure:  {project / 'analysis' / 'square.txt'}" in out
    assert float((project / "analysis" / "square.txt").read_text()) == (0.2 * 3) ** 2

    code, out, _ = call("status", "good", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["cells"], facts["done"], facts["todo"], facts["error"]) == (8, 8, 0, None)
    assert json.loads(call("plan", "good", "--json")[1])["pending"] == 0
    assert "8 = slope 2 x seed 4" in call("plan", "good")[1]


def test_a_study_is_found_from_below_and_by_its_file(
    project: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "sub" / "folder")
    assert call("plan", "good")[0] == 0
    assert call("run", "../../sweeps/good.py", "--jobs", "1", "--no-figures")[0] == 0
    assert (project / "stores" / "good.zarr").is_dir()
    assert not (project / "analysis" / "square.txt").exists()
    assert call("status", "../../stores/good.zarr")[0] == 0


def test_the_store_may_be_elsewhere(project: Path, call: Call) -> None:
    assert call("run", "good", "--jobs", "1", "--store", "other.zarr", "--no-figures")[0] == 0
    assert call("status", "good", "--store", "other.zarr")[0] == 0
    assert not (project / "stores").exists()


def test_some_cells_may_be_chosen(project: Path, call: Call) -> None:
    some = ("--only", "slope=0.15:", "--only", "seed=1,3")
    assert json.loads(call("plan", "good", *some, "--json")[1])["pending"] == 2
    assert call("run", "good", "--jobs", "1", "--no-figures", *some)[0] == 0
    code, out, _ = call("status", "good", "--json")
    assert (code, json.loads(out)["done"]) == (3, 2)
    dataset = open_store(project / "stores" / "good.zarr")
    assert (dataset["state"].sel(slope=0.2, seed=[1, 3]) == 1).all()


def test_a_run_may_end_at_the_first_failure_and_try_the_failed_again(
    project: Path, call: Call
) -> None:
    code, _, err = call("run", "half", "--jobs", "1", "--fail-fast")
    assert code == 1
    assert "the cell (slope=0.1, seed=1) failed, and this run ends at the first that does" in err
    assert call("run", "half", "--jobs", "1", "--only", "seed=0,2,3")[0] == 0

    def attempts() -> list[float]:
        ledger = open_store(project / "stores" / "half.zarr")["ledger"]
        return [float(x) for x in ledger.sel(entry="attempts", seed=1)]

    again = [call("run", "half", "--jobs", "1", *more)[0] for more in ((), (), ("--retry-failed",))]
    assert again == [1, 1, 1]
    assert attempts() == [3.0, 3.0]  # twice of itself, and once on request


def test_a_run_that_is_watched_tells_until_it_ends(
    project: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.commands.PAUSE", 0.1)
    call("run", "good", "--jobs", "1", "--no-figures", "--only", "seed=0")
    run = subprocess.Popen(
        command("run", "good", "--jobs", "1", "--no-figures"),
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        code, out, _ = call("status", "good", "--watch", "--json")
    finally:
        run.wait(timeout=30)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert (lines[0]["todo"], lines[-1]["todo"]) == (6, 0)


def test_classes_of_a_study_travel_to_workers(project: Path, call: Call) -> None:
    assert call("run", "good", "--jobs", "2", "--no-figures")[0] == 0


def test_failed_cells_exit_with_1_and_are_named(project: Path, call: Call) -> None:
    code, _, err = call("run", "half", "--jobs", "1")
    assert code == 1
    sentence = "2 failed, first the cell (slope=0.1, seed=1): ValueError: no square of 0.1"
    assert sentence in err
    code, out, _ = call("status", "half")
    assert code == 1
    assert "2 failed, the last the cell (slope=0.2, seed=1): ValueError: no square of 0.2" in out
    assert "6 done, 2 failed" in out


def test_a_store_may_be_watched(project: Path, call: Call) -> None:
    call("run", "half", "--jobs", "1", "--no-figures")
    code, out, _ = call("status", "half", "--watch")
    assert code == 1
    assert out.endswith("half.zarr: 8: 6 done, 2 failed\n")
    code, out, _ = call("status", "half", "--watch", "--json")
    (line,) = out.splitlines()  # nothing happens any more
    assert (code, json.loads(line)["failed"]) == (1, 2)


def test_an_unfinished_store_exits_with_3(project: Path, call: Call) -> None:
    call("run", "half", "--jobs", "1")
    for chunk in (project / "stores" / "half.zarr" / "ledger").glob("c.*"):
        chunk.unlink()
    code, out, _ = call("status", "half", "--json")
    assert code == 3
    assert json.loads(out)["todo"] == 8


REFUSED = {
    "unknown": (("run", "goood"), "there is no {sweeps}/goood.py; did you mean 'good'?"),
    "far off": (("run", "xyz"), "there are: bare, broken, good, half, slow, twisted"),
    "no file": (("run", "./x.py"), "there is no file x.py; give a study's name or its file"),
    "broken": (("plan", "broken"), "broken.py, line 3: ZeroDivisionError: division by zero"),
    "syntax": (("plan", "twisted"), "twisted.py, line 1: SyntaxError"),
    "no sweep": (("plan", "bare"), "bare.py must define `sweep = Sweep(...)`; got 3"),
    "jobs": (("run", "good", "--jobs", "0"), "n_jobs (--jobs) must be an integer >= 1"),
    "device": (("run", "good", "--device", "gpu"), "device must be auto, cpu, cuda or cuda:N"),
    "store": (("run", "good", "--store", "sweeps"), "sweeps is a folder without zarr.json"),
    "status": (("status", "good"), "there is no store at"),
    "only": (("run", "good", "--only", "sloppe=1"), "'sloppe', which is no axis; did you mean 's"),
    "value": (("run", "good", "--only", "slope=0.3"), "no value 0.3; the nearest are 0.1 and 0.2"),
    "words": (("plan", "good", "--only", "slope"), "write axis=value,value or axis=low:high"),
    "option": (("run", "good", "--job", "2"), "Unknown option"),
    "command": (("rum", "good"), "rum"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_input_exits_with_2_and_one_sentence(project: Path, call: Call, case: str) -> None:
    words, sentence = REFUSED[case]
    code, out, err = call(*words)
    assert code == 2
    assert sentence.format(sweeps=project / "sweeps") in err
    assert not out
    assert not (project / "stores").exists()


def test_without_a_folder_of_sweeps_a_name_means_nothing(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call("run", "good")
    assert code == 2
    assert "there is no folder 'sweeps' here or above" in err


def test_a_figure_that_fails_keeps_the_results(project: Path, call: Call) -> None:
    (project / "analysis" / "half.py").write_text("def draw(store_path, out):\n    1 / 0\n")
    code, _, err = call("run", "half", "--jobs", "1")
    assert code == 2
    assert "half.py, line 2: ZeroDivisionError" in err
    assert "the results are in" in err
    (project / "analysis" / "half.py").write_text("")
    assert "must define `draw(store_path, out)`" in call("run", "half", "--jobs", "1")[2]
    assert open_store(project / "stores" / "half.zarr").sizes == {
        **{"slope": 2, "seed": 4},
        **{"step": 3, "entry": 6},
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tsframe.cli", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_help_answers_at_once_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from tsframe.cli import app; app(['--help'], result_action='return_value');"
        "print(sorted({'torch', 'zarr', 'xarray', 'joblib', 'numpy'} & set(sys.modules)))"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=True, text=True
    )
    assert time.perf_counter() - start < 5  # 0.2 s when nothing else is at work
    assert done.stdout.endswith("[]\n")
    assert all(name in done.stdout for name in ("plan", "run", "status"))


@pytest.mark.parametrize(("jobs", "to"), [("1", "main"), ("2", "main"), ("2", "group")])
def test_ctrl_c_exits_with_130_and_a_sentence(project: Path, jobs: str, to: str) -> None:
    process = subprocess.Popen(
        command("run", "slow", "--jobs", jobs),
        cwd=project,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        runs = project / "stores" / "slow.zarr" / "runs" / "1.json"
        end = time.monotonic() + 120
        while not runs.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(1.0)
        if to == "group":  # as a terminal does
            os.killpg(process.pid, signal.SIGINT)
        else:  # the main process ends its workers
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "tsframe: interrupted; what was finished is kept, the same command goes on." in err
    assert "Traceback" not in err
    end = time.monotonic() + 10
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < end, "a worker is left"
        time.sleep(0.05)
