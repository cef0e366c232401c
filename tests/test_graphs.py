"""Laws of recorded steps, with recorders that repeat Python or operations, on a stand-in."""

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
import xarray as xr
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.stand_in import OnDevice, stand_in
from tests.test_trial import assert_same_bits, trial
from tsframe.augmentations import FlatNoise
from tsframe.students.mlp import MLP
from tsframe.training.adam import Adam
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.graphs import recorder, Replays, Stepper, WARM
from tsframe.training.langevin import Langevin
from tsframe.training.parle import Parle
from tsframe.training.sam import SAM
from tsframe.training.schedules import Cosine, StepDecay
from tsframe.training.sgd import SGD
from tsframe.training.stopping import ZeroTrainError
from tsframe.trial import train, Trial


class Walk:
    """A state of two tensors, one of which becomes NaN; it counts who takes its steps."""

    def __init__(self) -> None:
        self.weights, self.velocity = torch.zeros(3), torch.ones(2)
        self.bodies = self.replayed = 0

    def body(self) -> None:
        self.bodies += 1
        self._step()

    def _step(self) -> None:
        self.weights += 0.1 * self.velocity[0]
        self.velocity *= torch.tensor([0.9, torch.nan])

    def record(self, body):
        body()  # the warm-up, which changes everything once
        return self.replay

    def replay(self) -> None:
        self.replayed += 1
        self._step()

    def record_another(self, body):
        return lambda: self.weights.add_(1.0)


def take(walk: Walk, record, steps: int) -> Replays:
    replays = Replays(record)
    stepper = Stepper(walk.body, [walk.weights, walk.velocity], replays)
    for _ in range(steps):
        stepper.take()
    return replays


STEPS = WARM + 7


@pytest.mark.parametrize("record", ["record", "record_another", None])
def test_students_take_the_same_steps_recorded_or_not(record, caplog) -> None:
    plain, other = Walk(), Walk()
    for _ in range(STEPS):
        plain.body()
    with caplog.at_level(logging.WARNING, "tsframe"):
        replays = take(other, record and getattr(other, record), STEPS)
    assert torch.equal(plain.weights, other.weights)
    assert torch.equal(plain.velocity[:1], other.velocity[:1])
    assert replays.captures == (record == "record")
    told = [entry.getMessage() for entry in caplog.records]
    assert len(told) == (record == "record_another")
    assert all("gives other bits than the step that it was recorded from" in text for text in told)


def test_steps_are_replayed_once_their_graph_is_adopted_and_the_time_is_kept() -> None:
    walk = Walk()
    replays = take(walk, walk.record, STEPS)
    assert walk.bodies == WARM + 2, "warm-up and the step that is compared"
    assert walk.replayed == STEPS - WARM
    assert replays.captures == 1 and replays.seconds > 0.0


def test_few_steps_are_not_recorded() -> None:
    walk = Walk()
    assert take(walk, walk.record, WARM).captures == 0
    assert walk.bodies == WARM


def test_what_cannot_be_recorded_is_told_once_and_taken_step_by_step(caplog) -> None:
    def refuse(body):
        body()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    plain, walk = Walk(), Walk()
    for _ in range(STEPS):
        plain.body()
    with caplog.at_level(logging.WARNING, "tsframe"):
        replays = take(walk, refuse, STEPS)
    assert torch.equal(plain.weights, walk.weights)
    assert replays.record is None, "nothing is recorded again"
    assert [entry.getMessage() for entry in caplog.records] == [
        "steps are taken without a CUDA graph, and are slower: it cannot be recorded (operation "
        "not permitted when stream is capturing)"
    ]


def test_want_of_memory_is_no_refusal() -> None:
    def full(body):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        take(Walk(), full, STEPS)


def test_there_are_graphs_on_cuda_only() -> None:
    assert recorder(torch.device("cpu")) is None
    assert recorder(torch.device("cuda")) is not None


