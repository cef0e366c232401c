"""Laws of training on a GPU; all are skipped without one (run: pytest -m gpu)."""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tests.test_modes import many
from tests.test_trial import assert_same_bits, mixed_trials, trial
from tsframe.batch import train_batch
from tsframe.students.mlp import MLP
from tsframe.training.adam import Adam
from tsframe.training.kernels.rehearsal import refusal_of_residents
from tsframe.training.kernels.trust import refusal, refusal_of_fusions
from tsframe.training.losses import Objective
from tsframe.training.products import product_route
from tsframe.training.residing import rehearsal_of
from tsframe.training.schedules import Cosine, log_steps
from tsframe.training.sgd import SGD
from tsframe.training.stopping import ZeroTrainError
from tsframe.trial import train, Trial

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
LONG: list[Any] = [
    SGD(0.05, momentum=0.9, batch_size=32, max_steps=1000),
    Adam(1e-3, max_steps=1000),
]


def taught(trials: list[Trial], **how: Any) -> xr.Dataset:
    return train(trials, **({"device": DEVICE} | how))


def one(dataset: xr.Dataset, student: int) -> xr.Dataset:
    return dataset.isel(student=student, drop=True)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsframe.together.recorder", lambda device: None)


def of_long_training() -> list[Trial]:
    shapes = itertools.product((10, 100), (1, 2), LONG, range(2))
    return [
        trial(student=MLP(width, depth), training=training, seed=seed, n_train=256)
        for width, depth, training, seed in shapes
    ]


def test_the_kernels_are_trusted_here() -> None:
    for precision in ("ieee", "tf32x3"):
        assert refusal(torch.device(DEVICE), precision) is None
        assert refusal_of_fusions(torch.device(DEVICE), precision) is None


@pytest.mark.parametrize("precision", ["float32", "tf32x3", "float64"])
def test_a_student_has_the_same_bits_alone_and_with_any_mates_at_any_place(precision: str) -> None:
    trials = [replace(t, precision=precision) for t in (*mixed_trials(40), *many())]
    together = taught(trials)
    assert together.attrs["mode"] == "strict"
    turned = taught(trials[::-1])
    for k in range(len(trials)):
        assert_same_bits(one(together, k), one(turned, len(trials) - 1 - k))
    for k in range(0, len(trials), 5):
        assert_same_bits(one(taught([trials[k]]), 0), one(together, k))
        dummies = [replace(trials[k], seed=seed) for seed in (7, 8)]
        assert_same_bits(one(taught([*dummies, trials[k]]), 2), one(together, k))


def test_they_stay_the_same_over_a_thousand_steps() -> None:
    trials = of_long_training()
    together = taught(trials)
    for k in range(0, len(trials), 3):
        assert_same_bits(one(taught([trials[k]]), 0), one(together, k))


SMALL = [MLP(3), MLP(10), MLP(31, 2, "tanh"), MLP(50, 2), MLP(63, 1, "erf")]


@pytest.mark.parametrize("student", SMALL, ids=repr)
def test_small_students_may_stay_on_the_chip_here(student: MLP) -> None:
    for objective in (Objective("cross_entropy", 4), Objective("mse", 4), Objective("mse", None)):
        for dim in (20, 200):
            told = student, LONG[0], objective, dim, objective.classes or 1, 256
            rehearsal = rehearsal_of(*told)
            assert rehearsal is not None
            assert refusal_of_residents(torch.device(DEVICE), rehearsal) is None


def of_residents(seeds: int = 1, stop: ZeroTrainError | None = None) -> list[Trial]:
    training = replace(LONG[0], schedule=Cosine(), weight_decay=1e-3, stop=stop)
    return [
        trial(student=student, training=replace(training, lr=lr), seed=seed, n_train=256)
        for seed in range(seeds)
        for student in SMALL
        for lr in (0.02, 0.05)
    ]


