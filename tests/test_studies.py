import functools
import os
import re
import runpy
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tsframe.execution import run
from tsframe.perceptron.trial import PerceptronTrial
from tsframe.plan import plan
from tsframe.sweep import Sweep
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.parle import Parle
from tsframe.training.ridge import Ridge
from tsframe.training.sam import SAM

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.stem for path in (ROOT / "sweeps").glob("*.py"))
FEWER: dict[str, dict[str, Any]] = {  # enough of each study's axes for its figure
    "benign_floor": dict(
        slope=[0.05, 0.2], floor_trace=[0.0, 0.01, 1.0], n_train=[16, 24, 32], seed=[0, 1]
    ),
    "benign_floor_networks": dict(
        slope=[0.03, 0.3], floor=[0.0, 1e-4, 1e-2], n_train=[100], seed=[0, 1]
    ),
    "benign_overfitting": dict(slope=[0.01, 0.1], width=[4, 12], seed=[0, 1]),
    "binary_perceptron": dict(n_train=[7, 20], seed=[0, 1]),
    "deep_linear": dict(
        model=["1 layer", "2 layers", "3 layers", "least nuclear norm"],
        observed=[400, 650, 1600],
        seed=[0, 1],
    ),
    "capacity": dict(slope=[0.0, 1.0], n_train=[60], width=[4], seed=[0, 1]),
    "digits": dict(n_train=[50, 100], width=[8], seed=[0, 1]),
    "double_descent": dict(n_train=[8, 64, 96], width=[8, 64, 96], seed=[0, 1]),
    "double_descent_networks": dict(n_train=[16, 32, 64], width=[1, 4], seed=[0, 1]),
    "expressivity": dict(n_train=[40, 80], slope=[0.0, 2.0], width=[2, 64], seed=[0, 1]),
    "finite_size": dict(n_train=[8, 16, 32], seed=[0, 1]),
    "gradient_noise": dict(depth=[1, 2], batch_size=[12, 24], seed=[0, 1]),
    "gradient_temperature": dict(lr=[0.03, 0.3], batch_size=[20, 80], seed=[0, 1]),
    "infinite_width": dict(width=[16, 64], output_scale=[0.3, 1.0], seed=[0, 1]),
    "kernel_interpolation": dict(
        inputs=["slope 0.3", "digits"], n_train=[50, 100], label_noise=[0.0, 1.0], seed=[0, 1]
    ),
    "mirrored_spectra": dict(
        slope=[0.0, 0.2], trace=[0.1, 40.0], depth=[0, 1], classes=[4], seed=[0]
    ),
    "randomization_tests": dict(
        inputs=["slope 0", "slope 0.3"], label_noise=[0.0, 0.5, 1.0], seed=[0, 1]
    ),
    "measures_ranked": dict(width=[8], slope=[0.0, 0.3], n_train=[60, 80], depth=[1], seed=[0]),
    "regularizers": dict(
        regularizer=["none", "weight decay", "early stopping"], slope=[0.2], seed=[0, 1]
    ),
    "ridgeless": dict(n_over_p=[0.64, 1.6], seed=[0, 1]),
    "taxonomy": dict(n_train=[10, 30], seed=[0, 1]),
    "wide_regions": dict(slope=[0.2], seed=[0, 1]),
    "slope_figure": dict(slope=[0.01, 0.1], width=[10], seed=[0, 1]),
}


def module(folder, study):
    return runpy.run_path(str(ROOT / folder / f"{study}.py"))


def shortened(function):
    """The trial function of a study with a budget of a few steps."""

    @functools.wraps(function)
    def trial(**values):
        full = function(**values)
        if isinstance(full, PerceptronTrial):
            return replace(full, dim=13)
        steps = tuple(step for step in full.curve_steps if step <= 10)
        changes = dict(training=shorter(full.training), n_test=50, curve_steps=steps)
        if getattr(full, "measure_steps", ()):
            changes["measure_steps"] = tuple(range(min(len(full.measure_steps), 11)))
        known = {one.name for one in fields(full)}  # matrices to be completed have no n_test
        return replace(full, **{name: new for name, new in changes.items() if name in known})

    return trial


def shorter(training):
    """The same training with a budget of a few steps."""
    if isinstance(training, Ridge):
        return training
    if isinstance(training, SAM | EntropySGD | Parle):
        return replace(training, base=shorter(training.base))
    return replace(training, max_steps=10)


@pytest.mark.parametrize("study", STUDIES)
def test_every_sweep_plans(study):
    sweep = module("sweeps", study)["sweep"]
    assert plan(sweep).sweep.size == sweep.size >= 200


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_runs_small_to_its_figure(study, tmp_path):
    matplotlib.use("Agg")
    sweep = module("sweeps", study)["sweep"]
    small = Sweep(shortened(sweep.function), **(dict(sweep.axes) | FEWER[study]))
    results = run(small, tmp_path / "small.zarr", n_jobs=1, progress=False)
    assert (results.state == 1).all()
    figures = module("analysis", study)["draw"](tmp_path / "small.zarr", tmp_path)
    assert figures
    assert all(figure.stat().st_size > 10_000 for figure in figures)


def readme():
    return (ROOT / "README.md").read_text()


def test_the_code_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", readme(), re.S)
    assert blocks
    program = tmp_path / "readme.py"
    program.write_text("\n".join(blocks))
    out = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "small.zarr").is_dir()


def test_the_readme_leads_with_two_commands_of_one_line():
    commands = [line for line in readme().splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("tsframe run benign_overfitting")
    assert "pytest" in commands[1]


def test_every_file_the_readme_links_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", readme())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