def _place(tensor: torch.Tensor) -> int:
    held = tensor.held if isinstance(tensor, OnDevice) else tensor
    return held.data_ptr()


class Tape(TorchDispatchMode):
    """A graph of a stand-in: repeats the same operations on the same memory, Python left out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for kept, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(kept, torch.Tensor) and _place(kept) != _place(new):
                    kept.copy_(new)

    @staticmethod
    def record(body: Any) -> Any:
        body()
        tape = Tape()
        with tape:
            body()
        return tape.replay


def fitted(step: int) -> ZeroTrainError:
    return ZeroTrainError(check_every=step)


MIXED = [  # they stop at different times, and those who stay are seated anew
    replace(t, max_steps=24, stop=stop)
    for t in (SGD(0.1, momentum=0.9, batch_size=20), SGD(0.3, batch_size=20, weight_decay=0.01))
    for stop in (None, fitted(7), fitted(9))
] + [SGD(0.2, momentum=0.5, batch_size=20, max_steps=n) for n in (8, 16)]
DECAYING = SGD(0.1, momentum=0.9, batch_size=20, max_steps=16, schedule=StepDecay(6, 0.5))
COSINE = Adam(0.02, batch_size=20, max_steps=16, schedule=Cosine())
GRAPHED: dict[str, list[Any]] = {
    "sgd": MIXED,
    "full batch": [SGD(lr, max_steps=12) for lr in (0.1, 0.3)],
    "nesterov": [replace(DECAYING, nesterov=True), replace(DECAYING, nesterov=True, max_steps=11)],
    "adam": [COSINE, replace(COSINE, max_steps=13, weight_decay=0.01)],
    "adamw": [replace(COSINE, decoupled=True, weight_decay=0.1)],
    "sam": [SAM(replace(one, stop=None), 0.05) for one in MIXED],
    "two radii": [SAM(DECAYING, 0.05, penalty=0.02)],
    "entropy": [EntropySGD(DECAYING, inner_steps=3, temperature=0.0, growth=0.01)],
    "parle": [Parle(EntropySGD(DECAYING, inner_steps=2, temperature=0.0, growth=0.01), 2)],
}


def students(trainings: list[Any]) -> list[Trial]:
    return [
        trial(training=training, student=MLP(width, depth, "tanh", batch_norm=norm), seed=seed)
        for training in trainings
        for width, depth, norm in ((5, 1, False), (9, 2, True))
        for seed in (0, 1)
    ]


def eager_and_recorded(trials: list[Trial]) -> tuple[xr.Dataset, xr.Dataset]:
    with stand_in(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSFRAME_RESIDENTS", "0")  # who take no steps of a stack
        eager = train(trials, device="cuda", mode="fast")
        patch.setattr("tsframe.together.recorder", lambda device: Tape.record)
        return eager, train(trials, device="cuda", mode="fast")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("trainings", GRAPHED.values(), ids=GRAPHED)
def test_replayed_steps_train_the_same_students(trainings: list[Any]) -> None:
    eager, recorded = eager_and_recorded(students(trainings))
    assert_same_bits(eager, recorded)
    assert recorded.attrs["graphs"] >= 2 and "graphs" not in eager.attrs
    if trainings is MIXED:
        assert recorded.attrs["graphs"] > 3, "recorded again where students were seated anew"


@pytest.mark.parametrize(
    "changes",
    [
        dict(student=MLP(8, dropout=0.2)),
        dict(augmentation=FlatNoise(10)),
        dict(training=Langevin(0.1, 1e-4, batch_size=20, max_steps=9)),
        dict(training=EntropySGD(DECAYING, inner_steps=2, temperature=1e-4)),
    ],
    ids=["dropout", "augmentation", "langevin", "entropy"],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_steps_that_draw_on_the_host_are_never_recorded(changes: dict[str, Any]) -> None:
    eager, again = eager_and_recorded([trial(**changes)])
    assert "graph_seconds" not in again.attrs, "it was not even tried"
    assert_same_bits(eager, again)
