"""Laws of one engine call: how trials are split into jobs enters no result."""

import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_trial import assert_same_bits, product_setting, trial
from tsframe.batch import train_batch
from tsframe.students.mlp import MLP
from tsframe.training.adam import Adam
from tsframe.training.batching import tables_of
from tsframe.training.devices import sharing_products
from tsframe.training.orders import epoch_order
from tsframe.training.sgd import SGD
from tsframe.training.stopping import TrainLossBelow, ZeroTrainError
from tsframe.training.table import Table
from tsframe.trial import train


def own_orders():
    return [
        trial(student=MLP(width), training=replace(trial().training, lr=lr), own_order=own)
        for width in (5, 8)
        for lr in (0.05, 0.1)
        for own in (False, True)
    ]


def test_a_student_with_an_order_of_its_own_does_not_depend_on_its_mates():
    trials = own_orders()
    together = train(trials, device="cpu")
    for k, one in enumerate(trials):
        alone = train([one], device="cpu").drop_vars("student")
        assert_same_bits(together.isel(student=[k]).drop_vars("student"), alone)
    loss = together.train_loss.values.reshape(4, 2)
    assert (loss[:, 0] != loss[:, 1]).all(), "another order is another student"


def test_orders_of_their_own_differ_and_full_batches_have_none():
    keys = [one.order_key for one in own_orders() if one.own_order]
    assert len(set(keys)) == 4
    orders = {tuple(epoch_order(0, 30, 0, key)) for key in keys} | {tuple(epoch_order(0, 30, 0))}
    assert len(orders) == 5 and all(sorted(order) == list(range(30)) for order in orders)
    full = [trial(training=SGD(0.1, max_steps=20), own_order=own) for own in (False, True)]
    measured = train(full, device="cpu")
    assert measured.train_loss.values[0] == measured.train_loss.values[1]


def test_a_stack_too_large_for_memory_is_halved_and_nothing_else_changes(monkeypatch):
    trials = [trial(seed=seed, student=MLP(width)) for seed in range(3) for width in (3, 8, 8)]
    whole = train(trials, device="cpu")
    sizes: list[int] = []
    held: list[weakref.ref[torch.Tensor]] = []

    def small(tasks, *arguments):
        assert all(tensor() is None for tensor in held), "what failed must leave the memory"
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        sizes.append(len(tasks))
        if len(tasks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train_batch(tasks, *arguments)

    monkeypatch.setattr("tsframe.together.train_batch", small)
    halved = train(trials, device="cpu", threads=1)
    assert_same_bits(halved, whole)
    assert max(sizes) > 2 and halved.attrs["stacks_halved"] == sum(size > 2 for size in sizes)
    assert "stacks_halved" not in whole.attrs

    def none(tasks, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("tsframe.together.train_batch", none)
    with pytest.raises(torch.OutOfMemoryError):
        train(trials, device="cpu")


@pytest.mark.parametrize("curve_steps", [(), (0, 5, 31)], ids=["no curves", "curves"])
@pytest.mark.parametrize("training", [SGD(0.1, momentum=0.9), Adam(0.02)], ids=["sgd", "adam"])
def test_how_many_tables_a_stack_has_enters_no_result(training, curve_steps, monkeypatch):
    rules = [ZeroTrainError(check_every=4), TrainLossBelow(0.9, check_every=7), None]
    students = [
        trial(
            student=MLP(width, depth),
            training=replace(training, batch_size=20, max_steps=40, lr=lr, stop=stop),
            curve_steps=curve_steps,
            seed=seed,
        )
        for seed in range(3)
        for width, depth in ((5, 1), (20, 1), (9, 2))
        for lr, stop in zip((0.3, 0.1, 0.05), rules, strict=True)
    ]
    numbers, moved = [], Table.moved

    def spy(tables, layout):
        numbers.append(len(tables))
        return moved(tables, layout)

    monkeypatch.setattr(Table, "moved", spy)
    one = train(students, device="cpu", threads=1)
    assert set(numbers) <= {1}
    monkeypatch.setattr("tsframe.training.devices.CACHE", 3.5 * students[0].bytes)
    several = train(students, device="cpu", threads=1)
    assert max(numbers) > 3, "several tables, whose students sit down together later"
    assert len(set(one.steps.values)) > 2, "they end at different times"
    assert_same_bits(several, one)


def test_data_sets_with_as_many_students_sit_at_one_table():
    data = [0] * 5 + [1] * 2 + [2] * 5 + [3] * 2 + [4]
    shapes, sizes = [(5, 1)] * 15, [1.0] * 15
    tables = tables_of(range(15), data, shapes, sizes, limit=5.0)
    assert tables == [[*range(5)], [*range(7, 12)], [5, 6, 12, 13, 14]]
    assert tables_of(range(15), data, shapes, sizes, limit=np.inf) == [
        [i for table in tables for i in table]
    ]
    cut = tables_of([0, 1, 2, 3, 14], data, shapes, sizes, limit=2.0)
    assert sorted(i for table in cut for i in table) == [0, 1, 2, 3, 14] and max(map(len, cut)) == 2


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "erf"])
def test_threads_that_share_the_products_of_a_lone_student_change_no_bit(activation, monkeypatch):
    wide = MLP(401, 2, activation)  # 401 x 97 hidden values: more than torch gives one thread
    one = trial(student=wide, training=SGD(0.05, momentum=0.9, batch_size=97, max_steps=6))
    shared: list[int] = []

    def spy(threads):
        shared.append(threads)
        return sharing_products(threads)

    monkeypatch.setattr("tsframe.training.table.sharing_products", spy)
    several, alone = (train([one], device="cpu", threads=n) for n in (3, 1))
    if several.attrs["products"] == "onednn":
        assert set(shared) == {3, 1}, "three threads, then one"
    assert_same_bits(several, alone)


TEAMS = """
import time
from pathlib import Path
import torch
from tsframe.training.devices import release_team

def become(count):
    patience = time.monotonic() + 20.0  # threads that were let go take a while to end
    while len(list(Path("/proc/self/task").iterdir())) != count:
        assert time.monotonic() < patience, list(Path("/proc/self/task").iterdir())
        time.sleep(0.01)

numbers = torch.ones(2_000_000)
torch.set_num_threads(3)
release_team()
without = len(list(Path("/proc/self/task").iterdir()))
for _ in range(2):
    assert float(numbers.mul(2.0)[-1]) == 2.0
    become(without + 2)
    release_team()
    become(without)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_the_threads_of_openmp_are_let_go_and_come_back():
    # In a process of its own, for nobody else's threads come and go there.
    done = subprocess.run([sys.executable, "-c", TEAMS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_threads_and_settings_are_as_they_were_found():
    found = torch.get_num_threads(), product_setting()
    train([trial(), trial(seed=1)], device="cpu", threads=2)
    assert (torch.get_num_threads(), product_setting()) == found
    started: list[int] = []
    thread = threading.Thread(target=lambda: started.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert started == [found[0]], "a thread that starts later must find the setting of the process"
