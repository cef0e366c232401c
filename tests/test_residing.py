"""Laws of residents in the engine: on the chip a student does what it does by products, by itself.

Kernels run in Triton's interpreter where there is no GPU; students are looked at by the products of
the device.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr

from tests.test_trial import assert_same_bits, trial
from tsframe.augmentations import FlatNoise
from tsframe.batch import is_resident
from tsframe.measures.norms import weight_norm
from tsframe.students.jacot2018 import Jacot2018
from tsframe.students.mlp import MLP
from tsframe.tasks import draw_tasks
from tsframe.teachers import LinearTeacher
from tsframe.training import products, residing
from tsframe.training.adam import Adam
from tsframe.training.following import Following
from tsframe.training.kernels.rehearsal import Rehearsal
from tsframe.training.losses import Objective
from tsframe.training.orders import epoch_order
from tsframe.training.products import _cuda_route, CUBLAS, product_route
from tsframe.training.sam import SAM
from tsframe.training.schedules import Cosine, StepDecay
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation, TrainLossBelow, ZeroTrainError
from tsframe.training.table import Table
from tsframe.trial import train, Trial

kernels = pytest.importorskip("tsframe.training.kernels.residents")

# Of those who diverge; in the interpreter NumPy multiplies, and warns.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")

STEPS = 20
PLAIN = SGD(0.1, momentum=0.9, batch_size=16, max_steps=STEPS)
STOPS = replace(PLAIN, stop=TrainLossBelow(0.5, check_every=4))
REGRESSION = LinearTeacher(norm=1.0, noise=0.1)
FAMILIES: dict[str, dict[str, Any]] = {
    "momentum": dict(training=PLAIN),
    "no momentum": dict(training=replace(PLAIN, momentum=0.0, lr=0.3)),
    "decay": dict(training=replace(PLAIN, weight_decay=0.05)),
    "deep": dict(training=PLAIN, student=MLP(4, 2, "tanh")),
    "cosine": dict(training=replace(PLAIN, schedule=Cosine())),
    "step decay": dict(training=replace(PLAIN, schedule=StepDecay(7), momentum=0.5)),
    "layers": dict(training=PLAIN, student=MLP(5, initialization=Jacot2018(output_scale=2.0))),
    "deep layers": dict(training=PLAIN, student=MLP(3, 2, initialization=Jacot2018())),
    "own order": dict(training=PLAIN, own_order=True),
    "full batch": dict(training=replace(PLAIN, batch_size=None, lr=0.2)),
    "stops early": dict(training=replace(STOPS, lr=0.4)),
    "stops late": dict(training=replace(STOPS, lr=0.05)),
    "best": dict(training=replace(PLAIN, stop=BestValidation(rows=20, check_every=4))),
    "numbers": dict(training=replace(PLAIN, lr=0.02), teacher=REGRESSION),
    "diverges": dict(training=replace(PLAIN, lr=1e4), loss="mse"),
}


def families(**changes: Any) -> list[Trial]:
    small = dict(student=MLP(5), n_train=40, n_test=50, curve_steps=(0, 1, 6, 13))
    return [trial(**(small | family | changes)) for family in FAMILIES.values()]


@pytest.fixture
def chip(kernel_device: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep students on the chip of a device, without a rehearsal."""

    @contextlib.contextmanager
    def route(*asked: Any) -> Iterator[Any]:
        with product_route(*asked) as found:
            yield replace(found, residents=True)

    monkeypatch.setattr("tsframe.together.product_route", route)
    monkeypatch.setattr(residing, "refusal_of_residents", lambda *_: None)
    return kernel_device


@pytest.fixture
def together(chip: str, kept: dict[str, Any] = {}) -> xr.Dataset:  # noqa: B006 - trained once
    if not kept:
        kept["trained"] = train(families(), device=chip, threads=1)
    assert kept["trained"].attrs["products"].endswith("triton resident")
    trained: xr.Dataset = kept["trained"]
    return trained


