"""Between two looks the host never waits for the device: it neither reads nor sends what waits."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_graphs import COSINE, DECAYING, MIXED
from tests.test_trial import trial
from tsframe.students.mlp import MLP
from tsframe.training.adam import AdamState
from tsframe.training.graphs import Stepper
from tsframe.training.minibatches import TrainingSet
from tsframe.training.sam import SAM, SAMState
from tsframe.training.sgd import SGD, SGDState
from tsframe.trial import train, Trial

READS = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "is_nonzero", "lift_fresh")


class Reads(TorchDispatchMode):
    """Notes what would read from a device, ask it for a size, or send it a number."""

    found: ClassVar[list[str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in READS and not (name == "lift_fresh" and args[0].ndim):  # arrays are uploaded
            self.found.append(name)
        if name.startswith("index"):
            kinds = [t.dtype for t in args[1] or () if t is not None] if len(args) > 1 else []
            self.found.extend(f"{name} by bools" for kind in kinds if kind == torch.bool)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what reads while the engine goes from one look to the next."""
    found: list[str] = []
    inside = [0]

    def watch(owner: Any, name: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any) -> Any:
            inside[0] += 1
            try:
                with Reads():
                    return call(*arguments)
            finally:
                inside[0] -= 1

        monkeypatch.setattr(owner, name, watched)

    def told(name: str) -> None:
        call: Callable[..., Any] = getattr(torch.Tensor, name)

        def telling(self: torch.Tensor, *arguments: Any, **how: Any) -> Any:
            if inside[0]:
                found.append(name)
            return call(self, *arguments, **how)

        monkeypatch.setattr(torch.Tensor, name, telling)

    monkeypatch.setattr(Reads, "found", found)
    for owner, name in between_looks():
        watch(owner, name)
    for name in ("cpu", "numpy", "tolist", "item", "__array__"):
        told(name)
    return found


def between_looks() -> Iterator[tuple[Any, str]]:
    """List all that touches tensors between two looks.

    Yields
    ------
    tuple
        Whose, and the name.
    """
    yield from ((Stepper, "take"), (Stepper, "still"), (TrainingSet, "find"))
    yield from ((state, "prepare") for state in (SGDState, AdamState, SAMState))


def trials() -> list[Trial]:
    trainings: list[Any] = [*MIXED, DECAYING, COSINE, SAM(DECAYING, 0.05), SGD(0.1, max_steps=9)]
    return [
        trial(training=training, student=MLP(5, batch_norm=k % 3 == 1), seed=k % 2)
        for k, training in enumerate(trainings)
    ]


def test_steps_read_nothing(like_a_gpu: None, reads: list[str]) -> None:
    train(trials(), device="cpu", threads=1)
    assert reads == []


def test_what_reads_is_noticed(like_a_gpu: None, reads: list[str], monkeypatch: Any) -> None:
    step = SGDState.step

    def reading(self: SGDState, pull: Any) -> None:
        step(self, pull)
        weights = self.weights[0]
        float(weights[0, 0, 0]), weights[weights > 0], weights.cpu(), weights.new_tensor(1.0)

    monkeypatch.setattr(SGDState, "step", reading)
    train([trial(training=SGD(0.1, max_steps=1))], device="cpu", threads=1)
    assert set(reads) == {"_local_scalar_dense", "index by bools", "cpu", "lift_fresh"}


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
