"""Laws of students that stay on the chip: they do what the engine does, each for itself."""

import dataclasses

import numpy as np
import pytest
import torch

from tsframe.training.kernels import rehearsal
from tsframe.training.kernels.rehearsal import Rehearsal
from tsframe.training.kernels.room import fits
from tsframe.training.losses import Objective

residents = pytest.importorskip("tsframe.training.kernels.residents")

CLASSES, CODED, VALUES = (
    Objective("cross_entropy", 3),
    Objective("mse", 3),
    Objective("mse", None),
)
REHEARSALS = [
    Rehearsal(10, 1, 17, 3, "relu", CLASSES),
    Rehearsal(33, 1, 5, 1, "tanh", VALUES, momentum=0.0),
    Rehearsal(1, 1, 1, 3, "sigmoid", CODED, batch=1),
    Rehearsal(15, 2, 15, 17, "erf", Objective("cross_entropy", 17), batch=16),
    Rehearsal(16, 2, 33, 1, "relu", VALUES, batch=50),
    Rehearsal(3, 2, 2, 3, "identity", CODED, batch=17, momentum=0.0, weight_decay=0.0),
    Rehearsal(4, 2, 1, 1, "sigmoid", VALUES, batch=16),  # hardly moves
    Rehearsal(31, 2, 20, 10, "identity", Objective("mse", 10), batch=32),  # soon explodes
]


@pytest.mark.parametrize("what", REHEARSALS, ids=lambda what: f"{what.width}-{what.depth}")
def test_students_on_the_chip_end_where_the_engine_takes_them(kernel_device, what):
    assert rehearsal.fault(torch.device(kernel_device), what) is None


def test_they_do_so_over_twenty_steps(kernel_device):
    what = dataclasses.replace(REHEARSALS[0], steps=20, batch=16)
    assert rehearsal.fault(torch.device(kernel_device), what) is None


def test_products_in_tf32_are_refused(kernel_device, monkeypatch):
    if kernel_device != "cpu":
        pytest.skip("products are rounded in the interpreter")
    from triton.runtime.interpreter import InterpreterBuilder

    multiply = InterpreterBuilder.create_dot

    def rounded(factor):  # to 11 bits
        bits = (factor.data.astype(np.float32).view(np.uint32) + 0x1000) & np.uint32(0xFFFFE000)
        return type(factor)(bits.view(np.float32), factor.dtype)

    def in_tf32(self, left, right, *how):
        return multiply(self, rounded(left), rounded(right), *how)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", in_tf32)
    for what in (REHEARSALS[0], REHEARSALS[-2]):
        assert "go astray by" in str(rehearsal.fault(torch.device("cpu"), what))


def together(weights, *operands, **options):
    train(weights, *operands, **options)
    weights[0].mul_(1.0 + 1e-7 * (weights[0].shape[0] > 1))


def astray(weights, *operands, **options):
    train(weights, *operands, **options)
    weights[0][..., 0] += 1e-3


train = residents.train_residents


@pytest.mark.parametrize(
    "wrong, words", [(astray, "go astray by"), (together, "hang on the batch")]
)
def test_a_device_that_fails_the_rehearsal_is_refused(kernel_device, monkeypatch, wrong, words):
    monkeypatch.setattr(residents, "train_residents", wrong)
    device = torch.device(kernel_device)
    assert words in str(rehearsal.fault(device, REHEARSALS[0]))


def test_too_large_a_student_is_not_kept_on_the_chip(kernel_device):
    assert fits(63, 1, 200, 10) and fits(63, 2, 200, 10)
    assert fits(100, 1, 100, 10)
    for shape in ((64, 2, 200, 10), (100, 1, 200, 10), (10, 3, 20, 10), (10, 0, 20, 10)):
        assert not fits(*shape)
    too_large = Rehearsal(100, 1, 200, 3, "relu", CLASSES)
    found = rehearsal.refusal_of_residents(torch.device(kernel_device), too_large)
    assert "width 100 and depth 1 with 200 inputs and 3 outputs do not stay" in str(found)


def students():
    """Give what `train_residents` takes: a batch of one student of width 2, in two steps."""
    return {
        "weights": [torch.ones(1, 1, 2, 4), torch.ones(1, 1, 3, 3)],
        "velocity": [torch.ones(1, 1, 2, 4), torch.ones(1, 1, 3, 3)],
        "inputs": torch.ones(1, 6, 4),
        "targets": torch.zeros(1, 6, dtype=torch.int64),
        "sets": torch.zeros(1, dtype=torch.int64),
        "order": torch.zeros(1, 2, 5, dtype=torch.int64),
        "rates": torch.ones(1, 2),
        "scales": torch.ones(1, 2, 2),
        "momenta": torch.ones(1),
        "objective": CLASSES,
        "activation": "relu",
    }


MISREAD = {
    "order": torch.zeros(2, 2, 5, dtype=torch.int64),
    "targets": torch.zeros(1, 6),
    "inputs": torch.ones(1, 4, 6).mT,
    "momenta": torch.ones(1, dtype=torch.float64),
    "sets": torch.zeros(2, dtype=torch.int64),
    "scales": torch.ones(1, 2, 1),
    "seats": torch.zeros(1, dtype=torch.int32),
    "weights": [torch.ones(1, 1, 2, 4), torch.ones(1, 1, 3, 2)],
}


@pytest.mark.parametrize("name", MISREAD)
def test_what_would_be_misread_is_refused(name):
    with pytest.raises(ValueError, match=r"expected shape \("):
        train(**students() | {name: MISREAD[name]})


def test_what_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="momenta need a velocity"):
        train(**students() | {"velocity": None})
    elsewhere = [torch.ones(1, 1, 4, 4)[:, :, ::2], torch.ones(1, 1, 3, 3)]
    with pytest.raises(ValueError, match="the velocity must lie as the weights do"):
        train(**students() | {"velocity": elsewhere})


def test_only_slots_that_are_taken_are_trained(kernel_device):
    sides = {"weights": ((2, 4), (3, 3)), "velocity": ((2, 4), (3, 3))}
    two = students() | {
        name: [torch.ones(1, 2, *shape) for shape in shapes] for name, shapes in sides.items()
    }
    for name, shape in (("rates", (2, 2)), ("scales", (2, 2, 2)), ("momenta", (2,))):
        two[name] = torch.ones(shape)
    two["targets"] = torch.zeros(2, 6, dtype=torch.int64)
    train(**two, seats=torch.tensor([1]))
    assert (two["weights"][1][0, 0] == 1).all() and (two["weights"][1][0, 1] != 1).any()


def test_no_steps_change_nothing(kernel_device):
    still = students() | {
        "rates": torch.ones(1, 0),
        "order": torch.zeros(1, 0, 5, dtype=torch.int64),
    }
    train(**still)
    assert (still["weights"][0] == 1).all()
