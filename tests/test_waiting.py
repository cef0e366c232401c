"""Between two looks the host never waits for the device, a stand-in or a real one."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.stand_in import stand_in
from tests.test_graphs import COSINE, DECAYING, MIXED
from tests.test_trial import trial
from tsframe.students.mlp import MLP
from tsframe.training.adam import AdamState
from tsframe.training.graphs import Stepper
from tsframe.training.minibatches import TrainingSet
from tsframe.training.residing import Residence
from tsframe.training.sam import SAM, SAMState
from tsframe.training.sgd import SGD, SGDState
from tsframe.trial import train, Trial


def between_looks() -> Iterator[tuple[Any, str]]:
    """List all that touches tensors between two looks.

    Yields
    ------
    tuple
        Whose, and the name.
    """
    yield from ((Stepper, "take"), (Stepper, "still"), (TrainingSet, "find"))
    yield (Residence, "_launch")
    yield from ((state, "prepare") for state in (SGDState, AdamState, SAMState))


def trials() -> list[Trial]:
    trainings: list[Any] = [*MIXED, DECAYING, COSINE, SAM(DECAYING, 0.05), SGD(0.1, max_steps=9)]
    return [
        trial(training=training, student=MLP(5, batch_norm=k % 3 == 1), seed=k % 2)
        for k, training in enumerate(trainings)
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_step_that_waits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    step = SGDState.step

    def waiting(self: SGDState, pull: Any) -> None:
        step(self, pull)
        float(self.weights[0][0, 0, 0])

    monkeypatch.setattr(SGDState, "step", waiting)
    monkeypatch.setenv("TSFRAME_RESIDENTS", "0")
    with stand_in() as found:
        train([trial(training=SGD(0.1, max_steps=3))], device="cuda", mode="fast")
    assert len(found.waits_in("Table.run")) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_launch_that_waits_is_noticed(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = TrainingSet.rows

    def waiting(self: TrainingSet, *which: Any) -> torch.Tensor:
        found = rows(self, *which)
        return found + 0 * int(found.max())

    monkeypatch.setattr(TrainingSet, "rows", waiting)
    with stand_in() as found:
        train([trial(training=SGD(0.1, batch_size=20, max_steps=3))], device="cuda", mode="fast")
    assert len(found.waits_in("Table.run")) == 1


@contextlib.contextmanager
def errors_of_waiting() -> Iterator[None]:
    found = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(found)


@pytest.mark.gpu
@pytest.mark.parametrize("recorded", [True, False], ids=["graphs", "eager"])
def test_no_step_on_a_gpu_waits(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not recorded:
        monkeypatch.setattr("tsframe.together.recorder", lambda device: None)
    adopt = Stepper._adopt

    def adopting(self: Stepper, record: Any) -> None:  # which compares bits on the host
        torch.cuda.set_sync_debug_mode("default")
        adopt(self, record)

    monkeypatch.setattr(Stepper, "_adopt", adopting)
    for owner, name in between_looks():
        call: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, call: Callable[..., Any] = call) -> Any:
            with errors_of_waiting():
                return call(*arguments)

        monkeypatch.setattr(owner, name, watched)
    train(trials(), device="cuda")
