from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from tests.faults.deadly import Deadly, right
from tests.faults.processes import ROOT
from tsframe.execution import run
from tsframe.sweep import Sweep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # ray has its own


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        runtime_env=environment,
    )
    register_ray()
    yield ray
    ray.shutdown()


@pytest.mark.parametrize("bad", [set(), {5}])
def test_ray_does_the_same_and_outlives_a_cell_that_kills(
    local: Any, tmp_path: Path, bad: set[int]
) -> None:
    sweep = Sweep(lambda seed: Deadly(seed, "kills" if seed in bad else "well"), seed=range(12))
    with joblib.parallel_config("ray"):
        run(sweep, tmp_path / "s", n_jobs=2, chunk={"seed": 2}, stall=30.0, progress=False)
    expected = {"done": 12 - len(bad), "failed": len(bad)}
    assert right(tmp_path / "s") == {name: count for name, count in expected.items() if count}
