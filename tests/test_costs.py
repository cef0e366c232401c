"""Laws of predicted work, speed and memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import platformdirs
import pytest

from tests.benchmarks.extra_costs import KINDS, more, predicted
from tests.benchmarks.growth import Point
from tests.test_exact_students import trial as exact
from tests.test_trial import trial
from tsframe.augmentations import FlatNoise
from tsframe.costs import CARE
from tsframe.students.mlp import MLP
from tsframe.training.calibration import kept_speed
from tsframe.training.devices import resolve_device
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.parle import Parle
from tsframe.training.ridge import Ridge
from tsframe.training.sgd import SGD
from tsframe.trial import Trial

CPU = resolve_device("cpu")


def test_work_is_linear_in_students_and_in_steps():
    pair = [trial(seed=seed) for seed in range(2)]
    many = [trial(seed=seed) for seed in range(200)]
    apart = ("normals", "drawing", "minibatches")
    each = sum(cost for key, cost in trial().shared_flops.items() if key[0] in apart)
    assert predicted(many) - predicted(pair) == pytest.approx(198 * (trial().flops + each))
    long = [replace(t, training=replace(t.training, max_steps=600)) for t in many]
    steps = [replace(t, training=replace(t.training, max_steps=1200)) for t in many]
    assert predicted(steps) - predicted(long) == pytest.approx(
        10 * (predicted(long) - predicted(many)) * 60 / 540, rel=1e-9
    )


def test_what_students_share_is_cheaper_together():
    same_data = [trial(student=MLP(8), training=replace(trial().training, lr=lr)) for lr in (1, 2)]
    other_data = [trial(seed=seed) for seed in (0, 1)]
    other_shape = [trial(student=MLP(w)) for w in (8, 9)]
    apart = 2 * predicted([trial()])
    assert predicted(same_data) < predicted(other_data) < apart
    assert predicted(same_data) < predicted(other_shape)


STACK = Point(students=8, width=60, depth=2, batch=100, dim=100, shared=4)


def test_what_takes_much_longer_is_predicted_to_take_longer():
    found = {name: more(STACK, kind, 4, 44) for name, kind in KINDS.items()}
    pairs = 0
    for name, (work, seconds) in found.items():
        for other, (more_work, more_seconds) in found.items():
            if more_seconds > 2 * seconds:
                pairs += 1
                assert more_work > 1.15 * work, f"{other} takes {more_seconds / seconds:.1f} {name}"
    assert pairs > 9, "or there was nothing to order"


@pytest.mark.parametrize("name", KINDS)
def test_work_beyond_that_of_sgd_is_linear_in_steps(name):
    def work(kind, steps):
        return predicted([kind(one) for one in STACK.trials(steps)])

    def pace(kind):
        return work(kind, 800) - work(kind, 400)

    kind = KINDS[name]
    assert pace(kind) == pytest.approx(2 * (work(kind, 400) - work(kind, 200)), rel=1e-9)
    training = kind(STACK.trials(400)[0]).training
    assert not isinstance(training, Ridge)
    gradients = training.gradients * training.max_steps / 400  # for one of SGD
    assert (pace(kind) > 1.02 * gradients * pace(KINDS["SGD"])) == (name != "SGD")


def test_every_optimizer_has_its_costs():
    known = set(get_args(get_type_hints(Trial)["training"]))
    assert set(CARE) == known - {SGD, Ridge}


def test_what_is_not_drawn_costs_nothing():
    def work(**changes):
        return predicted([trial(**changes)])

    sgd = replace(trial().training, max_steps=100)
    cold, warm = (EntropySGD(sgd, temperature=t) for t in (0.0, 1e-9))
    assert work(training=cold) < work(training=warm)
    assert work(training=Parle(cold)) < work(training=Parle(warm))
    assert work(student=MLP(8, dropout=0.0)) == work(student=MLP(8))
    dim, other = trial().inputs.dim, replace(trial().inputs, rotate=True)
    much, little = FlatNoise(1), FlatNoise(dim - 1)
    assert work() < work(augmentation=little) < work(augmentation=much)
    assert (
        work(augmentation=much, inputs=other)
        > work(augmentation=much) + work(inputs=other) - work()
    )


def test_exact_students_tell_all_their_work_as_their_own():
    assert exact().shared_flops == {}
    assert exact().flops > 0


class Clock:
    def __init__(self):
        self.calls = 0
        self.seeds = []

    def make(self, width, seed, lr, max_steps):
        return trial(student=MLP(width), seed=seed)

    def train(self, trials):
        self.calls += 1
        self.seeds.append({one.seed for one in trials})


def test_a_speed_is_measured_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = Path(platformdirs.user_cache_dir("tsframe")) / "speed.json"
    assert path.is_relative_to(tmp_path)
    clock = Clock()
    speed = kept_speed(CPU, clock.make, clock.train)
    calls = clock.calls
    assert calls >= 3 and speed > 0
    assert kept_speed(CPU, clock.make, clock.train) == speed and clock.calls == calls
    (name,) = json.loads(path.read_text())
    assert "cpu" in name and "torch" in name
    monkeypatch.setenv("TSFRAME_RESIDENTS", "0")
    assert kept_speed(CPU, clock.make, clock.train) > 0 and clock.calls == 2 * calls, "another"
    monkeypatch.delenv("TSFRAME_RESIDENTS")
    for broken in ("", "[1]", '{"x": 1}', json.dumps({name: "fast"})):
        path.write_text(broken)
        calls = clock.calls
        assert kept_speed(CPU, clock.make, clock.train) > 0 and clock.calls > calls
        assert kept_speed(CPU, clock.make, clock.train) > 0, "it was mended"
    assert clock.calls > calls


def test_a_speed_is_measured_on_data_that_nothing_has_drawn(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    clock = Clock()
    kept_speed(CPU, clock.make, clock.train)
    assert sum(map(len, clock.seeds)) == len(set().union(*clock.seeds)), "kept data cost nothing"


def test_a_speed_that_cannot_be_kept_is_measured_again(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    clock = Clock()
    assert kept_speed(CPU, clock.make, clock.train) > 0
    assert kept_speed(CPU, clock.make, clock.train) > 0


def test_the_speed_of_several_threads_is_as_many_times_that_of_one():
    assert Trial.speed("cpu", 3) == pytest.approx(3 * Trial.speed("cpu"))


PEAK = """
import sys
from tests.test_costs import workload
from tsframe.rows import peak_bytes
from tsframe.trial import Trial, train
trials = workload(sys.argv[1])
train(trials, "cpu", 1)
print(Trial.memory(trials) / peak_bytes())
"""


def workload(name):
    """Trials of few steps; none of these sizes was used to fit the constants."""
    width, depth, n_train, n_test, seeds, rates = {
        "many data sets": (12, 1, 1500, 1500, 80, 1),
        "wide students": (400, 3, 800, 800, 2, 12),
        "phase diagram": (70, 2, 1200, 2400, 12, 12),
    }[name]
    return [
        trial(
            student=MLP(width, depth),
            inputs=replace(trial().inputs, dim=220),
            training=replace(trial().training, lr=0.01 * (k + 1), batch_size=100, max_steps=8),
            n_train=n_train,
            n_test=n_test,
            seed=seed,
        )
        for seed in range(seeds)
        for k in range(rates)
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is not known there")
@pytest.mark.parametrize(
    "name",
    [
        "phase diagram",
        pytest.param("many data sets", marks=pytest.mark.slow),
        pytest.param("wide students", marks=pytest.mark.slow),
    ],
)
def test_predicted_memory_is_within_20_percent_of_the_peak(name):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, name], capture_output=True, text=True, check=True
    )
    assert 0.8 < float(done.stdout) < 1.25
