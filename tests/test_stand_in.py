"""Laws of the engine on a GPU that any machine can test, by a stand-in for one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.benchmarks import device, kernels, residents
from tests.stand_in import DEVICE, stand_in
from tests.test_modes import many
from tests.test_trial import mixed_trials, trial
from tsframe.augmentations import FlatNoise
from tsframe.measures.alignment import NTKAlignment
from tsframe.measures.capacity import Margins, Norms
from tsframe.measures.information import FisherSpectrum, GradientNoise
from tsframe.students.jacot2018 import Jacot2018
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher
from tsframe.training.adam import Adam
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.parle import Parle
from tsframe.training.schedules import Cosine
from tsframe.training.sgd import SGD
from tsframe.training.stopping import ZeroTrainError
from tsframe.trial import train, Trial

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
PLAIN = SGD(0.1, momentum=0.9, batch_size=20, max_steps=12)
FLAT = LinearTeacher(coefficients=(1.0,) * 10 + (0.0,) * 10)
MEASURES: Any = (
    FisherSpectrum(probe=20),
    GradientNoise(probe=20),
    Margins(),
    Norms(),
    NTKAlignment(),
)


def pairs(**changes: Any) -> list[Trial]:
    """Two shapes on two data sets."""
    student = changes.pop("student", MLP(5, 2))
    return [
        trial(**{"training": PLAIN} | changes, student=replace(student, width=width), seed=seed)
        for width, seed in ((5, 0), (9, 0), (5, 1))
    ]


FAMILIES: dict[str, list[Trial]] = {
    "every optimizer": many()[::3],
    "mixed": [one for one in mixed_trials(12) if one.precision == "float32"],
    "schedules": [
        *pairs(training=replace(PLAIN, schedule=Cosine())),
        *pairs(training=Adam(0.01, batch_size=20, max_steps=12, schedule=Cosine())),
    ],
    "replicas": pairs(training=Parle(EntropySGD(PLAIN, inner_steps=2), 2)),
    "curves": pairs(curve_steps=(0, 1, 7)),
    "orders of their own": pairs(own_order=True),
    "dropout": pairs(student=MLP(5, 2, dropout=0.2)),
    "normalized": pairs(student=MLP(5, 2, batch_norm=True), curve_steps=(0, 7)),
    "augmented": pairs(augmentation=FlatNoise(10), teacher=FLAT),
    "rates of layers": pairs(
        student=MLP(5, 2, initialization=Jacot2018()), training=SGD(0.1, max_steps=9)
    ),
    "measured": pairs(measures=MEASURES, measure_steps=(0, 5), n_train=40),
}


def test_it_tells_host_from_device() -> None:
    with stand_in() as found:
        there, here = torch.ones(3, 2, device="cuda"), torch.ones(3, 2)
        assert there.device == DEVICE and there.is_cuda and (there + there).is_cuda
        for mixed in (
            lambda: there + here,
            lambda: torch.add(here, here, out=there),
            lambda: torch.bmm(there[None], here.mT[None]),
            lambda: torch.stack([there, here]),
            lambda: there.__setitem__(torch.tensor([0]), here[:1]),
        ):
            with pytest.raises(RuntimeError, match="cpu"):
                mixed()
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        found.waits.clear()
        there[0] = 2.0 * here[0]
        there[1:].mul_(3.0)
        assert not found.waits
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(1, device="cuda")


WAITING: dict[str, Any] = {
    "a number": lambda x: float(x[0, 0]),
    "a truth": lambda x: bool(x.sum() > 0),
    "a copy": lambda x: x.cpu(),
    "a list": lambda x: x.tolist(),
    "chosen by bools": lambda x: x[x > 0],
    "chosen by a list": lambda x: x[[0, 1]],
    "chosen by the host": lambda x: x[torch.tensor([0])],
    "a size": lambda x: x.nonzero(),
    "a comparison": lambda x: torch.equal(x, x),
    "a new tensor": lambda x: x.new_tensor([1.0]),
    "written by the host": lambda x: x.copy_(torch.ones(3, 2)),
    "sent by the host": lambda x: torch.ones(3).to(x.device),
}


@pytest.mark.parametrize("waits", WAITING.values(), ids=WAITING)
def test_it_notices_who_waits(waits: Any) -> None:
    with stand_in() as found:
        there = torch.ones(3, 2, device="cuda")
        torch.ones(3).pin_memory().to(DEVICE, non_blocking=True)
        assert not found.waits
        waits(there)
        assert len(found.waits) >= 1


@pytest.fixture
def no_residents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSFRAME_RESIDENTS", "0")


@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_device_of_its_own_the_engine_trains_the_same_students(
    family: str, no_residents: None
) -> None:
    trials = FAMILIES[family]
    here = train(trials, device="cpu")
    with stand_in() as found:
        there = train(trials, device="cuda", mode="fast")
    assert there.attrs["products"] == "cublas" and "stand-in" in there.attrs["device"]
    for name in here.data_vars:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-3, atol=1e-5, err_msg=name)
    if family != "augmented":  # which is done on the host
        assert not found.waits_in("Table.run")


def test_small_students_do_so_on_the_chip(kernel_device: str) -> None:
    trials = pairs(student=MLP(5), curve_steps=(0, 1, 7))
    here = train(trials, device="cpu")
    with stand_in() as found:
        there = train(trials, device="cuda", mode="fast")
    assert there.attrs["products"] == "cublas, triton resident"
    for name in here.data_vars:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert found.waits and not found.waits_in("Table.run")


def test_strict_does_so_by_kernels_of_its_own(kernel_device: str, no_residents: None) -> None:
    few = replace(PLAIN, max_steps=2)
    trials = [trial(training=few, student=MLP(w, 2), n_train=40, n_test=20) for w in (5, 9)]
    here = train(trials, device="cpu")
    with stand_in() as found:
        there = train(trials, device="cuda")
    assert (there.attrs["products"], there.attrs["mode"]) == ("triton fused", "strict")
    for name in here.data_vars:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert found.waits and not found.waits_in("Table.run")


def test_double_precision_goes_by_elementwise_products() -> None:
    trials = [replace(one, precision="float64") for one in many()[::6]]
    here = train(trials, device="cpu")
    with stand_in():
        there = train(trials, device="cuda")
    assert (there.attrs["products"], there.attrs["mode"]) == ("elementwise", "strict")
    for name in here.data_vars:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_at_a_look_the_host_reads_once(no_residents: None) -> None:
    def reads(steps: int) -> int:
        stop = ZeroTrainError(check_every=2)
        training = replace(PLAIN, lr=1e-6, max_steps=steps, stop=stop)  # so that nobody stops
        with stand_in() as found:
            train([trial(training=training)], device="cuda", mode="fast")
        return len(found.waits_in("train_stack"))

    assert reads(12) - reads(6) == 3


@pytest.mark.slow
def test_the_constants_of_a_device_are_measured_to_the_last_row(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once(call: Callable[[], object], device: torch.device) -> float:
        call()
        return 1.0

    for module in (device, kernels):
        monkeypatch.setattr(module, "captured", lambda call, device: call)
    monkeypatch.setattr(device, "seconds", once)
    for name, value in (("DIM", 20), ("BATCH", 16), ("STEPS", 2)):
        monkeypatch.setattr(kernels, name, value)
    told = {"DIM": 20, "CLASSES": 4, "STEPS": (1, 5), "BATCH": 16, "REPEATS": 1}
    for name, what in told.items():
        monkeypatch.setattr(residents, name, what)

    def small(student: MLP, steps: int, precision: str, seed: int, lr: float) -> Trial:
        training = SGD(lr, 0.9, batch_size=16, max_steps=steps)
        one: Trial = trial(student=student, training=training, n_train=32, n_test=16, seed=seed)
        return one

    def taken(trials: list[Any], device: torch.device) -> float:
        steps = trials[0].training.max_steps
        if steps == 1:
            train(trials, device=str(device))
        return float(steps)

    monkeypatch.setattr(residents, "trial", small)
    monkeypatch.setattr(residents, "taken", taken)
    with stand_in():
        rows = list(device.measurements(DEVICE, 0.002))
    assert len({row.what for row in rows}) == len(rows) > 50
    assert all(row.value > 0.0 for row in rows)
