import json
from pathlib import Path

import pytest
import xarray as xr

from tests.test_cli import Call, call, project  # noqa: F401  # fixtures

REFUSED = {
    "level": (("verify", "good", "--level", "5"), "level must be 0 to 4 (structure, listing"),
    "missing": (("verify", "half"), "there is no store at"),
    "nothing": (("pack", "half", "out.zarr"), "there is no store at"),
    "unknown": (("repair", "goood"), "did you mean 'good'?"),
    "no store": (("verify", "sweeps"), "sweeps is a folder without zarr.json"),
}


@pytest.fixture
def store(project: Path, call: Call) -> Path:  # noqa: F811
    assert call("run", "good", "--jobs", "1", "--no-figures")[0] == 0
    return project / "stores" / "good.zarr"


def test_a_clean_store_verifies_with_0_by_name_and_by_path(store: Path, call: Call) -> None:  # noqa: F811
    code, out, _ = call("verify", "good", "--level", "4")
    assert code == 0
    assert "good.zarr: clean up to level 4 (repeat); 8 done, 3 trained again" in out
    code, out, _ = call("verify", str(store), "--level", "4", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["verdict"], report["repeated"], report["findings"]) == ("clean", 3, [])


def test_damage_exits_with_1_repair_mends_it_and_a_run_finishes(store: Path, call: Call) -> None:  # noqa: F811
    (store / "square" / "c.0.0").write_bytes(b"")
    code, out, _ = call("verify", "good")
    assert code == 1
    assert "repairable: square, chunk 0 (slope 0.1..0.2, seed 0..3)" in out
    assert "tsframe repair good sets aside what is damaged" in out
    code, out, _ = call("repair", "good")
    assert code == 0
    assert "moved" in out and "runs/quarantine/square-c.0.0" in out
    assert call("verify", "good")[0] == 0
    assert call("status", "good")[0] == 3
    assert call("run", "good", "--jobs", "1", "--no-figures")[0] == 0
    assert call("verify", "good", "--level", "4")[0] == 0
    assert json.loads(call("repair", "good", "--json")[1])["done"] == []


def test_a_study_that_changed_is_told_by_the_repetition(
    store: Path,
    project: Path,  # noqa: F811
    call: Call,  # noqa: F811
) -> None:
    file = project / "sweeps" / "good.py"
    text = file.read_text()
    file.write_text(text.replace("slope * seed", "slope * seed + 1"))
    code, _, err = call("verify", "good", "--level", "4")
    assert code == 2
    assert "the trial of cell (slope=0.1, seed=0) had" in err
    file.write_text(  # the code beneath changed, and the trial does not show it
        text.replace(
            "    pass",
            "    @staticmethod\n    def train_together(trials, **how):\n"
            "        return Square.train_together([Square(t.value + 1) for t in trials])",
        )
    )
    code, out, _ = call("verify", "good", "--level", "4")
    assert code == 2
    assert "damaged: 3 of 3 cells of run 1 that were trained again differ, though by the" in out
    assert "the study's own code changed beneath it" in out
    engine = store / "runs" / "1.engine.json"
    engine.write_text(json.dumps(json.loads(engine.read_text()) | {"mode": "fast"}))
    code, out, _ = call("verify", "good", "--level", "4")
    assert code == 0, "nobody promised bits in the mode fast"
    assert "note: 3 of 3 cells of run 1 that were trained again differ, as they may" in out
    assert "(mode fast, now strict)" in out


def test_a_store_is_packed_for_plain_xarray(store: Path, project: Path, call: Call) -> None:  # noqa: F811
    code, out, _ = call("pack", "good", "good.packed.zarr")
    assert code == 0
    assert "xarray.open_zarr opens it" in out
    packed = xr.open_zarr(project / "good.packed.zarr")
    assert float(packed["square"].sel(slope=0.2, seed=3)) == (0.2 * 3) ** 2
    assert call("verify", "good.packed.zarr")[0] == 0


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_exits_with_2_and_a_sentence(project: Path, call: Call, case: str) -> None:  # noqa: F811
    words, sentence = REFUSED[case]
    code, out, err = call(*words)
    assert code == 2
    assert sentence in err
    assert not out