def test_they_learn_what_they_learn_by_products(
    together: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    there = train(families(), device="cpu")
    for name in there.data_vars:
        np.testing.assert_allclose(together[name], there[name], rtol=2e-5, atol=1e-6, err_msg=name)
    assert list(there.diverged) == [family == "diverges" for family in FAMILIES]
    stopped = dict(zip(FAMILIES, there.steps.values, strict=True))
    assert stopped["stops early"] < stopped["stops late"] and stopped["best"] < STEPS


def test_each_has_the_same_bits_alone(together: xr.Dataset, chip: str) -> None:
    for k, one in list(enumerate(families()))[1::2]:
        alone = train([one], device=chip)
        assert_same_bits(alone.isel(student=0, drop=True), together.isel(student=k, drop=True))


def test_nor_does_it_matter_who_is_beside_them_when_looks_are_and_how_long_a_launch_is(
    together: xr.Dataset, chip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, seat = list[int](), Table.moved

    def counted(tables: Any, layout: Any) -> Table:
        moved.append(len(layout.students))
        return seat(tables, layout)

    monkeypatch.setattr(Table, "moved", staticmethod(counted))
    monkeypatch.setattr(residing, "RATE", 5e6)  # some steps a launch
    mates = families(student=MLP(3))[:6]
    for k, mate in enumerate(mates):  # looked at every second step, and soon gone
        training: Any = mate.training
        soon = replace(training, max_steps=13 + k, stop=ZeroTrainError(2))
        mates[k] = replace(mate, training=soon)
    among = train([*mates[:3], *families(), *mates[3:]], device=chip, threads=1)
    among = among.isel(student=slice(3, 3 + len(FAMILIES)))
    assert_same_bits(among.drop_vars("student"), together.drop_vars("student"))
    assert len(moved) >= 3, "seats were rearranged"


@pytest.mark.parametrize("family", ["cosine", "decay", "layers", "own order", "full batch"])
def test_the_engine_adds_no_bit_to_what_the_kernel_does(
    chip: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = list[Any]()

    def norm(stack: Any, students: int) -> Any:
        ends.append(stack.clone())
        return weight_norm(stack, students)

    monkeypatch.setattr("tsframe.batch.weight_norm", norm)
    steps, training = 10, replace(FAMILIES[family]["training"], max_steps=10)
    one = families()[list(FAMILIES).index(family)]
    one, student = replace(one, training=training, curve_steps=(3,)), cast(MLP, one.student)
    train([one], device=chip)

    def laid(values: Any) -> torch.Tensor:
        return torch.as_tensor(np.array(values, dtype=np.float32), device=chip)

    (sample,) = draw_tasks([one])
    batch = training.batch_size or one.n_train
    own = () if one.order_key is None else (one.order_key,)
    order = np.concatenate(
        [
            epoch_order(one.seed, one.n_train, epoch, *own)[: one.n_train // batch * batch]
            if training.batch_size
            else np.arange(one.n_train)
            for epoch in range(steps)
        ]
    )[: steps * batch].reshape(1, steps, batch)
    weights = [laid(w)[None, None] for w in student.initial_weights(20, 4, one.seed)]
    rates = [training.lr * training.schedule(step, steps) for step in range(steps)]
    kernels.train_residents(
        weights,
        [torch.zeros_like(w) for w in weights],
        laid(np.append(sample.x_train, np.ones((one.n_train, 1)), axis=1))[None],
        torch.as_tensor(sample.y_train, device=chip)[None],
        torch.zeros(1, dtype=torch.int64, device=chip),
        torch.as_tensor(order, device=chip),
        laid([rates]),
        laid([student.rates(20, 4) or [(1.0, 1.0)] * 2]),
        laid([training.momentum]),
        laid([training.weight_decay]),
        objective=one.objective,
        activation=student.activation,
    )
    (end,) = ends
    for mine, its in zip(weights, end.layout.by_student(end.weights)[0], strict=True):
        assert torch.equal(mine[0, 0], its[0, 0])


NO_RESIDENTS: dict[str, dict[str, Any]] = {
    "Adam": dict(training=Adam(0.01, batch_size=16, max_steps=2)),
    "SAM": dict(training=SAM(PLAIN, 0.05)),
    "Nesterov": dict(training=replace(PLAIN, nesterov=True)),
    "dropout": dict(student=MLP(5, dropout=0.5)),
    "batch norm": dict(student=MLP(5, batch_norm=True)),
    "augmentation": dict(augmentation=FlatNoise(10)),
    "linear": dict(student=MLP(5, 0)),
    "three layers": dict(student=MLP(5, 3)),
    "too wide": dict(student=MLP(700)),
    "too many samples": dict(training=replace(PLAIN, batch_size=None), n_train=600),
}


@pytest.mark.parametrize("kind", NO_RESIDENTS)
def test_whom_the_kernel_does_not_know_goes_by_products(kind: str, chip: str) -> None:
    device, route = torch.device(chip), replace(CUBLAS, residents=True)
    assert is_resident(trial(training=PLAIN), route, device)
    assert not is_resident(trial(**(dict(training=PLAIN) | NO_RESIDENTS[kind])), route, device)
    assert not is_resident(trial(training=PLAIN), CUBLAS, device)


def test_routes_of_ieee_float32_have_residents_unless_the_environment_says_no(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device(kernel_device)
    monkeypatch.setattr(products, "refusal_of_fusions", lambda *_: "not today")
    routes = [("float32", "strict"), ("float32", "fast"), ("tf32x3", "strict"), ("float64", "fast")]
    monkeypatch.delenv("TSFRAME_RESIDENTS", raising=False)
    found = [_cuda_route(*how, device).residents for how in routes]
    assert found == [True, True, False, False]
    monkeypatch.setenv("TSFRAME_RESIDENTS", "0")
    assert not any(_cuda_route(*how, device).residents for how in routes)
    monkeypatch.setenv("TSFRAME_RESIDENTS", "no")
    with pytest.raises(ValueError, match="must be 0 or 1, or not be set; got TSFRAME_RESIDENTS='n"):
        _cuda_route("float32", "strict", device)


def test_where_the_rehearsal_fails_all_go_by_products_and_it_is_said_once(
    chip: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = list[Rehearsal]()

    def refusal(device: torch.device, what: Rehearsal) -> str:
        asked.append(what)
        return "they go astray."

    monkeypatch.setattr(residing, "refusal_of_residents", refusal)
    monkeypatch.setattr(residing, "_told", set())
    trials = families(curve_steps=())
    with caplog.at_level(logging.WARNING, "tsframe"):
        refused = train(trials, device=chip, threads=1)
    assert [entry.getMessage() for entry in caplog.records] == [
        f"small students do not stay on the chip of '{chip}', and may be slower: they go astray."
    ]
    assert set(asked) >= {
        Rehearsal(5, 1, 20, 4, "relu", Objective("cross_entropy", 4), batch=16),
        Rehearsal(4, 2, 20, 4, "tanh", Objective("cross_entropy", 4), batch=16),
        Rehearsal(5, 1, 20, 1, "relu", Objective("mse", None), batch=16),
        Rehearsal(5, 1, 20, 4, "relu", Objective("cross_entropy", 4), batch=40),
    }
    assert "resident" not in refused.attrs["products"]
    if chip == "cpu":
        monkeypatch.undo()
        assert_same_bits(refused, train(trials, device="cpu"))


def test_residents_and_others_of_one_form_train_side_by_side(chip: str) -> None:
    few = replace(PLAIN, max_steps=3)
    trials = [
        trial(training=few, student=MLP(5, depth), n_train=40, seed=seed)
        for seed in (0, 1)
        for depth in (3, 1, 0, 2)
    ]
    mixed = train(trials, device=chip, threads=1)
    assert "triton resident" in mixed.attrs["products"].split(", ")
    for k, one in enumerate(trials):
        alone = train([one], device=chip)
        assert_same_bits(alone.isel(student=0, drop=True), mixed.isel(student=k, drop=True))
        resident = "triton resident" in alone.attrs["products"].split(", ")
        assert resident == (k % 2 == 1)


def test_nothing_is_done_for_seats_that_are_vacant_nor_for_students_that_have_finished(
    chip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = list[int]()

    def count(*told: Any, **how: Any) -> None:
        order, seats = told[5], told[10]
        programs.extend([len(seats)] * order.shape[1])

    monkeypatch.setattr(kernels, "train_residents", count)
    budgets = {0: (4, 8), 1: (8, 8)}  # behind step 4 one of two data sets has a vacant seat
    trials = [
        trial(training=replace(PLAIN, max_steps=steps), seed=seed)
        for seed, some in budgets.items()
        for steps in some
    ]
    train(trials, device=chip, threads=1)
    assert programs == [4] * 4 + [3] * 4


def test_who_interrupts_is_heard_before_the_next_launch(
    chip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched, launch = list[tuple[int, int]](), residing.Residence._launch

    def counted(self: Any, done: Any, first: int, last: int) -> None:
        launched.append((first, last))
        launch(self, done, first, last)

    monkeypatch.setattr(residing.Residence, "_launch", counted)
    # 16 samples of 16 * (32 + 16) padded weights, 6 operations each: 7 steps and a half
    monkeypatch.setattr(residing, "RATE", 7.5 * 6 * 16 * 16 * (32 + 16) / residing.LAUNCH)
    monkeypatch.setattr(residing, "_abreast", lambda device: 1)
    monkeypatch.setattr(
        residing.Lanes,
        "come_near",
        lambda self, interrupted: len(launched) < 3 and not interrupted(),
    )
    with pytest.raises(InterruptedError, match="training was interrupted after 21 steps"):
        train([trial(training=replace(PLAIN, max_steps=40), n_train=40)], device=chip)
    assert launched == [(0, 7), (7, 14), (14, 21)]


class Clock:
    """A device whose streams and events are told in a list, and whose rounds end when it says."""

    def __init__(self) -> None:
        self.told, self.ended = list[str](), 0

    def stream(self, name: str) -> Any:
        clock = self

        class Stream:
            def wait_stream(self, other: Any) -> None:
                clock.told.append(f"{name} waits for {other.name}")

            def record_event(self) -> Any:
                clock.told.append("end")
                return self

            def query(self) -> bool:
                return clock.ended > 0

        found: Any = Stream()
        found.name = name
        return found


def test_lanes_run_side_by_side_between_what_was_before_and_what_comes_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, names, naps = Clock(), iter("ab"), list[float]()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: clock.stream(next(names)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: clock.stream("here"))
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    lanes = residing.Lanes(torch.device("cuda"), 2)
    calls = [lambda name=name: clock.told.append(name) for name in ("one", "two")]

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock.ended += len(naps) == 3

    monkeypatch.setattr("tsframe.training.residing.time.sleep", sleep)
    for _ in range(residing.AHEAD):
        assert lanes.come_near(lambda: False) and not naps
        lanes.take(calls)
    assert clock.told == residing.AHEAD * [
        *("a waits for here", "one", "b waits for here", "two"),
        *("here waits for a", "here waits for b", "end"),
    ]
    assert not lanes.come_near(lambda: len(naps) == 2), "interrupted while it waits"
    assert lanes.come_near(lambda: False) and len(naps) == 3, "it waits for the oldest round"


def test_coming_numbers_are_those_that_are_followed() -> None:
    class Seats:
        students = np.array([0, 1, 3])

    class Three:
        layout, specs = Seats, [2.0, 3.0, 5.0, 2.0]

    cohort: Any = Three

    def following() -> Following:
        return Following(
            cohort, lambda spec, step: spec**step, lambda spec: None if spec == 3 else spec
        )

    done = np.array([0, 4, 7, 2])
    coming, followed = following().coming(done, 5), following()
    for step in range(5):
        followed.follow(done + step)
        assert np.array_equal(coming[:, step], followed.values)
    assert np.array_equal(coming[:, 1], [2.0, 1.0, 1.0, 8.0])