def test_residents_stay_the_same_over_a_thousand_steps_whoever_is_beside_them() -> None:
    trials = of_residents()
    together = taught(trials)
    assert "triton resident" in together.attrs["products"]
    mates = of_residents(3, stop=ZeroTrainError(check_every=7))
    among = taught([*mates, *trials])
    for k in range(len(trials)):
        assert_same_bits(one(taught([trials[k]]), 0), one(together, k))
        assert_same_bits(one(among, len(mates) + k), one(together, k))


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_residents_learn_what_they_learn_by_products(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [replace(t, curve_steps=(0, 10, 30, 100)) for t in of_residents()]
    residents = taught(trials, mode=mode)
    monkeypatch.setenv("TSFRAME_RESIDENTS", "0")
    others = taught(trials, mode=mode)
    assert "resident" in residents.attrs["products"] and "resident" not in others.attrs["products"]
    curves = residents.train_loss_curve, others.train_loss_curve
    np.testing.assert_allclose(*curves, rtol=1e-3)


def test_who_interrupts_residents_is_heard_within_seconds() -> None:
    endless = SGD(0.01, momentum=0.9, batch_size=128, max_steps=10**8)
    tasks: Any = [trial(student=MLP(63), training=endless, n_train=512) for _ in range(512)]
    device, asked = torch.device(DEVICE), list[float]()
    threading.Timer(5.0, lambda: asked.append(time.perf_counter())).start()
    with product_route(device) as route, pytest.raises(InterruptedError):
        train_batch(tasks, device, route, lambda: bool(asked))
    torch.cuda.synchronize()  # what had been launched before
    assert time.perf_counter() - asked[0] < 3.0


def test_a_student_in_a_batch_of_hundreds_has_the_bits_it_has_alone() -> None:
    rates = np.geomspace(0.01, 0.3, 64).tolist()
    training = SGD(0.1, momentum=0.9, batch_size=32, max_steps=200, stop=ZeroTrainError(20))
    trials = [
        trial(student=MLP(50, 2), training=replace(training, lr=lr), n_train=256, seed=seed)
        for seed in range(8)
        for lr in rates
    ]
    together = taught(trials)
    assert len(set(together.steps.values)) > 3, "they stop at different times"
    for k in (0, 100, 311, 511):
        assert_same_bits(one(taught([trials[k]]), 0), one(together, k))


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_steps_of_a_graph_are_those_taken_one_by_one(
    mode: str, request: pytest.FixtureRequest
) -> None:
    trials = [*of_long_training()[:8], *mixed_trials(40), *many()]
    graphs = taught(trials, mode=mode)
    assert graphs.attrs["graphs"] >= 2
    request.getfixturevalue("eager")
    plain = taught(trials, mode=mode)
    assert "graphs" not in plain.attrs
    assert_same_bits(graphs, plain)


def test_recording_takes_less_than_a_hundredth_of_a_long_training() -> None:
    training = SGD(0.05, momentum=0.9, batch_size=128, max_steps=20_000)
    trials = [trial(student=MLP(100, 2), training=training, n_train=512) for _ in range(256)]
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    trained = taught(trials)
    end.record()
    end.synchronize()
    assert trained.attrs["graph_seconds"] < 0.01 * 1e-3 * start.elapsed_time(end)


def test_fast_and_strict_and_the_cpu_agree_to_rounding() -> None:
    trials = many()
    results = [taught(trials, mode="strict"), taught(trials, mode="fast"), train(trials, "cpu")]
    products = ["triton fused, triton resident", "cublas, triton resident"]
    assert [r.attrs["products"] for r in results[:2]] == products
    assert [r.attrs["mode"] for r in results] == ["strict", "fast", "strict"]
    for other in results[:2]:
        for name in ("train_loss", "test_loss", "weight_norm"):
            np.testing.assert_allclose(other[name], results[2][name], rtol=1e-4, atol=1e-6)


def test_double_precision_is_that_of_the_cpu() -> None:
    trials = [replace(t, precision="float64") for t in many()]
    here, there = train(trials, device="cpu"), taught(trials)
    assert there.attrs["products"] == "elementwise"
    for name in ("train_loss", "test_loss", "weight_norm"):
        np.testing.assert_allclose(there[name], here[name], rtol=1e-9, atol=1e-12)


def test_tf32_that_somebody_has_turned_on_changes_no_bit() -> None:
    trials, found = many()[:8], torch.backends.cuda.matmul.fp32_precision
    plain = taught(trials, mode="fast")
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert_same_bits(plain, taught(trials, mode="fast"))
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = found


def test_learning_curves_of_tf32x3_are_those_of_ieee() -> None:
    """As near to float64 as IEEE is: bare TF32 is a thousand times further away."""
    steps = log_steps(1000)
    training = SGD(0.05, momentum=0.9, batch_size=32, max_steps=1000)
    curves = {}
    for precision in ("float64", "float32", "tf32x3"):
        trials = [
            trial(
                student=MLP(width, 2),
                training=training,
                n_train=256,
                seed=seed,
                curve_steps=steps,
                precision=precision,
            )
            for width in (20, 100)
            for seed in range(16)
        ]
        curves[precision] = taught(trials)
    early = np.array(steps) <= 100

    def away(precision: str) -> Any:
        exact = curves["float64"].train_loss_curve.values[:, early]
        return np.median(np.abs(curves[precision].train_loss_curve.values[:, early] / exact - 1))

    assert away("tf32x3") < 5.0 * away("float32") + 1e-6
    ends = [curves[p].test_error.values for p in ("float32", "tf32x3")]
    error = np.hypot(*(end.std(ddof=1) / len(end) ** 0.5 for end in ends))
    assert abs(ends[0].mean() - ends[1].mean()) < 5.0 * error
    fitted = [curves[p].interpolated.values for p in ("float32", "tf32x3")]
    assert (fitted[0] == fitted[1]).mean() > 0.9


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leave this process a fortieth of the memory of the GPU."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.025)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_a_stack_that_the_memory_does_not_hold_is_halved_to_the_same_bits(
    little_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.training.devices._shares", {})
    room = 0.025 * torch.cuda.get_device_properties(0).total_memory
    training = SGD(0.05, max_steps=4)
    first = trial(student=MLP(300, 2), training=training, n_train=2000)
    count = int(2.0 * room / first.bytes) + 2
    trials = [replace(first, seed=k % 2, training=replace(training, lr=0.01)) for k in range(count)]
    halved = taught(trials)
    assert halved.attrs["stacks_halved"] >= 1
    for k in (0, 1, count - 1):
        assert_same_bits(one(taught([trials[k]]), 0), one(halved, k))
